//! Answers of the dashboard, each with the headers that keep it to itself.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use maud::{Markup, html};

use super::html::{Frame, layout};
use crate::domain::ports::QueueError;

pub type Answer = Response<Bytes>;

/// No script and no style but our own files, and nothing of anybody else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; media-src 'self'; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Headers of every answer. A referrer goes to no other site; with `no-referrer` browsers would leave the origin out of our
/// own forms as well, by which we know them.
const ALWAYS: [(&str, &str); 6] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Why a page is not as it was asked for.
#[derive(Debug)]
pub(super) enum Refusal {
    NotFound,
    /// Something in a form is wrong.
    Invalid(String),
    /// The form is right, and things are not as it takes them to be.
    Conflict(String),
    Unavailable,
}

impl From<QueueError> for Refusal {
    fn from(error: QueueError) -> Refusal {
        tracing::error!(%error, "the dashboard could not ask the queue");
        Refusal::Unavailable
    }
}

/// What a handler gives.
pub(super) type Result<T = Answer> = std::result::Result<T, Refusal>;

pub(super) fn with(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    for (name, value) in ALWAYS {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
    answer.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
    answer
}

pub(super) fn page(status: StatusCode, page: Markup) -> Answer {
    with(status, "text/html; charset=utf-8", page.into_string())
}

/// To another page of ours. 303: with GET, whatever brought here.
pub(super) fn see(path: &str) -> Answer {
    let mut answer = with(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "");
    set(&mut answer, "location", path);
    answer
}

/// Sets a header, if the text can be one.
pub(super) fn set(answer: &mut Answer, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// A page that says no.
pub(super) fn refused(frame: &Frame, refusal: &Refusal) -> Answer {
    let (status, title, text) = match refusal {
        Refusal::NotFound => (StatusCode::NOT_FOUND, "Not found", "There is nothing here, or no longer."),
        Refusal::Invalid(text) => (StatusCode::BAD_REQUEST, "That cannot be", text.as_str()),
        Refusal::Conflict(text) => (StatusCode::CONFLICT, "That was not done", text.as_str()),
        Refusal::Unavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, "Not now", "The database could not be asked. The log says why.")
        }
    };
    message(status, frame, title, text)
}

pub(super) fn message(status: StatusCode, frame: &Frame, title: &str, text: &str) -> Answer {
    let body = html! {
        h1 { (title) }
        p .lead role="alert" { (text) }
        p { a href="/dashboard/requests" { "Go to the requests" } }
    };
    page(status, layout(frame, title, body))
}
