//! A receiver of webhooks: keeps what comes, byte by byte, and answers as it is told. In this process, or as a program that can be
//! killed.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::program::Program;
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

    /// As JSON in one line.
    fn line(&self) -> Json {
        json!([self.path, self.headers, BASE64.encode(&self.body)])
    }

    /// What [`Webhook::line`] gave. None if it is not whole.
    fn read(line: &[u8]) -> Option<Webhook> {
        let (path, headers, body): (String, Vec<(String, String)>, String) = serde_json::from_slice(line).ok()?;
        Some(Webhook { path, headers, body: BASE64.decode(body).ok()?.into() })
    }
}

/// A receiver in this process.
pub struct Receiver {
    _server: Server,
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
        let (kept, told, address) = (received.clone(), behaviour.clone(), port.address);
        let server = Server::start(port, move |request| answer(request, kept.clone(), told.clone()));
        Receiver { _server: server, address, received, behaviour }
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

/// A receiver that can be killed, and come back; what it has answered it still has.
pub struct MortalReceiver {
    program: Program,
    folder: TempDir,
    status: u16,
}

impl MortalReceiver {
    /// One that says 204.
    pub fn start() -> MortalReceiver {
        let folder = tempfile::tempdir().expect("a folder");
        let program = Program::start("receiver", &[folder.path().join(DIARY).into()]);
        MortalReceiver { program, folder, status: 204 }
    }

    pub fn url(&self) -> String {
        format!("{}/hook", self.program.url())
    }

    /// From now on it answers with this status.
    pub fn answer_with(&mut self, status: u16) {
        self.status = status;
        self.program.tell(&status.to_string());
    }

    pub fn kill9(&mut self) {
        self.program.kill9();
    }

    pub fn start_again(&mut self) {
        self.program.start_again();
        self.program.tell(&self.status.to_string());
    }

    /// Everything that has come so far.
    pub fn all(&self) -> Vec<Webhook> {
        let written = std::fs::read(self.folder.path().join(DIARY)).unwrap_or_default();
        // What it was killed over is half a line; it was not answered, so it comes again.
        written.split(|byte| *byte == b'\n').filter_map(Webhook::read).collect()
    }
}

/// The file that a [`MortalReceiver`] writes.
const DIARY: &str = "webhooks";

/// A receiver's file: a line of JSON for each webhook, written before it is answered.
pub struct Diary(Mutex<File>);

/// A receiver at work in its own program.
pub struct Writing {
    _server: Server,
    status: Arc<AtomicU16>,
}

impl Diary {
    /// # Errors
    /// If the file cannot be written.
    pub fn open(path: &Path) -> std::io::Result<Diary> {
        let mut file = File::options().create(true).append(true).open(path)?;
        // Whoever was killed before may have left half a line.
        file.write_all(b"\n")?;
        Ok(Diary(Mutex::new(file)))
    }

    fn note(&self, webhook: &Webhook) -> std::io::Result<()> {
        let line = format!("{}\n", webhook.line());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes())
    }

    /// Serves on a port, with 204 until it is told otherwise.
    pub fn serve(self, port: Port) -> Writing {
        let (diary, status) = (Arc::new(self), Arc::new(AtomicU16::new(204)));
        let told = status.clone();
        let server = Server::start(port, move |request| {
            let (diary, status) = (diary.clone(), told.load(Ordering::Relaxed));
            async move {
                let noted = read(request).await.is_some_and(|webhook| diary.note(&webhook).is_ok());
                let response = Response::builder().status(if noted { status } else { 500 });
                response.body(full("")).expect("a valid response")
            }
        });
        Writing { _server: server, status }
    }
}

impl Writing {
    /// From now on it answers with this status.
    pub fn answer_with(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }
}

/// None if it did not come whole.
async fn read(request: Request<Incoming>) -> Option<Webhook> {
    let path = request.uri().path().to_owned();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = request.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let body = request.into_body().collect().await.ok()?.to_bytes();
    Some(Webhook { path, headers, body })
}

async fn answer(
    request: Request<Incoming>,
    received: Arc<Mutex<Vec<Webhook>>>,
    behaviour: Arc<Mutex<Behaviour>>,
) -> Response<Body> {
    let Some(webhook) = read(request).await else { return Response::new(full("")) };
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
