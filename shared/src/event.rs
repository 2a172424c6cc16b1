//! Webhook payloads. A body is built once, stored, and sent as the same bytes on every attempt.

use serde::Serialize;

use crate::code::Problem;
use crate::dialect::{self, Dialect, to_json};

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
    /// The link again, if the answer is kept to be given again.
    pub cache_url: Option<&'a str>,
}

/// ScreenshotMAX's body, as its webhook page shows it.
#[derive(Serialize)]
struct ScreenshotMax<'a> {
    id: &'a str,
    file: &'a str,
    expires: u64,
    created: u64,
}

/// ScreenshotOne's JSON, as far as it speaks of links.
#[derive(Serialize)]
struct ScreenshotOne<'a> {
    screenshot_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<Store<'a>>,
}

#[derive(Serialize)]
struct Store<'a> {
    location: &'a str,
}

/// Ours: `error` stands where `file` would.
#[derive(Serialize)]
struct Failed<'a> {
    id: &'a str,
    error: FailedError<'a>,
    created: u64,
}

#[derive(Serialize)]
struct FailedError<'a> {
    code: &'a str,
    message: &'a str,
    documentation_url: &'a str,
}

/// ScreenshotMAX's body: `{"id","file","expires","created"}`, times in Unix seconds.
pub fn screenshotmax(finished: &Finished<'_>) -> String {
    let Finished { id, file_url: file, expires_s: expires, created_s: created, .. } = *finished;
    to_json(&ScreenshotMax { id, file, expires, created })
}

/// ScreenshotOne's JSON, the same in a synchronous answer and in a webhook: `screenshot_url`, and `store.location` when
/// it was asked for.
pub fn screenshotone(finished: &Finished<'_>) -> String {
    let store = finished.store_location.map(|location| Store { location });
    to_json(&ScreenshotOne { screenshot_url: finished.file_url, cache_url: finished.cache_url, store })
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
    let documentation_url = format!("{docs_base}/{}", entry.slug);
    let error = FailedError { code: entry.name, message: entry.text, documentation_url: &documentation_url };
    to_json(&Failed { id, error, created: created_s })
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
