//! Webhook payloads. A body is built once, stored, and sent as the same bytes on every attempt.

use serde_json::{Value as Json, json};

use crate::code::Problem;
use crate::dialect::{self, Dialect};

/// What a finished render has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished<'a> {
    pub id: &'a str,
    /// Link to the file.
    pub file_url: &'a str,
    /// Unix seconds.
    pub expires_s: u64,
    /// Unix seconds.
    pub created_s: u64,
    /// Where the caller's own copy is, if it was asked for.
    pub store_location: Option<&'a str>,
}

/// ScreenshotMAX's body: `{"id","file","expires","created"}` in this order, as its webhook page shows it.
pub fn screenshotmax(finished: &Finished<'_>) -> String {
    // By hand, since a JSON map would sort the names.
    format!(
        r#"{{"id":{},"file":{},"expires":{},"created":{}}}"#,
        Json::from(finished.id),
        Json::from(finished.file_url),
        finished.expires_s,
        finished.created_s
    )
}

/// ScreenshotOne's JSON, the same in a synchronous answer and in a webhook: `screenshot_url`, and `store.location` when
/// it was asked for.
pub fn screenshotone(finished: &Finished<'_>) -> String {
    let mut body = json!({ "screenshot_url": finished.file_url });
    if let (Some(location), Json::Object(fields)) = (finished.store_location, &mut body) {
        fields.insert("store".to_owned(), json!({ "location": location }));
    }
    body.to_string()
}

/// The body for a request that failed for good.
///
/// ScreenshotOne posts `{error_code, error_message, documentation_url}`. ScreenshotMAX documents nothing for failures;
/// there the id and the creation time stay where they are, and `error` replaces `file`.
pub fn failed(dialect: Dialect, id: &str, created_s: u64, problem: &Problem, docs_base: &str) -> String {
    if dialect == Dialect::ScreenshotOne {
        return dialect::error(dialect, problem, docs_base).body;
    }
    let entry = problem.code.entry();
    json!({
        "id": id,
        "created": created_s,
        "error": { "code": entry.name, "message": entry.text, "documentation_url": format!("{docs_base}/{}", entry.slug) },
    })
    .to_string()
}

/// Headers of a ScreenshotOne webhook, beside its signature.
pub mod header {
    pub const EXTERNAL_IDENTIFIER: &str = "x-screenshotone-external-identifier";
    pub const ERROR_CODE: &str = "x-screenshotone-error-code";
    pub const ERROR_MESSAGE: &str = "x-screenshotone-error-message";
    pub const DOCUMENTATION_URL: &str = "x-screenshotone-documentation-url";
    pub const RENDERING_SECONDS: &str = "x-screenshotone-rendering-seconds";
    pub const SIZE_BYTES: &str = "x-screenshotone-size-bytes";
    pub const REFERENCE: &str = "x-screenshotone-reference";
}
