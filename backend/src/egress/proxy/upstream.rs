//! A caller's own proxy, which our proxy asks in the caller's stead.
//!
//! Where a name leads is then for that proxy to say, and so is what it does with what it is told: its owner sees the
//! traffic. It cannot be used to look into our network, since it is itself dialled by a decision.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::PROXY_AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;
use snaphook_shared::target::{Host, NativeUrlParser, ParseUrl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::Failure;
use super::meter::Metered;

/// No proxy says so much before a tunnel.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Where it is, who asks, and which hosts do without it.
#[derive(Clone)]
pub struct Upstream {
    host: Host,
    port: u16,
    /// The `Proxy-Authorization` header.
    authorization: Option<HeaderValue>,
    bypass: Vec<String>,
}

impl Upstream {
    /// Reads `http://user:password@host:port`. Patterns of hosts that are reached without it may hold `*`.
    pub fn parse(url: &str, bypass: &[String]) -> Option<Upstream> {
        let parts = NativeUrlParser.parse(url).filter(|parts| parts.scheme == "http")?;
        let authority = parts.serialized.strip_prefix("http://")?.split('/').next()?;
        let authorization = match authority.rsplit_once('@') {
            None => None,
            Some((user_info, _)) => {
                let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
                let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
                let pair = [decoded(user), vec![b':'], decoded(password)].concat();
                let mut value = HeaderValue::try_from(format!("Basic {}", BASE64.encode(pair))).ok()?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let bypass = bypass.iter().map(|pattern| pattern.trim().to_ascii_lowercase()).collect();
        Some(Upstream { host: parts.host, port: parts.port, authorization, bypass })
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether a host is to be reached without this proxy.
    pub fn is_bypassed(&self, host: &Host) -> bool {
        let name = host.to_string().to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        self.bypass.iter().any(|pattern| matches(name, pattern))
    }

    /// Puts the caller's credentials into a request.
    pub(super) fn authorize(&self, headers: &mut HeaderMap) {
        if let Some(authorization) = &self.authorization {
            headers.insert(PROXY_AUTHORIZATION, authorization.clone());
        }
    }

    /// Asks for a tunnel to a target, on a connection to this proxy.
    pub(super) async fn connect(
        &self,
        stream: &mut Metered,
        host: &Host,
        port: u16,
        limit: Duration,
    ) -> Result<(), Failure> {
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(authorization.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        let asking = async {
            stream.write_all(&request).await.map_err(|_| Failure::ProxyUnreachable)?;
            let mut head = Vec::new();
            // Byte by byte: what comes after the head is the tunnel's.
            while !head.ends_with(b"\r\n\r\n") {
                if head.len() >= ANSWER_BYTES_MAX {
                    return Err(Failure::UpstreamFailed);
                }
                head.push(stream.read_u8().await.map_err(|_| Failure::UpstreamFailed)?);
            }
            let status = head.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
            match status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u16>().ok()) {
                Some(200..=299) => Ok(()),
                Some(407) => Err(Failure::ProxyDenied),
                Some(_) => Err(Failure::ConnectFailed),
                None => Err(Failure::UpstreamFailed),
            }
        };
        timeout(limit, asking).await.unwrap_or(Err(Failure::TimedOut))
    }
}

/// Credentials stay out of logs.
impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

/// Whether a pattern with any number of `*` covers the whole name.
fn matches(name: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part).and_then(|at| rest.get(at + part.len()..)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_with_its_credentials_and_does_not_tell_them() {
        let upstream = Upstream::parse("http://us%20er:p%40ss@proxy.example:3128/", &[]).unwrap();
        assert_eq!((upstream.host().to_string().as_str(), upstream.port()), ("proxy.example", 3128));
        let expected = format!("Basic {}", BASE64.encode("us er:p@ss"));
        assert_eq!(upstream.authorization.as_ref().unwrap(), &expected);
        assert!(!format!("{upstream:?}").contains(&expected));
        assert!(Upstream::parse("http://proxy.example", &[]).is_some_and(|upstream| upstream.port() == 80));
        for wrong in ["socks5://proxy.example:1080", "https://proxy.example", "proxy.example:80", ""] {
            assert!(Upstream::parse(wrong, &[]).is_none(), "{wrong}");
        }
    }

    #[test]
    fn patterns_cover_whole_names() {
        for (name, pattern, covered) in [
            ("cdn.example.com", "cdn.example.com", true),
            ("cdn.example.com", "example.com", false),
            ("cdn.eu.example.com", "cdn.*.example.com", true),
            ("cdn.example.com", "cdn.*.example.com", false),
            ("a.example.com", "*.example.com", true),
            ("a.example.com.evil.test", "*.example.com", false),
            ("aba", "ab*ba", false),
            ("anything", "*", true),
            ("anything", "", false),
        ] {
            assert_eq!(matches(name, pattern), covered, "{name} {pattern}");
        }
    }
}
