//! A caller of snaphook: sends requests with a key, reads answers whole.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value as Json, json};
use snaphook_shared::link;
use snaphook_shared::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stack::KeyPair;
use crate::{runtime, wait};

/// No answer takes longer; a test that hangs says so.
const LIMIT: Duration = Duration::from_secs(60);

/// A caller with a key.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    pub base: String,
    pub key: KeyPair,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// # Panics
    /// If the body is no JSON.
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's text; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The answer itself if its status is this one.
    ///
    /// # Panics
    /// If it is not; the message holds the beginning of the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        let body: String = self.text().chars().take(600).collect();
        assert_eq!(self.status.as_u16(), status, "{body}");
        self
    }
}

async fn receive(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    Ok(Answer { status, headers, body: response.bytes().await? })
}

impl Client {
    pub fn new(base: &str, key: &KeyPair) -> Client {
        // Also installs the process's TLS provider, which reqwest asks for.
        let _inside = runtime().enter();
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(LIMIT);
        Client { http: http.build().expect("a client"), base: base.to_owned(), key: key.clone() }
    }

    /// The same caller with another key.
    pub fn with_key(&self, key: &KeyPair) -> Client {
        Client { key: key.clone(), ..self.clone() }
    }

    /// The same caller, elsewhere.
    pub fn at(&self, base: &str) -> Client {
        Client { base: base.to_owned(), ..self.clone() }
    }

    /// Sends a request as it is given; `path` may be a whole URL.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Vec<u8>>) -> Answer {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut request = self.http.request(method, &url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        receive(request).await.unwrap_or_else(|error| panic!("{url}: {error:?}"))
    }

    /// As [`Client::post`], but for a server that may go away: None when there was no whole answer.
    pub async fn try_post(&self, path: &str, body: &Json) -> Option<Answer> {
        self.try_post_with(path, &[], body).await
    }

    /// As [`Client::try_post`], with more headers.
    pub async fn try_post_with(&self, path: &str, headers: &[(&str, &str)], body: &Json) -> Option<Answer> {
        let request = self.http.post(format!("{}{path}", self.base)).header("x-access-key", &self.key.access_key);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        receive(request.json(body)).await.ok()
    }

    /// GET without a key.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }

    /// GET with the key in its header.
    pub async fn get_with_key(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[("x-access-key", &self.key.access_key)], None).await
    }

    /// POST of JSON with the key in its header.
    pub async fn post(&self, path: &str, body: &Json) -> Answer {
        self.post_with(path, &[], body).await
    }

    /// As [`Client::post`], with more headers.
    pub async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Json) -> Answer {
        let own = [("x-access-key", self.key.access_key.as_str()), ("content-type", "application/json")];
        self.send(Method::POST, path, &[&own, headers].concat(), Some(body.to_string().into_bytes())).await
    }

    /// POST to ScreenshotOne's route.
    pub async fn take(&self, options: &Json) -> Answer {
        self.post("/take", options).await
    }

    /// POST to ScreenshotMAX's route.
    pub async fn screenshot(&self, options: &Json) -> Answer {
        self.post("/v1/screenshot", options).await
    }

    /// An asynchronous request, accepted; gives its id.
    pub async fn enqueue(&self, path: &str, options: &Json) -> String {
        let mut options = options.clone();
        options["async"] = json!(true);
        let accepted = self.post(path, &options).await.expect(202);
        accepted.header("x-snaphook-request-id").to_owned()
    }

    /// What is known of a request.
    pub async fn request(&self, id: &str) -> Json {
        self.get_with_key(&format!("/v1/requests/{id}")).await.expect(200).json()
    }

    /// Waits until a request is as wanted.
    pub async fn request_when(&self, id: &str, what: &str, limit: Duration, wanted: impl Fn(&Json) -> bool) -> Json {
        let what = format!("{id}: {what}");
        wait::until(&what, limit, async || Some(self.request(id).await).filter(|view| wanted(view))).await
    }

    /// The request once its webhook has been delivered.
    pub async fn delivered(&self, id: &str, limit: Duration) -> Json {
        self.request_when(id, "delivered", limit, |view| view["webhook"]["state"] == "delivered").await
    }

    /// Waits until a request is done, and not failed.
    pub async fn done(&self, id: &str, limit: Duration) -> Json {
        let view = self.request_when(id, "an end", limit, |view| view["finished_at"].is_string()).await;
        assert_eq!(view["state"], "done", "{view:#}");
        view
    }

    /// A signed link to a route; `query` is already escaped.
    pub fn signed(&self, path: &str, query: &str) -> String {
        let query = format!("{query}&access_key={}", self.key.access_key);
        format!("{path}?{}", link::sign(&query, &Secret::new(&self.key.secret_key)))
    }
}

/// Sends bytes on a connection of its own and reads the answer, even one that comes before everything was sent.
pub async fn send_raw(base: &str, request: Vec<u8>) -> String {
    let address = base.trim_start_matches("http://");
    let stream = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
    let (mut read, mut write) = stream.into_split();
    // Who refuses early closes early; that the rest could not be sent is part of it.
    let writing = tokio::spawn(async move {
        let _ = write.write_all(&request).await;
        write
    });
    let mut answer = Vec::new();
    let reading = async {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length @ 1..) = read.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..length]);
            if is_whole(&answer) {
                break;
            }
        }
    };
    tokio::time::timeout(LIMIT, reading).await.expect("an answer");
    writing.abort();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Whether an answer of declared length is there.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    match length {
        Some(length) => body.len() >= length,
        None => body.ends_with("0\r\n\r\n"),
    }
}
