//! The two vendors' ways to answer: the shape of an error, of an acceptance, of a result in JSON.

use serde_json::{Value as Json, json};

use crate::code::{Detail, Problem};

/// Whose API is being spoken. Routes decide it ([`crate::request::Endpoint`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    ScreenshotOne,
    ScreenshotMax,
    /// snaphook's own routes (`/v1/requests`, …), which answer errors as ScreenshotMAX does.
    Native,
}

impl Dialect {
    pub const fn name(self) -> &'static str {
        match self {
            Dialect::ScreenshotOne => "screenshotone",
            Dialect::ScreenshotMax => "screenshotmax",
            Dialect::Native => "native",
        }
    }

    pub fn from_name(name: &str) -> Option<Dialect> {
        [Dialect::ScreenshotOne, Dialect::ScreenshotMax, Dialect::Native].into_iter().find(|one| one.name() == name)
    }

    /// The dialect of whatever lives at a path, known or not: an error must be readable to who asked.
    pub fn of_path(path: &str) -> Dialect {
        match path {
            "/take" | "/animate" | "/bulk" | "/usage" => Dialect::ScreenshotOne,
            "/v1/screenshot" | "/v1/pdf" | "/v1/screencast" | "/v1/scrape" | "/v1/usage" | "/v1/devices" => {
                Dialect::ScreenshotMax
            }
            _ if path.starts_with("/v1/tasks") => Dialect::ScreenshotMax,
            _ => Dialect::Native,
        }
    }
}

/// The header that names a request in every answer to it.
pub const REQUEST_ID: &str = "x-snaphook-request-id";

/// An answer without a file: status, headers in lower case, JSON body (may be empty).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Reply {
    /// A JSON answer that no cache may keep.
    pub fn json(status: u16, body: String) -> Reply {
        let mut headers = vec![("cache-control", "no-store".to_owned())];
        if !body.is_empty() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        Reply { status, headers, body }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }
}

/// The error answer of a dialect. `docs_base` is the address under which the error pages are, without a final slash.
///
/// ScreenshotOne: `{is_successful, error_code, error_message, documentation_url, error_details?, returned_status_code?}`
/// (its error list, and what its SDKs read). ScreenshotMAX publishes no shape; its one excerpt fits Fastify's
/// `{statusCode, error, message}`, to which `code`, `details` and `documentation_url` are added.
pub fn error(dialect: Dialect, problem: &Problem, docs_base: &str) -> Reply {
    let entry = problem.code.entry();
    let documentation_url = format!("{docs_base}/{}", entry.slug);
    let details: Vec<Json> = problem.details.iter().map(detail_json).collect();
    let (status, mut body) = match dialect {
        Dialect::ScreenshotOne => (
            entry.status,
            json!({
                "is_successful": false,
                "error_code": entry.name,
                "error_message": entry.text,
                "documentation_url": documentation_url,
            }),
        ),
        Dialect::ScreenshotMax | Dialect::Native => {
            let message = match problem.details.as_slice() {
                [] => entry.text.to_owned(),
                details => details.iter().map(|detail| detail.message.as_str()).collect::<Vec<_>>().join("; "),
            };
            (
                entry.status_plain,
                json!({
                    "statusCode": entry.status_plain,
                    "error": reason(entry.status_plain),
                    "message": message,
                    "code": entry.name,
                    "documentation_url": documentation_url,
                }),
            )
        }
    };
    if let Json::Object(fields) = &mut body {
        if !details.is_empty() {
            let name = if dialect == Dialect::ScreenshotOne { "error_details" } else { "details" };
            fields.insert(name.to_owned(), Json::Array(details));
        }
        if let Some(returned) = problem.returned_status_code {
            fields.insert("returned_status_code".to_owned(), returned.into());
        }
    }
    let reply = Reply::json(status, body.to_string());
    match problem.retry_after {
        Some(seconds) => reply.header("retry-after", seconds.to_string()),
        None => reply,
    }
}

fn detail_json(detail: &Detail) -> Json {
    match detail.parameter.as_str() {
        "" => json!({ "message": detail.message }),
        parameter => json!({ "message": detail.message, "path": [parameter] }),
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        410 => "Gone",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

/// The answer to an asynchronous request that is durably held.
///
/// ScreenshotMAX documents 202 with `status`, `message` and `created` (Unix seconds); `id` and `status_url` are ours.
/// ScreenshotOne answers 201 and nothing; its SDKs differ in what they take, so the status is the operator's choice.
pub fn accepted(status: u16, id: &str, created_s: u64, status_url: &str) -> Reply {
    let body = json!({
        "status": "Accepted",
        "message": "The request has been accepted for processing",
        "created": created_s,
        "id": id,
        "status_url": status_url,
    });
    Reply::json(status, body.to_string()).header("location", status_url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;

    #[test]
    fn each_dialect_has_its_own_error_shape() {
        let problem = Problem::with_detail(Code::RequestNotValid, "foo", "\"foo\" is not allowed");
        let one = error(Dialect::ScreenshotOne, &problem, "https://s.example/docs/errors");
        let body: Json = serde_json::from_str(&one.body).unwrap();
        assert_eq!(one.status, 400);
        assert_eq!(body["is_successful"], false);
        assert_eq!(body["error_details"][0]["message"], "\"foo\" is not allowed");
        assert_eq!(body["documentation_url"], "https://s.example/docs/errors/request-invalid");

        let max = error(Dialect::ScreenshotMax, &Problem::new(Code::AccessKeyInvalid), "");
        let body: Json = serde_json::from_str(&max.body).unwrap();
        assert_eq!(
            (max.status, body["statusCode"].as_u64(), body["error"].as_str()),
            (401, Some(401), Some("Unauthorized"))
        );
    }
}
