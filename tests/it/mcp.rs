//! `snaphook mcp`: what a client sees, by the protocol's own one and by one of ours that can misbehave.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value as Json, json};
use snaphook_tests::descendants::{self, Process};
use snaphook_tests::picture::{Picture, jpeg_size};
use snaphook_tests::run;
use snaphook_tests::site::Site;
use snaphook_tests::stack::{Stack, snaphook};
use snaphook_tests::wait::{self, s};

use crate::programs::ask;

/// Chromium's first start on a busy machine is part of it.
const LIMIT: Duration = Duration::from_secs(60);

/// A client that says what it is told to, and keeps every line that it hears.
struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    answers: HashMap<u64, Json>,
    log: Arc<Mutex<String>>,
    next_id: u64,
}

impl Agent {
    /// Starts the server and shakes hands.
    fn start(command: &mut Command) -> Agent {
        Agent::start_with(command, &[])
    }

    fn start_with(command: &mut Command, arguments: &[&str]) -> Agent {
        command.arg("mcp").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let (stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let log = Arc::new(Mutex::new(String::new()));
        let kept = log.clone();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut chunk) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..length]));
            }
        });
        let stdin = child.stdin.take();
        let mut agent = Agent { child, stdin, lines, answers: HashMap::new(), log, next_id: 0 };
        let hello = json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": { "name": "agent", "version": "1" },
        });
        let id = agent.ask("initialize", hello);
        assert_eq!(agent.answer(id)["result"]["serverInfo"]["name"], "snaphook");
        agent.tell("notifications/initialized", json!({}));
        agent
    }

    fn send(&mut self, message: &Json) {
        writeln!(self.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    fn tell(&mut self, method: &str, params: Json) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    fn ask(&mut self, method: &str, params: Json) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// Begins a call and does not wait for its end.
    fn begin(&mut self, tool: &str, arguments: Json) -> u64 {
        self.ask("tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    fn answer(&mut self, id: u64) -> Json {
        self.answer_within(id, LIMIT).unwrap_or_else(|| panic!("no answer to {id}; {}", self.log.lock().unwrap()))
    }

    fn answer_within(&mut self, id: u64, limit: Duration) -> Option<Json> {
        let deadline = Instant::now() + limit;
        while !self.answers.contains_key(&id) {
            let line = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?;
            // Whatever else came to standard output would break a client.
            let message: Json = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert_eq!(message["jsonrpc"], "2.0", "{message}");
            if let Some(id) = message["id"].as_u64() {
                self.answers.insert(id, message);
            }
        }
        self.answers.remove(&id)
    }

    fn call(&mut self, tool: &str, arguments: Json) -> Json {
        let id = self.begin(tool, arguments);
        self.answer(id)["result"].take()
    }

    /// The words of a call that must fail.
    fn refused(&mut self, tool: &str, arguments: Json) -> String {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{result}");
        words(&result)
    }

    /// The words of a call that must not fail.
    fn told(&mut self, tool: &str, arguments: Json) -> String {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], false, "{result}");
        words(&result)
    }

    fn processes(&self) -> Vec<Process> {
        descendants::of(self.child.id())
    }

    /// Waits for the end by itself, and gives its exit code.
    async fn end(&mut self) -> Option<i32> {
        let ended = wait::for_it("the server's end", s(20), || self.child.try_wait().unwrap()).await;
        ended.code()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if !wait::blocking(s(20), || self.child.try_wait().is_ok_and(|status| status.is_some())) {
            let _ = self.child.kill();
        }
    }
}

fn words(result: &Json) -> String {
    let blocks = result["content"].as_array().unwrap_or_else(|| panic!("{result}"));
    blocks.iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n")
}

fn image(result: &Json) -> (String, Vec<u8>) {
    let block = result["content"].as_array().unwrap().iter().find(|block| block["type"] == "image");
    let block = block.unwrap_or_else(|| panic!("{result}"));
    (block["mimeType"].as_str().unwrap().to_owned(), BASE64.decode(block["data"].as_str().unwrap()).unwrap())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn gone(processes: &[Process]) {
    assert!(!processes.is_empty(), "there was a browser");
    wait::for_it("the browser's end", s(10), || descendants::still_running(processes).is_empty().then_some(())).await;
}

#[test]
fn the_protocols_own_client_gets_pictures_documents_texts_and_errors() {
    run(async {
        let (folder, site) = (tempfile::tempdir().unwrap(), Site::start());
        let command = snaphook(folder.path());
        let environment: HashMap<String, String> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value?.to_str()?.to_owned())))
            .chain(
                ["PATH", "HOME", "SNAPHOOK_RENDER_CHROMIUM"]
                    .into_iter()
                    .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))),
            )
            .collect();
        let green = site.url("/slow?1");
        let told = ask(
            "node",
            "mcp.mjs",
            &json!({
                "command": command.get_program().to_str(),
                "args": ["mcp"],
                "env": environment,
                "cwd": folder.path(),
                "calls": [
                    { "name": "take_screenshot", "arguments": { "url": green, "format": "png", "viewport_width": 320, "viewport_height": 200 } },
                    { "name": "take_screenshot", "arguments": { "url": site.url("/tall.html"), "full_page": true, "options": { "image_width": 200 } } },
                    { "name": "read_page", "arguments": { "url": site.url("/article.html") } },
                    { "name": "make_pdf", "arguments": { "html": "<h1>Hello", "pdf_paper_format": "a4" } },
                    { "name": "take_screenshot", "arguments": { "url": "https://example.com", "viewport_width": "wide", "options": { "nonsense": 1, "webhook_url": "https://example.com" } } },
                    { "name": "take_screenshot", "arguments": { "url": site.url("/status/404") } },
                    { "name": "take_picture", "arguments": {} },
                    { "name": "enqueue_render", "arguments": { "url": green } },
                ],
            }),
        );
        assert_eq!(told["server"]["name"], "snaphook");
        let tools = told["tools"].as_array().unwrap();
        let listed: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!(listed, ["take_screenshot", "make_pdf", "read_page", "check_request"]);
        assert_eq!(tools[0]["inputSchema"]["properties"]["full_page"]["type"], "boolean");
        assert!(tools[0]["inputSchema"]["properties"]["file"].is_null(), "nobody said where files may be");

        let answers = &told["answers"];
        let (mime, bytes) = image(&answers[0]);
        let picture = Picture::decode(&bytes);
        assert_eq!((mime.as_str(), picture.size(), picture.pixel(160, 100)), ("image/png", (320, 200), 0x00ff00));
        assert!(words(&answers[0]).contains("320 × 200 pixels, png"), "{}", words(&answers[0]));
        let (mime, bytes) = image(&answers[1]);
        let (width, height) = jpeg_size(&bytes).unwrap();
        assert_eq!((mime.as_str(), width), ("image/jpeg", 200));
        assert!(height > 200, "a full page is taller than the viewport's share: {height}");
        let text = words(&answers[2]);
        assert!(text.contains("# Heading") && text.contains("[a link](https://example.com/a)"), "{text}");
        let document = &answers[3]["content"][0]["resource"];
        assert_eq!(document["mimeType"], "application/pdf");
        assert!(BASE64.decode(document["blob"].as_str().unwrap()).unwrap().starts_with(b"%PDF-"));
        let said = words(&answers[4]);
        assert_eq!(answers[4]["isError"], true);
        for name in ["\n  viewport_width: ", "\n  nonsense: ", "\n  webhook_url: "] {
            assert!(said.contains(name), "{said}");
        }
        assert_eq!(answers[5]["isError"], true);
        assert!(words(&answers[5]).contains("host_returned_error"), "{}", answers[5]);
        for unknown in [6, 7] {
            assert_eq!(answers[unknown]["code"], -32602, "{}", answers[unknown]);
        }
        assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));
    });
}

#[test]
fn what_is_inside_the_network_stays_there() {
    run(async {
        let (folder, site) = (tempfile::tempdir().unwrap(), Site::start());
        let mut agent = Agent::start(snaphook(folder.path()).env("SNAPHOOK_DEVELOPMENT", "false"));
        let port = site.url("").rsplit(':').next().unwrap().to_owned();
        for url in [site.url("/slow?1"), format!("http://localhost:{port}/"), "http://169.254.169.254/".to_owned()] {
            for tool in ["take_screenshot", "make_pdf", "read_page"] {
                let said = agent.refused(tool, json!({ "url": url }));
                assert!(said.contains("target_not_allowed"), "{tool} {url}: {said}");
            }
        }
        // Nor does a page lead there.
        let html = format!("<img src='{}'><p>x", site.url("/square.svg"));
        let said = agent.told("take_screenshot", json!({ "html": html }));
        assert!(said.contains("1 addresses that it may not reach"), "{said}");
        assert_eq!((site.count("/slow"), site.count("/square.svg")), (0, 0));
    });
}

#[test]
fn calls_run_side_by_side_and_a_cancelled_one_ends() {
    run(async {
        let (folder, site) = (tempfile::tempdir().unwrap(), Site::start());
        let mut agent = Agent::start(snaphook(folder.path()).env("SNAPHOOK_RENDER_CONCURRENCY", "2"));
        let never = json!({ "url": site.url("/never"), "options": { "timeout": 90, "navigation_timeout": 30 } });
        let (first, second) = (agent.begin("take_screenshot", never.clone()), agent.begin("take_screenshot", never));
        wait::for_it("both pages", LIMIT, || (site.count("/never") == 2).then_some(())).await;
        let quick = agent.begin("take_screenshot", json!({ "url": site.url("/slow?1") }));
        // What needs no page does not wait for one.
        assert!(agent.refused("take_screenshot", json!({ "url": "no url" })).contains("url"));
        assert!(agent.answer_within(quick, Duration::from_secs(1)).is_none(), "there was no page left for it");
        agent.tell("notifications/cancelled", json!({ "requestId": first, "reason": "no longer wanted" }));
        assert_eq!(agent.answer(quick)["result"]["isError"], false);
        assert!(agent.answer_within(first, Duration::from_millis(100)).is_none(), "nobody waits for it");
        assert!(agent.answer_within(second, Duration::from_millis(100)).is_none(), "it was not meant");
    });
}

#[test]
fn the_end_of_the_client_is_that_of_the_browser() {
    run(async {
        let (folder, site) = (tempfile::tempdir().unwrap(), Site::start());
        let scratch = tempfile::tempdir().unwrap();
        for by_signal in [false, true] {
            let mut agent = Agent::start(snaphook(folder.path()).env("TMPDIR", scratch.path()));
            let seen = site.count("/never");
            let never = json!({ "url": site.url("/never"), "options": { "timeout": 90, "navigation_timeout": 30 } });
            agent.begin("take_screenshot", never);
            wait::for_it("the page", LIMIT, || (site.count("/never") > seen).then_some(())).await;
            let browser = agent.processes();
            let code = match by_signal {
                false => {
                    drop(agent.stdin.take());
                    0
                }
                true => {
                    let pid = rustix::process::Pid::from_raw(agent.child.id().cast_signed()).unwrap();
                    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
                    130
                }
            };
            assert_eq!(agent.end().await, Some(code), "{}", agent.log.lock().unwrap());
            gone(&browser).await;
            assert!(names(scratch.path()).is_empty(), "{:?}", names(scratch.path()));
        }
        // One who never asked for anything had no browser.
        let mut agent = Agent::start(&mut snaphook(folder.path()));
        assert!(agent.processes().is_empty(), "{:?}", agent.processes());
        drop(agent.stdin.take());
        assert_eq!(agent.end().await, Some(0));
        assert!(names(folder.path()).is_empty());
    });
}

#[test]
fn files_are_written_into_one_folder_and_large_results_are_refused() {
    run(async {
        let (folder, shots, site) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Site::start());
        let mut agent = Agent::start(&mut snaphook(folder.path()));
        let colours = site.url("/colors.html");
        assert!(agent.refused("take_screenshot", json!({ "url": colours, "file": "a.png" })).contains("--output-dir"));
        let tall = json!({ "html": "<div style='height:9000px'>x", "full_page": true });
        let said = agent.refused("take_screenshot", tall);
        assert!(said.contains("8000") && said.contains("full_page_max_height"), "{said}");
        drop(agent);

        let arguments = ["--output-dir", shots.path().to_str().unwrap(), "--result-bytes-max", "500"];
        let mut agent = Agent::start_with(&mut snaphook(folder.path()), &arguments);
        let said = agent.refused("take_screenshot", json!({ "url": colours }));
        assert!(said.contains("a result may have 500") && said.contains("\"file\""), "{said}");
        let wanted = json!({ "url": colours, "file": "a.png", "viewport_width": 300 });
        let said = agent.told("take_screenshot", wanted.clone());
        assert!(said.contains("a.png: 300 × "), "{said}");
        let picture = Picture::decode(&std::fs::read(shots.path().join("a.png")).unwrap());
        assert_eq!((picture.pixel(5, 5), picture.pixel(200, 200)), (0xff0000, 0x204080));
        assert!(agent.refused("take_screenshot", wanted).contains("is there already"));
        for file in ["../b.png", "/tmp/b.png", "b/c.png"] {
            let said = agent.refused("take_screenshot", json!({ "url": colours, "file": file }));
            assert!(said.contains("\n  file: "), "{said}");
        }
        agent.told("make_pdf", json!({ "url": colours, "file": "a.pdf" }));
        agent.told("read_page", json!({ "url": site.url("/article.html"), "file": "a.md" }));
        assert_eq!(names(shots.path()), ["a.md", "a.pdf", "a.png"]);
        assert!(std::fs::read_to_string(shots.path().join("a.md")).unwrap().contains("# Heading"));
    });
}

#[test]
fn with_a_service_its_limits_hold_and_its_requests_are_told() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_RENDER_CONCURRENCY", 1).start();
        let (client, site, folder) = (stack.client(), Site::start(), tempfile::tempdir().unwrap());
        let key = stack.new_key().access_key;
        let start = |key: &str| {
            // A page of this machine, so that only the service's rules can have let it through.
            let mut command = snaphook(folder.path());
            command.env("SNAPHOOK_DEVELOPMENT", "false").env("SNAPHOOK_ACCESS_KEY", key);
            Agent::start_with(&mut command, &["--server", &stack.api])
        };
        let mut agent = start(&key);
        let small =
            json!({ "url": site.url("/slow?1"), "format": "png", "viewport_width": 320, "viewport_height": 200 });
        let result = agent.call("take_screenshot", small.clone());
        let (_, bytes) = image(&result);
        assert_eq!(Picture::decode(&bytes).pixel(1, 1), 0x00ff00);
        assert!(words(&result).contains("320 × 200 pixels, png"), "{result}");
        assert!(agent.told("read_page", json!({ "url": site.url("/article.html") })).contains("# Heading"));
        assert!(agent.processes().is_empty(), "the service renders");

        let wrong = json!({ "url": "no url", "options": { "nonsense": 1 } });
        let said = agent.refused("take_screenshot", wrong);
        assert!(
            said.starts_with("request_not_valid: ") && said.contains("\n  nonsense: \"nonsense\" is not allowed"),
            "{said}"
        );

        let id = |told: &str| serde_json::from_str::<Json>(told).unwrap()["id"].as_str().unwrap().to_owned();
        let done = id(&agent.told("enqueue_render", json!({ "url": site.url("/slow?1"), "format": "png" })));
        let failed = id(&agent.told("enqueue_render", json!({ "url": site.url("/status/404") })));
        let ended = async |agent: &mut Agent, id: &str| {
            wait::for_it("the request's end", LIMIT, || {
                let view: Json = serde_json::from_str(&agent.told("check_request", json!({ "id": id }))).unwrap();
                view["finished_at"].is_string().then_some(view)
            })
            .await
        };
        let view = ended(&mut agent, &done).await;
        assert_eq!(view["state"], "done", "{view:#}");
        let file = client.get(view["file"]["url"].as_str().unwrap()).await.expect(200);
        assert_eq!(Picture::decode(&file.body).pixel(1, 1), 0x00ff00);
        let view = ended(&mut agent, &failed).await;
        assert_eq!((&view["state"], &view["error"]["code"]), (&json!("failed"), &json!("host_returned_error")));

        // The service ends what its caller has cancelled: its one page is free again.
        let never = json!({ "url": site.url("/never"), "options": { "timeout": 90, "navigation_timeout": 30 } });
        let cancelled = agent.begin("take_screenshot", never);
        wait::for_it("the page", LIMIT, || (site.count("/never") > 0).then_some(())).await;
        agent.tell("notifications/cancelled", json!({ "requestId": cancelled }));
        assert_eq!(agent.call("take_screenshot", small.clone())["isError"], false);

        stack.keys(&["limits", &key, "--quota", "1", "--json"]);
        let said = agent.refused("take_screenshot", small.clone());
        assert!(said.contains("screenshots_limit_reached") && said.contains("try again in"), "{said}");
        assert!(!agent.log.lock().unwrap().contains(&key));
        drop(agent);

        let mut stranger = start("AKwrong");
        assert!(stranger.refused("take_screenshot", small).contains("access_key_invalid"));
        // Another key's request is not there.
        assert!(stranger.refused("check_request", json!({ "id": done })).contains("access_key_invalid"));
        drop(stranger);

        // On the service's own machine, with its settings, no key is needed to ask.
        let mut agent = Agent::start(&mut stack.command());
        let view: Json = serde_json::from_str(&agent.told("check_request", json!({ "id": done }))).unwrap();
        assert_eq!((&view["state"], &view["access_key"]), (&json!("done"), &Json::Null));
        assert!(
            agent.refused("check_request", json!({ "id": format!("req_{}", "0".repeat(32)) })).contains("not_found")
        );
        assert!(agent.refused("check_request", json!({ "id": "../keys" })).contains("\n  id: "));
    });
}

#[test]
fn a_server_without_a_key_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let output = snaphook(folder.path()).args(["mcp", "--server", "http://127.0.0.1:9"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("SNAPHOOK_ACCESS_KEY"));
    assert!(output.stdout.is_empty());
}
