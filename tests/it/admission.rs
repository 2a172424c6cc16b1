//! What is too much is refused, with the vendor's code and a time to come back; and no key takes it all.

use std::time::Instant;

use serde_json::{Value as Json, json};
use snaphook_tests::client::{Answer, Client};
use snaphook_tests::receiver::Receiver;
use snaphook_tests::run;
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::s;

fn assert_refused(answer: &Answer, status: u16, code: &str) {
    let answer = answer.clone().expect(status);
    let body = answer.json();
    let name = if body["error_code"].is_string() { &body["error_code"] } else { &body["code"] };
    assert_eq!(name, code, "{body}");
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{:?}", answer.headers);
}

#[test]
fn a_full_queue_refuses_in_both_dialects_and_takes_again_when_there_is_room() {
    run(async {
        let stack =
            Stack::builder().set("SNAPHOOK_QUEUE_CAPACITY", 3).set("SNAPHOOK_RENDER_CONCURRENCY", 1).edge().start();
        let (client, edge, site) = (stack.client(), stack.edge_client(), Site::start());
        let slow = json!({ "url": site.url("/never"), "timeout": 60 });
        let busy = client.enqueue("/take", &slow).await;
        client.request_when(&busy, "rendering", s(30), |view| view["state"] == "rendering").await;
        let mut waiting = Vec::new();
        for _ in 0..3 {
            waiting.push(client.enqueue("/v1/screenshot", &json!({ "html": "<p>x" })).await);
        }
        let small = json!({ "html": "<p>x", "async": true });
        for caller in [&client, &edge] {
            for path in ["/take", "/v1/screenshot"] {
                assert_refused(&caller.post(path, &small).await, 503, "temporary_unavailable");
            }
        }
        // Nothing of what was refused is there.
        let list = client.get_with_key("/v1/requests").await.expect(200).json();
        assert_eq!(list["requests"].as_array().unwrap().len(), 4, "{list:#}");
        client.post(&format!("/v1/requests/{}/cancel", waiting[0]), &json!({})).await.expect(200);
        edge.post("/v1/screenshot", &small).await.expect(202);
        client.post(&format!("/v1/requests/{busy}/cancel"), &json!({})).await.expect(200);
    });
}

#[test]
fn callers_who_wait_are_bounded_too() {
    run(async {
        let stack =
            Stack::builder().set("SNAPHOOK_RENDER_WAITING_MAX", 1).set("SNAPHOOK_RENDER_CONCURRENCY", 1).start();
        let (client, site) = (stack.client(), Site::start());
        let slow = json!({ "url": site.url("/slow?3000"), "format": "png" });
        let answers = futures::future::join_all((0..6).map(|_| client.take(&slow))).await;
        let (taken, refused): (Vec<&Answer>, Vec<&Answer>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!((taken.len(), refused.len()), (2, 4), "one renders and one waits");
        for answer in refused {
            assert_refused(answer, 400, "concurrency_limit_reached");
        }
        client.take(&json!({ "html": "<p>x" })).await.expect(200);
    });
}

#[test]
fn a_key_with_a_thousand_requests_does_not_keep_another_waiting() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_RENDER_CONCURRENCY", 1).start();
        let (greedy, modest) = (stack.client(), Client::new(&stack.api, &stack.new_key()));
        let (site, receiver) = (Site::start(), Receiver::start());
        let job = json!({ "url": site.url("/slow?1000"), "block_annoyance": "none", "async": true });
        for _ in 0..20 {
            let answers = futures::future::join_all((0..50).map(|_| greedy.post("/v1/screenshot", &job))).await;
            assert!(answers.iter().all(|answer| answer.status == 202));
        }
        let (asked, before) = (Instant::now(), site.count("/slow"));
        let mut mine = job.clone();
        mine["webhook_url"] = json!(receiver.url());
        let id = modest.enqueue("/v1/screenshot", &mine).await;
        modest.done(&id, s(30)).await;
        // The job under way, then this one, and perhaps another until we hear of it: two job times.
        let begun = site.count("/slow") - before;
        assert!(begun <= 3, "{begun} in {:?}", asked.elapsed());
        let usage: Json = greedy.get_with_key("/usage").await.expect(200).json();
        assert!(usage["used"].as_u64().unwrap() < 30, "{usage}");
    });
}
