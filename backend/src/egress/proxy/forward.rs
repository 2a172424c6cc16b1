//! An exchange of plain HTTP: a request carried to its host, on the connection of the one before where there is one.
//!
//! A connection of the browser's has at the most one of ours behind it, as if nothing lay between. So whatever a host binds
//! to a connection stays with who spoke on it, and the browser's own rules of which requests share one go on to hold.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Empty};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use snaphook_shared::target::Host;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::exchange::Way;
use super::meter::Meter;
use super::{Failure, MARKER, Reply};

const READY_LIMIT: Duration = Duration::from_millis(50);

type Asked = Either<Incoming, Empty<Bytes>>;

/// A connection to a host.
struct Line {
    host: Host,
    peer: SocketAddr,
    sender: SendRequest<Asked>,
    meter: Arc<Meter>,
}

/// What a connection of the browser's has left of its last exchange.
#[derive(Default)]
pub(super) struct Kept(Mutex<Option<Line>>);

impl Kept {
    /// The line that was left, if it leads to where this exchange may go, which is decided anew, and the host still listens.
    async fn take(&self, way: &Way<'_>) -> Option<Line> {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let leads_there = line.host == *way.host && way.decision.addresses().contains(&line.peer);
        // By the time that the browser asks again, its last answer has come to its end here.
        let listens = leads_there && matches!(timeout(READY_LIMIT, line.sender.ready()).await, Ok(Ok(())));
        listens.then_some(line)
    }

    fn put(&self, line: Line) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
    }
}

/// The answer's body, which keeps the place of its exchange to its end.
pub(super) struct Carried {
    body: Incoming,
    _permit: OwnedSemaphorePermit,
}

impl Body for Carried {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pub(super) async fn forward(
    way: &Way<'_>,
    kept: &Kept,
    request: Request<Incoming>,
    permit: OwnedSemaphorePermit,
) -> Result<Response<Reply>, Failure> {
    let request = outgoing(way, request)?;
    let left = kept.take(way).await;
    let (line, mut response) = match (left, repeated(&request)) {
        (Some(line), Some(again)) => match ask(line, request).await {
            // A host may hang up between two requests, and it may be doing so just now.
            Err(Failure::UpstreamFailed) => ask(open(way).await?, again).await?,
            answered => answered?,
        },
        _ => ask(open(way).await?, request).await?,
    };
    // Nobody asked for another protocol, so there is nobody to speak it.
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Failure::UpstreamFailed);
    }
    if way.upstream.is_some() {
        if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(Failure::ProxyDenied);
        }
    } else {
        kept.put(line);
    }
    strip_hop_by_hop(response.headers_mut());
    response.headers_mut().remove(MARKER);
    Ok(response.map(|body| Either::Left(Carried { body, _permit: permit })))
}

/// The request as its host, or the caller's own proxy, is to see it.
fn outgoing(way: &Way<'_>, mut request: Request<Incoming>) -> Result<Request<Asked>, Failure> {
    // The URL says which host is meant; a Host header that says otherwise is replaced.
    let authority = request.uri().authority().ok_or(Failure::BadRequest)?;
    let authority = HeaderValue::from_str(authority.as_str()).map_err(|_| Failure::BadRequest)?;
    strip_hop_by_hop(request.headers_mut());
    request.headers_mut().insert(HOST, authority);
    match way.upstream {
        // A proxy is told the whole URL.
        Some(proxy) => proxy.authorize(request.headers_mut()),
        None => {
            let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
            *request.uri_mut() = Uri::from(path);
        }
    }
    Ok(request.map(Either::Left))
}

/// The same once more, of a request that does no harm when it comes twice.
fn repeated(request: &Request<Asked>) -> Option<Request<Asked>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) || !request.body().is_end_stream() {
        return None;
    }
    let mut again = Request::new(Either::Right(Empty::new()));
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    *again.extensions_mut() = request.extensions().clone();
    Some(again)
}

async fn open(way: &Way<'_>) -> Result<Line, Failure> {
    let stream = way.dial().await?;
    let (meter, peer) = (stream.meter(), stream.peer().map_err(|_| Failure::ConnectFailed)?);
    // As lenient as the browser would be by itself.
    let (sender, connection) = Builder::new()
        .preserve_header_case(true)
        .ignore_invalid_headers_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Failure::UpstreamFailed)?;
    way.keep(Arc::clone(&meter), async move {
        let _ = connection.await;
    });
    Ok(Line { host: way.host.clone(), peer, sender, meter })
}

async fn ask(mut line: Line, request: Request<Asked>) -> Result<(Line, Response<Incoming>), Failure> {
    line.meter.begin();
    match line.sender.send_request(request).await {
        Ok(response) => Ok((line, response)),
        Err(_) => Err(line.meter.failure()),
    }
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
