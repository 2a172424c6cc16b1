//! Nothing passes from one render to the next, and no page takes more than its share or stays.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use snaphook_tests::client::Client;
use snaphook_tests::site::Site;
use snaphook_tests::stack::{Builder, Stack};
use snaphook_tests::wait::{self, s};
use snaphook_tests::{descendants, run};

/// What `tests/pages/state.html` leaves, in its order.
const PROBES: &str = "cookie,localStorage,indexedDB,caches,serviceWorker,fileSystem,sharedWorker,broadcast,basicAuth";

/// A number that says how long a test goes on: `make soak` has larger ones.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|error| panic!("{variable}: {error}")))
}

/// `SNAPHOOK_ISOLATION_PAIRS=100` makes a thorough one of it.
#[test]
fn no_state_passes_from_one_render_to_another() {
    let site = Site::start();
    run(async {
        let stack = Stack::shared();
        let client = stack.client();
        let visit = async |granted: bool| {
            // The one with a permission says so behind the hash, where it is no surprise.
            let mut options = json!({
                "url": site.url(if granted { "/state.html#granted" } else { "/state.html" }),
                "format": "html", "delay": 2, "fail_if_content_missing": ["FOUND["], "timeout": 60,
            });
            if granted {
                options["geolocation_latitude"] = json!(1);
                options["geolocation_longitude"] = json!(1);
            }
            let html = client.take(&options).await.expect(200).text();
            let text = html.split("<p id=\"found\">").nth(1).and_then(|rest| rest.split('<').next());
            text.unwrap_or_default().to_owned()
        };
        // Side by side and one after the other.
        let pairs = number("SNAPHOOK_ISOLATION_PAIRS", 2);
        for _ in 0..pairs {
            let (one, other) = futures::join!(visit(true), visit(false));
            assert_eq!((one.as_str(), other.as_str()), ("FOUND[]", "FOUND[]"));
        }
        assert_eq!(site.count("/cached") as u64, 2 * pairs, "each render has asked for it, and none has found it");
        // In one render all of it is found, so the probes can see.
        let body = json!({
            "url": site.url("/state.html"), "format": "html", "delay": 3, "selector": "iframe",
            "scripts": "const f = document.querySelector('iframe'); f.title = f.contentDocument.getElementById('found').textContent;",
        });
        let html = client.take(&body).await.expect(200).text();
        assert!(html.contains(&format!("AGAIN[{PROBES}]")), "{html}");
    });
}

/// Processes below the backend, once they stay as they are.
async fn settled(stack: &Stack) -> usize {
    let mut last = (0, Instant::now());
    wait::for_it("the processes to settle", s(20), || {
        let now = descendants::of(stack.backend_pid()).len();
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > Duration::from_millis(1500)).then_some(now)
    })
    .await
}

async fn shot(client: &Client) {
    client.take(&json!({ "html": "<p>well" })).await.expect(200);
}

#[test]
fn bad_pages_end_in_time_and_leave_nothing() {
    let site = Site::start();
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_RENDER_PAGE_MEMORY_MAX_MB", 300).start();
        let client = stack.client();
        shot(&client).await;
        let idle = settled(&stack).await;
        let hog = "<script>const held = []; for (;;) held.push(new Uint8Array(1e7).fill(held.length))</script>";
        let heap = "<script>const held = []; for (;;) held.push({ a: Array(1000).fill(held.length) })</script>";
        let huge = format!("<img src='{}'>", site.url("/huge.png"));
        for (what, options) in [
            ("busy", json!({ "html": "<p>a<script>for (;;);</script>" })),
            ("busy later", json!({ "html": "<p>a<script>setTimeout(() => { for (;;); }, 100)</script>", "delay": 1 })),
            ("endless body", json!({ "url": site.url("/endless") })),
            ("never answers", json!({ "url": site.url("/never") })),
            ("leads to itself", json!({ "url": site.url("/loop") })),
            ("takes memory", json!({ "html": hog })),
            ("takes heap", json!({ "html": heap })),
            ("reloads itself", json!({ "html": "<script>location.reload()</script>", "wait_until": ["networkidle0"] })),
            ("opens windows", json!({ "html": "<script>for (let i = 0; i < 30; i++) open('about:blank')</script>" })),
            ("asks", json!({ "html": "<script>for (;;) if (confirm('again?')) break;</script>" })),
            ("downloads", json!({ "url": site.url("/attachment") })),
            ("decodes to a gigabyte", json!({ "html": huge, "full_page": true })),
            ("is as high as a tower", json!({ "html": "<div style='height:100000px'>", "full_page": true })),
        ] {
            let mut options = options;
            options["timeout"] = json!(3);
            let began = Instant::now();
            let answer = client.take(&options).await;
            assert!(began.elapsed() < s(5), "{what}: {:?}", began.elapsed());
            let status = answer.status.as_u16();
            assert!(matches!(status, 200 | 400..=599), "{what}: {status}");
            if matches!(what, "takes memory" | "takes heap") {
                assert!(status >= 400, "{what}: {status}");
            }
            shot(&client).await;
        }
        assert_eq!(site.count("/huge.png"), 1);
        // A renderer that dies by itself, as at `chrome://crash`.
        let began = Instant::now();
        let crash = async {
            let mut renderers = Vec::new();
            wait::for_it("the page to be there", s(10), || (site.count("/never") > 1).then_some(())).await;
            renderers.extend(descendants::of(stack.backend_pid()));
            renderers.retain(|process| read(process.pid, "cmdline").contains("--type=renderer"));
            for process in &renderers {
                let pid = rustix::process::Pid::from_raw(process.pid.cast_signed()).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::SEGV).unwrap();
            }
            assert!(!renderers.is_empty());
        };
        let page = json!({ "html": format!("<img src='{}'>", site.url("/never")), "timeout": 30 });
        let (answer, ()) = futures::join!(client.take(&page), crash);
        assert_eq!(answer.json()["error_code"], "page_crashed", "{}", answer.text());
        assert!(began.elapsed() < s(12), "a crash ends a render at once: {:?}", began.elapsed());
        shot(&client).await;

        let left = wait::within(s(20), || descendants::of(stack.backend_pid()).len() <= idle).await;
        assert!(left, "{idle} processes were there, and now: {:?}", descendants::of(stack.backend_pid()));
        let scratch = std::fs::read_dir(stack.data_dir().join("scratch")).unwrap().flatten().count();
        assert_eq!(scratch, 1, "one browser's");
        assert!(files_named(&stack, "a.zip").is_empty(), "downloaded");
    });
}

fn files_named(stack: &Stack, name: &str) -> Vec<std::path::PathBuf> {
    let mut folders = vec![stack.data_dir().to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if path.file_name().is_some_and(|file| file == name) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn a_page_that_takes_too_much_memory_takes_no_other_along() {
    let site = Site::start();
    run(async {
        let stack = Stack::builder()
            .set("SNAPHOOK_RENDER_PAGE_MEMORY_MAX_MB", 300)
            .set("SNAPHOOK_RENDER_CONCURRENCY", 2)
            .start();
        let client = stack.client();
        let hog = json!({ "html": "<script>const held = []; for (;;) held.push(new Uint8Array(1e7).fill(1))</script>", "timeout": 20 });
        let slow = json!({ "url": site.url("/slow?2500"), "timeout": 30 });
        let (hog, other) = futures::join!(client.take(&hog), client.take(&slow));
        other.expect(200);
        assert_eq!(hog.json()["error_code"], "page_crashed", "{}", hog.text());
        let log = stack.backend_log();
        assert!(log.contains("a page took too much memory and is ended"), "{log}");
        assert!(!log.contains("replacing the browser"), "{log}");
    });
}

#[test]
fn a_browser_that_takes_too_much_memory_is_replaced_and_no_render_is_lost() {
    let site = Site::start();
    run(async {
        let stack = Stack::builder()
            .set("SNAPHOOK_RENDER_BROWSER_MEMORY_MAX_MB", 1)
            .set("SNAPHOOK_RENDER_CONCURRENCY", 3)
            .start();
        let client = stack.client();
        let slow = json!({ "url": site.url("/slow?3000"), "timeout": 60 });
        let quick = async {
            for _ in 0..3 {
                client.take(&json!({ "html": "<p>quick", "timeout": 60 })).await.expect(200);
                tokio::time::sleep(Duration::from_millis(600)).await;
            }
        };
        let (slow, ()) = futures::join!(client.take(&slow), quick);
        slow.expect(200);
        assert!(stack.backend_says("replacing the browser").await);
        let metrics = client.get(&format!("{}/metrics", stack.operations)).await.expect(200).text();
        let counted =
            metrics.lines().find_map(|line| line.strip_prefix("snaphook_browser_starts_total{reason=\"memory\"} "));
        assert!(counted.is_some_and(|count| count != "0"), "{metrics}");
        let scratch = stack.data_dir().join("scratch");
        let one = wait::within(s(20), || std::fs::read_dir(&scratch).unwrap().flatten().count() == 1).await;
        assert!(one, "old browsers are gone");
    });
}

#[test]
fn permissions_are_not_to_be_had() {
    run(async {
        let names =
            ["notifications", "camera", "microphone", "midi", "clipboard-read", "persistent-storage", "geolocation"];
        let page = format!(
            "<p id=said></p><script>(async () => {{
               const said = [];
               for (const name of {names:?}) {{
                 const status = await navigator.permissions.query({{ name }}).catch(() => null);
                 if (status && status.state === 'granted') said.push(name);
               }}
               const asked = await Promise.race([
                 new Promise((done) => navigator.geolocation.getCurrentPosition(() => done('place'), () => done(''))),
                 new Promise((done) => setTimeout(() => done(''), 500))]);
               document.getElementById('said').textContent = 'SAID[' + said + asked + ']';
             }})()</script>"
        );
        let body = json!({ "html": page, "delay": 2, "fail_if_content_missing": ["SAID[]"] });
        let stack = Stack::shared();
        stack.client().take(&body).await.expect(200);
    });
}

#[test]
fn stored_html_runs_nothing_where_it_is_served() {
    let site = Site::start();
    run(async {
        let stack = Stack::shared();
        let client = stack.client();
        // The script is in the file as it is, since it never ran when the page was taken.
        let id = client.enqueue("/v1/scrape", &json!({ "url": site.url("/evil.html"), "js_enabled": false })).await;
        let link = client.done(&id, s(30)).await["file"]["url"].as_str().unwrap().to_owned();
        let stored = client.get(&link).await.expect(200);
        assert!(stored.text().contains("<script>"), "{}", stored.text());
        assert_eq!(stored.header("content-security-policy"), "default-src 'none'; sandbox");
        assert_eq!(stored.header("x-content-type-options"), "nosniff");
        let look = json!({ "url": link, "delay": 1, "fail_if_content_contains": ["RUNS"], "fail_if_content_missing": ["QUIET"] });
        client.take(&look).await.expect(200);
        // The same page from anywhere else does run.
        let control = json!({ "url": site.url("/evil.html"), "delay": 1, "fail_if_content_missing": ["RUNS"] });
        client.take(&control).await.expect(200);
    });
}

/// A user who is nobody else's.
const NOBODY: u32 = 65_534;

const ALLOW_NO_SANDBOX: &str = "SNAPHOOK_RENDER_ALLOW_NO_SANDBOX";

/// What Chromium's first layer is made of: may a user other than root have it here?
fn user_namespaces() -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "true"]).stderr(Stdio::null());
    if rustix::process::geteuid().is_root() {
        unshare.uid(NOBODY).gid(NOBODY);
    }
    unshare.status().unwrap().success()
}

/// A stack with the sandbox on, of a user who may be given one.
fn sandboxed() -> Builder {
    match rustix::process::geteuid().is_root() {
        true => Stack::builder().sandboxed_as(NOBODY),
        false => Stack::builder().set(ALLOW_NO_SANDBOX, false),
    }
}

#[test]
fn root_has_no_sandbox_and_so_no_start() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let said = Stack::builder().set(ALLOW_NO_SANDBOX, false).try_start().err().expect("no start as root");
    assert!(said.contains("sandbox cannot start as root"), "{said}");
}

#[test]
fn where_the_sandbox_cannot_engage_there_is_no_start() {
    // Out of user namespaces, and with nothing that a set-uid helper could do about it.
    let forbid =
        "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --no-new-privs --ambient-caps=-all \"$@\"";
    let forbidding = ["unshare", "--user", "--map-user=65534", "--keep-caps", "sh", "-c", forbid, "sh"];
    let none_left = ["setpriv", "--no-new-privs"];
    let under: &[&str] = if user_namespaces() { &forbidding } else { &none_left };
    let said = sandboxed().under(under).try_start().err().expect("no start without a sandbox");
    assert!(said.contains("Chromium ended or fell silent before it was ready"), "{said}");
    // It is the sandbox that is missing, and nothing else that this user lacks.
    let stack = sandboxed().under(under).set(ALLOW_NO_SANDBOX, true).start();
    run(async { shot(&stack.client()).await });
}

#[test]
fn a_start_without_the_sandbox_is_told() {
    run(async {
        let stack = Stack::builder().set(ALLOW_NO_SANDBOX, true).start();
        assert!(stack.backend_says("Chromium runs without its sandbox ([render] allow_no_sandbox)").await);
        let ready = stack.client().get(&format!("{}/readyz", stack.operations)).await.expect(200).text();
        assert!(ready.contains("Chromium runs without its sandbox (allow_no_sandbox)"), "{ready}");
    });
}

#[test]
fn the_sandbox_engages() {
    if !user_namespaces() {
        return;
    }
    run(async {
        let stack = sandboxed().start();
        let client = stack.client();
        let page = json!({ "html": "<p>in the sandbox", "delay": 3 });
        let look = async {
            // A process that has just been forked is not confined yet, and has not seen the page either.
            let mut last = String::new();
            let confined = wait::within(s(20), || {
                let mut all = descendants::of(stack.backend_pid());
                all.retain(|process| read(process.pid, "cmdline").contains("--type=renderer"));
                last = all.iter().find_map(|process| unconfined(process.pid)).unwrap_or_default();
                !all.is_empty() && last.is_empty()
            });
            assert!(confined.await, "{last}");
        };
        let (shot, ()) = futures::join!(client.take(&page), look);
        shot.expect(200);
        let ready = client.get(&format!("{}/readyz", stack.operations)).await.expect(200).text();
        assert!(!ready.contains("sandbox"), "{ready}");
    });
}

/// What a renderer still may that the sandbox takes away; nothing for one that is confined.
fn unconfined(pid: u32) -> Option<String> {
    let status = read(pid, "status");
    let has = |line: &str| status.contains(line);
    if !(has("Seccomp:\t2") && has("NoNewPrivs:\t1") && has("CapEff:\t0000000000000000")) || has("Uid:\t0") {
        return Some(status);
    }
    let namespace = |pid: u32, name: &str| std::fs::read_link(format!("/proc/{pid}/ns/{name}")).ok();
    let shared = |name: &&str| namespace(pid, name) == namespace(std::process::id(), name);
    ["user", "net", "pid"].iter().find(|name| shared(name)).map(|name| format!("shares our {name} namespace: {status}"))
}

fn read(pid: u32, name: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default()).into_owned()
}

/// What a dozen processes have when they are looked at is off by so much, with one browser going while the next one is there; a
/// line through many looks is off by less, as all means are.
const NOISE_MB: f64 = 256.0;
/// What the allocators of the service itself keep.
const OWN_MB: f64 = 48.0;

/// What a process and all below it have of the memory, in MB: pages that several share are shared out among them.
fn memory_mb(pid: u32) -> f64 {
    let all = descendants::of(pid).into_iter().map(|process| process.pid).chain([pid]);
    all.map(own_memory_mb).sum()
}

fn own_memory_mb(pid: u32) -> f64 {
    let rollup = read(pid, "smaps_rollup");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Megabytes an hour: the line that fits best through measurements of (hours, megabytes).
fn slope(measured: &[(f64, f64)]) -> f64 {
    let count = measured.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| measured.iter().map(of).sum::<f64>() / count;
    let (hour, megabyte) = (mean(|point| point.0), mean(|point| point.1));
    let above: f64 = measured.iter().map(|(x, y)| (x - hour) * (y - megabyte)).sum();
    let below: f64 = measured.iter().map(|(x, _)| (x - hour).powi(2)).sum();
    above / below
}

#[test]
fn the_line_through_measurements_is_the_best_one() {
    assert!((slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) - 2.0).abs() < 1e-9);
    assert!((slope(&[(0.0, 1.0), (1.0, 5.0), (2.0, 1.0)])).abs() < 1e-9);
}

/// A megabyte an hour is allowed, which takes hours to be told from noise: `SNAPHOOK_SOAK_SECONDS=86400` makes a day of it.
#[test]
fn renders_leave_no_memory_and_no_zombies_behind() {
    let seconds = number("SNAPHOOK_SOAK_SECONDS", 15);
    let site = Site::start();
    run(async {
        let stack = Stack::builder().start();
        let client = stack.client();
        let round = async || {
            client.take(&json!({ "url": site.url("/element.html") })).await.expect(200);
            client.take(&json!({ "html": "<script>for (;;);</script>", "timeout": 1 })).await;
            client.take(&json!({ "url": site.url("/tall.html"), "full_page": true })).await.expect(200);
        };
        for _ in 0..3 {
            round().await;
        }
        let (began, before) = (Instant::now(), own_memory_mb(stack.backend_pid()));
        let mut measured = Vec::new();
        while began.elapsed() < s(seconds) || measured.len() < 6 {
            round().await;
            measured.push((began.elapsed().as_secs_f64() / 3600.0, memory_mb(stack.backend_pid())));
        }
        // Allocators, caches and the browser's own processes have found their size by then.
        let settled = &measured[measured.len() / 2..];
        let hours = settled[settled.len() - 1].0 - settled[0].0;
        let grown = slope(settled) * hours;
        let own = own_memory_mb(stack.backend_pid());
        assert!(before > 0.0 && own <= before + OWN_MB + hours, "the service itself: {before:.1} MB, then {own:.1} MB");
        let allowed = NOISE_MB / (settled.len() as f64).sqrt() + hours;
        assert!(grown <= allowed, "{grown:.1} MB in {hours:.2} h: {settled:?}");
        let stats = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let rest = stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            (rest[0] == "Z" && rest[1] == stack.backend_pid().to_string()).then_some(stat)
        });
        assert_eq!(stats.collect::<Vec<_>>(), Vec::<String>::new(), "zombies");
    });
}
