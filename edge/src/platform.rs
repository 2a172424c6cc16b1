//! What the edge asks of the JavaScript platform: its URL parser, its clock, its random numbers, its fetch.
//!
//! Never judges; the rules are in `shared`, which takes all of it as arguments. What a request needs each time is asked
//! for in one call (`platform.js`): most of what a Worker of wasm costs is going there and back.

use std::cell::RefCell;
use std::fmt;

use js_sys::{JsString, Promise, Uint8Array};
use snaphook_shared::target::{ParseUrl, UrlParts};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{AbortSignal, Cache, Request, Response};

use crate::executor::Promised;
use crate::services::Context;

#[wasm_bindgen(module = "/src/platform.js")]
extern "C" {
    #[wasm_bindgen(catch)]
    fn head(request: &Request, random: &mut [u8]) -> Result<String, JsValue>;
    #[wasm_bindgen(catch)]
    fn rest(request: &Request) -> Result<String, JsValue>;
    fn parts(text: &str) -> Option<String>;
    /// Asks the backend, and ends it when so much time is over. `text` has method and URL, a line each, then the values of a seal
    /// or headers. Comes to the answer as a page may read it; to its status alone if it is not the backend's; to undefined when not even a
    /// head has come by then.
    pub(crate) fn exchange(text: &str, is_sealed: bool, body: Option<&[u8]>, milliseconds: f64) -> Promised;
    /// The same, but that only the head of the answer has to be there by then.
    pub(crate) fn open(
        text: &str,
        is_sealed: bool,
        body: Option<&[u8]>,
        milliseconds: f64,
        caller: Option<&AbortSignal>,
    ) -> Promised;
    /// What a cache has of an address, in part where the headers ask for that; undefined for nothing.
    #[wasm_bindgen(js_name = lookUp)]
    pub(crate) fn look_up(cache: &Cache, url: &str, headers: &str) -> Promised;
    /// Lets an event last until this has ended; it is logged as `what` if it fails.
    pub(crate) fn afterwards(context: &Context, promise: &Promise, what: &str);
    #[wasm_bindgen(js_name = sha256)]
    fn digest(bytes: &[u8]) -> Promised;
    #[wasm_bindgen(catch)]
    pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Result<Response, JsValue>;
    #[wasm_bindgen(catch)]
    pub(crate) fn relay(response: &Response, headers: &str) -> Result<Response, JsValue>;
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console)]
    fn error(line: &str);
}

/// The head of a request, as far as anybody here looks at it.
pub(crate) struct Arrived(String);

/// Random bytes, fit for secrets.
pub(crate) type Random = [u8; 10];

impl Arrived {
    /// The head with what a render reads of it, and what makes the request's id its own.
    ///
    /// # Errors
    /// The platform's.
    pub(crate) fn of(request: &Request) -> Result<(Arrived, Random), JsValue> {
        let mut random = Random::default();
        Ok((Arrived(head(request, &mut random)?), random))
    }

    /// With the other headers that are passed on to the backend.
    ///
    /// # Errors
    /// The platform's.
    pub(crate) fn whole(&self, request: &Request) -> Result<Arrived, JsValue> {
        Ok(Arrived([self.0.as_str(), &rest(request)?].concat()))
    }

    pub(crate) fn method(&self) -> &str {
        self.0.lines().next().unwrap_or_default()
    }

    pub(crate) fn url(&self) -> &str {
        self.0.lines().nth(1).unwrap_or_default()
    }

    /// A header, of those that were read.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.0.split('\n').skip(2);
        while let (Some(own), Some(value)) = (lines.next(), lines.next()) {
            if own == name {
                return Some(value);
            }
        }
        None
    }
}

/// Headers as they cross the boundary.
pub(crate) fn headers<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        for part in [name, "\n", value, "\n"] {
            text.push_str(part);
        }
    }
    text
}

/// The platform's own WHATWG parser: the `url` crate would bring 79 KB (gzipped) of Unicode tables. Keeps what it made last: a URL is
/// read by one rule and judged by another, which gets the serialisation that the first made, and a serialisation parses to itself.
#[derive(Default)]
pub(crate) struct PlatformUrlParser(RefCell<Option<UrlParts>>);

impl ParseUrl for PlatformUrlParser {
    fn parse(&self, input: &str) -> Option<UrlParts> {
        let last = self.0.take().filter(|last| last.serialized == input).or_else(|| parse(input));
        self.0.replace(last.clone());
        last
    }
}

fn parse(input: &str) -> Option<UrlParts> {
    let parts = parts(input)?;
    let mut parts = parts.split('\n');
    let mut next = || parts.next().unwrap_or_default();
    let (href, protocol, hostname, port) = (next(), next(), next(), next());
    UrlParts::from_platform(href, protocol, hostname, port, next(), next())
}

/// Unix milliseconds. A Worker's clock stands still between two waits for the network.
pub(crate) fn now_ms() -> u64 {
    // A cast from a float saturates, so no clock can make it fail.
    js_sys::Date::now() as u64
}

/// SHA-256.
///
/// # Errors
/// The platform's.
pub(crate) async fn sha256(bytes: &[u8]) -> Result<[u8; 32], JsValue> {
    let digest: Uint8Array = digest(bytes).await?.unchecked_into();
    digest.to_vec().try_into().map_err(|_| JsValue::from_str("a digest of another length"))
}

/// Writes a line to the operator's log.
#[inline(never)]
pub(crate) fn log(line: fmt::Arguments<'_>) {
    error(&line.to_string());
}

/// What a JavaScript error says, for the log.
pub(crate) fn message(error: &JsValue) -> String {
    let text = error.dyn_ref::<js_sys::Error>().map(|error| error.message());
    text.or_else(|| error.dyn_ref::<JsString>().cloned())
        .map_or_else(|| "an error without a text".to_owned(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use snaphook_shared::dialect::{CORS, REQUEST_ID};
    use snaphook_shared::envelope::{KEY_ID_HEADER, NONCE_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};

    #[test]
    fn a_head_is_taken_apart() {
        let arrived = Arrived("GET\nhttps://s.example/?a\naccept\n\nrange\nbytes=0-".to_owned());
        assert_eq!((arrived.method(), arrived.url()), ("GET", "https://s.example/?a"));
        assert_eq!([arrived.header("range"), arrived.header("accept")], [Some("bytes=0-"), Some("")]);
        assert_eq!([arrived.header("bytes=0-"), arrived.header("GET")], [None, None]);
    }

    #[test]
    fn what_javascript_names_is_what_shared_names() {
        let javascript = include_str!("platform.js");
        let [origin, exposed] = CORS;
        assert!([origin.1, exposed.1] == ["*"; 2]);
        let headers = [TIMESTAMP_HEADER, NONCE_HEADER, KEY_ID_HEADER, SIGNATURE_HEADER];
        for name in headers.into_iter().chain([REQUEST_ID, origin.0, exposed.0]) {
            assert!(javascript.contains(&format!("'{name}'")), "{name}");
        }
    }

    #[test]
    fn headers_cross_as_lines() {
        assert_eq!(headers([("a", "b"), ("c", "")]), "a\nb\nc\n\n");
    }
}
