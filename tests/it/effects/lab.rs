//! Where effects are looked at: a stack, and one server that is page, receiver and bucket at once and remembers everything.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value as Json, json};
use snaphook_shared::dialect::Dialect;
use snaphook_shared::options::model::Medium;
use snaphook_shared::request::Endpoint;
use snaphook_tests::client::{Answer, Client};
use snaphook_tests::picture::Picture;
use snaphook_tests::s3::S3;
use snaphook_tests::serve::{Body, Port, Server, full};
use snaphook_tests::stack::Stack;
use snaphook_tests::video::Video;
use snaphook_tests::wait::{self, s};
use tokio::sync::OnceCell;

use super::AT_ONCE;

/// What the server was asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Below the address of its own that each render has; the page itself is empty.
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
}

#[derive(Default)]
struct Memory {
    pages: HashMap<usize, String>,
    asked: HashMap<usize, Vec<Asked>>,
}

/// A stack and the server beside it. Renders have addresses of their own on it, so that many can run at once.
pub(super) struct Lab {
    _stack: Stack,
    client: Client,
    server: Server,
    /// A bucket of a real S3 server, which looks at signatures.
    s3: S3,
    memory: Arc<Mutex<Memory>>,
    renders: AtomicUsize,
    /// Renders that many rows compare with, by what was asked.
    known: Mutex<HashMap<String, Arc<OnceCell<Taken>>>>,
}

/// One render: what came back, and what was seen of it from outside.
pub(super) struct Taken {
    pub(super) answer: Answer,
    /// What is known of the request, if it was asynchronous and has ended.
    pub(super) request: Json,
    pub(super) asked: Vec<Asked>,
    /// The address of this render's page, to be cut out of what is compared.
    pub(super) base: String,
    is_video: bool,
}

impl Lab {
    pub(super) fn start() -> Lab {
        let memory = Arc::new(Mutex::new(Memory::default()));
        let noted = memory.clone();
        let server = Server::start(Port::reserve(), move |request| answer(request, noted.clone()));
        // Most of the time is spent in pages that wait for something.
        let stack = Stack::builder().set("SNAPHOOK_RENDER_CONCURRENCY", AT_ONCE).start();
        Lab {
            client: stack.client(),
            _stack: stack,
            server,
            s3: S3::start("shots"),
            memory,
            renders: AtomicUsize::new(0),
            known: Mutex::default(),
        }
    }

    /// Renders `page` with these options; `{base}` in a text stands for the page's address, `{s3}` for the bucket's.
    pub(super) async fn take(&self, endpoint: Endpoint, page: &str, options: &Json) -> Taken {
        let number = self.renders.fetch_add(1, Ordering::Relaxed);
        let base = format!("{}/{number}", self.server.url());
        let fill = |text: &str| text.replace("{base}", &base).replace("{s3}", &self.s3.url);
        self.memory().pages.insert(number, fill(page));
        let options: Json = serde_json::from_str(&fill(&options.to_string())).unwrap();
        let answer = self.client.post(endpoint.path(), &options).await;
        let request = match options["async"] == true && answer.status.is_success() {
            true => self.ended(answer.header("x-snaphook-request-id"), &options, number).await,
            false => Json::Null,
        };
        let is_video = endpoint.defaults().medium() == Medium::Video;
        Taken { answer, request, asked: self.asked(number), base, is_video }
    }

    /// As [`Lab::take`], but what was rendered before with the same options is not rendered again.
    pub(super) async fn take_once(&self, endpoint: Endpoint, page: &str, options: &Json) -> Arc<OnceCell<Taken>> {
        let key = format!("{} {options} {page}", endpoint.path());
        let cell = self.known.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone();
        cell.get_or_init(|| self.take(endpoint, page, options)).await;
        cell
    }

    /// Nothing counts as rendered before.
    pub(super) fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Waits for the end of an asynchronous request and of its webhook, if there is to be one.
    async fn ended(&self, id: &str, options: &Json, number: usize) -> Json {
        let view = self.client.request_when(id, "an end", s(30), |view| view["finished_at"].is_string()).await;
        let is_told =
            options["webhook_url"].is_string() && (view["state"] == "done" || options["webhook_errors"] == true);
        if is_told {
            wait::for_it("its webhook", s(20), || {
                self.asked(number).iter().any(|asked| asked.path == "hook").then_some(())
            })
            .await;
        }
        view
    }

    fn asked(&self, number: usize) -> Vec<Asked> {
        self.memory().asked.get(&number).cloned().unwrap_or_default()
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `/7/paint.js`: the seventh render's script. Everything is answered; what is not known by name gets an empty 204.
async fn answer(request: Request<Incoming>, memory: Arc<Mutex<Memory>>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mut parts = head.uri.path().trim_start_matches('/').splitn(2, '/');
    let number: usize = parts.next().and_then(|number| number.parse().ok()).unwrap_or(usize::MAX);
    let path = parts.next().unwrap_or_default().to_owned();
    // An object that is put is taken whole, as a bucket does.
    let _ = body.collect().await;
    let query = head.uri.query().unwrap_or_default().to_owned();
    let page = {
        let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = Asked { path: path.clone(), query, headers: head.headers.clone() };
        memory.asked.entry(number).or_default().push(asked);
        memory.pages.get(&number).cloned().unwrap_or_default()
    };
    let respond = |status: u16, kind: &str, body: String| {
        let response = Response::builder().status(status).header("content-type", kind).header("x-custom", "hello");
        response.body(full(body)).expect("a valid response")
    };
    match path.as_str() {
        "" => respond(200, "text/html; charset=utf-8", page),
        "late" => {
            tokio::time::sleep(Duration::from_millis(2500)).await;
            respond(200, "text/html; charset=utf-8", page)
        }
        "broken" => respond(503, "text/html; charset=utf-8", page),
        "strict" => {
            let mut response = respond(200, "text/html; charset=utf-8", page);
            response.headers_mut().insert("content-security-policy", "script-src 'none'".parse().expect("a policy"));
            response
        }
        "slow.js" => {
            tokio::time::sleep(Duration::from_millis(700)).await;
            respond(200, "text/javascript", "document.body.style.background = '#0f0'".to_owned())
        }
        "paint.js" | "pagead/js/paint.js" | "gtm.js" => {
            respond(200, "text/javascript", "document.body.style.background = '#0f0'".to_owned())
        }
        "gone.png" => respond(404, "image/png", String::new()),
        // A bucket answers 200 to what is put into it.
        _ if head.method == http::Method::PUT => respond(200, "application/xml", String::new()),
        _ => respond(204, "text/plain", String::new()),
    }
}

impl Taken {
    /// `ok`, or the code of the error, with the message where only that says what is wrong.
    pub(super) fn code(&self) -> String {
        if self.answer.status.is_success() {
            return "ok".to_owned();
        }
        let body = self.answer.json();
        let code = body["error_code"].as_str().or(body["code"].as_str()).unwrap_or_default();
        let detail = body["error_details"][0]["message"].as_str().or(body["details"][0]["message"].as_str());
        match detail.filter(|_| code == "request_not_valid") {
            Some(detail) => format!("{code} {detail}"),
            None => code.to_owned(),
        }
    }

    /// What the page said about itself under this name; see [`super::pages`].
    pub(super) fn told(&self, name: &str) -> String {
        let report = self.asked.iter().rev().filter(|asked| asked.path == "report").find_map(|asked| {
            let text = percent_encoding::percent_decode_str(&asked.query).decode_utf8().ok()?;
            serde_json::from_str::<Json>(&text).ok()?.get(name).cloned()
        });
        match report {
            Some(Json::String(text)) => text,
            Some(value) => value.to_string(),
            None => format!("nothing; {}", self.code()),
        }
    }

    /// A header of the request for the page, or for what is below it.
    pub(super) fn sent(&self, path: &str, header: &str) -> String {
        let asked = self.asked.iter().find(|asked| asked.path == path);
        let value = asked.and_then(|asked| asked.headers.get(header)).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    }

    /// How often a path was asked for.
    pub(super) fn times(&self, path: &str) -> String {
        self.asked.iter().filter(|asked| asked.path == path).count().to_string()
    }

    /// The picture; of a video, what it begins with, without what a lossy format has done to pure colours.
    pub(super) fn picture(&self) -> Result<Picture, String> {
        match self.code().as_str() {
            "ok" if self.is_video => Ok(self.video()?.at(0.0).purified()),
            "ok" => Ok(Picture::decode(&self.answer.body)),
            code => Err(code.to_owned()),
        }
    }

    pub(super) fn video(&self) -> Result<Video, String> {
        match self.code().as_str() {
            "ok" => Ok(Video::decode(&self.answer.body)),
            code => Err(code.to_owned()),
        }
    }

    /// `#rrggbb`, or `#rrggbbaa` where it is not opaque.
    pub(super) fn pixel(&self, x: u32, y: u32) -> String {
        match self.picture() {
            Ok(picture) => match picture.rgba(x, y) {
                [r, g, b, 255] => format!("#{r:02x}{g:02x}{b:02x}"),
                [r, g, b, a] => format!("#{r:02x}{g:02x}{b:02x}{a:02x}"),
            },
            Err(code) => code,
        }
    }

    pub(super) fn size(&self) -> String {
        self.picture().map_or_else(|code| code, |picture| format!("{}x{}", picture.width, picture.height))
    }

    /// A header of the answer, escapes taken away.
    pub(super) fn header(&self, name: &str) -> String {
        let text = self.answer.header(name).replace(&self.base, "{base}");
        percent_encoding::percent_decode_str(&text).decode_utf8_lossy().replace(&self.base, "{base}")
    }

    /// What a pointer leads to in a JSON answer.
    pub(super) fn json(&self, pointer: &str) -> String {
        match self.answer.json().pointer(pointer) {
            Some(Json::String(text)) => text.replace(&self.base, "{base}"),
            Some(value) => value.to_string().replace(&self.base, "{base}"),
            None => "nothing".to_owned(),
        }
    }

    /// The webhook of an asynchronous request.
    pub(super) fn hook(&self) -> Option<&Asked> {
        self.asked.iter().find(|asked| asked.path == "hook")
    }

    /// The object that was put into the bucket.
    pub(super) fn stored(&self) -> Option<&Asked> {
        self.asked.iter().find(|asked| asked.path.starts_with("s3/"))
    }

    /// For how many days the file of an asynchronous request is kept.
    pub(super) fn file_days(&self) -> String {
        let time = |pointer: &str| {
            let text = self.request.pointer(pointer).and_then(Json::as_str).unwrap_or_default();
            text.parse::<jiff::Timestamp>().unwrap().as_second()
        };
        ((time("/file/expires_at") - time("/created_at")) / 86_400).to_string()
    }

    /// Width and height of a document's first page in points, and how many pages there are.
    pub(super) fn paper(&self) -> String {
        if self.code() != "ok" {
            return self.code();
        }
        let text = self.answer.text();
        let boxes: Vec<&str> =
            text.split("/MediaBox [").skip(1).map(|rest| rest.split(']').next().unwrap_or_default()).collect();
        let numbers = boxes.first().unwrap_or(&"").split_whitespace().filter_map(|number| number.parse::<f64>().ok());
        let size: Vec<String> = numbers.skip(2).map(|number| number.round().to_string()).collect();
        format!("{} x{}", size.join("x"), boxes.len())
    }
}

/// What every render of the table has, so that pictures are small and exact; a row's own parameter is left out of it.
pub(super) fn usual(endpoint: Endpoint) -> Json {
    let mut options = json!({ "url": "{base}/", "viewport_width": 200, "viewport_height": 100 });
    if endpoint.dialect() == Dialect::ScreenshotMax {
        // The search for banners, which is on by default, costs each render half a second.
        options["block_annoyance"] = json!("none");
    }
    if matches!(endpoint, Endpoint::Take | Endpoint::Screenshot) {
        options["format"] = json!("png");
    }
    if endpoint.defaults().medium() == Medium::Video {
        options["duration"] = json!(1);
    }
    options
}
