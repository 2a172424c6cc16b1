//! The least that a picture costs: Chromium driven by hand over a pipe, with nothing between.
//!
//! `isolated` is the ceiling for whoever gives each picture a browser context of its own: the target is made at its
//! address, and each command is there because there is no picture without it. `small` is the same, with the PNG that
//! Chromium makes when it is not told to be quick about it. `reused` opens one page for each picture
//! under way and leads it from address to address: the limit that isolation is measured against.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use command_fds::{CommandFdExt, FdMapping};
use serde_json::{Value as Json, json};

const LIMIT: Duration = Duration::from_secs(60);

type Failed = String;

/// What waits for answers, and for the events of sessions.
#[derive(Default)]
struct Waiting {
    answers: HashMap<u64, Sender<Json>>,
    events: HashMap<String, Sender<Json>>,
}

struct Browser {
    child: Child,
    to_browser: Mutex<PipeWriter>,
    next_id: AtomicU64,
    waiting: Arc<Mutex<Waiting>>,
}

struct Page {
    target: String,
    session: String,
    events: Receiver<Json>,
}

/// What one contender is told: the program, its switches, the view.
pub(super) struct Setting {
    pub(super) chromium: String,
    pub(super) flags: Vec<String>,
    pub(super) width: u64,
    pub(super) height: u64,
    /// Whether a PNG is to be made fast rather than small.
    quick: bool,
}

impl Setting {
    /// As whoever started this process said it.
    pub(super) fn told(kind: &str) -> Setting {
        let told: Json = serde_json::from_str(&std::env::var("BENCH").expect("BENCH")).expect("JSON");
        Setting {
            chromium: told["chromium"].as_str().unwrap_or_default().to_owned(),
            flags: told["flags"].as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect(),
            width: told["width"].as_u64().unwrap_or_default(),
            height: told["height"].as_u64().unwrap_or_default(),
            quick: kind != "small",
        }
    }
}

/// The contender's process: orders come as lines of JSON, and each is answered with a line.
pub(crate) fn serve(kind: &str) {
    let isolated = kind != "reused";
    let setting = Arc::new(Setting::told(kind));
    let profile = tempfile::tempdir().expect("a profile");
    let browser = Arc::new(Browser::start(&setting, &profile.path().display().to_string()));
    browser.call(None, "Browser.getVersion", json!({})).expect("a browser that answers");
    let pages: Arc<Mutex<Vec<Page>>> = Arc::default();
    say(&json!({ "ready": true }));
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let order: Json = serde_json::from_str(&line).expect("JSON");
        let (browser, pages, setting) = (browser.clone(), pages.clone(), setting.clone());
        std::thread::spawn(move || {
            let (url, kind) = (order["url"].as_str().unwrap_or_default(), order["kind"].as_str().unwrap_or_default());
            let mut answer = |result: Result<usize, Failed>| match result {
                Ok(bytes) => say(&json!({ "id": order["id"], "bytes": bytes })),
                Err(error) => say(&json!({ "id": order["id"], "error": error })),
            };
            if isolated {
                browser.in_a_context(url, kind, &setting, &mut answer);
            } else {
                let page = lock(&pages).pop().map_or_else(|| browser.blank(&setting), Ok);
                match page {
                    Ok(page) => {
                        answer(browser.lead(&page, url).and_then(|()| browser.take(&page, kind, &setting)));
                        lock(&pages).push(page);
                    }
                    Err(error) => answer(Err(error)),
                }
            }
        });
    }
}

pub(super) fn say(message: &Json) {
    println!("{message}");
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Browser {
    fn start(setting: &Setting, profile: &str) -> Browser {
        let (browser_reads, to_browser) = std::io::pipe().expect("a pipe");
        let (from_browser, browser_writes) = std::io::pipe().expect("a pipe");
        let mut command = Command::new(&setting.chromium);
        command
            .args(["--headless", "--remote-debugging-pipe"])
            .args(&setting.flags)
            .arg(format!("--user-data-dir={profile}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .fd_mappings(vec![
                FdMapping { parent_fd: browser_reads.into(), child_fd: 3 },
                FdMapping { parent_fd: browser_writes.into(), child_fd: 4 },
            ])
            .expect("free descriptors");
        let child = command.spawn().expect("Chromium");
        let waiting: Arc<Mutex<Waiting>> = Arc::default();
        let told = waiting.clone();
        std::thread::spawn(move || listen(from_browser, &told));
        Browser { child, to_browser: Mutex::new(to_browser), next_id: AtomicU64::new(1), waiting }
    }

    /// Sends a command; its answer is to be waited for.
    fn send(&self, session: Option<&str>, method: &str, params: Json) -> Receiver<Json> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let (sender, answer) = channel();
        lock(&self.waiting).answers.insert(id, sender);
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        // A browser that is gone answers nothing, which the wait will notice.
        let _ = lock(&self.to_browser).write_all(&bytes);
        answer
    }

    fn call(&self, session: Option<&str>, method: &str, params: Json) -> Result<Json, Failed> {
        answered(method, &self.send(session, method, params))
    }

    /// Makes a target and a session with it.
    fn open(&self, target: Json) -> Result<Page, Failed> {
        let target = text(&self.call(None, "Target.createTarget", target)?, "targetId");
        let attach = json!({ "targetId": target, "flatten": true });
        let session = text(&self.call(None, "Target.attachToTarget", attach)?, "sessionId");
        let (sender, events) = channel();
        lock(&self.waiting).events.insert(session.clone(), sender);
        Ok(Page { target, session, events })
    }

    /// A picture in a context of its own, which is answered before the context is disposed of.
    fn in_a_context(&self, url: &str, kind: &str, setting: &Setting, answer: &mut impl FnMut(Result<usize, Failed>)) {
        let context = match self.call(None, "Target.createBrowserContext", json!({ "disposeOnDetach": true })) {
            Ok(made) => text(&made, "browserContextId"),
            Err(error) => return answer(Err(error)),
        };
        let target = json!({
            "url": url, "browserContextId": context, "width": setting.width, "height": setting.height,
        });
        let page = self.open(target).and_then(|page| self.until_loaded(&page).map(|()| page));
        answer(page.as_ref().map_err(Clone::clone).and_then(|page| self.take(page, kind, setting)));
        if let Ok(page) = page {
            lock(&self.waiting).events.remove(&page.session);
        }
        let _ = self.call(None, "Target.disposeBrowserContext", json!({ "browserContextId": context }));
    }

    /// Waits for the load event of a target that was made at its address, and not for that of the blank page before it.
    fn until_loaded(&self, page: &Page) -> Result<(), Failed> {
        let session = Some(page.session.as_str());
        let tree = self.send(session, "Page.getFrameTree", json!({}));
        let _ = self.send(session, "Page.enable", json!({}));
        let _ = self.send(session, "Page.setLifecycleEventsEnabled", json!({ "enabled": true }));
        let frame = answered("Page.getFrameTree", &tree)?["frameTree"]["frame"].take();
        let blank = (text(&frame, "url") == "about:blank").then(|| text(&frame, "loaderId"));
        loop {
            let event = page.events.recv_timeout(LIMIT).map_err(|_| "no load event".to_owned())?;
            let params = &event["params"];
            let is_blank = blank.as_deref().is_some_and(|blank| params["loaderId"] == blank);
            if params["name"] == "load" && params["frameId"] == page.target.as_str() && !is_blank {
                return Ok(());
            }
        }
    }

    fn blank(&self, setting: &Setting) -> Result<Page, Failed> {
        let target = json!({ "url": "about:blank", "width": setting.width, "height": setting.height });
        let page = self.open(target)?;
        self.call(Some(&page.session), "Page.enable", json!({}))?;
        Ok(page)
    }

    fn lead(&self, page: &Page, url: &str) -> Result<(), Failed> {
        while page.events.try_recv().is_ok() {}
        self.call(Some(&page.session), "Page.navigate", json!({ "url": url }))?;
        loop {
            let event = page.events.recv_timeout(LIMIT).map_err(|_| "no load event".to_owned())?;
            if event["method"] == "Page.loadEventFired" {
                return Ok(());
            }
        }
    }

    /// Makes the file, and gives its size.
    fn take(&self, page: &Page, kind: &str, setting: &Setting) -> Result<usize, Failed> {
        let session = Some(page.session.as_str());
        let (method, params) = match kind {
            "pdf" => ("Page.printToPDF", json!({ "printBackground": true })),
            "full" => {
                let size = self.call(session, "Page.getLayoutMetrics", json!({}))?["cssContentSize"].take();
                let clip = json!({ "x": 0, "y": 0, "width": setting.width, "height": size["height"], "scale": 1 });
                let params = json!({
                    "format": "png", "optimizeForSpeed": setting.quick, "captureBeyondViewport": true, "clip": clip,
                });
                ("Page.captureScreenshot", params)
            }
            _ => ("Page.captureScreenshot", json!({ "format": "png", "optimizeForSpeed": setting.quick })),
        };
        let made = self.call(session, method, params)?;
        let file = BASE64.decode(made["data"].as_str().unwrap_or_default()).map_err(|error| error.to_string())?;
        if file.is_empty() { Err("an empty file".to_owned()) } else { Ok(file.len()) }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.call(None, "Browser.close", json!({}));
        let _ = self.child.wait();
    }
}

fn listen(from_browser: PipeReader, waiting: &Mutex<Waiting>) {
    let mut reader = BufReader::with_capacity(256 * 1024, from_browser);
    let mut message = Vec::new();
    while let Ok(length @ 1..) = reader.read_until(0, &mut message) {
        let read = serde_json::from_slice::<Json>(&message[..length - 1]).unwrap_or_default();
        message.clear();
        let mut waiting = lock(waiting);
        if let Some(id) = read["id"].as_u64() {
            if let Some(sender) = waiting.answers.remove(&id) {
                let _ = sender.send(read);
            }
        } else if let Some(sender) = read["sessionId"].as_str().and_then(|session| waiting.events.get(session)) {
            let _ = sender.send(read);
        }
    }
    // Whoever still waits hears that nothing will come.
    *lock(waiting) = Waiting::default();
}

fn answered(method: &str, answer: &Receiver<Json>) -> Result<Json, Failed> {
    let mut answer = answer.recv_timeout(LIMIT).map_err(|_| format!("{method}: no answer"))?;
    match answer.get("error") {
        Some(error) => Err(format!("{method}: {error}")),
        None => Ok(answer["result"].take()),
    }
}

fn text(json: &Json, name: &str) -> String {
    json[name].as_str().unwrap_or_default().to_owned()
}
