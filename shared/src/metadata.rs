//! What a render tells of the page beside its picture: in JSON, or in headers where the answer is the file itself.
//!
//! Every text here was written by a page. In a header it is percent-encoded, so that no page can add a header of its own.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::dialect::{Dialect, to_json};

/// What was asked for, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    pub icon: Option<Icon>,
    /// Without their `og:`.
    pub open_graph: Option<BTreeMap<String, String>>,
    pub page_title: Option<String>,
    pub fonts: Option<Vec<Font>>,
    pub http_response: HttpResponse,
    /// SHA-256 of the file, hexadecimal.
    pub hash: Option<String>,
    pub content: Option<Content>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Icon {
    pub url: String,
    pub r#type: String,
}

/// A font stack, and the elements with text in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Font {
    pub first: String,
    pub fallback: Vec<String>,
    pub elements: Vec<String>,
}

/// What the page's host answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
}

impl HttpResponse {
    pub fn is_empty(&self) -> bool {
        *self == HttpResponse::default()
    }
}

/// Where the content of the page is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    pub url: String,
    /// As HTTP writes dates.
    pub expires: String,
    pub format: String,
}

/// A header that is longer is left out: proxies and clients refuse the whole answer for it. In JSON it stays.
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// What `encodeURIComponent` leaves as it is. A blank becomes `%20`, which every decoder understands.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

impl Metadata {
    /// The headers that tell it. ScreenshotOne documents its own; what ScreenshotMAX returns is documented nowhere and
    /// read by none of its SDKs, so there they are named after them.
    pub fn headers(&self, dialect: Dialect) -> Vec<(&'static str, String)> {
        let one = dialect == Dialect::ScreenshotOne;
        let mut headers = Vec::new();
        let mut add = |of_one: &'static str, of_max: &'static str, value: Option<String>| {
            let name = if one { of_one } else { of_max };
            if let Some(value) = value.filter(|value| value.len() <= HEADER_BYTES_MAX && !name.is_empty()) {
                headers.push((name, value));
            }
        };
        let fonts = self.fonts.as_ref().map(|fonts| encode(&to_json(fonts)));
        add("x-screenshotone-fonts", "x-screenshotmax-fonts", fonts);
        let icon = self.icon.as_ref().map(|icon| encode(&to_json(icon)));
        add("x-screenshotone-icon", "x-screenshotmax-icon", icon);
        let open_graph = self.open_graph.as_ref().map(|properties| encode(&to_json(properties)));
        add("x-screenshotone-open-graph", "", open_graph);
        let title = self.page_title.as_ref().map(|title| encode(title));
        add("x-screenshotone-page-title", "x-screenshotmax-title", title);
        let status = self.http_response.status_code.map(|status| status.to_string());
        add("x-screenshotone-http-response-status-code", "x-screenshotmax-status", status);
        let answered = self.http_response.headers.as_ref().map(|headers| encode(&to_json(headers)));
        add("x-screenshotone-http-response-headers", "x-screenshotmax-headers", answered);
        add("", "x-screenshotmax-hash", self.hash.clone());
        let content = self.content.as_ref();
        add("x-screenshotone-content-url", "", content.map(|content| content.url.clone()));
        add("x-screenshotone-content-expires", "", content.map(|content| content.expires.clone()));
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_cannot_break_out_of_a_header() {
        let metadata = Metadata {
            page_title: Some("a b\r\nset-cookie: x=1 é".to_owned()),
            open_graph: Some([("title".to_owned(), "x\ny".to_owned())].into()),
            http_response: HttpResponse { status_code: Some(200), headers: None },
            ..Metadata::default()
        };
        let headers = metadata.headers(Dialect::ScreenshotOne);
        assert!(headers.iter().all(|(_, value)| value.bytes().all(|byte| byte.is_ascii_graphic())), "{headers:?}");
        let title = ("x-screenshotone-page-title", "a%20b%0D%0Aset-cookie%3A%20x%3D1%20%C3%A9".to_owned());
        assert!(headers.contains(&title), "{headers:?}");
        assert!(headers.contains(&("x-screenshotone-http-response-status-code", "200".to_owned())));
        let max = metadata.headers(Dialect::ScreenshotMax);
        assert_eq!(
            max.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["x-screenshotmax-title", "x-screenshotmax-status"]
        );
    }

    #[test]
    fn a_header_that_is_too_long_is_left_out() {
        let metadata = Metadata { page_title: Some("ü".repeat(2000)), ..Metadata::default() };
        assert_eq!(metadata.headers(Dialect::ScreenshotOne), []);
    }
}
