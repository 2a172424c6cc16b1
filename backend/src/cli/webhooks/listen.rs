//! `snaphook webhooks listen`: a receiver on this machine that shows what comes, and whether it is proved.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
use snaphook_shared::signing::{Scheme, SecretKey, VerifyError, WEBHOOK_ID};
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

snaphook sends to this machine only with `development = true` or [egress] allow_subnets = [\"127.0.0.0/8\"].
What is not proved is answered 401, everything else with --status, or as --forward was answered.";

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
    secrets: Vec<SecretKey>,
    status: StatusCode,
    forward: Option<(reqwest::Client, reqwest::Url)>,
    json: bool,
    seen: AtomicU64,
    /// Rung after each.
    shown: Notify,
}

pub(in crate::cli) async fn execute(config: Config, command: ListenCommand) -> Result<(), CliError> {
    let secrets = match &command.access_key {
        None => command.secret.into_iter().map(SecretKey::new).collect(),
        Some(access_key) => {
            let record = run::open_queue(&config).await?.key(access_key).await?;
            let unknown = || CliError::Refused(format!("there is no key {access_key}"));
            record.ok_or_else(unknown)?.live_secrets(Clock::default().now_s())
        }
    };
    let client = || reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build();
    let forward = match command.forward {
        Some(url) => Some((client().map_err(|error| CliError::Failed(error.to_string()))?, url)),
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
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
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
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
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
