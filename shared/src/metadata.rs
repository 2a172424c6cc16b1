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
    /// The same, with no more of what a page has written than so many bytes of JSON hold: the title cut, the rest without
    /// whatever does not fit. What is unspent of one's share is the next one's.
    pub fn within(&self, bytes: usize) -> Metadata {
        let mut room = Room { bytes, sharers: 5 };
        let page_title = room.share(&self.page_title, |title, room| Some(room.cut(title)));
        let icon = room.share(&self.icon, |icon, room| room.takes(icon).then(|| icon.clone()));
        let headers = room.share(&self.http_response.headers, |headers, room| Some(room.of_map(headers)));
        let fonts = room
            .share(&self.fonts, |fonts, room| Some(fonts.iter().filter(|font| room.takes(*font)).cloned().collect()));
        let open_graph = room.share(&self.open_graph, |properties, room| Some(room.of_map(properties)));
        let http_response = HttpResponse { headers, ..self.http_response };
        let (hash, content) = (self.hash.clone(), self.content.clone());
        Metadata { icon, open_graph, page_title, fonts, http_response, hash, content }
    }

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

/// Bytes of JSON that are left, and how many have yet to take of them.
struct Room {
    bytes: usize,
    sharers: usize,
}

impl Room {
    /// Gives the next one its share of what is left.
    fn share<T>(&mut self, value: &Option<T>, take: impl FnOnce(&T, &mut Room) -> Option<T>) -> Option<T> {
        let share = self.bytes / self.sharers.max(1);
        let mut own = Room { bytes: share, sharers: 1 };
        let taken = value.as_ref().and_then(|value| take(value, &mut own));
        self.bytes = self.bytes.saturating_sub(share.saturating_sub(own.bytes));
        self.sharers = self.sharers.saturating_sub(1);
        taken
    }

    fn takes_bytes(&mut self, bytes: usize) -> bool {
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.unwrap_or(self.bytes);
        left.is_some()
    }

    /// A value of an object or an array, with its comma.
    fn takes(&mut self, value: &impl Serialize) -> bool {
        self.takes_bytes(to_json(value).len().saturating_add(1))
    }

    /// As much of the beginning as there is room for.
    fn cut(&mut self, text: &str) -> String {
        // In JSON a character may be six of them; the quotation marks are there anyway.
        text.chars().take_while(|character| self.takes_bytes(to_json(character).len().saturating_sub(2))).collect()
    }

    fn of_map(&mut self, map: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        // The colon stands where the comma of a pair's brackets does, and the brackets for the comma behind it.
        map.iter().filter(|pair| self.takes(pair)).map(|(name, value)| (name.clone(), value.clone())).collect()
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
