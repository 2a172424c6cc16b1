//! Whether a request that changes something was made by a page of ours. Besides the token in every form, and before it.

use http::HeaderMap;

/// True for what a browser sends from our own pages. What says nothing about where it comes from is not let through.
///
/// Browsers send `Sec-Fetch-Site` where they trust the connection (TLS, or this machine), and `Origin` with every form that is
/// posted. `public_url` is where callers see us, for proxies that put another `Host`.
pub(super) fn is_own(headers: &HeaderMap, public_url: &str) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site")
        && site != "same-origin"
    {
        return false;
    }
    match text("origin") {
        Some(origin) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            origin == public_url || (host.is_some() && host == text("host"))
        }
        None => text("sec-fetch-site").is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_are_let_through() {
        let check = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|(name, value)| ((*name).parse().unwrap(), (*value).parse().unwrap()));
            is_own(&headers.collect(), "https://shots.example")
        };
        let host = ("host", "10.0.0.5:8400");
        assert!(check(&[host, ("origin", "http://10.0.0.5:8400")]));
        assert!(check(&[host, ("origin", "https://shots.example")]));
        assert!(check(&[host, ("origin", "https://shots.example"), ("sec-fetch-site", "same-origin")]));
        assert!(check(&[host, ("sec-fetch-site", "same-origin")]));
        for bad in [
            &[host][..],
            &[host, ("origin", "null")],
            &[host, ("origin", "https://evil.example")],
            &[host, ("origin", "https://shots.example.evil.example")],
            &[host, ("origin", "http://10.0.0.5:8401")],
            &[host, ("origin", "https://shots.example"), ("sec-fetch-site", "cross-site")],
            &[host, ("origin", "http://10.0.0.5:8400"), ("sec-fetch-site", "same-site")],
            &[host, ("sec-fetch-site", "none")],
            &[("origin", "nonsense")],
        ] {
            assert!(!check(bad), "{bad:?}");
        }
    }
}
