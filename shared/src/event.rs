//! Webhook payloads. A body is built once, stored, and sent as the same bytes on every attempt.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::code::Problem;
use crate::dialect::{self, Dialect, to_json};
use crate::metadata::{Content, Font, HttpResponse, Icon, Metadata};

/// No webhook's JSON is longer for what a page has written: receivers and what stands before them refuse large bodies. Standard
/// Webhooks recommends less than 20 kB.
pub const BODY_BYTES_MAX: usize = 20_000;

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

/// `"icon":`, which is there only if the icon is.
const ICON_NAME_BYTES: usize = 7;

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

/// What `write` makes of it, [`screenshotmax`] or [`screenshotone`], with as much of the page's metadata as keeps it within
/// [`BODY_BYTES_MAX`]: the vendor's shape stays, and so does whatever a page cannot write, links to slices above all.
pub fn bounded(finished: &Finished<'_>, write: fn(&Finished<'_>) -> String) -> String {
    let whole = write(finished);
    let Some(metadata) = finished.metadata.filter(|_| whole.len() > BODY_BYTES_MAX) else { return whole };
    let with = |metadata: &Metadata| write(&Finished { metadata: Some(metadata), ..finished.clone() });
    let room = BODY_BYTES_MAX.saturating_sub(with(&metadata.within(0)).len()).saturating_sub(ICON_NAME_BYTES);
    with(&metadata.within(room))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Json;

    fn metadata(texts: usize, length: usize) -> Metadata {
        let map = |text: &str| (0..texts).map(|number| (format!("{number:06}"), text.repeat(length))).collect();
        Metadata {
            icon: Some(Icon { url: "i".repeat(length), r#type: "image/png".to_owned() }),
            open_graph: Some(map("\u{1}")),
            page_title: Some("\"ü\n".repeat(length)),
            fonts: Some(vec![
                Font { first: "f".to_owned(), fallback: vec!["g".repeat(length)], elements: vec![] };
                texts
            ]),
            http_response: HttpResponse { status_code: Some(200), headers: Some(map("h")) },
            hash: Some("0".repeat(64)),
            content: Some(Content { url: "https://s/c".to_owned(), expires: String::new(), format: "html".to_owned() }),
        }
    }

    fn finished(metadata: &Metadata) -> Finished<'_> {
        Finished { id: "req_1", file_url: "https://s/f", metadata: Some(metadata), ..Finished::default() }
    }

    #[test]
    fn what_a_page_writes_makes_no_body_larger_than_the_limit() {
        for (texts, length) in [(0, 0), (1, 100_000), (1_000, 1), (1_000, 1_000), (3, 900), (2, 3_000), (100_000, 0)] {
            let metadata = metadata(texts, length);
            for write in [screenshotone, screenshotmax] {
                let (whole, body) = (write(&finished(&metadata)), bounded(&finished(&metadata), write));
                assert!(body.len() <= BODY_BYTES_MAX, "{texts} of {length}: {}", body.len());
                assert!(whole.len() > BODY_BYTES_MAX || body == whole, "{texts} of {length} needed no cut");
                let json = Json::read(&body).unwrap();
                let file = json.get("file").or_else(|| json.get("screenshot_url"));
                assert_eq!(file.and_then(Json::text), Some("https://s/f"), "{body}");
            }
        }
    }

    #[test]
    fn what_fits_stays_beside_what_does_not() {
        let mut metadata = Metadata { page_title: Some("short".to_owned()), ..Metadata::default() };
        let long = ("description".to_owned(), "d".repeat(1_000_000));
        metadata.open_graph = Some([long, ("title".to_owned(), "t".repeat(10_000))].into());
        let body = bounded(&finished(&metadata), screenshotone);
        let told = ["{\"title\":\"", &"t".repeat(10_000), "\"},\"page_title\":\"short\"}"].concat();
        assert!(body.contains(&told), "{body}");
        // A title alone has no share but its own, and uses that to the last byte.
        metadata = Metadata { page_title: Some("ü".repeat(1_000_000)), ..Metadata::default() };
        let body = bounded(&finished(&metadata), screenshotmax);
        assert!(body.len() > BODY_BYTES_MAX / 6 && body.ends_with("ü\"}}"), "{body}");
    }

    #[test]
    fn slices_are_never_left_out() {
        let metadata = metadata(100, 1_000);
        let slice = Slice { index: 0, offset_y: 0, width: 1, height: 1, url: "https://s/slice".to_owned() };
        let body = bounded(&Finished { slices: vec![slice; 500], ..finished(&metadata) }, screenshotone);
        assert_eq!(body.matches("https://s/slice").count(), 500);
        assert!(body.contains("\"open_graph\":{}"), "{body}");
    }
}
