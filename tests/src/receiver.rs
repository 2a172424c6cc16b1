//! A receiver of webhooks: keeps what comes, byte by byte, and answers as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value as Json;

use crate::serve::{Body, Port, Server, full};
use crate::wait;

/// How a receiver answers.
#[derive(Clone, Debug)]
pub enum Behaviour {
    Status(u16),
    /// The second status to every so-many-th request, the first to the others.
    EveryNth(usize, u16, u16),
    /// 302 to this address.
    Redirect(String),
    /// Never.
    Hang,
}

/// One webhook as it came.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub path: String,
    /// Names in lower case, in the order of arrival.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Webhook {
    /// A header's text; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known == name)
    }

    /// # Panics
    /// If the body is no JSON.
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A receiver. It can go away and come back.
pub struct Receiver {
    /// None while it is away.
    server: Option<Server>,
    address: SocketAddr,
    received: Arc<Mutex<Vec<Webhook>>>,
    behaviour: Arc<Mutex<Behaviour>>,
}

impl Receiver {
    /// One that says 204.
    pub fn start() -> Receiver {
        Receiver::on(Port::reserve())
    }

    /// One on a port that was reserved, and refused until now.
    pub fn on(port: Port) -> Receiver {
        let received = Arc::new(Mutex::new(Vec::new()));
        let behaviour = Arc::new(Mutex::new(Behaviour::Status(204)));
        let address = port.address;
        let mut receiver = Receiver { server: None, address, received, behaviour };
        receiver.serve(port);
        receiver
    }

    fn serve(&mut self, port: Port) {
        let (kept, told) = (self.received.clone(), self.behaviour.clone());
        self.server = Some(Server::start(port, move |request| answer(request, kept.clone(), told.clone())));
    }

    /// Goes away with all its connections; what it has received it still has.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    /// Comes back where it was.
    pub fn restart(&mut self) {
        self.serve(Port::at(self.address));
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// From now on it answers like this.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    /// Everything that has come so far.
    pub fn all(&self) -> Vec<Webhook> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many have come, and gives them all.
    pub async fn wait_for(&self, count: usize, limit: Duration) -> Vec<Webhook> {
        wait::for_it(&format!("{count} webhooks"), limit, || Some(self.all()).filter(|all| all.len() >= count)).await
    }

    /// Waits for the first.
    pub async fn first(&self, limit: Duration) -> Webhook {
        self.wait_for(1, limit).await.swap_remove(0)
    }
}

async fn answer(
    request: Request<Incoming>,
    received: Arc<Mutex<Vec<Webhook>>>,
    behaviour: Arc<Mutex<Behaviour>>,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = request.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let Ok(body) = request.into_body().collect().await else { return Response::new(full("")) };
    let webhook = Webhook { path, headers, body: body.to_bytes() };
    let number = {
        let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
        received.push(webhook);
        received.len()
    };
    let behaviour = behaviour.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let response = Response::builder();
    let response = match behaviour {
        Behaviour::Status(status) => response.status(status),
        Behaviour::EveryNth(nth, usual, other) => response.status(if number % nth == 0 { other } else { usual }),
        Behaviour::Redirect(to) => response.status(302).header("location", to),
        Behaviour::Hang => std::future::pending().await,
    };
    response.body(full("")).expect("a valid response")
}
