//! Each answer counted, by its route and not by its path: a path is a stranger's text, and there is no end of those.

use snaphook_shared::dialect::Dialect;
use snaphook_shared::request::Endpoint;
use snaphook_shared::route;
use warp::log::{Info, Log};

use crate::metrics;

/// The pages for the operator, whatever is below.
const DASHBOARD: &str = "/dashboard";
/// The first segments of the trees, with what follows them left away.
const TREES: [&str; 6] = ["/files", "/v1/requests", "/v1/deliveries", "/v1/tasks", "/docs", "/internal"];
const PAGES: [&str; 5] = ["/bulk", "/usage", "/v1/usage", "/v1/devices", "/openapi.json"];

pub(super) fn answers() -> Log<impl Fn(Info<'_>) + Copy> {
    warp::log::custom(|info: Info<'_>| {
        let dialect = Dialect::of_path(info.path()).name();
        metrics::get().answered(route_of(info.path()), dialect, info.status().as_u16(), info.elapsed());
    })
}

/// The same for the dashboard alone. Its routes are tried before all others, and a request that is none of theirs is counted
/// where it is answered.
pub(super) fn dashboard() -> Log<impl Fn(Info<'_>) + Copy> {
    warp::log::custom(|info: Info<'_>| {
        if is_below(info.path(), DASHBOARD) {
            metrics::get().answered(DASHBOARD, Dialect::Native.name(), info.status().as_u16(), info.elapsed());
        }
    })
}

fn is_below(path: &str, tree: &str) -> bool {
    path.strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn route_of(path: &str) -> &'static str {
    if let Some(endpoint) = Endpoint::from_path(path) {
        return endpoint.path();
    }
    if let Some(page) = PAGES.into_iter().find(|page| *page == path) {
        return page;
    }
    let is_known = path.starts_with("/internal/") || route::methods(path).is_some();
    let tree = TREES.into_iter().find(|tree| is_below(path, tree));
    tree.filter(|_| is_known).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_a_route_of_a_short_list() {
        for (path, route) in [
            ("/take", "/take"),
            ("/v1/screenshot", "/v1/screenshot"),
            ("/files/0a1b.png", "/files"),
            ("/v1/requests", "/v1/requests"),
            ("/v1/requests/req_1/cancel", "/v1/requests"),
            ("/filesystem", "other"),
            ("/files/%2e%2e/x", "other"),
            ("/", "other"),
            ("/wp-login.php", "other"),
        ] {
            assert_eq!(route_of(path), route, "{path}");
        }
        assert!(is_below("/dashboard", DASHBOARD) && is_below("/dashboard/login", DASHBOARD));
        assert!(!is_below("/dashboards", DASHBOARD));
    }
}
