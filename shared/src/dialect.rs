//! The two vendors' ways to answer: the shape of an error, of an acceptance, of a result in JSON.

use serde::Serialize;

use crate::code::{Detail, Problem};
use crate::route;

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

/// ScreenshotOne: its error list, and what its SDKs read.
#[derive(Serialize)]
struct ScreenshotOneError<'a> {
    is_successful: bool,
    error_code: &'a str,
    error_message: &'a str,
    documentation_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    returned_status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    error_details: Vec<ErrorDetail<'a>>,
}

/// ScreenshotMAX publishes no shape; its one excerpt fits Fastify's first three fields. The others are ours.
#[derive(Serialize)]
struct PlainError<'a> {
    #[serde(rename = "statusCode")]
    status_code: u16,
    error: &'a str,
    message: String,
    code: &'a str,
    documentation_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    returned_status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<ErrorDetail<'a>>,
}

/// As Joi, ScreenshotOne's validator, words it.
#[derive(Serialize)]
struct ErrorDetail<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<[&'a str; 1]>,
}

/// The error answer of a dialect. `docs_base` is the address under which the error pages are, without a final slash.
pub fn error(dialect: Dialect, problem: &Problem, docs_base: &str) -> Reply {
    let entry = problem.code.entry();
    let documentation_url = format!("{docs_base}/{}", entry.slug);
    let details = problem.details.iter().map(error_detail).collect();
    let (id, status_url) = problem.job.as_ref().map(|job| (job.id.as_str(), job.status_url.as_str())).unzip();
    let (status, body) = match dialect {
        Dialect::ScreenshotOne => {
            let body = ScreenshotOneError {
                is_successful: false,
                error_code: entry.name,
                error_message: entry.text,
                documentation_url: &documentation_url,
                returned_status_code: problem.returned_status_code,
                id,
                status_url,
                error_details: details,
            };
            (entry.status, to_json(&body))
        }
        Dialect::ScreenshotMax | Dialect::Native => {
            let body = PlainError {
                status_code: entry.status_plain,
                error: reason(entry.status_plain),
                message: problem.message(),
                code: entry.name,
                documentation_url: &documentation_url,
                returned_status_code: problem.returned_status_code,
                id,
                status_url,
                details,
            };
            (entry.status_plain, to_json(&body))
        }
    };
    let mut reply = Reply::json(status, body);
    if let Some(seconds) = problem.retry_after {
        reply = reply.header("retry-after", seconds.to_string());
    }
    if let Some(methods) = problem.allow {
        reply = reply.header("allow", route::allow(methods));
    }
    if let Some(url) = status_url {
        reply = reply.header("location", url);
    }
    reply
}

/// Any page may call the API: a key is given by who calls, and no cookie ever stands for one.
pub const CORS: [(&str, &str); 2] = [("access-control-allow-origin", "*"), ("access-control-expose-headers", "*")];

/// What a page of another origin learns before it calls.
pub fn preflight(methods: &[&str]) -> Reply {
    let headers = vec![
        ("access-control-allow-methods", methods.join(", ")),
        (
            "access-control-allow-headers",
            "content-type, idempotency-key, if-none-match, if-range, priority, range, traceparent, x-access-key"
                .to_owned(),
        ),
        ("access-control-max-age", "86400".to_owned()),
    ];
    Reply { status: 204, headers, body: String::new() }
}

fn error_detail(detail: &Detail) -> ErrorDetail<'_> {
    let parameter = detail.parameter.as_str();
    ErrorDetail { message: &detail.message, path: (!parameter.is_empty()).then_some([parameter]) }
}

/// Serialising these plain structs cannot fail.
pub(crate) fn to_json(body: &impl Serialize) -> String {
    serde_json::to_string(body).unwrap_or_default()
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
        504 => "Gateway Timeout",
        _ => "Internal Server Error",
    }
}

/// The answer to an asynchronous request that is durably held.
///
/// ScreenshotMAX documents 202 with `status`, `message` and `created` (Unix seconds); `id` and `status_url` are ours.
/// ScreenshotOne answers 201 and nothing; its SDKs differ in what they take, so the status is the operator's choice.
pub fn accepted(status: u16, id: &str, created_s: u64, status_url: &str) -> Reply {
    let body = Accepted {
        status: "Accepted",
        message: "The request has been accepted for processing",
        created: created_s,
        id,
        status_url,
    };
    Reply::json(status, to_json(&body)).header("location", status_url)
}

#[derive(Serialize)]
struct Accepted<'a> {
    status: &'a str,
    message: &'a str,
    created: u64,
    id: &'a str,
    status_url: &'a str,
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

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
