//! The operations listener: metrics after real work, and an honest answer to "can you work?".

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use snaphook_shared::code::Code;
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

/// Which values each label of each metric has had, from a scrape.
fn labels_of(scrape: &str) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let mut found: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for line in scrape.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap().to_owned();
        let labels = found.entry(name).or_default();
        let inside = line.split_once('{').map_or("", |(_, rest)| rest.split('}').next().unwrap());
        for pair in inside.split("\",").filter(|pair| !pair.is_empty()) {
            let (label, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            labels.entry(label.to_owned()).or_default().insert(value.trim_end_matches('"').to_owned());
        }
    }
    found
}

/// One thing that an expression says of a label: of which metric, and which values it must have had (none for `by`).
struct Asked {
    metric: String,
    label: String,
    values: Vec<String>,
}

/// What an expression of PromQL asks of labels: by selectors, and by what it groups.
fn asked_in(expression: &str) -> Vec<Asked> {
    let mut asked = Vec::new();
    let metrics = names_in(expression);
    for metric in &metrics {
        for (at, _) in expression.match_indices(metric.as_str()) {
            let Some(selector) = expression[at + metric.len()..].strip_prefix('{') else { continue };
            for pair in selector.split('}').next().unwrap().split("\",") {
                let (label, value) = pair.split_once('"').unwrap_or_else(|| panic!("{expression}"));
                let values = value.trim_end_matches('"').split('|').map(str::to_owned).collect();
                let label = label.trim().trim_end_matches(['=', '!', '~']).to_owned();
                asked.push(Asked { metric: metric.clone(), label, values });
            }
        }
    }
    for grouped in expression.split(" by (").skip(1) {
        for label in grouped.split(')').next().unwrap().split(',').map(|label| label.trim().to_owned()) {
            let of =
                metrics.iter().map(|metric| Asked { metric: metric.clone(), label: label.clone(), values: vec![] });
            asked.extend(of);
        }
    }
    asked
}

/// The expressions of the alerts and of the dashboard's panels, each with the labels that its legend names.
fn expressions() -> Vec<(String, Vec<String>)> {
    let dashboard = std::fs::read_to_string(repository("deploy/grafana-dashboard.json")).unwrap();
    let dashboard: Json = serde_json::from_str(&dashboard).unwrap();
    let alerts = std::fs::read_to_string(repository("deploy/alerts.yml")).unwrap();
    let mut found = Vec::new();
    for target in dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap())
    {
        let legend = target["legendFormat"].as_str().unwrap_or_default();
        let labels = legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap().to_owned()).collect();
        found.push((target["expr"].as_str().unwrap().to_owned(), labels));
    }
    let alerts: Json = serde_saphyr::from_str(&alerts).unwrap();
    for rule in alerts["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        found.push((rule["expr"].as_str().unwrap().to_owned(), Vec::new()));
    }
    found
}

#[test]
fn what_was_done_is_measured() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", "0,1").start();
        let (client, receiver, gone) = (stack.client(), Receiver::start(), Receiver::start());
        client.take(&json!({ "html": "<p>x" })).await.expect(200);
        client.take(&json!({ "html": "<img src=http://169.254.169.254/x.png>" })).await.expect(200);
        client.take(&json!({ "url": "nonsense" })).await.expect(400);
        client.get("/wp-login.php").await.expect(404);
        client.get("/another-secret-path").await.expect(404);
        client.get("/dashboard/login").await.expect(200);
        client.get("/dashboard").await.expect(303);
        let options = json!({ "html": "<p>x", "webhook_url": receiver.url() });
        let id = client.enqueue("/v1/screenshot", &options).await;
        client.request_when(&id, "delivered", s(30), |view| view["webhook"]["state"] == "delivered").await;
        receiver.behave(Behaviour::Status(500));
        let id = client.enqueue("/v1/screenshot", &options).await;
        client.request_when(&id, "given up", s(30), |view| view["webhook"]["state"] == "dead").await;
        gone.behave(Behaviour::Status(410));
        let id = client.enqueue("/v1/screenshot", &json!({ "html": "<p>x", "webhook_url": gone.url() })).await;
        client.request_when(&id, "given up", s(30), |view| view["webhook"]["state"] == "dead").await;
        let nowhere = json!({ "html": "<p>x", "webhook_url": "https://no-such-name.example/" });
        let id = client.enqueue("/v1/screenshot", &nowhere).await;
        client.request_when(&id, "given up", s(30), |view| view["webhook"]["state"] == "dead").await;
        wait::until("the browser's memory", s(30), async || {
            (sample(&scrape(&stack).await, "snaphook_memory_bytes{process=\"browser\"}") > 1e7).then_some(())
        })
        .await;
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
        let screenshot = "route=\"/v1/screenshot\",dialect=\"screenshotmax\"";
        assert_eq!(
            sample(&text, &format!("snaphook_http_requests_total{{{screenshot},status=\"202\"}}")),
            4.0,
            "{text}"
        );
        for (labels, count) in [(take, 4.0), (screenshot, 2.0)] {
            let timed = sample(&text, &format!("snaphook_http_request_duration_seconds_count{{{labels}}}"));
            assert!(timed >= count, "{labels}: {timed}: {text}");
        }
        let nowhere = "snaphook_http_requests_total{route=\"other\",dialect=\"native\",status=\"404\"}";
        assert_eq!(sample(&text, nowhere), 2.0, "{text}");
        for (status, count) in [(200, 1.0), (303, 1.0), (404, 0.0)] {
            let of_pages = format!("{{route=\"/dashboard\",dialect=\"native\",status=\"{status}\"}}");
            assert_eq!(sample(&text, &format!("snaphook_http_requests_total{of_pages}")), count, "{text}");
        }
        assert_eq!(sample(&text, "snaphook_http_errors_total{code=\"request_not_valid\"}"), 1.0, "{text}");
        assert!(sample(&text, "snaphook_renders_total{medium=\"image\",outcome=\"done\"}") >= 4.0, "{text}");
        for phase in ["wait", "open", "load", "prepare", "capture"] {
            let count = sample(&text, &format!("snaphook_render_phase_duration_seconds_count{{phase=\"{phase}\"}}"));
            assert!(count >= 4.0, "{phase}: {text}");
        }
        assert_eq!(sample(&text, "snaphook_webhook_attempts_total{outcome=\"delivered\"}"), 1.0);
        for (outcome, count) in [("retried", 2.0), ("dead", 2.0), ("gone", 1.0)] {
            let name = format!("snaphook_webhook_attempts_total{{outcome=\"{outcome}\"}}");
            assert_eq!(sample(&text, &name), count, "{outcome}: {text}");
        }
        let unresolved = "snaphook_egress_refused_total{by=\"webhook\",reason=\"name-not-resolved\"}";
        assert_eq!(sample(&text, unresolved), 2.0, "{text}");
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
        // And its labels, with values that they can have.
        let known = labels_of(&text);
        let codes = Code::ALL.map(|code| code.entry().name);
        let all = expressions();
        assert!(all.len() >= 20, "{all:?}");
        for (expression, legend) in &all {
            let asked = asked_in(expression);
            for Asked { metric, label, values } in &asked {
                let seen = known[metric].get(label).unwrap_or_else(|| panic!("{metric} has no {label}: {expression}"));
                for value in values {
                    let is_code = ["code", "outcome"].contains(&label.as_str()) && codes.contains(&value.as_str());
                    let is_status = label == "status" && value.ends_with("..");
                    assert!(seen.contains(value) || is_code || is_status, "{label}={value}: {expression}");
                }
            }
            let is_there = |label: &String| {
                asked.iter().any(|asked| asked.label == *label)
                    || names_in(expression).iter().any(|metric| known[metric].contains_key(label))
            };
            assert!(legend.iter().all(is_there), "{legend:?}: {expression}");
        }
        let labels: BTreeSet<String> = all.iter().flat_map(|(one, _)| asked_in(one)).map(|asked| asked.label).collect();
        for label in ["code", "dialect", "outcome", "phase", "process", "reason", "route", "status"] {
            assert!(labels.contains(label), "{label} is asked for by nobody: {labels:?}");
        }
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
            let ages = ["snaphook_queue_oldest_seconds", "snaphook_queue_oldest_ready_seconds"];
            ages.iter().all(|age| sample(&text, age) >= 1.0).then_some(text)
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

#[test]
fn a_browser_that_hangs_is_seen_and_replaced() {
    run(async {
        let stack = Stack::builder().start();
        let client = stack.client();
        client.take(&json!({ "html": "<p>x" })).await.expect(200);
        let hung = browsers(&stack);
        assert!(!hung.is_empty());
        hung.iter().for_each(descendants::Process::suspend);
        let told = wait::until("not ready", s(90), async || {
            let (status, told, took) = ready(&client, &stack).await;
            assert!(took < s(1), "it took {took:?}");
            (status == 503).then_some(told)
        })
        .await;
        assert_eq!(told["missing"], json!(["browser"]), "{told}");
        wait::until("ready again", s(90), async || {
            let (status, told, took) = ready(&client, &stack).await;
            assert!(took < s(1), "it took {took:?}: {told}");
            (status == 200).then_some(())
        })
        .await;
        client.take(&json!({ "html": "<p>x" })).await.expect(200);
        wait::until("the end of the one that hung", s(30), async || {
            descendants::still_running(&hung).is_empty().then_some(())
        })
        .await;
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

/// What a service that is at work may say of itself, and of no request.
const OF_THE_SERVICE: [&str; 2] = ["swept", "replacing the browser"];

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
        // Its line may still be on its way here.
        assert!(stack.backend_says("\"message\":\"failed\"").await, "{}", stack.backend_log());
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
        // Since it was ready nothing else has happened, whatever else is said.
        let begun = lines.iter().position(|line| line["fields"]["message"] == "ready").expect("a line that says so");
        let said = lines[begun + 1..].iter().filter(|line| line.get("fields").is_some());
        let nameless: Vec<&Json> = said
            .filter(|line| !OF_THE_SERVICE.contains(&line["fields"]["message"].as_str().unwrap_or_default()))
            .filter(|line| line["span"]["request"].as_str().is_none_or(|request| !request.starts_with("req_")))
            .collect();
        assert!(nameless.is_empty(), "{nameless:#?}");
    });
}
