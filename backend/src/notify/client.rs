//! One POST to one receiver, bounded in time and in what is read of the answer. It follows no redirect.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use rustix::io::Errno;

use crate::egress::{Egress, EgressResolver, Refusal};
use crate::metrics;

/// What is read of an answer at the most; a receiver has no need to say more.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// What is kept of it.
const ANSWER_BYTES_KEPT: usize = 1024;

/// What a receiver said, or why it said nothing.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: Option<u16>,
    /// Seconds.
    pub(super) retry_after: Option<u64>,
    /// The first bytes, as text.
    pub(super) body: String,
    pub(super) error: Option<String>,
    /// Whom a failure is the fault of.
    pub(super) fault: Fault,
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fault {
    #[default]
    Receiver,
    /// Of this installation, for the moment.
    Ours,
    /// There is nothing to be sent, and never will be again.
    NothingToSend,
}

impl Answer {
    pub(super) fn failed(error: impl Into<String>) -> Answer {
        Answer { error: Some(error.into()), ..Answer::default() }
    }

    /// A failure that the receiver has nothing to do with.
    pub(super) fn ours(error: impl Into<String>) -> Answer {
        Answer { fault: Fault::Ours, ..Answer::failed(error) }
    }

    pub(super) fn nothing_to_send(error: impl Into<String>) -> Answer {
        Answer { fault: Fault::NothingToSend, ..Answer::failed(error) }
    }
}

/// A client whose every connection is decided by `egress`: for webhooks and object stores.
pub fn build_client(egress: &Egress) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .dns_resolver(Arc::new(EgressResolver::new(egress.clone())))
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(Duration::from_secs(10))
        .user_agent(concat!("snaphook/", env!("CARGO_PKG_VERSION")))
        .build()
}

pub struct WebhookClient {
    egress: Egress,
    client: reqwest::Client,
}

impl WebhookClient {
    pub fn new(egress: Egress) -> Result<WebhookClient, reqwest::Error> {
        Ok(WebhookClient { client: build_client(&egress)?, egress })
    }

    pub(super) async fn post(&self, url: &str, headers: Vec<(String, String)>, body: Bytes, limit: Duration) -> Answer {
        // The resolver is never asked about addresses that are written out, so those are judged here.
        let parts = match self.egress.check_url(url) {
            Ok(parts) => parts,
            Err(refusal) => {
                metrics::get().egress_refused("webhook", "refused", 1);
                return Answer::failed(format!("the address is not allowed: {refusal}"));
            }
        };
        let mut header_map = HeaderMap::new();
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                header_map.insert(name, value);
            }
        }
        let sent = self.client.post(parts.serialized).headers(header_map).body(body).send();
        match tokio::time::timeout(limit, async { read(sent.await?).await }).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if is_ours(&error) => Answer::ours(explain(&error)),
            Ok(Err(error)) => Answer::failed(explain(&error)),
            Err(_) => Answer::failed(format!("no complete answer within {:.0} s", limit.as_secs_f64().ceil())),
        }
    }
}

async fn read(mut response: reqwest::Response) -> Result<Answer, reqwest::Error> {
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
    let (mut body, mut read) = (Vec::new(), 0);
    while let Some(chunk) = response.chunk().await? {
        read += chunk.len();
        let room = ANSWER_BYTES_KEPT - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if read >= ANSWER_BYTES_MAX {
            break;
        }
    }
    Ok(Answer {
        status: Some(response.status().as_u16()),
        retry_after,
        body: String::from_utf8_lossy(&body).into_owned(),
        ..Answer::default()
    })
}

/// Seconds, or an HTTP date; anything else is as if it were not there.
fn retry_after(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(seconds);
    }
    let until = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(until.saturating_sub(now).as_secs())
}

/// Whether a request never had a chance to leave: no resolver that answers, no network, no free socket.
fn is_ours(error: &reqwest::Error) -> bool {
    let resolver_is_away = |source: &io::Error| {
        // The standard library gives getaddrinfo's temporary failure (EAI_AGAIN) no kind of its own.
        let text = source.to_string();
        source.kind() == io::ErrorKind::TimedOut
            || ["Temporary failure in name resolution", "Try again"].iter().any(|known| text.ends_with(known))
    };
    if let Some(refusal) = Refusal::find(error) {
        return matches!(refusal, Refusal::NameNotResolved { source, .. } if resolver_is_away(source));
    }
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let number = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error).map(Errno::from_raw_os_error);
        if number.is_some_and(|number| {
            [Errno::MFILE, Errno::NFILE, Errno::NETDOWN, Errno::NETUNREACH, Errno::ADDRNOTAVAIL].contains(&number)
        }) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// An error with its causes, without the address: that may hold a secret.
fn explain(error: &reqwest::Error) -> String {
    if let Some(refusal) = Refusal::find(error) {
        let reason = match refusal {
            Refusal::Refused { .. } => "refused",
            Refusal::NameNotResolved { .. } => "name-not-resolved",
        };
        metrics::get().egress_refused("webhook", reason, 1);
        return refusal.external().to_owned();
    }
    let mut text = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    match text.is_empty() {
        true => "the request failed".to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use snaphook_shared::target::{PortPolicy, TargetPolicy};

    use super::*;
    use crate::egress::ResolveName;
    use crate::egress::testing::FakeResolver;

    #[test]
    fn retry_after_reads_seconds_and_dates_and_ignores_junk() {
        assert_eq!(retry_after("120"), Some(120));
        assert_eq!(retry_after("soon"), None);
        assert_eq!(retry_after("1.5"), None);
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(0));
    }

    #[test]
    fn a_date_that_is_ahead_is_honoured() {
        let ahead = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30));
        assert!((28..=30).contains(&retry_after(&ahead).unwrap()), "{ahead}");
    }

    /// What a post to this name comes to.
    async fn post_to(host: &str, resolver: Arc<dyn ResolveName>) -> Answer {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let policy = TargetPolicy { allowed_ports: PortPolicy::Unprivileged, ..TargetPolicy::default() };
        let client = WebhookClient::new(Egress::new(policy, resolver)).unwrap();
        client.post(&format!("http://{host}:8080/hook"), Vec::new(), Bytes::new(), Duration::from_secs(2)).await
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_dialled_at_no_turn() {
        for addresses in ["127.0.0.1", "93.184.216.34 10.0.0.5", "169.254.169.254", "::1"] {
            let answer = post_to("hook.example", FakeResolver::new(&[("hook.example", &[addresses])])).await;
            assert_eq!((answer.status, answer.fault), (None, Fault::Receiver), "{addresses}");
            assert!(answer.error.unwrap().contains("not allowed"), "{addresses}");
        }
        assert!(post_to("127.0.0.1", FakeResolver::new(&[])).await.error.unwrap().contains("not allowed"));
    }

    struct Away;

    #[async_trait::async_trait]
    impl ResolveName for Away {
        async fn resolve(&self, _name: &str) -> io::Result<Vec<std::net::IpAddr>> {
            Err(io::ErrorKind::TimedOut.into())
        }
    }

    #[tokio::test]
    async fn a_resolver_that_is_away_is_our_fault_and_a_name_that_is_not_there_is_not() {
        assert_eq!(post_to("hook.example", Arc::new(Away)).await.fault, Fault::Ours);
        assert_eq!(post_to("nowhere.example", FakeResolver::new(&[])).await.fault, Fault::Receiver);
    }

    #[tokio::test]
    async fn no_more_of_an_answer_is_read_than_there_is_to_say() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let sent = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await.unwrap();
            let mut sent = 0;
            while let Ok(length) = stream.write(&[b'x'; 4096]).await {
                sent += length;
            }
            sent
        });
        let policy = TargetPolicy::development();
        let client = WebhookClient::new(Egress::new(policy, FakeResolver::new(&[]))).unwrap();
        let answer = client.post(&url, Vec::new(), Bytes::new(), Duration::from_secs(5)).await;
        assert_eq!((answer.status, answer.body.len()), (Some(200), ANSWER_BYTES_KEPT));
        // What was under way in the buffers of two sockets comes on top of it.
        let sent = tokio::time::timeout(Duration::from_secs(5), sent).await.unwrap().unwrap();
        assert!(sent < 16 * 1024 * 1024, "{sent}");
    }
}
