//! A page that tries everything, and the rows of the SSRF corpus, in the real browser: what must not be reached is not.
//!
//! 127.0.0.2 plays the inside of the network: the operator denies it. That each way works where nothing stops it, is shown
//! on 127.0.0.1, which pages may reach in development, and for what only the switches of Chromium close, by a Chromium
//! that has none of them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value as Json, json};
use snaphook_tests::canary::Canary;
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::{self, s};
use snaphook_tests::{repository, run};

const OPEN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// What only debug builds have: names that resolve as a test wants, and safeguards taken away. No settings.
const ZONE: &str = "SNAPHOOK_ZONE";
const WITHOUT: &str = "SNAPHOOK_WITHOUT";

/// Every way of `tests/pages/attack.html` that a browser without a proxy takes. The page also tries a preconnect and a
/// popup, which no build was seen to do by itself: they have to fail, and are not shown to work.
const WAYS: &[&str] = &[
    "audio",
    "beacon",
    "css-import",
    "css-url",
    "embed",
    "eventsource",
    "fetch",
    "fetch-keepalive",
    "font",
    "form",
    "iframe",
    "img",
    "import",
    "location",
    "meta-refresh",
    "module",
    "modulepreload",
    "object",
    "ping",
    "prefetch",
    "preload",
    "quic",
    "redirect",
    "redirect-chain",
    "script",
    "service-worker-fetch",
    "service-worker-websocket",
    "shared-worker-fetch",
    "shared-worker-websocket",
    "srcset",
    "stun",
    "stylesheet",
    "svg-image",
    "turn-tcp",
    "turn-udp",
    "video",
    "websocket",
    "worker-fetch",
    "worker-websocket",
    "xhr",
];

/// Those of them that no proxy carries, or that Chromium does not do for a page behind one.
const NOT_BY_PROXY: &[&str] = &["quic", "stun", "turn-udp"];

/// The Chromium builds of this machine, or those that `SNAPHOOK_TEST_BROWSERS` wants tested.
fn browsers() -> Vec<PathBuf> {
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

fn query(canary: &Canary, name: &str) -> String {
    format!(
        "/attack.html?to={}&udp={}&silent={}&name={name}:{}",
        canary.tcp,
        canary.udp,
        canary.silent,
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
        let stack = Stack::builder()
            .set("SNAPHOOK_RENDER_CHROMIUM", browser.display())
            .set("SNAPHOOK_EGRESS_DENY_SUBNETS", "127.0.0.2/32")
            .set(ZONE, "rebind.test=127.0.0.1|127.0.0.1|127.0.0.1|127.0.0.2;steady.test=127.0.0.1")
            .start();
        let _bare = bare_chromium(&browser, &site.url(&query(&bare, "127.0.0.1")));
        run(async {
            let attack = async |url: String| {
                let body = json!({ "url": url, "delay": 3, "fail_if_content_contains": ["LEAKED"] });
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
            assert!(!NOT_BY_PROXY.iter().any(|way| seen.contains(*way)), "{seen:?}");

            let counted = |view: &Json, host: &str, class: Json| {
                let entries = view["refused"].as_array().cloned().unwrap_or_default();
                let ours = entries.iter().filter(|entry| entry["host"] == host && entry["class"] == class);
                ours.map(|entry| entry["count"].as_u64().unwrap()).sum::<u64>()
            };
            let refused = counted(&denied, "127.0.0.2", json!("loopback"));
            assert!(refused >= 30, "{}: {refused} in {:#}", browser.display(), denied["refused"]);
            assert!(counted(&turned, "rebind.test", Json::Null) >= 3, "{:#}", turned["refused"]);
            assert_eq!(allowed["refused"], json!([]), "another render's refusals");
            let all = wait::within(s(20), || missing(&bare.seen(), &[]).is_empty()).await;
            assert!(all, "{}: not even without switches: {:?}", browser.display(), missing(&bare.seen(), &[]));
        });
    }
}

/// A Chromium that nothing holds back, on a page.
fn bare_chromium(browser: &std::path::Path, url: &str) -> Bare {
    let profile = tempfile::tempdir().unwrap();
    let child = Command::new(browser)
        .args(["--headless", "--remote-debugging-port=0", "--disable-features=LocalNetworkAccessChecks"])
        .args(rustix::process::geteuid().is_root().then_some("--no-sandbox"))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Bare { child, _profile: profile }
}

struct Bare {
    child: Child,
    _profile: tempfile::TempDir,
}

impl Drop for Bare {
    fn drop(&mut self) {
        let all = snaphook_tests::descendants::of(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        all.iter().for_each(snaphook_tests::descendants::Process::kill9);
    }
}

#[test]
fn no_row_of_the_corpus_is_dialled_by_the_api_or_by_a_page() {
    let corpus = std::fs::read_to_string(repository("shared/golden/ssrf_corpus.tsv")).unwrap();
    // These begin at a public address, which is no business of a test's; the attack page has redirects and rebinding.
    let rows: Vec<(String, String)> = corpus
        .lines()
        .skip(1)
        .filter_map(|row| {
            let mut columns = row.split('\t');
            let (url, verdict, reason) = (columns.next()?, columns.next()?, columns.next()?);
            let wanted = verdict == "block" && !url.contains("redirector.test");
            wanted.then(|| (url.replace("\\\\", "\\"), reason.to_owned()))
        })
        .collect();
    assert!(rows.len() > 100, "{}", rows.len());
    let zone = "app.10.0.0.1.nip.io=10.0.0.1;kubernetes.default.svc=10.96.0.1;localhost.localdomain=127.0.0.1;\
                rebind.test=10.0.0.5;backend.self.test=127.0.0.1";
    let site = Site::start_at(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)));
    let canaries: Vec<Canary80> = [80, 443, 8080].into_iter().filter_map(Canary80::listen).collect();
    let stack = Stack::builder()
        .without_development()
        .set("SNAPHOOK_EGRESS_ALLOW_SUBNETS", "127.0.0.3/32")
        .set(ZONE, zone)
        .set("SNAPHOOK_LOG_LEVEL", "info,snaphook::egress=debug")
        .edge()
        .start();
    run(async {
        for (url, reason) in &rows {
            for client in [stack.client(), stack.edge_client()] {
                let answer = client.take(&json!({ "url": url, "timeout": 10 })).await;
                let status = answer.status.as_u16();
                assert!((400..500).contains(&status), "{url:?} ({reason}): {status} {}", answer.text());
            }
        }
        let urls: Vec<&str> = rows.iter().map(|(url, _)| url.as_str()).collect();
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
        assert!(view["refused"].as_array().unwrap().len() >= 40, "{:#}", view["refused"]);
        assert!(!view["refused"].to_string().contains("10.96.0.1"), "where a name leads is nobody's business");
    });
    let log = stack.backend_log();
    assert!(log.matches("egress proxy refuses").count() >= 100, "{log}");
    let dialled: Vec<&str> = log.lines().filter(|line| line.contains("egress proxy dials")).collect();
    let elsewhere: Vec<&&str> = dialled.iter().filter(|line| !line.contains("addresses=[127.0.0.3:")).collect();
    assert!(!dialled.is_empty() && elsewhere.is_empty(), "{elsewhere:#?}");
    assert_eq!(canaries.iter().map(Canary80::hits).sum::<usize>(), 0);
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
        let is_shell = browser.to_string_lossy().contains("shell");
        let webrtc = match is_shell {
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
            for entry in std::fs::read_dir(format!("/proc/{}/fd", process.pid)).into_iter().flatten().flatten() {
                let Ok(target) = std::fs::read_link(entry.path()) else { continue };
                let target = target.to_string_lossy().into_owned();
                let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
                assert!(!inode.is_some_and(|inode| sockets.contains(inode)), "{} listens", process.name);
            }
        }
    });
}

/// The inodes of all TCP sockets that listen.
fn listening_sockets() -> BTreeSet<String> {
    const LISTEN: &str = "0A";
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    let columns = rows.map(|row| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    columns
        .filter(|row| row.get(3).is_some_and(|state| state == LISTEN))
        .filter_map(|row| row.get(9).cloned())
        .collect()
}

#[test]
fn a_browser_without_a_page_asks_for_nothing() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_LOG_LEVEL", "info,snaphook::egress=debug").start();
        stack.client().take(&json!({ "html": "<p>up" })).await.expect(200);
        let before = stack.backend_log().len();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let log = stack.backend_log();
        assert!(!log[before.min(log.len())..].contains("egress proxy"), "{log}");
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
