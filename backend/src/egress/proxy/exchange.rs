//! One exchange: a request of the browser's decided, dialled, and carried, here as a tunnel.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::uri::Scheme;
use http::{Method, Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use snaphook_shared::target::{Host, NativeUrlParser, ParseUrl};
use tokio::io::{AsyncWriteExt, BufReader, copy_buf, split};
use tokio::sync::OwnedSemaphorePermit;

use super::super::{Decision, Refusal};
use super::forward::{self, Kept};
use super::meter::{Meter, Metered};
use super::upstream::Upstream;
use super::{Failure, Reply, Shared};

const DOWNLOAD_BUFFER: usize = 32 * 1024;

/// `kept`: what the browser's connection has left of its last exchange.
pub(super) async fn answer(shared: &Arc<Shared>, kept: &Kept, request: Request<Incoming>) -> Response<Reply> {
    let Some((host, port)) = target_of(&request) else { return Failure::BadRequest.reply() };
    exchange(shared, kept, request, &host, port).await.unwrap_or_else(|failure| {
        shared.failures.note(&host, port, failure);
        failure.reply()
    })
}

/// The host is read by the parser that reads every other URL here, so `0x7f.1` is an address here too.
fn target_of(request: &Request<Incoming>) -> Option<(Host, u16)> {
    let authority = request.uri().authority()?;
    if request.method() == Method::CONNECT {
        authority.port()?;
    } else if request.uri().scheme() != Some(&Scheme::HTTP) {
        return None;
    }
    let parts = NativeUrlParser.parse(&format!("http://{authority}/"))?;
    (!parts.has_credentials).then_some((parts.host, parts.port))
}

async fn exchange(
    shared: &Arc<Shared>,
    kept: &Kept,
    request: Request<Incoming>,
    host: &Host,
    port: u16,
) -> Result<Response<Reply>, Failure> {
    let permit = Arc::clone(&shared.exchanges).try_acquire_owned().map_err(|_| Failure::OverLimit)?;
    if shared.total.load(Ordering::Relaxed) >= shared.limits.max_total_bytes
        || shared.requests.fetch_add(1, Ordering::Relaxed) >= shared.limits.max_requests
    {
        return Err(Failure::OverLimit);
    }
    let upstream = shared.upstream.as_ref().filter(|upstream| !upstream.is_bypassed(host));
    let decision = match upstream {
        Some(upstream) => decide_upstream(shared, upstream, host, port).await?,
        None => decide(shared, host, port).await?,
    };
    let way = Way { shared, decision, upstream, host, port };
    if request.method() != Method::CONNECT {
        return forward::forward(&way, kept, request, permit).await;
    }
    let mut line = way.dial().await?;
    if let Some(upstream) = upstream {
        upstream.connect(&mut line, host, port, shared.limits.idle).await?;
    }
    Ok(tunnel(&way, request, line, permit))
}

async fn decide(shared: &Shared, host: &Host, port: u16) -> Result<Decision, Failure> {
    shared.egress.decide(host, port).await.map_err(|refusal| {
        tracing::debug!(%host, port, %refusal, "egress proxy refuses");
        match refusal {
            Refusal::Refused { .. } => Failure::Refused,
            Refusal::NameNotResolved { .. } => Failure::NameNotResolved,
        }
    })
}

/// The way to the caller's own proxy, if it and the target may be asked for.
async fn decide_upstream(shared: &Shared, upstream: &Upstream, host: &Host, port: u16) -> Result<Decision, Failure> {
    shared.egress.decide_unresolved(host, port).map_err(|refusal| {
        tracing::debug!(%host, port, %refusal, "egress proxy refuses");
        Failure::Refused
    })?;
    shared.egress.decide_proxy(upstream.host(), upstream.port()).await.map_err(|refusal| {
        tracing::debug!(proxy = %upstream.host(), %refusal, "egress proxy refuses a caller's proxy");
        Failure::ProxyUnreachable
    })
}

/// Where an exchange goes, once that is decided.
pub(super) struct Way<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) decision: Decision,
    /// The caller's own proxy, if the way leads over it.
    pub(super) upstream: Option<&'a Upstream>,
    pub(super) host: &'a Host,
    pub(super) port: u16,
}

impl Way<'_> {
    /// A new connection, to the host or to the caller's own proxy.
    pub(super) async fn dial(&self) -> Result<Metered, Failure> {
        let Way { host, port, upstream, .. } = self;
        tracing::debug!(%host, port, addresses = ?self.decision.addresses(), "egress proxy dials");
        let stream = self.decision.dial().await.map_err(|error| {
            let by_proxy = upstream.is_some();
            tracing::debug!(%host, port, by_proxy, %error, "egress proxy cannot connect");
            match error.kind() {
                _ if by_proxy => Failure::ProxyUnreachable,
                io::ErrorKind::TimedOut => Failure::TimedOut,
                _ => Failure::ConnectFailed,
            }
        })?;
        Ok(Metered::new(stream, Meter::new(Arc::clone(&self.shared.total), self.shared.limits.clone())))
    }

    /// Carries bytes until they end or stand still. What was cut off in its middle looks like a fault of the host's, so that
    /// is noted.
    pub(super) fn keep(&self, meter: Arc<Meter>, carrying: impl Future<Output = ()> + Send + 'static) {
        let (shared, host, port) = (Arc::clone(self.shared), self.host.clone(), self.port);
        self.shared.keep(async move {
            tokio::select! {
                () = carrying => {}
                () = meter.stalled() => {}
            }
            if meter.is_cut_off() {
                shared.failures.note(&host, port, Failure::OverLimit);
            }
        });
    }
}

fn tunnel(
    way: &Way<'_>,
    request: Request<Incoming>,
    upstream: Metered,
    permit: OwnedSemaphorePermit,
) -> Response<Reply> {
    way.keep(upstream.meter(), async move {
        let _permit = permit;
        // Comes once the answer below is written, or fails with the connection.
        let Ok(client) = hyper::upgrade::on(request).await else { return };
        let (from_client, mut to_client) = split(TokioIo::new(client));
        let (from_upstream, mut to_upstream) = split(upstream);
        let (mut up, mut down) =
            (BufReader::new(from_client), BufReader::with_capacity(DOWNLOAD_BUFFER, from_upstream));
        tokio::select! {
            // A browser never closes only half: when it hangs up, nobody wants what upstream might still send.
            _ = copy_buf(&mut up, &mut to_upstream) => {}
            // Upstream may end first. Then the browser gets to read all of it, and hangs up.
            () = async {
                if copy_buf(&mut down, &mut to_client).await.is_ok() && to_client.shutdown().await.is_ok() {
                    std::future::pending().await
                }
            } => {}
        }
    });
    Response::new(Either::Right(Full::default()))
}
