//! What the head of a request asks for: a render, something the backend answers by itself, or nothing that exists.
//!
//! Never sees a body, a key or a parameter, and never lets a path through that could name something else at the
//! backend: whatever is passed on leaves as a URL, and a URL parser on the way would resolve `/files/%2e%2e/internal`.

use snaphook_shared::code::{Code, Problem};
use snaphook_shared::limits::QUERY_BYTES_MAX;
use snaphook_shared::request::{self, Endpoint, Head, Method};
use snaphook_shared::route as routes;

/// Where a request goes. What goes nowhere is a [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Checked here, then handed over.
    Render(Endpoint, Method),
    /// A stored file: from the cache, or from the backend.
    File,
    /// Answered by the backend, which authenticates where it must.
    Forward,
    /// A browser asks whether a page of another origin may call us, and with which methods.
    Preflight(&'static [&'static str]),
}

/// Finds the route by the head alone.
///
/// # Errors
/// Those of [`request::gate`].
pub(crate) fn route(head: Head<'_>) -> Result<Route, Problem> {
    let methods = routes::methods(head.path).ok_or_else(|| Problem::new(Code::NotFound))?;
    if head.method == "OPTIONS" {
        return Ok(Route::Preflight(methods));
    }
    if Endpoint::from_path(head.path).is_some() {
        return request::gate(head).map(|(endpoint, method)| Route::Render(endpoint, method));
    }
    if !methods.contains(&head.method) {
        return Err(Problem::method_not_allowed(methods));
    }
    if head.query.len() > QUERY_BYTES_MAX {
        return Err(Problem::new(Code::UriTooLong));
    }
    if routes::takes_body(head.path) {
        request::gate_body(head)?;
    }
    Ok(if head.path.starts_with("/files/") { Route::File } else { Route::Forward })
}

/// The parts of a request's URL, cut and not parsed: signed links are signed over the bytes as they came, and a URL
/// parser of our own would add 79 KB (gzipped) to the Worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address<'a> {
    /// Scheme, host and port.
    pub(crate) origin: &'a str,
    /// From the first `/`.
    pub(crate) path: &'a str,
    /// Without the question mark.
    pub(crate) query: &'a str,
}

impl<'a> Address<'a> {
    /// Cuts an absolute URL, as the platform gives it.
    pub(crate) fn cut(url: &'a str) -> Address<'a> {
        let url = url.split_once('#').map_or(url, |(url, _)| url);
        let (rest, query) = url.split_once('?').unwrap_or((url, ""));
        // Behind the scheme's colon and two slashes.
        let host = rest.find(':').map_or(0, |colon| colon.saturating_add(3));
        let slash =
            rest.get(host..).and_then(|rest| rest.find('/')).map_or(rest.len(), |slash| host.saturating_add(slash));
        let (origin, path) = rest.split_at_checked(slash).unwrap_or((rest, ""));
        Address { origin, path: if path.is_empty() { "/" } else { path }, query }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head<'a>(method: &'a str, path: &'a str) -> Head<'a> {
        Head { method, path, query: "", content_type: None, content_length: None }
    }

    fn refused(head: Head<'_>) -> Code {
        route(head).unwrap_err().code
    }

    #[test]
    fn renders_are_told_from_what_is_passed_on() {
        assert_eq!(route(head("GET", "/take")), Ok(Route::Render(Endpoint::Take, Method::Get)));
        assert_eq!(route(head("POST", "/v1/screenshot")), Ok(Route::Render(Endpoint::Screenshot, Method::Post)));
        assert_eq!(route(head("HEAD", "/take")), Ok(Route::Render(Endpoint::Take, Method::Head)));
        assert_eq!(route(head("GET", "/files/0a1b.png")), Ok(Route::File));
        for path in [
            "/v1/requests",
            "/v1/requests/req_1/events",
            "/docs",
            "/docs/errors/x",
            "/openapi.json",
            "/usage",
            "/v1/usage",
            "/v1/devices",
        ] {
            assert_eq!(route(head("GET", path)), Ok(Route::Forward), "{path}");
            assert_eq!(route(head("HEAD", path)), Ok(Route::Forward), "{path}");
            assert_eq!(route(head("OPTIONS", path)), Ok(Route::Preflight(&["GET", "HEAD"])), "{path}");
            assert_eq!(refused(head("POST", path)), Code::MethodNotAllowed, "{path}");
        }
        for path in ["/v1/requests/req_1/cancel", "/v1/deliveries/replay", "/v1/deliveries/msg_1/replay"] {
            assert_eq!(route(head("POST", path)), Ok(Route::Forward), "{path}");
        }
        assert_eq!(refused(head("POST", "/files/cancel")), Code::MethodNotAllowed);
        assert_eq!(route(head("POST", "/bulk")), Ok(Route::Forward));
        assert_eq!(refused(head("GET", "/bulk")), Code::MethodNotAllowed);
        assert_eq!(
            refused(Head { content_type: Some("text/plain"), ..head("POST", "/bulk") }),
            Code::UnsupportedMediaType
        );
        assert_eq!(route(head("OPTIONS", "/take")), Ok(Route::Preflight(&["GET", "HEAD", "POST"])));
        assert_eq!(refused(head("DELETE", "/take")), Code::MethodNotAllowed);
    }

    #[test]
    fn tasks_are_made_changed_and_removed_through_the_edge() {
        for (method, path) in [
            ("GET", "/v1/tasks"),
            ("POST", "/v1/tasks"),
            ("GET", "/v1/tasks/5678133109850112"),
            ("PATCH", "/v1/tasks/5678133109850112"),
            ("DELETE", "/v1/tasks/5678133109850112"),
        ] {
            assert_eq!(route(head(method, path)), Ok(Route::Forward), "{method} {path}");
        }
        for (method, path) in [
            ("PATCH", "/v1/tasks"),
            ("DELETE", "/v1/tasks"),
            ("DELETE", "/v1/tasks/"),
            ("POST", "/v1/tasks/1"),
            ("DELETE", "/v1/requests/req_1"),
            ("PATCH", "/files/x.png"),
        ] {
            assert_eq!(refused(head(method, path)), Code::MethodNotAllowed, "{method} {path}");
        }
        for method in ["POST", "PATCH", "DELETE"] {
            assert_eq!(refused(head(method, "/v1/tasks/../requests")), Code::NotFound);
        }
        let text = Head { content_type: Some("text/plain"), ..head("PATCH", "/v1/tasks/1") };
        assert_eq!(refused(text), Code::UnsupportedMediaType);
    }

    #[test]
    fn what_is_not_public_does_not_exist() {
        for path in [
            "/",
            "/internal/v1/keys/demo",
            "/internal/v1/requests",
            "//internal/v1/requests",
            "/files/../internal/v1/keys/demo",
            "/files/./x",
            "/files/..",
            "/files/%2e%2e/internal/v1/keys/demo",
            "/files/.%2E/internal",
            "/files\\..\\internal",
            "/files/..\\internal",
            "/filesystem",
            "/v1/requestsx",
            "/openapi.json/x",
            "/docs/ä",
            "/metrics",
            "/healthz",
            "/Take",
        ] {
            for method in ["GET", "OPTIONS", "POST"] {
                assert_eq!(refused(head(method, path)), Code::NotFound, "{method} {path}");
            }
        }
    }

    #[test]
    fn a_long_query_is_refused_on_every_route() {
        let query = "x".repeat(QUERY_BYTES_MAX + 1);
        for path in ["/take", "/files/x.png"] {
            assert_eq!(refused(Head { query: &query, ..head("GET", path) }), Code::UriTooLong);
        }
    }

    #[test]
    fn addresses_are_cut_and_not_decoded() {
        let cut = |url| {
            let Address { origin, path, query } = Address::cut(url);
            (origin, path, query)
        };
        assert_eq!(cut("https://s.example/take?url=a%20b&x=?#/f"), ("https://s.example", "/take", "url=a%20b&x=?"));
        assert_eq!(cut("http://127.0.0.1:8787/"), ("http://127.0.0.1:8787", "/", ""));
        assert_eq!(cut("http://[::1]:8787?a=/b"), ("http://[::1]:8787", "/", "a=/b"));
        assert_eq!(cut("https://s.example"), ("https://s.example", "/", ""));
        assert_eq!(cut("https://s.example//take"), ("https://s.example", "//take", ""));
        assert_eq!(cut(""), ("", "/", ""));
    }
}
