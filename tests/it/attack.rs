//! A page that tries everything, and the rows of the SSRF corpus, in the real browser: what must not be reached is not.
//!
//! 127.0.0.2 plays the inside of the network: the operator denies it. That each way works where nothing stops it, is shown
//! on 127.0.0.1, which pages may reach in development, and for what only the switches of Chromium close, by a Chromium
//! that has none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};
use snaphook_tests::calls::{Call, Traced};
use snaphook_tests::canary::Canary;
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::{self, s};
use snaphook_tests::{repository, run, runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const OPEN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// What only debug builds have: names that resolve as a test wants, and safeguards taken away. No settings.
const ZONE: &str = "SNAPHOOK_ZONE";
const WITHOUT: &str = "SNAPHOOK_WITHOUT";

/// Every way of `tests/pages/attack.html` that a browser without a proxy takes. The full build connects ahead too; and a link
/// that opens a window is pressed as a person would, which leads nowhere in a render.
const WAYS: &[&str] = &[
    "audio",
    "audio-worklet",
    "beacon",
    "blank",
    "border-image",
    "csp-report",
    "css-import",
    "css-url",
    "embed",
    "eventsource",
    "fetch",
    "fetch-keepalive",
    "font",
    "font-face",
    "form",
    "form-get",
    "frame",
    "https",
    "iframe",
    "img",
    "import",
    "input-image",
    "link",
    "list-style-image",
    "location",
    "meta-refresh",
    "module",
    "modulepreload",
    "object",
    "paint-worklet",
    "ping",
    "popup",
    "poster",
    "prefetch",
    "preload",
    "quic",
    "redirect",
    "redirect-chain",
    "script",
    "service-worker-fetch",
    "service-worker-import-scripts",
    "service-worker-websocket",
    "shared-worker-eventsource",
    "shared-worker-fetch",
    "shared-worker-import-scripts",
    "shared-worker-websocket",
    "shared-worker-xhr",
    "speculation-prefetch",
    "speculation-prerender",
    "srcset",
    "stun",
    "stylesheet",
    "svg-image",
    "track",
    "turn-tcp",
    "turn-udp",
    "video",
    "websocket",
    "worker-eventsource",
    "worker-fetch",
    "worker-import-scripts",
    "worker-websocket",
    "worker-xhr",
    "wss",
    "xhr",
];

/// Those of them that no proxy carries, that Chromium does not do for a page behind one, or that a render does not let go.
const NOT_BY_PROXY: &[&str] = &["blank", "popup", "quic", "stun", "turn-udp"];

/// The Chromium builds of this machine, or those that `SNAPHOOK_TEST_BROWSERS` wants tested.
pub(crate) fn browsers() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |name: &str| std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if let Ok(wanted) = std::env::var("SNAPHOOK_TEST_BROWSERS") {
        return wanted
            .split(' ')
            .map(|name| found(name).unwrap_or_else(|| panic!("{name} is not installed")))
            .collect();
    }
    let shells = ["chromium-headless-shell", "chrome-headless-shell"].iter().find_map(|name| found(name));
    let full = ["chromium", "google-chrome"].iter().find_map(|name| found(name));
    let all: Vec<PathBuf> = shells.into_iter().chain(full).collect();
    assert!(!all.is_empty(), "no Chromium in PATH");
    all
}

fn is_shell(browser: &Path) -> bool {
    browser.to_string_lossy().contains("shell")
}

fn query(canary: &Canary, name: &str) -> String {
    format!(
        "/attack.html?to={}&udp={}&preconnect={}&https={}&wss={}&name={name}:{}",
        canary.tcp,
        canary.udp,
        canary.preconnect,
        canary.https,
        canary.wss,
        canary.tcp.port()
    )
}

fn missing(seen: &BTreeSet<String>, but: &[&str]) -> Vec<&'static str> {
    WAYS.iter().filter(|way| !but.contains(way) && !seen.contains(**way)).copied().collect()
}

#[test]
fn no_way_of_the_attack_page_leads_inside_and_each_leads_somewhere() {
    for browser in browsers() {
        let site = Site::start();
        let (open, inside, bare) = (Canary::listen(OPEN), Canary::listen(INSIDE), Canary::listen(OPEN));
        let traced = Traced::new(&browser);
        let stack = Stack::builder()
            .set("SNAPHOOK_RENDER_CHROMIUM", traced.program().display())
            .set("SNAPHOOK_EGRESS_DENY_SUBNETS", "127.0.0.2/32")
            .set(ZONE, "rebind.test=127.0.0.1|127.0.0.1|127.0.0.1|127.0.0.2;steady.test=127.0.0.1")
            .start();
        let proxies = Proxies::watch(&stack, &traced);
        let bare_browser = Bare::start(&browser, &site.url(&query(&bare, "127.0.0.1")));
        run(async {
            let attack = async |url: String| {
                let url = format!("{url}&dns=looked-up.test");
                let body =
                    json!({ "url": url, "delay": 3, "click": "#outside", "fail_if_content_contains": ["LEAKED"] });
                let id = stack.client().enqueue("/take", &body).await;
                stack.client().done(&id, s(60)).await
            };
            // The page itself comes from the name that is another one later.
            let rebound = site.url(&query(&inside, "rebind.test")).replace("127.0.0.1:", "rebind.test:");
            let (denied, allowed) = futures::join!(
                attack(site.url(&query(&inside, "steady.test"))),
                attack(site.url(&query(&open, "steady.test")))
            );
            let turned = attack(rebound).await;

            assert_eq!(inside.seen(), BTreeSet::new(), "{}: reached what is inside", browser.display());
            let seen = open.seen();
            assert_eq!(missing(&seen, NOT_BY_PROXY), [""; 0], "{}: ways that do not work", browser.display());
            assert!(["rebound-fetch", "rebound-img", "rebound-websocket"].iter().all(|way| seen.contains(*way)));
            assert!(!NOT_BY_PROXY.iter().chain(&["pressed"]).any(|way| seen.contains(*way)), "{seen:?}");

            let counted = |view: &Json, host: &str, class: Json| {
                let entries = view["refused"].as_array().cloned().unwrap_or_default();
                let ours = entries.iter().filter(|entry| entry["host"] == host && entry["class"] == class);
                ours.map(|entry| entry["count"].as_u64().unwrap()).sum::<u64>()
            };
            let refused = counted(&denied, "127.0.0.2", json!("loopback"));
            assert!(refused >= 50, "{}: {refused} in {:#}", browser.display(), denied["refused"]);
            assert!(counted(&turned, "rebind.test", Json::Null) >= 3, "{:#}", turned["refused"]);
            assert_eq!(allowed["refused"], json!([]), "another render's refusals");
            assert_eq!(proxies.strays(), [], "{}: past its proxies, as the kernel was asked", browser.display());

            let all = wait::within(s(20), || missing(&bare.seen(), &[]).is_empty()).await;
            assert!(all, "{}: not even without switches: {:?}", browser.display(), missing(&bare.seen(), &[]));
            // The shell build was never seen to connect ahead.
            let connects_ahead = is_shell(&browser) || wait::within(s(20), || bare.seen().contains("preconnect")).await;
            assert!(connects_ahead, "{}: no preconnect without switches", browser.display());
            let (name_server, kernel) = (Call::Connect(SocketAddr::new(OPEN, 53)), bare_browser.traced.seen());
            assert!(kernel.contains(&Call::Packet), "packets would be seen: {kernel:?}");
            assert!(!bare_browser.asks_us || kernel.contains(&name_server), "so would look-ups: {kernel:?}");
        });
    }
}

/// A Chromium that nothing holds back, on a page.
struct Bare {
    child: Child,
    traced: Traced,
    /// The name server of its file system is this machine. Where a user may have no file system of their own, it is given no
    /// name to look up.
    asks_us: bool,
    _profile: tempfile::TempDir,
}

impl Bare {
    fn start(browser: &Path, url: &str) -> Bare {
        const ALONE: [&str; 4] = ["unshare", "--user", "--map-root-user", "--mount"];
        let (profile, traced) = (tempfile::tempdir().unwrap(), Traced::new(browser));
        let resolv = profile.path().join("resolv.conf");
        std::fs::write(&resolv, "nameserver 127.0.0.1\n").unwrap();
        let tried = Command::new(ALONE[0]).args(&ALONE[1..]).arg("true").stderr(Stdio::null()).status();
        let asks_us = tried.unwrap().success();
        let mounted = format!("mount --bind '{}' /etc/resolv.conf && exec \"$@\"", resolv.display());
        let under: &[&str] = if asks_us { &ALONE } else { &["env"] };
        let script = if asks_us { mounted.as_str() } else { "exec \"$@\"" };
        let child = Command::new(under[0])
            .args(&under[1..])
            .args(["sh", "-c", script, "sh"])
            .arg(traced.program())
            .args(["--headless", "--remote-debugging-port=0", "--disable-popup-blocking"])
            .arg("--disable-features=LocalNetworkAccessChecks")
            .args((asks_us || rustix::process::geteuid().is_root()).then_some("--no-sandbox"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(if asks_us { format!("{url}&dns=looked-up.test") } else { url.to_owned() })
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Bare { child, traced, asks_us, _profile: profile }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let all = snaphook_tests::descendants::of(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        all.iter().for_each(snaphook_tests::descendants::Process::kill9);
    }
}

/// The ports at which a backend has listened, but for those that it tells: what its browser may connect to, and all that
/// this browser may do on the network.
struct Proxies<'a> {
    traced: &'a Traced,
    at_start: BTreeSet<Call>,
    ports: Arc<Mutex<BTreeSet<u16>>>,
    _watcher: Watcher,
}

/// A thread that looks again and again, until this is dropped.
struct Watcher(Arc<AtomicBool>);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Proxies<'_> {
    fn watch<'a>(stack: &Stack, traced: &'a Traced) -> Proxies<'a> {
        let told = [&stack.api, &stack.operations].map(|url| url.rsplit(':').next().unwrap().parse::<u16>().unwrap());
        let (pid, ports, ended) =
            (stack.backend_pid(), Arc::<Mutex<BTreeSet<u16>>>::default(), Arc::<AtomicBool>::default());
        let (found, end) = (ports.clone(), ended.clone());
        std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let sockets = listening_sockets();
                let now = sockets_of(pid).into_iter().filter_map(|inode| sockets.get(&inode).copied());
                found.lock().unwrap().extend(now.filter(|port| !told.contains(port)));
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        // The browser was tried out, by proxies that are gone; they were somewhere on this machine.
        let at_start = traced.seen();
        let is_near = |call: &Call| matches!(call, Call::Connect(to) if to.ip() == OPEN && to.port() > 1024);
        assert!(at_start.iter().all(is_near), "{at_start:?}");
        Proxies { traced, at_start, ports, _watcher: Watcher(ended) }
    }

    /// What the browser has done since that is no connection to one of them.
    fn strays(&self) -> Vec<Call> {
        let (seen, ports) = (self.traced.seen(), self.ports.lock().unwrap().clone());
        assert!(seen.iter().any(|call| !call.is_astray(&ports)), "it has used a proxy");
        seen.into_iter().filter(|call| !self.at_start.contains(call) && call.is_astray(&ports)).collect()
    }
}

/// Where the public names of the corpus lead here, and its redirector is.
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

/// Those names, and where the others of the corpus lead. One that rebinds does so in the attack page.
const CORPUS_ZONE: &str = "example.com=127.0.0.3;127.0.0.1.example.com=127.0.0.3;10.example.com=127.0.0.3;\
                           redirector.test=127.0.0.3;app.10.0.0.1.nip.io=10.0.0.1;kubernetes.default.svc=10.96.0.1;\
                           localhost.localdomain=127.0.0.1;rebind.test=10.0.0.5;backend.self.test=127.0.0.1";

struct Row {
    url: String,
    is_allowed: bool,
    reason: String,
}

/// Every row but the literal addresses that are allowed: those are others', and no business of a test's.
fn corpus() -> Vec<Row> {
    let corpus = std::fs::read_to_string(repository("shared/golden/ssrf_corpus.tsv")).unwrap();
    let rows = corpus.lines().skip(1).map(|row| {
        let mut columns = row.split('\t');
        let mut next = || columns.next().unwrap().to_owned();
        let (url, verdict, reason) = (next().replace("\\\\", "\\"), next(), next());
        Row { url, is_allowed: verdict == "allow", reason }
    });
    rows.filter(|row| !row.is_allowed || row.url.to_ascii_lowercase().contains("example.com")).collect()
}

/// Has this address a name that only a name server can judge?
fn is_looked_up(url: &str) -> bool {
    ["app.10.0.0.1.nip.io", "backend.self.test", "nxdomain.test", "rebind.test", "redirector.test"]
        .iter()
        .any(|name| url.starts_with(&format!("http://{name}/")))
}

#[test]
fn no_row_of_the_corpus_is_dialled_by_the_api_or_by_a_page() {
    let rows = corpus();
    assert_eq!(rows.iter().filter(|row| row.is_allowed).count(), 7);
    assert_eq!(rows.iter().filter(|row| !row.is_allowed).count(), 116);
    let outside = [80, 443, 8080].map(|port| Outside::listen(OUTSIDE, port));
    let canaries: Vec<Canary80> = [80, 443, 8080].into_iter().filter_map(Canary80::listen).collect();
    let can_listen = outside.iter().all(Option::is_some);
    let browser = browsers().remove(0);
    let traced = Traced::new(&browser);
    let site = Site::start_at(OUTSIDE);
    let stack = Stack::builder()
        .without_development()
        .set("SNAPHOOK_RENDER_CHROMIUM", traced.program().display())
        .set("SNAPHOOK_EGRESS_ALLOW_SUBNETS", "127.0.0.3/32")
        .set("SNAPHOOK_WEBHOOK_ALLOW_HTTP", true)
        .set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", "0")
        .set(ZONE, CORPUS_ZONE)
        .set("SNAPHOOK_LOG_LEVEL", "info,snaphook::egress=debug")
        .edge_with("WEBHOOK_ALLOW_HTTP", true)
        .start();
    let proxies = Proxies::watch(&stack, &traced);
    run(async {
        let clients = [stack.client(), stack.edge_client()];
        for Row { url, is_allowed, reason } in &rows {
            for client in &clients {
                let answer = client.take(&json!({ "url": url, "timeout": 10 })).await;
                let (status, text) = (answer.status.as_u16(), answer.text());
                if *is_allowed {
                    assert!(!text.contains("target_not_allowed"), "{url:?} ({reason}): {status} {text}");
                } else {
                    // What a page redirects to may be the network's error as well.
                    let most = if url.contains("redirector.test") { 599 } else { 499 };
                    assert!((400..=most).contains(&status), "{url:?} ({reason}): {status} {text}");
                }
            }
        }
        let rows_of = |is_allowed: bool| rows.iter().filter(move |row| row.is_allowed == is_allowed);
        if can_listen {
            let led = |port: usize, way: &str| {
                outside[port].as_ref().unwrap().seen().iter().filter(|line| line.contains(way)).count()
            };
            for row in rows_of(false).filter(|row| row.url.contains("redirector.test")) {
                let way = row.url.split_once("redirector.test").unwrap().1;
                assert_eq!(led(0, way), 2, "{}: the redirect was there to be followed", row.url);
            }
            assert_eq!(led(2, "GET /x?y=1 "), 2, "a page that may be taken was asked for");
            assert!(led(1, "") >= 12, "so were those over TLS");
        }

        let urls: Vec<&str> = rows.iter().map(|row| row.url.as_str()).collect();
        let mut script = format!("(async () => {{ const rows = {};", serde_json::to_string(&urls).unwrap());
        script.push_str(
            "for (const row of rows) {
               fetch(row, { mode: 'no-cors' }).catch(() => {});
               new Image().src = row;
               if (!row.startsWith('javascript')) document.body.appendChild(document.createElement('iframe')).src = row;
               try { new WebSocket(row.replace(/^ *https?/i, 'ws')) } catch {}
             }
             await new Promise((done) => setTimeout(done, 4000)) })()",
        );
        // A page of plain HTTP, where nothing is kept back as mixed content.
        let body = json!({ "url": site.url("/element.html"), "scripts": script, "timeout": 60 });
        let id = stack.client().enqueue("/take", &body).await;
        let view = stack.client().done(&id, s(60)).await;
        let refused = view["refused"].as_array().unwrap();
        assert!(refused.len() >= 40, "{:#}", view["refused"]);
        assert!(!view["refused"].to_string().contains("10.96.0.1"), "where a name leads is nobody's business");
        for name in ["127.0.0.1.example.com", "10.example.com"] {
            assert!(!refused.iter().any(|entry| entry["host"] == name), "{name} is allowed: {:#}", view["refused"]);
            assert!(stack.backend_says(&format!("host={name} port=443 addresses=[127.0.0.3:443]")).await, "{name}");
        }

        // A webhook is led nowhere either; by a redirect it is not led at all.
        let mut looked_up = Vec::new();
        for Row { url, reason, .. } in rows_of(false) {
            for client in &clients {
                let body = json!({ "html": "<p>x", "async": true, "block_annoyance": "none", "webhook_url": url });
                let answer = client.post("/v1/screenshot", &body).await;
                let expected = if is_looked_up(url) { 202 } else { 400 };
                assert_eq!(answer.status.as_u16(), expected, "{url:?} ({reason}): {}", answer.text());
                if expected == 202 {
                    looked_up.push((url, answer.header("x-snaphook-request-id").to_owned()));
                }
            }
        }
        assert_eq!(looked_up.len(), 16);
        for (url, id) in looked_up {
            let ended = |view: &Json| view["webhook"]["state"] == "dead";
            let view = stack.client().request_when(&id, "given up", s(60), ended).await;
            let said = view["webhook"]["last_error"].as_str().unwrap_or_default();
            let led = url.contains("redirector.test");
            assert!(led || said.contains("not allowed") || said.contains("resolve"), "{url}: {:#}", view["webhook"]);
        }
    });
    let log = stack.backend_log();
    assert!(log.matches("egress proxy refuses").count() >= 100, "{log}");
    let dialled: Vec<&str> = log.lines().filter(|line| line.contains("egress proxy dials")).collect();
    let elsewhere: Vec<&&str> = dialled.iter().filter(|line| !line.contains("addresses=[127.0.0.3:")).collect();
    assert!(!dialled.is_empty() && elsewhere.is_empty(), "{elsewhere:#?}");
    assert_eq!(canaries.iter().map(Canary80::hits).sum::<usize>(), 0);
    assert_eq!(proxies.strays(), [], "past its proxies, as the kernel was asked");
}

/// What listens at a well-known port of an address that pages may reach. It redirects as it is asked to:
/// `/301?to=http://…`.
struct Outside {
    seen: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Outside {
    /// None where this user may not listen there.
    fn listen(ip: IpAddr, port: u16) -> Option<Outside> {
        let listener = runtime().block_on(TcpListener::bind((ip, port))).ok()?;
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = seen.clone();
        let task = runtime().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, noted.clone()));
            }
        });
        Some(Outside { seen, task })
    }

    /// The first line of each request, as it came.
    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, seen: Arc<Mutex<Vec<String>>>) {
    let mut head = vec![0; 4096];
    let length = tokio::time::timeout(s(10), stream.read(&mut head)).await.ok().and_then(Result::ok).unwrap_or(0);
    let text = String::from_utf8_lossy(&head[..length]).into_owned();
    let line = text.lines().next().unwrap_or_default().to_owned();
    let redirect = line.split(' ').nth(1).and_then(|path| path.strip_prefix("/3")?.split_once("?to="));
    let reply = match redirect {
        Some((digits, to)) => {
            format!("HTTP/1.1 3{digits} x\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        }
        None => {
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok".to_owned()
        }
    };
    seen.lock().unwrap().push(line);
    let _ = stream.write_all(reply.as_bytes()).await;
}

/// Loopback at a well-known port, where this user may listen there.
struct Canary80(std::net::TcpListener);

impl Canary80 {
    fn listen(port: u16) -> Option<Canary80> {
        let listener = std::net::TcpListener::bind((OPEN, port)).ok()?;
        listener.set_nonblocking(true).ok()?;
        Some(Canary80(listener))
    }

    fn hits(&self) -> usize {
        std::iter::from_fn(|| self.0.accept().ok()).count()
    }
}

#[test]
fn a_browser_that_lets_something_out_is_not_used() {
    // Which switch keeps this build's WebRTC in, and those that every build needs.
    for browser in browsers() {
        let webrtc = match is_shell(&browser) {
            true => "--force-webrtc-ip-handling-policy",
            false => "--webrtc-ip-handling-policy",
        };
        for switch in ["--proxy-server", "--proxy-bypass-list", "proxyBypassList", webrtc] {
            let started =
                Stack::builder().set("SNAPHOOK_RENDER_CHROMIUM", browser.display()).set(WITHOUT, switch).try_start();
            let said = started.err().unwrap_or_else(|| panic!("{}: started without {switch}", browser.display()));
            assert!(said.contains("went past the egress proxy"), "{switch}: {said}");
        }
    }
}

#[test]
fn nobody_can_reach_the_browsers_controls() {
    run(async {
        let stack = Stack::shared();
        stack.client().take(&json!({ "html": "<p>up" })).await.expect(200);
        let processes = snaphook_tests::descendants::of(stack.backend_pid());
        assert!(processes.iter().any(|process| process.name.contains("chrom") || process.name.contains("headless")));
        let sockets = listening_sockets();
        assert!(!sockets.is_empty(), "our own listeners, at least");
        for process in processes {
            let listens = sockets_of(process.pid).iter().any(|inode| sockets.contains_key(inode));
            assert!(!listens, "{} listens", process.name);
        }
    });
}

/// The ports of all TCP sockets that listen, by their inodes.
fn listening_sockets() -> BTreeMap<String, u16> {
    const LISTEN: &str = "0A";
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    let columns = rows.map(|row| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    columns
        .filter(|row| row.get(3).is_some_and(|state| state == LISTEN))
        .filter_map(|row| {
            let port = row.get(1)?.rsplit(':').next().and_then(|port| u16::from_str_radix(port, 16).ok())?;
            Some((row.get(9)?.clone(), port))
        })
        .collect()
}

/// The inodes of the sockets that a process holds.
fn sockets_of(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let inode = |target: PathBuf| {
        let target = target.to_string_lossy().into_owned();
        target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')).map(str::to_owned)
    };
    targets.filter_map(inode).collect()
}

/// `SNAPHOOK_IDLE_SECONDS=60` waits as long as a browser's own business may take to begin.
#[test]
fn a_browser_without_a_page_asks_for_nothing_or_gets_nothing() {
    let idle = crate::isolation::number("SNAPHOOK_IDLE_SECONDS", 5);
    let browsers: Vec<(PathBuf, Traced)> =
        browsers().into_iter().map(|path| (path.clone(), Traced::new(&path))).collect();
    let stacks: Vec<(Stack, Proxies<'_>)> = browsers
        .iter()
        .map(|(_, traced)| {
            let stack = Stack::builder()
                .set("SNAPHOOK_RENDER_CHROMIUM", traced.program().display())
                .set("SNAPHOOK_LOG_LEVEL", "info,snaphook::egress=debug")
                .start();
            let proxies = Proxies::watch(&stack, traced);
            (stack, proxies)
        })
        .collect();
    run(async {
        let site = Site::start();
        for (stack, _) in &stacks {
            // It has done some work, and a proxy has carried it.
            stack.client().take(&json!({ "url": site.url("/element.html") })).await.expect(200);
            assert!(stack.backend_says("egress proxy dials").await);
        }
        let before: Vec<usize> = stacks.iter().map(|(stack, _)| stack.backend_log().len()).collect();
        tokio::time::sleep(s(idle)).await;
        for (((browser, _), (stack, proxies)), before) in browsers.iter().zip(&stacks).zip(before) {
            let log = stack.backend_log();
            let since = &log[before.min(log.len())..];
            // The full build has business with its makers, whatever switches it is given: all of it is refused.
            let is_quiet = !since.contains("egress proxy");
            assert!(is_quiet || !is_shell(browser), "{}: {since}", browser.display());
            assert!(!since.contains("egress proxy dials"), "{}: {since}", browser.display());
            assert_eq!(proxies.strays(), [], "{}", browser.display());
        }
    });
}

#[test]
fn a_redirect_out_of_the_web_is_an_error() {
    let site = Site::start();
    run(async {
        let stack = Stack::shared();
        for target in ["file:///etc/passwd", "chrome://version/", "data:text/html,x", "view-source:http://example.com/"]
        {
            let url = site.url(&format!("/redirect?{target}"));
            let answer = stack.client().take(&json!({ "url": url, "timeout": 10 })).await;
            let (status, text) = (answer.status.as_u16(), answer.text());
            assert!(status >= 400 && !text.contains("root:"), "{target}: {status} {text}");
        }
    });
}
