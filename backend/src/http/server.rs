//! The accept loop. warp's own has no time limits, and its graceful end waits for ever on one half-sent request.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use snaphook_shared::request::Endpoint;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use warp::filters::BoxedFilter;

use super::Response;

/// Connections of one listener at a time.
const CONNECTIONS_MAX: usize = 10_000;

/// Whom a connection is with.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Answers HEAD wherever GET is answered; hyper leaves the body away. A render makes a difference between the two.
#[derive(Clone)]
struct HeadAsGet<S> {
    inner: S,
    peer: Peer,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for HeadAsGet<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if request.method() == Method::HEAD && Endpoint::from_path(request.uri().path()).is_none() {
            *request.method_mut() = Method::GET;
        }
        request.extensions_mut().insert(self.peer);
        self.inner.call(request)
    }
}

/// Time limits of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a request's headers.
    pub headers: Duration,
    /// For what is under way when the service stops.
    pub drain: Duration,
}

/// A bound listener that does not serve yet.
pub struct Server {
    listener: TcpListener,
    limits: Limits,
}

impl Server {
    pub async fn bind(address: SocketAddr, limits: Limits) -> io::Result<Server> {
        Ok(Server { listener: TcpListener::bind(address).await?, limits })
    }

    /// Where it is bound; differs from what was asked for if that was port 0.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is told to stop, and then until what is under way has ended, or the limit for that.
    pub async fn run(self, routes: BoxedFilter<(Response,)>, stop: CancellationToken) {
        let graceful = GracefulShutdown::new();
        let mut protocol = http1::Builder::new();
        protocol.timer(TokioTimer::new()).header_read_timeout(self.limits.headers);
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            // Who comes when all places are taken waits outside, at the cost of the kernel's backlog and not of memory here.
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = async { (places.clone().acquire_owned().await, self.listener.accept().await) } => accepted,
            };
            let (Ok(place), accepted) = accepted else { break };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely; accepting at once again would only burn the processor.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let inner = TowerToHyperService::new(warp::service(routes.clone()));
            let service = HeadAsGet { inner, peer: Peer(peer) };
            let connection = graceful.watch(protocol.serve_connection(TokioIo::new(stream), service));
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection ended early");
                }
                drop(place);
            });
        }
        drop(self.listener);
        if tokio::time::timeout(self.limits.drain, graceful.shutdown()).await.is_err() {
            tracing::warn!("some connections were still busy when the time to drain was over");
        }
    }
}
