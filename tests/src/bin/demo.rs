//! What `make run` shows: the main job, step by step, with every real part; then everything stays up to be tried.
//!
//! Environment: `URL` (the page to take; the bundled one by default), `SNAPHOOK_BACKEND_PORT` (8400; the next one is for
//! operations), `SNAPHOOK_EDGE_PORT` (8787), `DEMO_EXIT=1` (end after the job), `DEMO_DIR` (`.snaphook`): where the data,
//! the picture, and `dev.env` for scripts are left.

use std::fmt::Display;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use snaphook_tests::client::{Answer, Client};
use snaphook_tests::part::Part;
use snaphook_tests::picture::Picture;
use snaphook_tests::site::Site;
use snaphook_tests::stack::{KeyPair, Stack};
use snaphook_tests::{random_hex, repository, run};
use tokio::signal::unix::{SignalKind, signal};

/// A page on the internet may take its time.
const JOB_LIMIT: Duration = Duration::from_secs(120);
const WEBHOOK_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
const WATCH: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let result = run(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
        tokio::select! {
            result = demo() => result,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    });
    match result {
        Ok(()) => {
            say("snaphook has stopped.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Everything, until something goes wrong. What it started ends with it, in every case.
async fn demo() -> Result<(), String> {
    let folder = std::env::var_os("DEMO_DIR").map_or_else(|| repository(".snaphook"), PathBuf::from);
    std::fs::create_dir_all(folder.join("data")).map_err(told(folder.display()))?;
    let folder = folder.canonicalize().map_err(told(folder.display()))?;
    let key = key_pair(&folder.join("data/demo-key.json"))?;
    if !repository("edge/verify/pkg/node.js").exists() {
        return Err("the verifier is not built: run `sh edge/verify/build.sh` first".to_owned());
    }

    say("snaphook: a page becomes a stored picture and a signed webhook");
    say("");
    let site = Site::start();
    let mut receiver = start_receiver(&key)?;
    let hook = receiver.json_line(WEBHOOK_LIMIT)?["url"].as_str().unwrap_or_default().to_owned();
    let mut stack = start_stack(&folder.join("data"), &key)?;
    let edge = stack.edge_client();
    let environment = folder.join("dev.env");
    write_environment(&environment, &stack, &edge)?;
    say(format!("   backend   {}  (Chromium, database, files)", stack.api));
    if stack.setting("SNAPHOOK_RENDER_ALLOW_NO_SANDBOX") == Some("true") {
        say("             without Chromium's sandbox, which cannot start as root");
    }
    say(format!("   edge      {}  (the Worker, in workerd)", edge.base));
    say(format!("   receiver  {hook}  (verifies webhooks with the wasm verifier)"));
    say("");

    let page = std::env::var("URL").ok().filter(|url| !url.is_empty()).unwrap_or_else(|| site.url("/demo/index.html"));
    let picture = folder.join("demo.png");
    job(&mut stack, &edge, &mut receiver, &page, &hook, &picture).await?;
    if std::env::var_os("DEMO_EXIT").is_some_and(|wish| wish == "1") {
        return Ok(());
    }
    invite(&stack, &edge, &site, &hook, &environment);
    stay(&mut stack, &mut receiver).await
}

/// The main job, told while it happens.
async fn job(
    stack: &mut Stack,
    edge: &Client,
    receiver: &mut Part,
    page: &str,
    hook: &str,
    picture: &Path,
) -> Result<(), String> {
    say(format!("1. POST {}/v1/screenshot", edge.base));
    say(format!("   url          {page}"));
    say(format!("   webhook_url  {hook}"));
    let started = Instant::now();
    let options = json!({ "url": page, "format": "png", "viewport_width": 1280, "viewport_height": 1024, "full_page": true,
        "async": true, "webhook_url": hook });
    let accepted = edge.screenshot(&options).await;
    if accepted.status != 202 {
        return Err(format!("the request was refused with {}: {}", accepted.status, accepted.text()));
    }
    let id = accepted.header("x-snaphook-request-id").to_owned();
    say(format!("2. 202 Accepted after {}: the request is on disk", since(started)));
    say(format!("   {}", accepted.text()));

    say(format!("3. GET {}/v1/requests/{id}", edge.base));
    let mut states: Vec<String> = Vec::new();
    let view = loop {
        alive(stack, receiver)?;
        let view = edge.request(&id).await;
        let state = view["state"].as_str().unwrap_or_default().to_owned();
        if states.last() != Some(&state) {
            say(format!("   {:>7}  {state}", since(started)));
            states.push(state);
        }
        if view["finished_at"].is_string() {
            break view;
        }
        if started.elapsed() > JOB_LIMIT {
            return Err(format!("the request did not end within {} s: {view:#}", JOB_LIMIT.as_secs()));
        }
        tokio::time::sleep(POLL).await;
    };
    if view["state"] != "done" {
        return Err(format!("the page could not be taken: {}", view["error"]));
    }

    let webhook = webhook_of(&id, stack, receiver).await?;
    say(format!("4. The webhook, after {}:", since(started)));
    say(format!("   {}", webhook["body"].as_str().unwrap_or_default()));
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature", "x-screenshotmax-webhook-signature"] {
        say(format!("   {name}: {}", webhook["headers"][name].as_str().unwrap_or_default()));
    }
    if webhook["verified"] != true {
        return Err(format!("the webhook was not verified: {}", webhook["error"]));
    }
    say(format!(
        "5. verified by the wasm verifier ({}), id {}",
        webhook["scheme"].as_str().unwrap_or_default(),
        webhook["id"].as_str().unwrap_or_default()
    ));

    let body: Json = serde_json::from_str(webhook["body"].as_str().unwrap_or_default())
        .map_err(told("the webhook's body is no JSON"))?;
    let file = body["file"].as_str().unwrap_or_default();
    say(format!("6. GET {file}"));
    let answer = fetch(edge, file).await?;
    std::fs::write(picture, &answer.body).map_err(told("the picture cannot be written"))?;
    let shown = Picture::decode(&answer.body);
    say(format!("   {}", picture.display()));
    say(format!("   {} x {} pixels, {} bytes", shown.width, shown.height, answer.body.len()));
    say("");
    Ok(())
}

async fn fetch(edge: &Client, file: &str) -> Result<Answer, String> {
    let answer = edge.get(file).await;
    match answer.status.as_u16() {
        200 => Ok(answer),
        status => Err(format!("{file} was answered with {status}: {}", answer.text())),
    }
}

/// What the receiver prints for a request's webhook. One of an earlier run may come first.
async fn webhook_of(id: &str, stack: &mut Stack, receiver: &mut Part) -> Result<Json, String> {
    let started = Instant::now();
    loop {
        if let Some(line) = receiver.try_line() {
            let webhook: Json = serde_json::from_str(&line).map_err(told("the receiver printed no JSON"))?;
            if webhook["body"].as_str().is_some_and(|body| body.contains(id)) {
                return Ok(webhook);
            }
        }
        alive(stack, receiver)?;
        if started.elapsed() > WEBHOOK_LIMIT {
            return Err(format!(
                "no webhook within {} s; the backend said:\n{}",
                WEBHOOK_LIMIT.as_secs(),
                stack.backend_log()
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Tells how to go on by oneself.
fn invite(stack: &Stack, edge: &Client, site: &Site, hook: &str, environment: &Path) {
    let (base, key) = (&edge.base, &edge.key.access_key);
    say("Everything stays up until Ctrl-C (or SIGTERM).");
    say(format!("   edge        {base}"));
    say(format!("   backend     {}", stack.api));
    say(format!("   operations  {}/readyz", stack.operations));
    say(format!("   demo site   {}", site.url("/demo/index.html")));
    say(format!("   access key  {key}"));
    say(format!("   both keys   . {}", environment.display()));
    say("");
    say("Try:");
    say(format!("   curl -o shot.png '{base}/take?access_key={key}&format=png&url={}'", site.url("/demo/index.html")));
    say(format!(
        "   curl -H 'X-Access-Key: {key}' -H 'Content-Type: application/json' \\\n     -d '{{\"url\":\"{}\",\"async\":true,\"webhook_url\":\"{hook}\"}}' {base}/v1/screenshot",
        site.url("/colors.html")
    ));
    say(format!("   curl -H 'X-Access-Key: {key}' {base}/v1/requests"));
    say("");
}

/// Passes on what the receiver gets, until a part ends by itself.
async fn stay(stack: &mut Stack, receiver: &mut Part) -> Result<(), String> {
    loop {
        alive(stack, receiver)?;
        while let Some(line) = receiver.try_line() {
            let webhook: Json = serde_json::from_str(&line).unwrap_or_default();
            let verdict = if webhook["verified"] == true { "verified" } else { "NOT verified" };
            say(format!("webhook {verdict}: {}", webhook["body"].as_str().unwrap_or_default()));
        }
        tokio::time::sleep(WATCH).await;
    }
}

fn alive(stack: &mut Stack, receiver: &mut Part) -> Result<(), String> {
    if let Some(status) = receiver.status() {
        return Err(format!("the receiver has ended: {status}\n{}", receiver.log()));
    }
    stack.ended_part().map_or(Ok(()), |how| Err(format!("a part has ended by itself: {how}")))
}

fn start_receiver(key: &KeyPair) -> Result<Part, String> {
    let mut command = Command::new("node");
    command.arg(repository("tests/receiver/receiver.mjs")).env("PORT", "0").env("SNAPHOOK_SECRET_KEY", &key.secret_key);
    Part::start("receiver", &mut command)
}

fn start_stack(data: &Path, key: &KeyPair) -> Result<Stack, String> {
    let backend_port = wished_port("SNAPHOOK_BACKEND_PORT", 8400)?;
    let api = free("the backend", backend_port)?;
    let operations = free("operations", if backend_port == 0 { 0 } else { backend_port.saturating_add(1) })?;
    let edge_port = match free("the edge", wished_port("SNAPHOOK_EDGE_PORT", 8787)?)?.port() {
        // Links are to lead through the edge, so its port must be known before the backend starts.
        0 => any_port()?,
        port => port,
    };
    say("starting the backend and the edge");
    Stack::builder()
        .data_dir(data)
        .key(key.clone())
        .listen(api, operations)
        .set("SNAPHOOK_PUBLIC_URL", format!("http://127.0.0.1:{edge_port}"))
        .edge_at(edge_port)
        .try_start()
}

fn wished_port(variable: &str, usual: u16) -> Result<u16, String> {
    match std::env::var(variable) {
        Ok(text) if !text.is_empty() => text.parse().map_err(|_| format!("{variable} is no port: {text}")),
        _ => Ok(usual),
    }
}

/// The address with this port, or with port 0 if somebody has it.
fn free(what: &str, port: u16) -> Result<SocketAddr, String> {
    let wished = SocketAddr::from(([127, 0, 0, 1], port));
    match TcpListener::bind(wished) {
        Ok(_) => Ok(wished),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            say(format!("port {port} for {what} is taken; a free one is used instead"));
            Ok(SocketAddr::from(([127, 0, 0, 1], 0)))
        }
        Err(error) => Err(format!("port {port}: {error}")),
    }
}

fn any_port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(told("no free port"))?;
    listener.local_addr().map(|address| address.port()).map_err(told("no free port"))
}

/// The pair of the last run, or a new one.
fn key_pair(path: &PathBuf) -> Result<KeyPair, String> {
    if let Ok(text) = std::fs::read_to_string(path) {
        let json: Json = serde_json::from_str(&text).map_err(told(path.display()))?;
        let field =
            |name: &str| json[name].as_str().map(str::to_owned).ok_or(format!("{} has no {name}", path.display()));
        return Ok(KeyPair { access_key: field("access_key")?, secret_key: field("secret_key")? });
    }
    let key = KeyPair { access_key: format!("demo-{}", random_hex(4)), secret_key: random_hex(24) };
    write_private(path, &json!({ "access_key": key.access_key, "secret_key": key.secret_key }).to_string())?;
    Ok(key)
}

fn write_environment(path: &Path, stack: &Stack, edge: &Client) -> Result<(), String> {
    let lines = [
        ("SNAPHOOK_EDGE_URL", &edge.base),
        ("SNAPHOOK_BACKEND_URL", &stack.api),
        ("SNAPHOOK_ACCESS_KEY", &edge.key.access_key),
        ("SNAPHOOK_SECRET_KEY", &edge.key.secret_key),
    ]
    .map(|(name, value)| format!("export {name}='{value}'\n"));
    write_private(path, &lines.concat())
}

/// Writes a file that only its owner may read, and never a half one.
fn write_private(path: &Path, text: &str) -> Result<(), String> {
    let unfinished = path.with_extension("new");
    let _ = std::fs::remove_file(&unfinished);
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.and_then(|()| std::fs::rename(&unfinished, path)).map_err(told(path.display()))
}

fn since(started: Instant) -> String {
    format!("{} ms", started.elapsed().as_millis())
}

fn told<E: Display>(what: impl Display) -> impl Fn(E) -> String {
    move |error| format!("{what}: {error}")
}

/// A line for whoever watches; if nobody does, the work goes on.
fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
