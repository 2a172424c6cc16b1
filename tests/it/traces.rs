//! Traces: one request is one trace, from its caller over the edge to each attempt of its webhook.

use std::collections::HashMap;

use serde_json::{Value as Json, json};
use snaphook_tests::client::Client;
use snaphook_tests::collector::{Collector, Span};
use snaphook_tests::receiver::{Behaviour, Receiver};
use snaphook_tests::run;
use snaphook_tests::site::Site;
use snaphook_tests::stack::{Builder, Stack};
use snaphook_tests::wait::{self, s};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn traceparent(id: &str) -> String {
    format!("00-{TRACE}-{id}-01")
}

fn traced(collector: &Collector) -> Builder {
    Stack::builder()
        .set("SNAPHOOK_TELEMETRY_OTLP_ENDPOINT", collector.url())
        .set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", "0,1")
        // Milliseconds; five seconds by default.
        .set("OTEL_BSP_SCHEDULE_DELAY", 50)
}

/// An asynchronous request of a caller who is traced.
async fn enqueue(client: &Client, path: &str, options: &Json, traceparent: &str) -> String {
    let mut options = options.clone();
    options["async"] = json!(true);
    let accepted = client.post_with(path, &[("traceparent", traceparent)], &options).await.expect(202);
    accepted.header("x-snaphook-request-id").to_owned()
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

#[track_caller]
fn one<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let [span] = named(spans, name)[..] else { panic!("one {name} in {spans:#?}") };
    span
}

#[test]
fn a_task_that_has_to_wait_begins_no_trace_until_it_runs() {
    run(async {
        let (collector, site) = (Collector::start(), Site::start());
        let stack = traced(&collector).set("SNAPHOOK_RENDER_CONCURRENCY", 1).set("SNAPHOOK_QUEUE_CAPACITY", 1).start();
        let client = stack.client();
        let slow = json!({ "url": site.url("/slow?6000"), "async": true });
        client.enqueue("/v1/screenshot", &slow).await;
        wait::for_it("a render", s(20), || (site.count("/slow") > 0).then_some(())).await;
        client.enqueue("/v1/screenshot", &json!({ "html": "x", "async": true })).await;
        let task = json!({ "name": "test", "api": "screenshot", "query": "html=x", "crontab": "0 0 1 1 *" });
        let task = client.post("/v1/tasks", &task).await.expect(201).json()["id"].clone();
        let database = rusqlite::Connection::open(stack.data_dir().join("snaphook.db")).unwrap();
        database.execute("UPDATE tasks SET due_ms = 1", []).unwrap();
        assert!(stack.backend_says("fired=Later").await, "{}", stack.backend_log());
        assert!(named(&collector.all(), "task").is_empty());
        wait::until("the task's run", s(30), async || {
            let page = client.get_with_key(&format!("/v1/requests?task={task}")).await.expect(200).json();
            (page["requests"][0]["state"] == "done").then_some(())
        })
        .await;
        collector.wait_for("task", 1, s(20)).await;
        let spans = collector.all();
        one(&spans, "task");
        assert!(stack.backend_log().matches("fired=Later").count() >= 2, "{}", stack.backend_log());
    });
}

#[test]
fn a_request_is_one_trace_from_its_caller_to_each_webhook() {
    run(async {
        let (collector, receiver, site) = (Collector::start(), Receiver::start(), Site::start());
        let stack = traced(&collector).edge().start();
        receiver.behave(Behaviour::EveryNth(2, 500, 204));
        let options = json!({ "url": site.url("/slow?1&secret=hush"), "format": "png", "webhook_url": receiver.url() });
        let id = enqueue(&stack.edge_client(), "/v1/screenshot", &options, &traceparent(CALLER)).await;
        let webhooks = receiver.wait_for(2, s(60)).await;
        collector.wait_for("webhook", 2, s(20)).await;
        let spans = collector.all();

        let by_id: HashMap<&str, &Span> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
        assert_eq!(by_id.len(), spans.len(), "each has an id of its own");
        for span in &spans {
            assert_eq!(span.trace, TRACE, "{span:?}");
            assert!(span.began <= span.ended, "{span:?}");
            // Neither addresses nor keys nor what is in them.
            for (name, value) in &span.attributes {
                for hidden in ["://", "127.0.0.1", "hush", &stack.key.access_key, &stack.key.secret_key] {
                    assert!(!value.contains(hidden), "{name} of {}: {value}", span.name);
                }
            }
        }
        let (edge, accepted) = (one(&spans, "edge"), one(&spans, "POST /v1/screenshot"));
        let (queue, render, store) = (one(&spans, "queue"), one(&spans, "render"), one(&spans, "store"));
        assert_eq!((edge.parent.as_str(), &accepted.parent), (CALLER, &edge.id));
        for follows in [queue, render].into_iter().chain(named(&spans, "webhook")) {
            assert_eq!(follows.parent, accepted.id, "{follows:?}");
        }
        for phase in ["wait", "open", "load", "prepare", "capture", "store"] {
            let phase = one(&spans, phase);
            assert_eq!(phase.parent, render.id, "{phase:?}");
            // Two clocks of one machine, within a millisecond.
            let within = phase.began + 1_000_000 >= render.began && phase.ended <= render.ended + 1_000_000;
            assert!(within, "{phase:?} in {render:?}");
        }
        assert!(edge.began <= accepted.began && accepted.ended <= edge.ended);
        assert!(queue.ended <= render.began && store.began >= one(&spans, "capture").began);
        assert_eq!(
            (accepted.attribute("http.route"), accepted.attribute("http.response.status_code")),
            ("/v1/screenshot", "202")
        );
        assert_eq!(
            (accepted.attribute("snaphook.request.id"), render.attribute("snaphook.request.id")),
            (id.as_str(), id.as_str())
        );
        assert_eq!((render.attribute("snaphook.format"), render.failed), ("png", false));

        // Each attempt tells the receiver its own span.
        let mut attempts = named(&spans, "webhook");
        attempts.sort_by_key(|span| span.began);
        let told: Vec<&str> = webhooks.iter().map(|webhook| webhook.header("traceparent")).collect();
        assert_eq!(told, attempts.iter().map(|span| traceparent(&span.id)).collect::<Vec<_>>());
        assert_eq!(attempts.iter().map(|span| span.failed).collect::<Vec<_>>(), [true, false]);
        assert_eq!(attempts[0].attribute("error.type"), "retried");
        assert_eq!(
            (attempts[0].attribute("http.response.status_code"), attempts[1].attribute("snaphook.attempt")),
            ("500", "2")
        );
        assert_eq!(webhooks[0].header("webhook-id"), webhooks[1].header("webhook-id"));
    });
}

#[test]
fn a_trace_goes_on_after_a_crash_between_accept_and_render() {
    run(async {
        let (collector, receiver, site) = (Collector::start(), Receiver::start(), Site::start());
        let mut stack = traced(&collector).set("SNAPHOOK_RENDER_CONCURRENCY", 1).start();
        let client = stack.client();
        let busy = json!({ "url": site.url("/never"), "navigation_timeout": 30 });
        let busy = client.enqueue("/take", &busy).await;
        client.request_when(&busy, "rendering", s(60), |view| view["state"] == "rendering").await;
        let options = json!({ "html": "<p>x", "format": "png", "webhook_url": receiver.url() });
        let id = enqueue(&client, "/take", &options, &traceparent(CALLER)).await;
        let mine = |spans: Vec<Span>| spans.into_iter().filter(|span| span.trace == TRACE).collect::<Vec<_>>();
        let accepted = snaphook_tests::wait::for_it("the accepted request's span", s(20), || {
            mine(collector.all()).into_iter().find(|span| span.name == "POST /take")
        })
        .await;
        assert_eq!(client.request(&id).await["state"], "queued");
        stack.kill9();
        stack.restart();
        let webhook = receiver.first(s(60)).await;
        snaphook_tests::wait::for_it("the webhook's span", s(20), || {
            mine(collector.all()).into_iter().find(|span| span.name == "webhook")
        })
        .await;
        let spans = mine(collector.all());
        assert_eq!(accepted.parent, CALLER);
        for name in ["queue", "render", "webhook"] {
            assert_eq!(one(&spans, name).parent, accepted.id, "{name}");
        }
        assert_eq!(webhook.header("traceparent"), traceparent(&one(&spans, "webhook").id));
        // It waited over the restart, and its wait is told from its beginning.
        let queue = one(&spans, "queue");
        assert!(queue.began <= accepted.ended && queue.ended > accepted.ended, "{queue:?}");
    });
}

#[test]
fn what_is_no_traceparent_begins_a_trace_and_who_does_not_sample_is_not_recorded() {
    run(async {
        let (collector, receiver, site) = (Collector::start(), Receiver::start(), Site::start());
        let stack = traced(&collector).start();
        let client = stack.client();
        let options = json!({ "url": site.url("/slow?1"), "format": "png", "webhook_url": receiver.url() });
        let unsampled = format!("00-{TRACE}-{CALLER}-00");
        enqueue(&client, "/take", &options, &unsampled).await;
        let told = receiver.first(s(60)).await.header("traceparent").to_owned();
        assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-00"), "{told}");
        enqueue(&client, "/take", &options, &traceparent(&"0".repeat(16))).await;
        collector.wait_for("webhook", 1, s(60)).await;
        let spans = collector.all();
        let first = one(&spans, "POST /take");
        assert_eq!(first.parent, "");
        assert!(spans.iter().all(|span| span.trace == first.trace && span.trace != TRACE), "{spans:#?}");
        // One who waits is traced too, and hears of it in the webhook.
        let answer = client.post_with("/take", &[("traceparent", &traceparent(CALLER))], &options).await.expect(200);
        assert!(answer.body.starts_with(b"\x89PNG"));
        collector.wait_for("webhook", 2, s(60)).await;
        let spans: Vec<Span> = collector.all().into_iter().filter(|span| span.trace == TRACE).collect();
        let accepted = one(&spans, "POST /take");
        assert_eq!((accepted.parent.as_str(), &one(&spans, "render").parent), (CALLER, &accepted.id));
        assert_eq!(one(&spans, "store").parent, one(&spans, "render").id);
        assert!(named(&spans, "queue").is_empty());
    });
}

#[test]
fn without_a_collector_a_callers_place_reaches_the_webhook_as_it_came() {
    run(async {
        let (stack, receiver) = (Stack::shared(), Receiver::start());
        let options = json!({ "html": "<p>x", "format": "png", "webhook_url": receiver.url() });
        enqueue(&stack.edge_client(), "/take", &options, &traceparent(CALLER)).await;
        assert_eq!(receiver.first(s(60)).await.header("traceparent"), traceparent(CALLER));
        stack.client().enqueue("/take", &options).await;
        assert!(!receiver.wait_for(2, s(60)).await[1].has("traceparent"));
    });
}

#[test]
fn a_collector_that_is_away_is_told_of_once_and_holds_up_nothing() {
    run(async {
        let stack = {
            let away = Collector::start();
            traced(&away).start()
        };
        let client = stack.client();
        for _ in 0..3 {
            client.take(&json!({ "html": "<p>x", "format": "png" })).await.expect(200);
        }
        snaphook_tests::wait::for_it("the complaint", s(20), || {
            stack.backend_log().contains("spans cannot be sent").then_some(())
        })
        .await;
        client.take(&json!({ "html": "<p>x", "format": "png" })).await.expect(200);
        assert_eq!(stack.backend_log().matches("spans cannot be sent").count(), 1, "{}", stack.backend_log());
    });
}
