//! `snaphook webhooks listen`: a receiver on this machine that shows what comes, and whether it is proved.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value as Json, json};
use snaphook_shared::event;
use snaphook_shared::secret::Secret;
use snaphook_shared::signing::{Scheme, VerifyError, WEBHOOK_ID};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::signatures::{self, Received, TOLERANCE_SECONDS, Verdict};
use super::verify::told;
use crate::cli::{CliError, say};
use crate::clock::{Clock, rfc3339};
use crate::config::Config;
use crate::run;

pub(in crate::cli) const HELP: &str = "\
Examples:
  snaphook webhooks listen --access-key AK              # its secrets, from the database
  snaphook webhooks listen --port 9000 --secret SK --json
  snaphook webhooks listen --status 500                 # see what a failure brings

snaphook sends to this machine, and over http, only with `development = true`, or with [egress] allow_subnets =
[\"127.0.0.0/8\"] and [webhook] allow_http = true.
What is not proved is answered 401, everything else with --status, or as --forward was answered; 502 if that did not
answer within [webhook] timeout_seconds.";

/// A picture may be the body.
const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;

#[derive(Args)]
pub(in crate::cli) struct ListenCommand {
    /// Where to listen on 127.0.0.1; 0 is any free port.
    #[arg(long, default_value_t = 8402)]
    port: u16,
    /// The secret key, or its whsec_ form. Given again: one more that is good. With no secret nothing is verified.
    #[arg(long, env = "SNAPHOOK_WEBHOOK_SECRET", hide_env_values = true, allow_hyphen_values = true)]
    secret: Vec<String>,
    /// The secrets of this key, as the database has them when it starts.
    #[arg(long, allow_hyphen_values = true, conflicts_with = "secret")]
    access_key: Option<String>,
    /// What to answer.
    #[arg(long, default_value_t = 204, value_parser = clap::value_parser!(u16).range(200..=599))]
    status: u16,
    /// Pass each on to this address, headers and body as they came, and answer as it does.
    #[arg(long, value_name = "URL")]
    forward: Option<reqwest::Url>,
    /// End after so many.
    #[arg(long)]
    count: Option<u64>,
    /// A line of JSON for each, with headers and body.
    #[arg(long)]
    json: bool,
}

struct Listener {
    secrets: Vec<Secret>,
    status: StatusCode,
    forward: Option<(reqwest::Client, reqwest::Url)>,
    json: bool,
    seen: AtomicU64,
    /// Rung after each.
    shown: Notify,
}

pub(in crate::cli) async fn execute(config: Config, command: ListenCommand) -> Result<(), CliError> {
    let secrets = match &command.access_key {
        None => command.secret.into_iter().map(Secret::new).collect(),
        Some(access_key) => {
            let record = run::open_queue(&config).await?.key(access_key).await?;
            let unknown = || CliError::Refused(format!("there is no key {access_key}"));
            record.ok_or_else(unknown)?.live_secrets(Clock::default().now_s())
        }
    };
    // The service waits no longer for an answer.
    let limit = Duration::from_secs(config.webhook.timeout_seconds);
    let forward = match command.forward {
        Some(url) => Some((forwarder(limit).map_err(|error| CliError::Failed(error.to_string()))?, url)),
        None => None,
    };
    let listener = Arc::new(Listener {
        secrets,
        status: StatusCode::from_u16(command.status).unwrap_or(StatusCode::NO_CONTENT),
        forward,
        json: command.json,
        seen: AtomicU64::new(0),
        shown: Notify::new(),
    });
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, command.port));
    let bound = |error| CliError::Failed(format!("cannot listen on {address}: {error}"));
    let socket = TcpListener::bind(address).await.map_err(bound)?;
    let url = format!("http://{}/", socket.local_addr()?);
    match command.json {
        true => say(&json!({ "listening": url }).to_string())?,
        false => say(&format!(
            "listening on {url}{}",
            if listener.secrets.is_empty() { " (nothing is verified)" } else { "" }
        ))?,
    }
    loop {
        if command.count.is_some_and(|count| listener.seen.load(Ordering::Relaxed) >= count) {
            return Ok(());
        }
        tokio::select! {
            accepted = socket.accept() => {
                let Ok((stream, _)) = accepted else {
                    // Out of descriptors, perhaps: that passes, and not by asking at once.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let listener = listener.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let listener = listener.clone();
                        async move { Ok::<_, Infallible>(listener.answer(request).await) }
                    });
                    let protocol = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
                    // Whoever hangs up in the middle has sent no webhook.
                    let _ = protocol.await;
                });
            }
            () = listener.shown.notified() => {
                // The answer is still on its way.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

impl Listener {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let now_ms = Clock::default().now_ms();
        let (parts, body) = request.into_parts();
        let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
            return status(StatusCode::PAYLOAD_TOO_LARGE);
        };
        let body = body.to_bytes();
        let headers: Vec<(String, String)> = parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let received = Received { headers: &headers, body: &body };
        let verdict = (!self.secrets.is_empty())
            .then(|| signatures::judge(&received, &self.secrets, now_ms / 1000, TOLERANCE_SECONDS));
        let proved = verdict.as_ref().is_none_or(signatures::holds);
        let answer = match (&self.forward, proved) {
            (_, false) => status(StatusCode::UNAUTHORIZED),
            (None, true) => status(self.status),
            (Some((client, url)), true) => forward(client, url, parts.headers, body.clone()).await,
        };
        let told = match self.json {
            true => as_json(now_ms, &received, verdict.as_ref(), answer.status()).to_string(),
            false => as_line(now_ms, &received, verdict.as_ref(), answer.status()),
        };
        // Nobody reads any more: there is nothing better to do than to go on answering.
        let _ = say(&told);
        self.seen.fetch_add(1, Ordering::Relaxed);
        self.shown.notify_one();
        answer
    }
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// Headers that belong to one connection and not to the webhook.
const OF_THE_CONNECTION: [&str; 5] = ["host", "connection", "content-length", "transfer-encoding", "expect"];

/// A client that gives a receiver so long for all of its answer.
fn forwarder(limit: Duration) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().timeout(limit).build()
}

async fn forward(
    client: &reqwest::Client,
    url: &reqwest::Url,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response<Full<Bytes>> {
    for name in OF_THE_CONNECTION {
        headers.remove(name);
    }
    match client.post(url.clone()).headers(headers).body(body).send().await {
        Ok(answer) => status(answer.status()),
        Err(error) => {
            tracing::warn!(error = %error.without_url(), "a webhook could not be passed on");
            status(StatusCode::BAD_GATEWAY)
        }
    }
}

/// What a webhook is about: an error, a file as JSON, or the file itself.
fn event(received: &Received<'_>) -> String {
    if let Some(code) = received.header(event::header::ERROR_CODE) {
        return code;
    }
    match serde_json::from_slice::<Json>(received.body) {
        Ok(json) if !json["error"].is_null() => json["error"]["code"].as_str().unwrap_or("failed").to_owned(),
        Ok(json) if json.is_object() => "done".to_owned(),
        _ => received.header("content-type").unwrap_or_else(|| "a body without a type".to_owned()),
    }
}

fn as_line(now_ms: u64, received: &Received<'_>, verdict: Option<&Verdict>, answered: StatusCode) -> String {
    let judged = match verdict {
        None => "not checked".to_owned(),
        Some(verdict) if verdict.is_empty() => "NO SIGNATURE".to_owned(),
        Some(verdict) => {
            let one = |(scheme, result): &(Scheme, Result<(), VerifyError>)| match result {
                Ok(()) => format!("{} ok", scheme.as_str()),
                Err(error) => format!("{} WRONG: {error}", scheme.as_str()),
            };
            verdict.iter().map(one).collect::<Vec<_>>().join(", ")
        }
    };
    let id = received.header(WEBHOOK_ID).unwrap_or_else(|| "(no id)".to_owned());
    let line = format!(
        "{}  {id}  {}  {} bytes  {judged}  → {}",
        rfc3339(now_ms),
        event(received),
        received.body.len(),
        answered.as_u16()
    );
    // A stranger may have written parts of it, and terminals obey control characters.
    line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn as_json(now_ms: u64, received: &Received<'_>, verdict: Option<&Verdict>, answered: StatusCode) -> Json {
    let each = |verdict: &Verdict| verdict.iter().map(|(scheme, result)| told(scheme, result)).collect::<Map<_, _>>();
    json!({
        "at": rfc3339(now_ms),
        "id": received.header(WEBHOOK_ID),
        "event": event(received),
        "bytes": received.body.len(),
        "verified": verdict.map(signatures::holds),
        "signatures": verdict.map(each),
        "status": answered.as_u16(),
        "headers": received.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<Map<_, _>>(),
        "body": std::str::from_utf8(received.body).ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received<'a>(headers: &'a [(String, String)], body: &'a [u8]) -> Received<'a> {
        Received { headers, body }
    }

    fn header(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn a_line_says_what_came_whether_it_holds_and_what_was_answered() {
        let headers = [header(WEBHOOK_ID, "msg_1")];
        let line = |body: &[u8], verdict: Option<&Verdict>| {
            as_line(0, &received(&headers, body), verdict, StatusCode::NO_CONTENT)
        };
        let good = vec![(Scheme::StandardWebhooks, Ok(())), (Scheme::ScreenshotOne, Ok(()))];
        assert_eq!(
            line(b"{\"id\":1}", Some(&good)),
            "1970-01-01T00:00:00Z  msg_1  done  8 bytes  standard-webhooks ok, screenshotone ok  → 204"
        );
        let wrong = vec![(Scheme::ScreenshotMax, Err(VerifyError::WrongSignature))];
        assert!(line(b"{}", Some(&wrong)).contains("screenshotmax WRONG: "), "{}", line(b"{}", Some(&wrong)));
        assert!(line(b"{}", Some(&Vec::new())).contains("NO SIGNATURE"));
        assert!(line(b"{}", None).contains("not checked"));
        let failed = br#"{"error":{"code":"timeout_error"}}"#;
        assert!(line(failed, None).contains("  timeout_error  "), "{}", line(failed, None));
    }

    #[test]
    fn nothing_that_a_stranger_sent_reaches_the_terminal_as_a_control_character() {
        let headers = [header(WEBHOOK_ID, "a\u{1b}[2J\u{7}"), header("content-type", "text/\u{9b}31m")];
        let line = as_line(0, &received(&headers, b"x"), None, StatusCode::OK);
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.contains("a\u{fffd}[2J\u{fffd}") && line.contains("text/\u{fffd}31m"), "{line}");
    }

    #[tokio::test]
    async fn a_receiver_that_hangs_is_not_waited_for_for_ever() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Takes connections and says nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap();
        let client = forwarder(Duration::from_millis(200)).unwrap();
        let answer = forward(&client, &url, HeaderMap::new(), Bytes::from_static(b"{}"));
        let answer = tokio::time::timeout(Duration::from_secs(10), answer).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    }
}
