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

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST};
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use snaphook_shared::target::{Host, NativeUrlParser, ParseUrl};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf, copy_buf, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use super::{Egress, Refusal};

/// On every answer that is the proxy's own, with the [`Failure`] as its value; removed from answers that come from
/// upstream, so that no site can pretend. A page served over HTTPS can, though, as the proxy does not see inside a tunnel.
pub const MARKER: HeaderName = HeaderName::from_static("x-snaphook-egress");

/// Failures remembered; older ones are forgotten first.
const MAX_LOGGED: usize = 256;

const DOWNLOAD_BUFFER: usize = 32 * 1024;

/// What may pass. Beyond a limit there is an error at once, never a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyLimits {
    /// Tunnels and plain requests at a time.
    pub max_exchanges: usize,
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
}

impl Failure {
    pub fn status(self) -> StatusCode {
        match self {
            Failure::BadRequest => StatusCode::BAD_REQUEST,
            Failure::Refused => StatusCode::FORBIDDEN,
            Failure::NameNotResolved | Failure::ConnectFailed | Failure::UpstreamFailed => StatusCode::BAD_GATEWAY,
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

/// An entry of the log of failures. A tunnel that fails is only `ERR_TUNNEL_CONNECTION_FAILED` to Chromium; this is why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedExchange {
    pub at: Instant,
    pub host: Host,
    pub port: u16,
    pub failure: Failure,
}

type Reply = Either<Incoming, Full<Bytes>>;
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
    exchanges: Arc<Semaphore>,
    total: Arc<AtomicU64>,
    failures: Mutex<VecDeque<FailedExchange>>,
    /// Work that outlives the request it came from, run by the listener's task, so that it ends with the proxy.
    work: mpsc::UnboundedSender<Work>,
}

impl EgressProxy {
    /// Listens on a free port of 127.0.0.1, which is closed to what goes out by `egress`: no request goes in circles.
    pub async fn start(egress: Egress, limits: ProxyLimits) -> io::Result<EgressProxy> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = socket.local_addr()?;
        egress.deny_endpoint(address);
        let (work, inbox) = mpsc::unbounded_channel();
        let exchanges = Arc::new(Semaphore::new(limits.max_exchanges.min(Semaphore::MAX_PERMITS)));
        let (total, failures) = (Arc::default(), Mutex::default());
        let shared = Arc::new(Shared { egress, limits, exchanges, total, failures, work });
        let listener = tokio::spawn(listen(socket, Arc::clone(&shared), inbox));
        Ok(EgressProxy { address, shared, listener })
    }

    /// The failures since `instant`, oldest first, as far back as the log goes.
    pub fn failures_since(&self, instant: Instant) -> Vec<FailedExchange> {
        let failures = self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.iter().filter(|failed| failed.at >= instant).cloned().collect()
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
                        tasks.spawn(serve(stream, Arc::clone(&shared), permit));
                    }
                }
                // Out of file descriptors, most likely: others must close some first.
                Err(error) => {
                    tracing::warn!(%error, "egress proxy cannot accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(work) = inbox.recv() => {
                tasks.spawn(work);
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>, _permit: OwnedSemaphorePermit) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, request).await) }
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

async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Reply> {
    let Some((host, port)) = target_of(&request) else { return Failure::BadRequest.reply() };
    exchange(shared, request, &host, port).await.unwrap_or_else(|failure| {
        let mut failures = shared.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MAX_LOGGED {
            failures.pop_front();
        }
        failures.push_back(FailedExchange { at: Instant::now(), host, port, failure });
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
    if shared.total.load(Ordering::Relaxed) >= shared.limits.max_total_bytes {
        return Err(Failure::OverLimit);
    }
    let decision = shared.egress.decide(host, port).await.map_err(|refusal| {
        tracing::info!(%host, port, %refusal, "egress proxy refuses");
        match refusal {
            Refusal::Refused { .. } => Failure::Refused,
            Refusal::NameNotResolved { .. } => Failure::NameNotResolved,
        }
    })?;
    let stream = decision.dial().await.map_err(|error| {
        tracing::debug!(%host, port, %error, "egress proxy cannot connect");
        if error.kind() == io::ErrorKind::TimedOut { Failure::TimedOut } else { Failure::ConnectFailed }
    })?;
    let meter = Arc::new(Meter {
        moved: AtomicU64::new(0),
        total: Arc::clone(&shared.total),
        stalled: AtomicBool::new(false),
        limits: shared.limits.clone(),
    });
    let upstream = Metered { stream, meter: Arc::clone(&meter) };
    if request.method() == Method::CONNECT {
        Ok(tunnel(shared, request, upstream, meter, permit))
    } else {
        forward(shared, request, upstream, meter, permit).await
    }
}

fn tunnel(
    shared: &Shared,
    request: Request<Incoming>,
    upstream: Metered,
    meter: Arc<Meter>,
    permit: OwnedSemaphorePermit,
) -> Response<Reply> {
    shared.keep(async move {
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
            () = meter.stalled() => {}
        }
    });
    Response::new(Either::Right(Full::default()))
}

async fn forward(
    shared: &Shared,
    mut request: Request<Incoming>,
    upstream: Metered,
    meter: Arc<Meter>,
    permit: OwnedSemaphorePermit,
) -> Result<Response<Reply>, Failure> {
    // The URL says which host is meant; a Host header that says otherwise is replaced.
    let authority = request.uri().authority().ok_or(Failure::BadRequest)?;
    let authority = HeaderValue::from_str(authority.as_str()).map_err(|_| Failure::BadRequest)?;
    let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    strip_hop_by_hop(request.headers_mut());
    request.headers_mut().insert(HOST, authority);

    // As lenient as the browser would be by itself.
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .ignore_invalid_headers_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .handshake(TokioIo::new(upstream))
        .await
        .map_err(|_| Failure::UpstreamFailed)?;
    let watch = Arc::clone(&meter);
    shared.keep(async move {
        let _permit = permit;
        tokio::select! {
            _ = connection => {}
            () = watch.stalled() => {}
        }
    });
    let mut response = sender.send_request(request).await.map_err(|_| meter.failure())?;
    // Nobody asked for another protocol, so there is nobody to speak it.
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Failure::UpstreamFailed);
    }
    strip_hop_by_hop(response.headers_mut());
    response.headers_mut().remove(MARKER);
    Ok(response.map(Either::Left))
}

impl Shared {
    fn keep(&self, work: impl Future<Output = ()> + Send + 'static) {
        // Fails only when the listener is gone, and then the work is not wanted either.
        let _ = self.work.send(Box::pin(work));
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

/// Counts what passes on one connection to a target.
#[derive(Debug)]
struct Meter {
    moved: AtomicU64,
    total: Arc<AtomicU64>,
    stalled: AtomicBool,
    limits: ProxyLimits,
}

impl Meter {
    fn count(&self, bytes: usize) -> io::Result<()> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        self.total.fetch_add(bytes, Ordering::Relaxed);
        if self.is_over() {
            return Err(io::Error::other("byte limit of the egress proxy"));
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.moved.load(Ordering::Relaxed) > self.limits.max_bytes
            || self.total.load(Ordering::Relaxed) > self.limits.max_total_bytes
    }

    /// Returns when nothing has moved for the idle time, give or take an eighth of it.
    async fn stalled(&self) {
        let tick = (self.limits.idle / 8).max(Duration::from_millis(1));
        let (mut seen, mut since) = (self.moved.load(Ordering::Relaxed), tokio::time::Instant::now());
        loop {
            tokio::time::sleep(tick).await;
            let moved = self.moved.load(Ordering::Relaxed);
            if moved != seen {
                (seen, since) = (moved, tokio::time::Instant::now());
            } else if since.elapsed() >= self.limits.idle {
                self.stalled.store(true, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Why the connection ended before its answer began.
    fn failure(&self) -> Failure {
        if self.stalled.load(Ordering::Relaxed) {
            Failure::TimedOut
        } else if self.is_over() {
            Failure::OverLimit
        } else {
            Failure::UpstreamFailed
        }
    }
}

/// A connection to a target, with its meter.
#[derive(Debug)]
struct Metered {
    stream: TcpStream,
    meter: Arc<Meter>,
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Poll::Ready(Ok(())) = result {
            self.meter.count(buffer.filled().len().saturating_sub(before))?;
        }
        result
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.counted(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.counted(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Metered {
    fn counted(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = result {
            self.meter.count(written)?;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use snaphook_shared::target::{PortPolicy, TargetPolicy};
    use tokio::io::AsyncReadExt;
    use tokio::time::timeout;

    use super::super::testing::FakeResolver;
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    /// 127.0.0.1 plays the public Internet, 127.0.0.2 the inside of the network.
    struct Lab {
        proxy: EgressProxy,
        resolver: Arc<FakeResolver>,
    }

    impl Lab {
        async fn new(limits: ProxyLimits) -> Lab {
            let policy = TargetPolicy {
                allow_subnets: vec!["127.0.0.1".parse().unwrap()],
                allowed_ports: PortPolicy::Unprivileged,
                ..TargetPolicy::default()
            };
            let resolver = FakeResolver::new(&[
                ("outer.example", &["127.0.0.1"]),
                ("inner.example", &["127.0.0.2"]),
                ("mixed.example", &["127.0.0.1 127.0.0.2"]),
                ("rebind.example", &["127.0.0.1", "127.0.0.2"]),
            ]);
            let proxy = EgressProxy::start(Egress::new(policy, resolver.clone()), limits).await.unwrap();
            Lab { proxy, resolver }
        }

        async fn client(&self) -> Client {
            Client { stream: TcpStream::connect(self.proxy.address).await.unwrap() }
        }

        /// The answer to one request on a connection of its own.
        async fn ask(&self, request: &str) -> String {
            let mut client = self.client().await;
            client.send(request).await;
            client.answer().await
        }
    }

    struct Client {
        stream: TcpStream,
    }

    impl Client {
        async fn send(&mut self, text: &str) {
            self.stream.write_all(text.as_bytes()).await.unwrap();
        }

        async fn get(&mut self, url: &str) -> String {
            self.send(&format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            self.answer().await
        }

        async fn connect(&mut self, authority: &str) -> String {
            self.send(&format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
            self.answer().await
        }

        /// Up to and with the end of the head.
        async fn head(&mut self) -> String {
            self.until("\r\n\r\n").await
        }

        async fn until(&mut self, end: &str) -> String {
            let mut text = Vec::new();
            while !text.ends_with(end.as_bytes()) {
                text.push(timeout(SOON, self.stream.read_u8()).await.expect("in time").expect("not closed"));
            }
            String::from_utf8(text).unwrap()
        }

        /// The head, and the body if it has a length.
        async fn answer(&mut self) -> String {
            let mut text = self.head().await;
            let length = text.to_ascii_lowercase();
            let length = length.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let mut body = vec![0; length.map_or(0, |digits| digits.parse().unwrap())];
            timeout(SOON, self.stream.read_exact(&mut body)).await.expect("in time").unwrap();
            text.push_str(&String::from_utf8(body).unwrap());
            text
        }

        /// What comes before the other end closes or resets.
        async fn rest(&mut self) -> Vec<u8> {
            let mut bytes = Vec::new();
            let _ = timeout(SOON, self.stream.read_to_end(&mut bytes)).await.expect("closed in time");
            bytes
        }
    }

    async fn listen_on(ip: &str) -> (TcpListener, u16) {
        let listener = TcpListener::bind((ip.parse::<IpAddr>().unwrap(), 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    /// Answers the same to every request, one per connection, and keeps the heads.
    async fn upstream(reply: &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
        let (listener, port) = listen_on("127.0.0.1").await;
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut client = Client { stream };
                let head = client.head().await;
                seen.lock().unwrap().push(head);
                client.send(reply).await;
            }
        });
        (port, heads)
    }

    async fn saw_nothing(canary: &TcpListener) -> bool {
        timeout(Duration::from_millis(50), canary.accept()).await.is_err()
    }

    fn is_marked(answer: &str, status: u16, failure: Failure) -> bool {
        answer.starts_with(&format!("HTTP/1.1 {status} "))
            && answer.contains(&format!("{MARKER}: {}\r\n", failure.marker()))
            && answer.ends_with(failure.text())
    }

    #[tokio::test]
    async fn a_plain_request_goes_through_without_a_trace_of_the_proxy() {
        let lab = Lab::new(ProxyLimits::default()).await;
        let reply = "HTTP/1.1 200 Fine\r\nX-CaSe: kept\r\nContent-Length: 2\r\nX-Snaphook-Egress: refused\r\n\
                     Proxy-Authenticate: Basic\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\r\nok";
        let (port, heads) = upstream(reply).await;
        let answer = lab
            .ask(&format!(
                "GET http://outer.example:{port}/a?b={{|}} HTTP/1.1\r\nHost: elsewhere\r\nUser-AGENT: x\r\n\
                 Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp4\r\nConnection: X-Private, close\r\n\
                 X-Private: 1\r\nTE: trailers\r\nUpgrade: h2c\r\n\r\n"
            ))
            .await;
        assert_eq!(answer, "HTTP/1.1 200 Fine\r\nX-CaSe: kept\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        let expected = format!("GET /a?b={{|}} HTTP/1.1\r\nHost: outer.example:{port}\r\nUser-AGENT: x\r\n\r\n");
        assert_eq!(*heads.lock().unwrap(), [expected]);
        assert_eq!(lab.proxy.failures_since(Instant::now() - SOON), []);
        assert!(lab.proxy.total_bytes() > 100);
    }

    #[tokio::test]
    async fn answers_stream_as_they_come() {
        let lab = Lab::new(ProxyLimits::default()).await;
        let (listener, port) = listen_on("127.0.0.1").await;
        let mut client = lab.client().await;
        client.send(&format!("GET http://outer.example:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let mut server = Client { stream: listener.accept().await.unwrap().0 };
        server.head().await;
        server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
        // The second half is not even written when the first one arrives.
        assert!(client.until("first\r\n").await.contains("\r\nTransfer-Encoding: chunked\r\n"));
        server.send("6\r\nsecond\r\n0\r\n\r\n").await;
        assert_eq!(client.until("0\r\n\r\n").await, "6\r\nsecond\r\n0\r\n\r\n");
    }

    #[tokio::test]
    async fn requests_stream_as_they_come() {
        let lab = Lab::new(ProxyLimits::default()).await;
        let (listener, port) = listen_on("127.0.0.1").await;
        let mut client = lab.client().await;
        client.send(&format!("POST http://outer.example:{port}/ HTTP/1.1\r\nContent-Length: 10\r\n\r\nfirst")).await;
        let mut server = Client { stream: listener.accept().await.unwrap().0 };
        assert!(server.until("first").await.contains("Content-Length: 10\r\n"));
        client.send("other").await;
        server.until("other").await;
        server.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert!(client.head().await.starts_with("HTTP/1.1 204 "));
    }

    #[tokio::test]
    async fn tunnels_carry_bytes_both_ways() {
        let lab = Lab::new(ProxyLimits::default()).await;
        let (listener, port) = listen_on("127.0.0.1").await;
        let mut client = lab.client().await;
        assert_eq!(client.connect(&format!("outer.example:{port}")).await, "HTTP/1.1 200 OK\r\n\r\n");
        let mut server = Client { stream: listener.accept().await.unwrap().0 };
        client.send("ping").await;
        assert_eq!(server.until("ping").await, "ping");
        server.send("pong").await;
        assert_eq!(client.until("pong").await, "pong");
        drop(client);
        assert_eq!(server.rest().await, b"");
    }

    #[tokio::test]
    async fn every_request_of_a_connection_is_decided() {
        let lab = Lab::new(ProxyLimits::default()).await;
        let (port, heads) = upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        let mut client = lab.client().await;
        for _ in 0..2 {
            assert!(client.get(&format!("http://outer.example:{port}/")).await.ends_with("ok"));
            assert!(is_marked(&client.get(&format!("http://inner.example:{port}/")).await, 403, Failure::Refused));
            assert!(is_marked(&client.get(&format!("http://127.0.0.2:{port}/")).await, 403, Failure::Refused));
        }
        assert!(is_marked(&client.connect(&format!("inner.example:{port}")).await, 403, Failure::Refused));
        assert_eq!(heads.lock().unwrap().len(), 2);
        assert_eq!((lab.resolver.asked("outer.example"), lab.resolver.asked("inner.example")), (2, 3));
    }

    #[tokio::test]
    async fn a_refused_target_gets_no_packet() {
        let lab = Lab::new(ProxyLimits::default()).await;
        let (canary, port) = listen_on("127.0.0.2").await;
        let start = Instant::now();
        let hosts =
            ["inner.example", "mixed.example", "127.0.0.2", "0x7f.2", "2130706434", "[::ffff:7f00:2]", "localhost"];
        for host in hosts {
            let connect = lab.ask(&format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n")).await;
            assert!(is_marked(&connect, 403, Failure::Refused), "{host}: {connect}");
            assert!(!connect.contains("127.0.0.2"), "tells nothing: {connect}");
            let get = lab.ask(&format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert!(is_marked(&get, 403, Failure::Refused), "{host}: {get}");
        }
        let ssh = lab.ask("CONNECT outer.example:22 HTTP/1.1\r\nHost: outer.example:22\r\n\r\n").await;
        assert!(is_marked(&ssh, 403, Failure::Refused), "{ssh}");
        assert!(saw_nothing(&canary).await);

        let failures = lab.proxy.failures_since(start);
        assert_eq!(failures.len(), 2 * hosts.len() + 1);
        assert!(failures.iter().all(|failed| failed.failure == Failure::Refused));
        assert_eq!((&failures[0].host, failures[0].port), (&Host::Name("inner.example".to_owned()), port));
        assert_eq!(lab.proxy.failures_since(Instant::now()), []);
        assert_eq!(lab.proxy.total_bytes(), 0);
    }

    #[tokio::test]
    async fn a_rebinding_name_is_asked_once_per_connection() {
        let lab = Lab::new(ProxyLimits::default()).await;
        let (listener, port) = listen_on("127.0.0.1").await;
        let canary = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        let mut client = lab.client().await;
        assert!(client.connect(&format!("rebind.example:{port}")).await.starts_with("HTTP/1.1 200 "));
        assert_eq!(lab.resolver.asked("rebind.example"), 1);
        let (stream, _) = listener.accept().await.unwrap();
        assert_eq!(stream.local_addr().unwrap().ip(), IpAddr::from([127, 0, 0, 1]));
        let again = lab.client().await.connect(&format!("rebind.example:{port}")).await;
        assert!(is_marked(&again, 403, Failure::Refused), "{again}");
        assert_eq!(lab.resolver.asked("rebind.example"), 2);
        assert!(saw_nothing(&canary).await);
    }

    #[tokio::test]
    async fn failures_differ() {
        let lab = Lab::new(ProxyLimits { idle: Duration::from_millis(80), ..ProxyLimits::default() }).await;
        let unknown = lab.ask("GET http://unknown.example/ HTTP/1.1\r\nHost: unknown.example\r\n\r\n").await;
        assert!(is_marked(&unknown, 502, Failure::NameNotResolved), "{unknown}");
        let unknown = lab.client().await.connect("unknown.example:443").await;
        assert!(is_marked(&unknown, 502, Failure::NameNotResolved), "{unknown}");

        let (listener, port) = listen_on("127.0.0.1").await;
        drop(listener);
        let closed = lab.client().await.connect(&format!("outer.example:{port}")).await;
        assert!(is_marked(&closed, 502, Failure::ConnectFailed), "{closed}");

        let (silent, port) = listen_on("127.0.0.1").await;
        let late = lab.client().await.get(&format!("http://outer.example:{port}/")).await;
        assert!(is_marked(&late, 504, Failure::TimedOut), "{late}");
        drop(silent);

        for reply in
            ["", "SSH-2.0-x\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"]
        {
            let (port, _) = upstream(reply).await;
            let wrong = lab.client().await.get(&format!("http://outer.example:{port}/")).await;
            assert!(is_marked(&wrong, 502, Failure::UpstreamFailed), "{reply:?}: {wrong}");
        }
    }

    #[tokio::test]
    async fn only_a_proxy() {
        let lab = Lab::new(ProxyLimits::default()).await;
        for target in ["/", "https://outer.example/", "ftp://outer.example/", "http://user@outer.example/", "*"] {
            let answer = lab.ask(&format!("GET {target} HTTP/1.1\r\nHost: outer.example\r\n\r\n")).await;
            assert!(is_marked(&answer, 400, Failure::BadRequest), "{target}: {answer}");
        }
        let answer = lab.client().await.connect("outer.example").await;
        assert!(is_marked(&answer, 400, Failure::BadRequest), "{answer}");
        assert_eq!(lab.resolver.total(), 0);
    }

    #[tokio::test]
    async fn own_listeners_stay_closed_in_development() {
        let egress = Egress::new(TargetPolicy::development(), FakeResolver::new(&[]));
        let proxy = EgressProxy::start(egress.clone(), ProxyLimits::default()).await.unwrap();
        let lab = Lab { resolver: FakeResolver::new(&[]), proxy };
        let (devtools, closed) = listen_on("127.0.0.1").await;
        egress.deny_endpoint(devtools.local_addr().unwrap());
        let (open, _) = upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        for host in ["localhost", "x.localhost", "127.0.0.1", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]"] {
            for port in [closed, lab.proxy.address.port()] {
                let answer = lab.client().await.get(&format!("http://{host}:{port}/json/list")).await;
                assert!(is_marked(&answer, 403, Failure::Refused), "{host}:{port}: {answer}");
            }
        }
        assert!(saw_nothing(&devtools).await);
        for host in ["localhost", "127.0.0.1"] {
            assert!(lab.client().await.get(&format!("http://{host}:{open}/")).await.ends_with("ok"), "{host}");
        }
    }

    #[tokio::test]
    async fn exchanges_are_limited() {
        let lab = Lab::new(ProxyLimits { max_exchanges: 1, ..ProxyLimits::default() }).await;
        let (_listener, port) = listen_on("127.0.0.1").await;
        let mut first = lab.client().await;
        assert!(first.connect(&format!("outer.example:{port}")).await.starts_with("HTTP/1.1 200 "));
        let second = lab.client().await.connect(&format!("outer.example:{port}")).await;
        assert!(is_marked(&second, 503, Failure::OverLimit), "{second}");
        drop(first);
        // Room again as soon as the tunnel is gone.
        let mut answer = String::new();
        for _ in 0..100 {
            answer = lab.client().await.connect(&format!("outer.example:{port}")).await;
            if answer.starts_with("HTTP/1.1 200 ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{answer}");
    }

    #[tokio::test]
    async fn bytes_are_limited() {
        let lab = Lab::new(ProxyLimits { max_bytes: 10_000, ..ProxyLimits::default() }).await;
        let (listener, port) = listen_on("127.0.0.1").await;
        let mut client = lab.client().await;
        client.connect(&format!("outer.example:{port}")).await;
        let (mut server, _) = listener.accept().await.unwrap();
        let flood = tokio::spawn(async move { while server.write_all(&[b'x'; 1_000]).await.is_ok() {} });
        assert!(client.rest().await.len() <= 10_000);
        timeout(SOON, flood).await.expect("upstream is closed too").unwrap();

        let mut client = lab.client().await;
        client.send(&format!("GET http://outer.example:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let (mut server, _) = listener.accept().await.unwrap();
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await.unwrap();
        let flood = tokio::spawn(async move { while server.write_all(&[b'x'; 1_000]).await.is_ok() {} });
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        assert!(client.rest().await.len() <= 10_000, "cut off, so that it cannot pass for complete");
        timeout(SOON, flood).await.expect("upstream is closed too").unwrap();
    }

    #[tokio::test]
    async fn total_bytes_are_limited() {
        let lab = Lab::new(ProxyLimits { max_total_bytes: 150, ..ProxyLimits::default() }).await;
        let (port, _) = upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        let mut last = String::new();
        for _ in 0..3 {
            last = lab.client().await.get(&format!("http://outer.example:{port}/")).await;
        }
        assert!(is_marked(&last, 503, Failure::OverLimit), "{last}");
    }

    #[tokio::test]
    async fn idle_tunnels_end_and_busy_ones_do_not() {
        let lab = Lab::new(ProxyLimits { idle: Duration::from_millis(400), ..ProxyLimits::default() }).await;
        let (listener, port) = listen_on("127.0.0.1").await;
        let mut client = lab.client().await;
        client.connect(&format!("outer.example:{port}")).await;
        let mut server = Client { stream: listener.accept().await.unwrap().0 };
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(900) {
            server.send(".").await;
            client.until(".").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(client.rest().await, b"");
        assert!(start.elapsed() >= Duration::from_millis(1_200), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn dropping_the_proxy_ends_everything() {
        let egress = Egress::new(TargetPolicy::development(), FakeResolver::new(&[]));
        let proxy = EgressProxy::start(egress.clone(), ProxyLimits::default()).await.unwrap();
        let lab = Lab { resolver: FakeResolver::new(&[]), proxy };
        let (listener, port) = listen_on("127.0.0.1").await;
        let (mut client, mut waiting) = (lab.client().await, lab.client().await);
        client.connect(&format!("127.0.0.1:{port}")).await;
        let mut server = Client { stream: listener.accept().await.unwrap().0 };
        waiting.send(&format!("GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let mut asked = Client { stream: listener.accept().await.unwrap().0 };
        asked.head().await;
        let address = lab.proxy.address;
        assert!(egress.decide(&Host::V4(Ipv4Addr::LOCALHOST), address.port()).await.is_err());

        drop(lab);
        assert_eq!((client.rest().await.len(), server.rest().await.len()), (0, 0));
        assert_eq!((waiting.rest().await.len(), asked.rest().await.len()), (0, 0));
        assert!(TcpStream::connect(address).await.is_err());
        assert!(egress.decide(&Host::V4(Ipv4Addr::LOCALHOST), address.port()).await.is_ok());
    }
}
