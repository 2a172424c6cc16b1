//! The backend is killed or told to stop at the worst moments: what was accepted is done, and nothing is left lying about.

use std::collections::HashSet;

use serde_json::json;
use snaphook_tests::descendants::{self, Process};
use snaphook_tests::picture::Picture;
use snaphook_tests::receiver::{Behaviour, Receiver, Webhook};
use snaphook_tests::run;
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::{self, s};

#[test]
fn a_request_outlives_a_crash_right_after_its_202() {
    run(async {
        let mut stack = Stack::builder().edge().start();
        let (edge, site, receiver) = (stack.edge_client(), Site::start(), Receiver::start());
        let options = json!({
            "url": site.url("/colors.html"), "format": "png", "viewport_width": 200, "viewport_height": 100,
            "webhook_url": receiver.url(),
        });
        let id = edge.enqueue("/v1/screenshot", &options).await;
        stack.kill9();
        stack.restart();
        let webhooks = receiver.wait_for(1, s(30)).await;
        let view = edge.request_when(&id, "delivered", s(15), |view| view["webhook"]["state"] == "delivered").await;
        assert_eq!(view["state"], "done");
        assert_eq!(only_id(&receiver.all()), id.replace("req_", "msg_"));
        let file = webhooks[0].json()["file"].as_str().unwrap().to_owned();
        let picture = Picture::decode(&edge.get(&file).await.expect(200).body);
        assert_eq!((picture.size(), picture.pixel(100, 50)), ((200, 100), 0x204080));
    });
}

#[test]
fn a_request_outlives_a_crash_during_its_render() {
    run(async {
        let mut stack = Stack::builder().start();
        let (client, site, receiver) = (stack.client(), Site::start(), Receiver::start());
        let options = json!({ "url": site.url("/slow?2000"), "format": "png", "webhook_url": receiver.url() });
        let id = client.enqueue("/take", &options).await;
        client.request_when(&id, "rendering", s(15), |view| view["state"] == "rendering").await;
        wait::for_it("the page to be asked for", s(15), || (site.count("/slow") == 1).then_some(())).await;
        let children = descendants::of(stack.backend_pid());
        assert!(!children.is_empty(), "there is a browser");
        stack.kill9();
        all_gone(&children).await;
        stack.restart();
        let view = client.done(&id, s(30)).await;
        assert_eq!((site.count("/slow"), &view["attempts"]), (2, &json!(2)));
        receiver.wait_for(1, s(15)).await;
        client.request_when(&id, "delivered", s(15), |view| view["webhook"]["state"] == "delivered").await;
        assert_eq!(only_id(&receiver.all()), id.replace("req_", "msg_"));
        assert_eq!(Picture::decode(&receiver.all()[0].body).pixel(5, 500), 0x00ff00);
        assert_eq!(scratch(&stack), 1, "the new browser's directory; the killed one's is swept");
    });
}

#[test]
fn a_render_that_outlasts_its_lease_keeps_it() {
    run(async {
        let (stack, site) = (Stack::builder().set("SNAPHOOK_QUEUE_LEASE_SECONDS", 5).start(), Site::start());
        let client = stack.client();
        let options = json!({ "url": site.url("/slow?12000"), "navigation_timeout": 30, "timeout": 60 });
        let view = client.done(&client.enqueue("/take", &options).await, s(50)).await;
        assert_eq!((&view["attempts"], site.count("/slow")), (&json!(1), 1), "{view:#}");
    });
}

#[test]
fn a_webhook_that_was_under_way_in_a_crash_is_sent_again() {
    run(async {
        let mut stack = Stack::builder().start();
        let (client, receiver) = (stack.client(), Receiver::start());
        receiver.behave(Behaviour::Hang);
        let id = client.enqueue("/v1/screenshot", &json!({ "html": "<p>x", "webhook_url": receiver.url() })).await;
        receiver.wait_for(1, s(30)).await;
        stack.kill9();
        receiver.behave(Behaviour::Status(200));
        stack.restart();
        let webhooks = receiver.wait_for(2, s(15)).await;
        let view = client.request_when(&id, "delivered", s(15), |view| view["webhook"]["state"] == "delivered").await;
        assert_eq!(view["attempts"], 1, "rendered once: {view:#}");
        assert_eq!(only_id(&webhooks), id.replace("req_", "msg_"));
        assert_eq!(webhooks[0].body, webhooks[1].body, "the same bytes on every attempt");
    });
}

#[test]
fn sigterm_lets_what_is_under_way_end_and_leaves_nothing_behind() {
    run(async {
        let mut stack = Stack::builder().start();
        let (client, site, receiver) = (stack.client(), Site::start(), Receiver::start());
        let options = json!({ "url": site.url("/slow?1500"), "format": "png", "webhook_url": receiver.url() });
        let id = client.enqueue("/v1/screenshot", &options).await;
        let waiting = {
            let (client, url) = (client.clone(), site.url("/slow?1500"));
            tokio::spawn(async move { client.take(&json!({ "url": url, "format": "png" })).await })
        };
        wait::for_it("both pages to be asked for", s(20), || (site.count("/slow") == 2).then_some(())).await;
        let children = descendants::of(stack.backend_pid());
        assert!(children.iter().any(|child| child.name.contains("chrom")), "{children:?}");

        let status = stack.terminate();
        let answer = waiting.await.unwrap().expect(200);
        assert_eq!(Picture::decode(&answer.body).pixel(5, 500), 0x00ff00);
        assert!(status.is_some_and(|status| status.success()), "{status:?}\n{}", stack.backend_log());
        all_gone(&children).await;
        assert_eq!(scratch(&stack), 0, "scratch directories");

        stack.restart();
        let view = client.request_when(&id, "delivered", s(15), |view| view["webhook"]["state"] == "delivered").await;
        assert_eq!((&view["state"], &view["attempts"]), (&json!("done"), &json!(1)), "{view:#}");
        assert_eq!(only_id(&receiver.all()), id.replace("req_", "msg_"));
    });
}

#[test]
fn a_browser_that_dies_is_replaced() {
    run(async {
        let stack = Stack::builder().start();
        let client = stack.client();
        let options = json!({ "html": "<body style='margin:0;background:#123456'>", "format": "png" });
        client.take(&options).await.expect(200);
        let browsers = descendants::of(stack.backend_pid());
        let leader = browsers.iter().find(|process| process.name.contains("chrom")).unwrap();
        let pid = rustix::process::Pid::from_raw(leader.pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        all_gone(std::slice::from_ref(leader)).await;
        // An asynchronous request may meet the dying browser, and is tried again then.
        let id = client.enqueue("/take", &options).await;
        client.done(&id, s(30)).await;
        let answer = client.take(&options).await.expect(200);
        assert_eq!(Picture::decode(&answer.body).pixel(9, 9), 0x123456);
    });
}

/// The one `webhook-id` of all these webhooks.
fn only_id(webhooks: &[Webhook]) -> String {
    let ids: HashSet<&str> = webhooks.iter().map(|webhook| webhook.header("webhook-id")).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    ids.into_iter().next().unwrap().to_owned()
}

async fn all_gone(processes: &[Process]) {
    wait::for_it("the end of all browser processes", s(10), || {
        descendants::still_running(processes).is_empty().then_some(())
    })
    .await;
}

/// How many directories the browsers of this stack have left.
fn scratch(stack: &Stack) -> usize {
    std::fs::read_dir(stack.data_dir().join("scratch")).unwrap().count()
}
