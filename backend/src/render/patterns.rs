//! URL patterns of callers (`block_requests`, `fail_if_request_failed`): a URL, a domain, or either with `*`.

/// One pattern, as it was written.
#[derive(Clone, Debug)]
pub(super) struct UrlPattern {
    text: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// `https://example.com/ad.js`: this URL, whatever fragment it has.
    Url,
    /// `example.com`, `*.example.com`: a host and all below it.
    Host,
    /// `example.com/ads/`: what begins so, on the host or below it.
    HostAndPath,
    /// `*/ads/*`: the whole URL, each `*` any text.
    Wild,
}

impl UrlPattern {
    /// Reads a pattern; None for an empty one, which would match everything.
    pub(super) fn new(text: &str) -> Option<UrlPattern> {
        let text = text.trim();
        let kind = match (text.contains("://"), text.contains('*'), text.contains('/')) {
            (_, true, true) => Kind::Wild,
            (true, false, _) => Kind::Url,
            (false, _, false) => Kind::Host,
            (_, false, true) => Kind::HostAndPath,
            (true, true, false) => Kind::Wild,
        };
        // Hosts have no case, and a URL is serialised with a lower-case one; paths keep theirs.
        let text = if kind == Kind::Host { text.to_ascii_lowercase() } else { text.to_owned() };
        (!text.is_empty()).then_some(UrlPattern { text, kind })
    }

    /// Reads those of a list.
    pub(super) fn all(texts: &[String]) -> Vec<UrlPattern> {
        texts.iter().filter_map(|text| UrlPattern::new(text)).collect()
    }

    pub(super) fn matches(&self, url: &str) -> bool {
        let url = url.split('#').next().unwrap_or_default();
        let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
        match self.kind {
            // `https://example.com` is serialised with the slash of its path.
            Kind::Url => url == self.text || url.strip_suffix('/') == Some(&self.text),
            // `*.png` looks like a host, and means the end of a URL.
            Kind::Host if self.text.contains('*') => {
                domains(host(after_scheme)).any(|domain| glob(&self.text, domain)) || glob(&self.text, url)
            }
            Kind::Host => domains(host(after_scheme)).any(|domain| self.text == domain),
            Kind::HostAndPath => {
                let (wanted_host, wanted_path) = self.text.split_once('/').unwrap_or((&self.text, ""));
                let (authority, path) = after_scheme.split_once('/').unwrap_or((after_scheme, ""));
                let port_matters = wanted_host.contains(':');
                let given = if port_matters { authority } else { host(authority) };
                path.starts_with(wanted_path) && domains(given).any(|domain| domain.eq_ignore_ascii_case(wanted_host))
            }
            Kind::Wild => glob(&self.text, url) || (!self.text.contains("://") && glob(&self.text, after_scheme)),
        }
    }
}

/// The host of `user@host:port/path`.
fn host(after_scheme: &str) -> &str {
    let authority = after_scheme.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// `a.b.c`, `b.c`, `c`.
fn domains(host: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(host), |domain| domain.split_once('.').map(|(_, parent)| parent))
}

/// Whether a text is as the pattern says, each `*` any number of characters. Linear in practice and quadratic at worst,
/// where a regular expression from a stranger could take for ever.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((after_star, from)) => {
                    retry = Some((after_star, from + 1));
                    (p, t) = (after_star, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::UrlPattern;

    #[test]
    fn patterns_match_what_they_say_and_nothing_else() {
        let cases = [
            ("https://a.example/x.js", "https://a.example/x.js", true),
            ("https://a.example/x.js", "https://a.example/x.js#part", true),
            ("https://a.example/x.js", "https://a.example/x.js?y", false),
            ("https://a.example", "https://a.example/", true),
            ("a.example", "https://a.example/x", true),
            ("A.Example", "https://cdn.a.example:8080/x", true),
            ("a.example", "https://aa.example/x", false),
            ("a.example", "https://b.example/?a.example", false),
            ("a.example", "https://user@a.example/x", true),
            ("*.a.example", "https://cdn.a.example/x", true),
            ("*.a.example", "https://a.example/x", false),
            ("cdn.*.example", "https://cdn.one.example/x", true),
            ("a.example/ads/", "https://cdn.a.example/ads/1.js", true),
            ("a.example/ads/", "https://a.example/roads/1.js", false),
            ("127.0.0.1:81/x", "http://127.0.0.1:81/x", true),
            ("127.0.0.1:81/x", "http://127.0.0.1:82/x", false),
            ("*/ads/*.js", "https://a.example/ads/1.js", true),
            ("*/ads/*.js", "https://a.example/ads/1.css", false),
            ("*.png", "https://a.example/1.png", true),
            ("*.png", "https://a.example/1.gif", false),
            ("https://*.example/*.png", "https://a.example/1.png", true),
            ("a.example/*.png", "https://a.example/1.png", true),
            ("*", "https://a.example/", true),
        ];
        for (pattern, url, expected) in cases {
            assert_eq!(UrlPattern::new(pattern).unwrap().matches(url), expected, "{pattern} on {url}");
        }
        assert!(UrlPattern::new(" ").is_none());
    }

    #[test]
    fn a_hostile_pattern_ends() {
        let pattern = UrlPattern::new(&format!("/{}b", "*a".repeat(2000))).unwrap();
        assert!(!pattern.matches(&format!("https://x/{}", "a".repeat(4000))));
    }
}
