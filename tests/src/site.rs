//! The pages that are taken: `tests/pages`, and some addresses that misbehave.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;

use crate::repository;
use crate::serve::{Body, Port, Server, full, streamed};

const SVG: &str = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>";

/// What a site remembers of the requests to it.
#[derive(Default)]
struct Memory {
    by_path: HashMap<String, Vec<HeaderMap>>,
}

/// A running web site.
///
/// Besides the files: `/never` does not answer, `/status/404` has that status, `/slow?1500` answers after so many
/// milliseconds with a green page, `/redirect?http://…` leads there, `/events` is an event stream without end, `/socket` a WebSocket.
/// `/csp-report?http://…` breaks its own policy, whose reports go there, `/auth` wants a user name and a password.
/// `/huge.png` is small, and a gigabyte when it is decoded.
/// `/endless` never stops sending, to whatever origin, `/broken` stops in its middle, `/stopped` has had enough of itself before its end, `/loop` leads to itself, `/attachment` is to be downloaded, `/cached` may be kept.
pub struct Site {
    server: Server,
    memory: Arc<Mutex<Memory>>,
}

impl Site {
    pub fn start() -> Site {
        Site::start_at(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// At another address of this machine.
    pub fn start_at(ip: IpAddr) -> Site {
        let memory = Arc::new(Mutex::new(Memory::default()));
        let noted = memory.clone();
        let server = Server::start(Port::reserve_at(ip), move |request: Request<Incoming>| {
            let path = request.uri().path().to_owned();
            let mut memory = noted.lock().unwrap_or_else(PoisonError::into_inner);
            memory.by_path.entry(path).or_default().push(request.headers().clone());
            answer(request)
        });
        Site { server, memory }
    }

    /// The address of a page: `site.url("/tall.html")`.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    /// How often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        self.requests(path).len()
    }

    /// The headers of each request to a path.
    pub fn requests(&self, path: &str) -> Vec<HeaderMap> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.by_path.get(path).cloned().unwrap_or_default()
    }
}

async fn answer(mut request: Request<Incoming>) -> Response<Body> {
    let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
    let html = |status: u16, text: &str| respond(status, "text/html; charset=utf-8", text.to_owned());
    if path == "/never" {
        return std::future::pending().await;
    }
    if path == "/events" {
        let pieces = futures::stream::iter([Bytes::from("data: hello\n\n")]).chain(futures::stream::pending()).boxed();
        let response = Response::builder().header("content-type", "text/event-stream").body(streamed(pieces));
        return response.expect("a valid response");
    }
    if path == "/endless" {
        let block = Bytes::from(vec![b' '; 64 * 1024]);
        let start = futures::stream::iter([Bytes::from("<!doctype html><p>and so on")]);
        return response(
            200,
            &[("content-type", "text/html"), ("access-control-allow-origin", "*")],
            streamed(start.chain(futures::stream::repeat(block)).boxed()),
        );
    }
    if path == "/broken" || path == "/stopped" {
        let (length, script) = match path.as_str() {
            "/broken" => ("100000", ""),
            _ => ("100000000", "<script>setTimeout(() => window.stop(), 300)</script>"),
        };
        let start = format!("<!doctype html><body style='margin:0;background:#00ff00'>{script}");
        let start = futures::stream::iter([Bytes::from(start)]).chain(futures::stream::once(async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Bytes::from("<p>so far")
        }));
        let rest = match path.as_str() {
            "/broken" => futures::stream::empty().boxed(),
            _ => futures::stream::pending().boxed(),
        };
        let headers = [("content-type", "text/html"), ("content-length", length)];
        return response(200, &headers, streamed(start.chain(rest).boxed()));
    }
    if path == "/loop" {
        return response(302, &[("location", "/loop")], full(""));
    }
    if path == "/attachment" {
        let headers = [("content-type", "application/zip"), ("content-disposition", "attachment; filename=a.zip")];
        return response(200, &headers, full("PK"));
    }
    if path == "/csp-report" {
        let policy = format!("img-src 'none'; report-uri {query}");
        let headers = [("content-type", "text/html"), ("content-security-policy", policy.as_str())];
        return response(200, &headers, full("<!doctype html><img src='/square.svg'>"));
    }
    if path == "/huge.png" {
        return respond(200, "image/png", huge());
    }
    if path == "/auth" {
        if request.headers().contains_key("authorization") {
            return response(200, &[("content-type", "image/svg+xml")], full(SVG));
        }
        return response(401, &[("www-authenticate", "Basic realm=\"site\"")], full("who is there?"));
    }
    if path == "/cached" {
        let headers = [("content-type", "text/javascript"), ("cache-control", "public, max-age=3600")];
        return response(200, &headers, full("window.cached = true"));
    }
    if path == "/socket" {
        return open_socket(&mut request);
    }
    if path == "/slow" {
        tokio::time::sleep(Duration::from_millis(query.parse().unwrap_or(1000))).await;
        return html(200, "<!doctype html><body style='margin:0;background:#00ff00'>slow");
    }
    if path == "/redirect" {
        let response = Response::builder().status(302).header("location", query).body(full(""));
        return response.expect("a valid response");
    }
    if let Some(status) = path.strip_prefix("/status/") {
        return html(status.parse().unwrap_or(500), "<!doctype html><p>as you wished");
    }
    let is_plain = path.split('/').all(|part| part != "..");
    let file = repository("tests/pages").join(path.trim_start_matches('/'));
    match std::fs::read(&file) {
        Ok(bytes) if is_plain => respond(200, content_type(&path), bytes),
        _ => html(404, "<!doctype html><p>no such page"),
    }
}

/// 2^14 by 2^14 pixels, a bit each here and four bytes each in a browser.
fn huge() -> Vec<u8> {
    const SIDE: u32 = 1 << 14;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, SIDE, SIDE);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().expect("room in memory");
    let pixels = vec![0; (SIDE * SIDE / 8) as usize];
    writer.write_image_data(&pixels).and_then(|()| writer.finish()).expect("room in memory");
    bytes
}

fn response(status: u16, headers: &[(&str, &str)], body: Body) -> Response<Body> {
    let response = Response::builder().status(status);
    let response = headers.iter().fold(response, |response, (name, value)| response.header(*name, *value));
    response.body(body).expect("a valid response")
}

fn respond(status: u16, content_type: &str, bytes: impl Into<Bytes>) -> Response<Body> {
    let response = Response::builder().status(status).header("content-type", content_type);
    response.body(full(bytes)).expect("a valid response")
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "svg" => "image/svg+xml",
        "css" => "text/css",
        "js" => "text/javascript",
        _ => "application/octet-stream",
    }
}

/// Takes the connection over as a WebSocket that says nothing and stays.
fn open_socket(request: &mut Request<Incoming>) -> Response<Body> {
    const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let key = request.headers().get("sec-websocket-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{MAGIC}").as_bytes());
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let _open = upgrade.await;
        std::future::pending::<Infallible>().await
    });
    let response = Response::builder()
        .status(101)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", BASE64.encode(digest));
    response.body(full("")).expect("a valid response")
}
