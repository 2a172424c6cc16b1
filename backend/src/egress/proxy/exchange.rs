//! One exchange: a request of the browser's decided, dialled, and carried, as a tunnel or as plain HTTP.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::{CONNECTION, HOST};
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use snaphook_shared::target::{Host, NativeUrlParser, ParseUrl};
use tokio::io::{AsyncWriteExt, BufReader, copy_buf, split};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::super::Refusal;
use super::meter::{Meter, Metered};
use super::upstream::Upstream;
use super::{Failure, MARKER, Reply, Shared};

const DOWNLOAD_BUFFER: usize = 32 * 1024;

pub(super) async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Reply> {
    let Some((host, port)) = target_of(&request) else { return Failure::BadRequest.reply() };
    exchange(shared, request, &host, port).await.unwrap_or_else(|failure| {
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
    let stream = match upstream {
        Some(upstream) => dial_upstream(shared, upstream, host, port).await?,
        None => dial(shared, host, port).await?,
    };
    let meter = Arc::new(Meter::new(Arc::clone(&shared.total), shared.limits.clone()));
    let mut stream = Metered::new(stream, Arc::clone(&meter));
    if request.method() == Method::CONNECT {
        if let Some(upstream) = upstream {
            upstream.connect(&mut stream, host, port, shared.limits.idle).await?;
        }
        Ok(tunnel(shared, request, stream, Carriage { meter, host: host.clone(), port, _permit: permit }))
    } else {
        forward(shared, request, stream, Carriage { meter, host: host.clone(), port, _permit: permit }, upstream).await
    }
}

async fn dial(shared: &Shared, host: &Host, port: u16) -> Result<TcpStream, Failure> {
    let decision = shared.egress.decide(host, port).await.map_err(|refusal| {
        tracing::debug!(%host, port, %refusal, "egress proxy refuses");
        match refusal {
            Refusal::Refused { .. } => Failure::Refused,
            Refusal::NameNotResolved { .. } => Failure::NameNotResolved,
        }
    })?;
    tracing::debug!(%host, port, addresses = ?decision.addresses(), "egress proxy dials");
    decision.dial().await.map_err(|error| {
        tracing::debug!(%host, port, %error, "egress proxy cannot connect");
        if error.kind() == io::ErrorKind::TimedOut { Failure::TimedOut } else { Failure::ConnectFailed }
    })
}

/// A connection to the caller's own proxy, if it and the target may be asked for.
async fn dial_upstream(shared: &Shared, upstream: &Upstream, host: &Host, port: u16) -> Result<TcpStream, Failure> {
    shared.egress.decide_unresolved(host, port).map_err(|refusal| {
        tracing::debug!(%host, port, %refusal, "egress proxy refuses");
        Failure::Refused
    })?;
    let decision = shared.egress.decide_proxy(upstream.host(), upstream.port()).await.map_err(|refusal| {
        tracing::debug!(proxy = %upstream.host(), %refusal, "egress proxy refuses a caller's proxy");
        Failure::ProxyUnreachable
    })?;
    decision.dial().await.map_err(|error| {
        tracing::debug!(proxy = %upstream.host(), %error, "egress proxy cannot connect to a caller's proxy");
        Failure::ProxyUnreachable
    })
}

/// What goes with an exchange from its connection to its end.
struct Carriage {
    meter: Arc<Meter>,
    host: Host,
    port: u16,
    _permit: OwnedSemaphorePermit,
}

impl Carriage {
    /// What was cut off in its middle looks like a fault of the host's.
    fn end(self, shared: &Shared) {
        if self.meter.is_over() {
            shared.failures.note(&self.host, self.port, Failure::OverLimit);
        }
    }
}

fn tunnel(shared: &Arc<Shared>, request: Request<Incoming>, upstream: Metered, carriage: Carriage) -> Response<Reply> {
    let log = Arc::clone(shared);
    shared.keep(async move {
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
            () = carriage.meter.stalled() => {}
        }
        carriage.end(&log);
    });
    Response::new(Either::Right(Full::default()))
}

async fn forward(
    shared: &Arc<Shared>,
    mut request: Request<Incoming>,
    upstream: Metered,
    carriage: Carriage,
    proxy: Option<&Upstream>,
) -> Result<Response<Reply>, Failure> {
    // The URL says which host is meant; a Host header that says otherwise is replaced.
    let authority = request.uri().authority().ok_or(Failure::BadRequest)?;
    let authority = HeaderValue::from_str(authority.as_str()).map_err(|_| Failure::BadRequest)?;
    strip_hop_by_hop(request.headers_mut());
    request.headers_mut().insert(HOST, authority);
    match proxy {
        // A proxy is told the whole URL.
        Some(proxy) => proxy.authorize(request.headers_mut()),
        None => {
            let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
            *request.uri_mut() = Uri::from(path);
        }
    }

    // As lenient as the browser would be by itself.
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .ignore_invalid_headers_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .handshake(TokioIo::new(upstream))
        .await
        .map_err(|_| Failure::UpstreamFailed)?;
    let (log, meter) = (Arc::clone(shared), Arc::clone(&carriage.meter));
    shared.keep(async move {
        tokio::select! {
            _ = connection => {}
            () = carriage.meter.stalled() => {}
        }
        carriage.end(&log);
    });
    let mut response = sender.send_request(request).await.map_err(|_| meter.failure())?;
    // Nobody asked for another protocol, so there is nobody to speak it.
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Failure::UpstreamFailed);
    }
    if proxy.is_some() && response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        return Err(Failure::ProxyDenied);
    }
    strip_hop_by_hop(response.headers_mut());
    response.headers_mut().remove(MARKER);
    Ok(response.map(Either::Left))
}

/// Headers about this connection, not about the message (RFC 9110, 7.6.1), and whatever `Connection` names besides. Among
/// them the proxy's credentials, both ways: no site gets them, and none can ask the browser for them in our name.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ] {
        headers.remove(name);
    }
}
