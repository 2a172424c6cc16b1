//! A small HTTP server for what the tests point snaphook at.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use futures::stream::BoxStream;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

use crate::runtime;

pub type Body = BoxBody<Bytes, Infallible>;

/// A body that is there already.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// A body that comes piece by piece.
pub fn streamed(pieces: BoxStream<'static, Bytes>) -> Body {
    use futures::StreamExt;
    // A boxed body must be Sync, which a boxed stream is not.
    let frames = pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
    BoxBody::new(StreamBody::new(SyncStream(std::sync::Mutex::new(Box::pin(frames)))))
}

struct SyncStream<S>(std::sync::Mutex<std::pin::Pin<Box<S>>>);

impl<S: futures::Stream> futures::Stream for SyncStream<S> {
    type Item = S::Item;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<S::Item>> {
        self.0.lock().expect("no other thread polls").as_mut().poll_next(context)
    }
}

/// A port that is ours and refuses connections, until something listens on it.
pub struct Port {
    socket: TcpSocket,
    pub address: SocketAddr,
}

impl Port {
    /// Binds any free port of 127.0.0.1.
    pub fn reserve() -> Port {
        Port::reserve_at(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// Binds any free port of an address of this machine. A socket that is bound and does not listen refuses, and nobody else can get it.
    pub fn reserve_at(ip: IpAddr) -> Port {
        Port::at(SocketAddr::new(ip, 0))
    }

    /// Binds a port that a server of this process has just left.
    pub fn at(address: SocketAddr) -> Port {
        let _inside = runtime().enter();
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option that every system has");
        socket.bind(address).expect("a free port");
        let address = socket.local_addr().expect("a bound socket has an address");
        Port { socket, address }
    }

    pub(crate) fn listen(self) -> TcpListener {
        let _inside = runtime().enter();
        self.socket.listen(128).expect("the port is ours")
    }
}

/// A server; it and its connections end when this is dropped.
pub struct Server {
    pub address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Serves on a port with a function from requests to responses.
    pub fn start<H, F>(port: Port, handler: H) -> Server
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let address = port.address;
        let listener = port.listen();
        let task = runtime().spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let handler = handler.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let answer = handler(request);
                        async move { Ok::<_, Infallible>(answer.await) }
                    });
                    // Clients may go away at any time; that is no fault of a test.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Server { address, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends with all its connections, and returns when its port is free.
    pub async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
