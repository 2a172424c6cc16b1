//! Webhook payloads. A body is built once, stored, and sent as the same bytes on every attempt.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::code::Problem;
use crate::dialect::{self, Dialect, to_json};
use crate::metadata::{Content, Font, HttpResponse, Icon, Metadata};

/// What a finished render has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// What was asked about the page.
    pub metadata: Option<&'a Metadata>,
    /// Of the picture, if it was asked for.
    pub image_size: Option<ImageSize>,
    /// Of a tall picture, if they were asked for.
    pub slices: Vec<Slice>,
}

/// Device pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ImageSize {
    pub width: u32,
    pub height: u32,
}

/// A piece of a tall picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Slice {
    pub index: usize,
    /// From the top of the whole picture, in its pixels.
    pub offset_y: u32,
    pub width: u32,
    pub height: u32,
    pub url: String,
}

/// ScreenshotMAX's body, as its webhook page shows it.
#[derive(Serialize)]
struct ScreenshotMax<'a> {
    id: &'a str,
    file: &'a str,
    expires: u64,
    created: u64,
    /// Ours: the vendor documents no place for it.
    #[serde(skip_serializing_if = "MaxMetadata::is_empty")]
    metadata: MaxMetadata<'a>,
}

#[derive(Serialize, PartialEq, Default)]
struct MaxMetadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    icon: Option<&'a Icon>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fonts: Option<&'a [Font]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<&'a BTreeMap<String, String>>,
}

impl MaxMetadata<'_> {
    fn is_empty(&self) -> bool {
        *self == MaxMetadata::default()
    }
}

/// ScreenshotOne's JSON, as far as it speaks of links.
#[derive(Serialize)]
struct ScreenshotOne<'a> {
    screenshot_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<Store<'a>>,
    #[serde(skip_serializing_if = "PageMetadata::is_empty")]
    metadata: PageMetadata<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fonts: Option<&'a [Font]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a Content>,
    #[serde(skip_serializing_if = "HttpResponse::is_empty")]
    http_response: &'a HttpResponse,
    #[serde(skip_serializing_if = "<[Slice]>::is_empty")]
    slices: &'a [Slice],
}

/// The file that lists the slices.
#[derive(Serialize)]
struct Manifest<'a> {
    slices: &'a [Slice],
}

#[derive(Serialize, PartialEq, Default)]
struct PageMetadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    image_size: Option<ImageSize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icon: Option<&'a Icon>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_graph: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    page_title: Option<&'a str>,
}

impl PageMetadata<'_> {
    fn is_empty(&self) -> bool {
        *self == PageMetadata::default()
    }
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
    let Finished { id, file_url: file, expires_s: expires, created_s: created, metadata, .. } = *finished;
    let nothing = Metadata::default();
    let known = metadata.unwrap_or(&nothing);
    let metadata = MaxMetadata {
        icon: known.icon.as_ref(),
        fonts: known.fonts.as_deref(),
        title: known.page_title.as_deref(),
        hash: known.hash.as_deref(),
        status: known.http_response.status_code,
        headers: known.http_response.headers.as_ref(),
    };
    to_json(&ScreenshotMax { id, file, expires, created, metadata })
}

/// ScreenshotOne's JSON, the same in a synchronous answer and in a webhook: `screenshot_url`, and `store.location` when
/// it was asked for.
pub fn screenshotone(finished: &Finished<'_>) -> String {
    let store = finished.store_location.map(|location| Store { location });
    let nothing = Metadata::default();
    let known = finished.metadata.unwrap_or(&nothing);
    to_json(&ScreenshotOne {
        screenshot_url: finished.file_url,
        cache_url: finished.cache_url,
        store,
        metadata: PageMetadata {
            image_size: finished.image_size,
            icon: known.icon.as_ref(),
            open_graph: known.open_graph.as_ref(),
            page_title: known.page_title.as_deref(),
        },
        fonts: known.fonts.as_deref(),
        content: known.content.as_ref(),
        http_response: &known.http_response,
        slices: &finished.slices,
    })
}

/// The manifest that ScreenshotOne's slices header leads to; the vendor does not say what its own looks like.
pub fn slices(slices: &[Slice]) -> String {
    to_json(&Manifest { slices })
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
    /// What the logs can be searched by: of the caller's own trace, or the request's id.
    pub const TRACE_ID: &str = "x-screenshotone-trace-id";
}
