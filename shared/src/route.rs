//! Which public paths there are, and what each answers to. The edge lets nothing else through, and both sides refuse alike.

use crate::request::Endpoint;

const RENDER: &[&str] = &["GET", "HEAD", "POST"];
const READ: &[&str] = &["GET", "HEAD"];
const ACT: &[&str] = &["POST"];
const LIST: &[&str] = &["GET", "HEAD", "POST"];
const KEPT: &[&str] = &["GET", "HEAD", "PATCH", "DELETE"];

/// Trees that are read.
pub const TREES: [&str; 5] = ["/files", "/v1/requests", "/v1/deliveries", "/docs", TASKS];
/// What is kept, changed and removed by its owner.
const TASKS: &str = "/v1/tasks";
/// What may be posted to in the trees below `/v1`, by its last segment; such a request has no body.
const ACTIONS: [&str; 3] = ["/cancel", "/replay", "/enable"];
/// What is posted with a body.
pub const POSTED: [&str; 1] = ["/bulk"];
/// Single pages that are read.
pub const PAGES: [&str; 4] = ["/openapi.json", "/usage", "/v1/usage", "/v1/devices"];

/// The methods that a public path answers to, besides OPTIONS; None where there is nothing for the public.
///
/// A path that two URL parsers may read differently is none: whatever is passed on leaves as a URL, and a parser on the way
/// would resolve `/files/%2e%2e/internal`.
pub fn methods(path: &str) -> Option<&'static [&'static str]> {
    if Endpoint::from_path(path).is_some() {
        return Some(RENDER);
    }
    if POSTED.contains(&path) {
        return Some(ACT);
    }
    let in_tree = |tree| path.strip_prefix(tree).is_some_and(|rest: &str| rest.is_empty() || rest.starts_with('/'));
    if !(PAGES.contains(&path) || TREES.into_iter().any(in_tree)) || !is_plain(path) {
        return None;
    }
    if path == TASKS {
        return Some(LIST);
    }
    if is_task(path) {
        return Some(KEPT);
    }
    let is_action = path.starts_with("/v1/") && ACTIONS.into_iter().any(|action| path.ends_with(action));
    Some(if is_action { ACT } else { READ })
}

/// Whether a public path takes a body of its own, other than a render's.
pub fn takes_body(path: &str) -> bool {
    POSTED.contains(&path) || path == TASKS || is_task(path)
}

/// One task, and not the list of them.
fn is_task(path: &str) -> bool {
    path.strip_prefix(TASKS).and_then(|rest| rest.strip_prefix('/')).is_some_and(|id| !id.is_empty())
}

/// The value of an `Allow` header.
pub fn allow(methods: &[&str]) -> String {
    methods.iter().chain(&["OPTIONS"]).copied().collect::<Vec<_>>().join(", ")
}

/// Whether every URL parser reads the path as it is written: no escapes, no backslash, no dot segment.
fn is_plain(path: &str) -> bool {
    path.split('/').all(|segment| segment != "." && segment != "..")
        && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_its_methods() {
        for endpoint in Endpoint::ALL {
            assert_eq!(methods(endpoint.path()), Some(RENDER));
        }
        for path in ["/files/0a1b.png", "/v1/requests", "/v1/requests/req_1/x", "/docs/errors/x", "/openapi.json"] {
            assert_eq!(methods(path), Some(READ), "{path}");
        }
        for path in [
            "/bulk",
            "/v1/requests/req_1/cancel",
            "/v1/deliveries/replay",
            "/v1/deliveries/msg_1/replay",
            "/v1/deliveries/endpoints/enable",
        ] {
            assert_eq!(methods(path), Some(ACT), "{path}");
        }
        assert_eq!(methods("/files/cancel"), Some(READ));
        for path in
            ["/", "/internal/v1/requests", "/files/../x", "/files/%2e%2e/x", "/files\\x", "/filesystem", "/Take"]
        {
            assert_eq!(methods(path), None, "{path}");
        }
        assert_eq!(allow(READ), "GET, HEAD, OPTIONS");
    }
}
