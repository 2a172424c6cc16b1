//! The operations listener: metrics after real work, and an honest answer to "can you work?".

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use snaphook_tests::client::Client;
use snaphook_tests::receiver::{Behaviour, Receiver};
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::{self, s};
use snaphook_tests::{descendants, repository, run};

/// The value of a sample, by its name and labels as they are written; 0 if it is not there.
fn sample(scrape: &str, name: &str) -> f64 {
    let line = scrape.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap_or_else(|error| panic!("{name}: {value}: {error}")))
}

async fn scrape(stack: &Stack) -> String {
    let answer = stack.client().get(&format!("{}/metrics", stack.operations)).await.expect(200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    answer.text()
}

/// The browser's processes.
fn browsers(stack: &Stack) -> Vec<descendants::Process> {
    descendants::of(stack.backend_pid())
}

fn kill_browser(stack: &Stack) {
    browsers(stack).iter().for_each(descendants::Process::kill9);
}

/// Every metric that a file names, without the suffixes of a histogram.
fn names_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c)).filter(|word| word.starts_with("snaphook_"));
    words.map(str::to_owned).collect()
}

#[test]
fn what_was_done_is_measured() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", "0").start();
        let (client, receiver) = (stack.client(), Receiver::start());
        client.take(&json!({ "html": "<p>x" })).await.expect(200);
        client.take(&json!({ "html": "<img src=http://169.254.169.254/x.png>" })).await.expect(200);
        client.take(&json!({ "url": "nonsense" })).await.expect(400);
        client.get("/wp-login.php").await.expect(404);
        client.get("/another-secret-path").await.expect(404);
        let options = json!({ "html": "<p>x", "webhook_url": receiver.url() });
        let id = client.enqueue("/v1/screenshot", &options).await;
        client.request_when(&id, "delivered", s(30), |view| view["webhook"]["state"] == "delivered").await;
        receiver.behave(Behaviour::Status(500));
        let id = client.enqueue("/v1/screenshot", &options).await;
        client.request_when(&id, "given up", s(30), |view| view["webhook"]["state"] == "dead").await;
        kill_browser(&stack);
        client.take(&json!({ "html": "<p>again" })).await;
        let text = wait::until("the restart", s(30), async || {
            let text = scrape(&stack).await;
            (sample(&text, "snaphook_browser_starts_total{reason=\"died\"}") > 0.0).then_some(text)
        })
        .await;
        let take = "route=\"/take\",dialect=\"screenshotone\"";
        assert!(sample(&text, &format!("snaphook_http_requests_total{{{take},status=\"200\"}}")) >= 2.0, "{text}");
        assert_eq!(sample(&text, &format!("snaphook_http_requests_total{{{take},status=\"400\"}}")), 1.0, "{text}");
        let nowhere = "snaphook_http_requests_total{route=\"other\",dialect=\"native\",status=\"404\"}";
        assert_eq!(sample(&text, nowhere), 2.0, "{text}");
        assert!(sample(&text, "snaphook_renders_total{medium=\"image\",outcome=\"done\"}") >= 4.0, "{text}");
        for phase in ["wait", "open", "load", "prepare", "capture"] {
            let count = sample(&text, &format!("snaphook_render_phase_duration_seconds_count{{phase=\"{phase}\"}}"));
            assert!(count >= 4.0, "{phase}: {text}");
        }
        assert_eq!(sample(&text, "snaphook_webhook_attempts_total{outcome=\"delivered\"}"), 1.0);
        assert_eq!(sample(&text, "snaphook_webhook_attempts_total{outcome=\"dead\"}"), 1.0);
        assert!(sample(&text, "snaphook_egress_refused_total{by=\"page\",reason=\"refused\"}") >= 1.0, "{text}");
        assert!(sample(&text, "snaphook_memory_bytes{process=\"backend\"}") > 1e6, "{text}");
        assert_eq!(sample(&text, "snaphook_queue_requests{state=\"queued\"}"), 0.0);
        assert_eq!(sample(&text, "snaphook_ready"), 1.0, "{text}");
        for secret in [client.key.access_key.as_str(), "wp-login", "secret-path", "169.254", "127.0.0.1"] {
            assert!(!text.contains(secret), "{secret} is in the metrics: {text}");
        }
        // What the dashboard and the alerts ask for is there.
        let known = names_in(&text);
        for file in ["deploy/grafana-dashboard.json", "deploy/alerts.yml"] {
            let asked = names_in(&std::fs::read_to_string(repository(file)).unwrap());
            assert!(asked.len() >= 5, "{file}: {asked:?}");
            let unknown: Vec<&String> = asked.iter().filter(|name| !known.contains(*name)).collect();
            assert!(unknown.is_empty(), "{file} asks for what there is not: {unknown:?}");
        }
        let dashboard = std::fs::read_to_string(repository("deploy/grafana-dashboard.json")).unwrap();
        assert!(serde_json::from_str::<Json>(&dashboard).unwrap()["panels"].as_array().unwrap().len() >= 8);
    });
}

#[test]
fn a_queue_that_waits_is_seen() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_RENDER_CONCURRENCY", 1).start();
        let (client, site) = (stack.client(), snaphook_tests::site::Site::start());
        for _ in 0..3 {
            client.enqueue("/take", &json!({ "url": site.url("/never"), "timeout": 60 })).await;
        }
        let text = wait::until("a queue", s(30), async || {
            let text = scrape(&stack).await;
            (sample(&text, "snaphook_queue_oldest_seconds") >= 1.0).then_some(text)
        })
        .await;
        assert_eq!(sample(&text, "snaphook_queue_requests{state=\"queued\"}"), 2.0, "{text}");
        assert_eq!(sample(&text, "snaphook_queue_requests{state=\"rendering\"}"), 1.0, "{text}");
    });
}

/// What `/readyz` says, and how long it took; `/healthz` must say yes meanwhile.
async fn ready(client: &Client, stack: &Stack) -> (u16, Json, Duration) {
    client.get(&format!("{}/healthz", stack.operations)).await.expect(200);
    let began = Instant::now();
    let answer = client.get(&format!("{}/readyz", stack.operations)).await;
    (answer.status.as_u16(), answer.json(), began.elapsed())
}

#[test]
fn it_answers_at_once_however_busy_it_is() {
    run(async {
        let stack = Stack::builder().start();
        let client = stack.client();
        let page = json!({ "html": "<script>for (const end = Date.now() + 300; Date.now() < end;);</script><p>x" });
        let mut ids = Vec::new();
        for _ in 0..16 {
            ids.push(client.enqueue("/take", &page).await);
        }
        let mut slowest = Duration::ZERO;
        let all_done = async || {
            let (status, told, took) = ready(&client, &stack).await;
            assert_eq!(status, 200, "{told}");
            slowest = slowest.max(took);
            (sample(&scrape(&stack).await, "snaphook_renders_total{medium=\"image\",outcome=\"done\"}") >= 16.0)
                .then_some(())
        };
        wait::until("all of them", s(120), all_done).await;
        assert!(slowest < s(1), "it took {slowest:?}");
        for id in ids {
            client.done(&id, s(10)).await;
        }
    });
}

#[test]
fn it_stays_ready_while_browsers_die_and_others_take_their_place() {
    run(async {
        let stack = Stack::builder().start();
        let client = stack.client();
        for round in 1..=5 {
            kill_browser(&stack);
            let replaced = async || {
                let (status, told, took) = ready(&client, &stack).await;
                assert_eq!(status, 200, "round {round}: {told}");
                assert!(took < s(1), "round {round}: it took {took:?}");
                let died = sample(&scrape(&stack).await, "snaphook_browser_starts_total{reason=\"died\"}");
                (died >= f64::from(round)).then_some(())
            };
            wait::until("another browser", s(60), replaced).await;
        }
        wait::until("a picture", s(60), async || {
            let answer = client.take(&json!({ "html": "<p>x" })).await;
            (answer.status == 200).then_some(())
        })
        .await;
        assert_eq!(ready(&client, &stack).await.0, 200);
    });
}

#[test]
fn without_a_browser_it_says_so_and_is_well_again_with_one() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let (link, real) = (folder.path().join("chromium"), chromium());
        symlink(&real, &link).unwrap();
        let stack = Stack::builder().set("SNAPHOOK_RENDER_CHROMIUM", link.display()).start();
        let client = stack.client();
        std::fs::remove_file(&link).unwrap();
        assert_eq!(ready(&client, &stack).await.0, 200, "the one that runs is enough");
        kill_browser(&stack);
        let told = wait::until("not ready", s(30), async || {
            let (status, told, took) = ready(&client, &stack).await;
            assert!(took < s(1), "it took {took:?}");
            (status == 503).then_some(told)
        })
        .await;
        assert_eq!(told["missing"], json!(["browser"]), "{told}");
        assert_eq!(sample(&scrape(&stack).await, "snaphook_ready"), 0.0);
        symlink(&real, &link).unwrap();
        wait::until("ready again", s(60), async || (ready(&client, &stack).await.0 == 200).then_some(())).await;
        client.take(&json!({ "html": "<p>x" })).await.expect(200);
    });
}

/// The executable that the tests use.
fn chromium() -> std::path::PathBuf {
    if let Some(named) = std::env::var_os("SNAPHOOK_RENDER_CHROMIUM") {
        return named.into();
    }
    let names = ["chromium-headless-shell", "chrome-headless-shell", "chromium", "google-chrome"];
    let path = std::env::var_os("PATH").unwrap();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let found =
        names.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()));
    found.expect("a Chromium").canonicalize().as_deref().map_or_else(|error| panic!("{error}"), Path::to_owned)
}

#[test]
fn every_line_about_a_request_names_it() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_LOG_FORMAT", "json").start();
        let (client, receiver) = (stack.client(), Receiver::start());
        let options = json!({ "html": "<img src=http://169.254.169.254/x.png>", "webhook_url": receiver.url() });
        let id = client.enqueue("/v1/screenshot", &options).await;
        client.request_when(&id, "delivered", s(30), |view| view["webhook"]["state"] == "delivered").await;
        let unknown = client.take(&json!({ "url": "http://no-such-name.example/" })).await;
        let failed = unknown.header("x-snaphook-request-id");
        let lines: Vec<Json> = stack.backend_log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let of = |message: &str| -> Vec<&Json> {
            lines.iter().filter(|line| line["fields"]["message"] == message).collect()
        };
        for message in ["rendered", "the page was refused connections", "webhook"] {
            let found = of(message);
            assert!(!found.is_empty(), "nobody said: {message}\n{}", stack.backend_log());
            assert!(found.iter().all(|line| line["span"]["request"] == id.as_str()), "{found:#?}");
        }
        assert!(of("failed").iter().any(|line| line["span"]["request"] == failed), "{}", stack.backend_log());
    });
}
