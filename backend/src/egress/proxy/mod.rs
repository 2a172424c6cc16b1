//! The browser's way out: a forward proxy on loopback, inside this process.
//!
//! It speaks what Chromium speaks to a proxy: plain HTTP in absolute form, and CONNECT for everything else (HTTPS and every
//! WebSocket). Each request is decided anew, also the second one on a connection that was kept alive. Bytes stream through
//! in both directions as they come.
//!
//! One proxy may serve a whole browser, or one browser context (`Target.createBrowserContext` takes a proxy): a proxy costs
//! a listener and a task, and then its limits and its log of failures are those of one render. That is the way to tell
//! renders apart. Credentials could do it too, but Chromium sends them only after a 407, which then has to be answered over
//! CDP for every context.
//!
//! The proxy never reads or alters what is in a tunnel, never keeps or stores a response, never tells upstream that it is
//! there, and never passes on a byte in either direction for a target that was refused.
//!
//! A caller may name a proxy of their own ([`Upstream`]): then this one checks as much of the target as can be seen from
//! here, and asks that one, which is itself a host that somebody else named and is decided like any other.

mod exchange;
mod forward;
mod log;
mod meter;
mod upstream;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tracing::Instrument;

use super::Egress;
use forward::{Carried, Kept};
pub use log::FailedExchange;
use log::FailureLog;
pub use upstream::Upstream;

/// On every answer that is the proxy's own, with the [`Failure`] as its value; removed from answers that come from
/// upstream, so that no site can pretend. A page served over HTTPS can, though, as the proxy does not see inside a tunnel.
pub const MARKER: HeaderName = HeaderName::from_static("x-snaphook-egress");

/// What may pass. Beyond a limit there is an error at once, never a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyLimits {
    /// Tunnels and plain requests at a time.
    pub max_exchanges: usize,
    /// Tunnels and plain requests over the life of the proxy.
    pub max_requests: u64,
    /// Bytes of one tunnel, or of one plain request and its answer, both directions and the headers together.
    pub max_bytes: u64,
    /// Bytes over the life of the proxy.
    pub max_total_bytes: u64,
    /// Time without a single byte in either direction, also while waiting for an answer.
    pub idle: Duration,
}

impl Default for ProxyLimits {
    /// Far above what pages need (not yet measured), as a bound on harm. For a proxy that lives as long as its browser.
    fn default() -> ProxyLimits {
        ProxyLimits {
            max_exchanges: 1_024,
            max_requests: u64::MAX,
            max_bytes: 256 * 1024 * 1024,
            max_total_bytes: u64::MAX,
            idle: Duration::from_secs(60),
        }
    }
}

/// How an exchange ended without an answer from upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Neither CONNECT nor an absolute `http:` URL.
    BadRequest,
    Refused,
    NameNotResolved,
    ConnectFailed,
    /// Connected, but what came back was no HTTP, or nothing, or too much.
    UpstreamFailed,
    TimedOut,
    /// A limit of the proxy was reached.
    OverLimit,
    /// The caller's own proxy is no place to go, or cannot be reached.
    ProxyUnreachable,
    /// It wants other credentials.
    ProxyDenied,
}

impl Failure {
    pub fn status(self) -> StatusCode {
        match self {
            Failure::BadRequest => StatusCode::BAD_REQUEST,
            Failure::Refused => StatusCode::FORBIDDEN,
            Failure::NameNotResolved
            | Failure::ConnectFailed
            | Failure::UpstreamFailed
            | Failure::ProxyUnreachable
            | Failure::ProxyDenied => StatusCode::BAD_GATEWAY,
            Failure::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Failure::OverLimit => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The value of the [`MARKER`] header.
    pub fn marker(self) -> &'static str {
        match self {
            Failure::BadRequest => "bad-request",
            Failure::Refused => "refused",
            Failure::NameNotResolved => "name-not-resolved",
            Failure::ConnectFailed => "connect-failed",
            Failure::UpstreamFailed => "upstream-failed",
            Failure::TimedOut => "timed-out",
            Failure::OverLimit => "over-limit",
            Failure::ProxyUnreachable => "proxy-unreachable",
            Failure::ProxyDenied => "proxy-denied",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Failure::BadRequest => "This is a forward proxy.\n",
            Failure::Refused => "The target is not allowed.\n",
            Failure::NameNotResolved => "The host name could not be resolved.\n",
            Failure::ConnectFailed => "No connection to the target.\n",
            Failure::UpstreamFailed => "The target gave no valid answer.\n",
            Failure::TimedOut => "The target did not answer in time.\n",
            Failure::OverLimit => "Too much traffic.\n",
            Failure::ProxyUnreachable => "The proxy that was asked for cannot be reached.\n",
            Failure::ProxyDenied => "The proxy that was asked for wants other credentials.\n",
        }
    }

    fn reply(self) -> Response<Reply> {
        let mut response = Response::new(Either::Right(Full::new(Bytes::from_static(self.text().as_bytes()))));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(MARKER, HeaderValue::from_static(self.marker()));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

type Reply = Either<Carried, Full<Bytes>>;
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A running proxy. Dropping it ends the listener, every connection and every tunnel.
#[derive(Debug)]
pub struct EgressProxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    egress: Egress,
    limits: ProxyLimits,
    upstream: Option<Upstream>,
    exchanges: Arc<Semaphore>,
    requests: AtomicU64,
    total: Arc<AtomicU64>,
    failures: FailureLog,
    /// Work that outlives the request it came from, run by the listener's task, so that it ends with the proxy.
    work: mpsc::UnboundedSender<Work>,
}

impl EgressProxy {
    /// Listens on a free port of 127.0.0.1, which is closed to what goes out by `egress`: no request goes in circles.
    pub async fn start(egress: Egress, limits: ProxyLimits) -> io::Result<EgressProxy> {
        EgressProxy::start_with(egress, limits, None).await
    }

    /// As [`EgressProxy::start`]; what goes out asks the caller's own proxy, if there is one.
    pub async fn start_with(
        egress: Egress,
        limits: ProxyLimits,
        upstream: Option<Upstream>,
    ) -> io::Result<EgressProxy> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = socket.local_addr()?;
        egress.deny_endpoint(address);
        let (work, inbox) = mpsc::unbounded_channel();
        let exchanges = Arc::new(Semaphore::new(limits.max_exchanges.min(Semaphore::MAX_PERMITS)));
        let shared = Arc::new(Shared {
            egress,
            limits,
            upstream,
            exchanges,
            requests: AtomicU64::default(),
            total: Arc::default(),
            failures: FailureLog::default(),
            work,
        });
        let listener = tokio::spawn(listen(socket, Arc::clone(&shared), inbox).in_current_span());
        Ok(EgressProxy { address, shared, listener })
    }

    /// What has failed since `instant`.
    pub fn failures_since(&self, instant: Instant) -> Vec<FailedExchange> {
        self.shared.failures.since(instant)
    }

    /// Bytes to and from all targets so far.
    pub fn total_bytes(&self) -> u64 {
        self.shared.total.load(Ordering::Relaxed)
    }
}

impl Drop for EgressProxy {
    fn drop(&mut self) {
        self.listener.abort();
        self.shared.egress.forget_endpoint(self.address);
    }
}

/// Accepts, and owns every task there is: when this future is dropped, all of them are.
async fn listen(socket: TcpListener, shared: Arc<Shared>, mut inbox: mpsc::UnboundedReceiver<Work>) {
    let mut tasks = JoinSet::new();
    // A connection more than an exchange may be idle; beyond that somebody is only collecting sockets.
    let connections =
        Arc::new(Semaphore::new(shared.limits.max_exchanges.saturating_mul(2).min(Semaphore::MAX_PERMITS)));
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) => {
                    if let Ok(permit) = Arc::clone(&connections).try_acquire_owned() {
                        tasks.spawn(serve(stream, Arc::clone(&shared), permit).in_current_span());
                    }
                }
                // Out of file descriptors, most likely: others must close some first.
                Err(error) => {
                    tracing::warn!(%error, "egress proxy cannot accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(work) = inbox.recv() => {
                tasks.spawn(work.in_current_span());
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>, _permit: OwnedSemaphorePermit) {
    let _ = stream.set_nodelay(true);
    let kept = Arc::new(Kept::default());
    let service = service_fn(move |request| {
        let (shared, kept) = (Arc::clone(&shared), Arc::clone(&kept));
        async move { Ok::<_, Infallible>(exchange::answer(&shared, &kept, request).await) }
    });
    // The browser hanging up in the middle is no news.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .preserve_header_case(true)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

impl Shared {
    fn keep(&self, work: impl Future<Output = ()> + Send + 'static) {
        // Fails only when the listener is gone, and then the work is not wanted either.
        let _ = self.work.send(Box::pin(work));
    }
}

#[cfg(test)]
mod tests;
