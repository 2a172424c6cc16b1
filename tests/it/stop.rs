//! SIGTERM under load: what can end ends, the rest goes back to the queue, and nothing is left lying about.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value as Json, json};
use snaphook_tests::client::Client;
use snaphook_tests::receiver::{Behaviour, Receiver};
use snaphook_tests::site::Site;
use snaphook_tests::stack::{Builder, Stack};
use snaphook_tests::wait::{self, s};
use snaphook_tests::{descendants, run};

/// Many more than can be rendered at once, the first of them on pages that take their time.
async fn load(client: &Client, site: &Site, receiver: &Receiver) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..12 {
        let path = if number < 2 { "/slow?8000" } else { "/colors.html" };
        let options = json!({ "url": site.url(path), "webhook_url": receiver.url(), "block_annoyance": "none" });
        ids.push(client.enqueue("/v1/screenshot", &options).await);
    }
    let rendering = |view: &Json| view["state"] == "rendering";
    client.request_when(&ids[0], "rendering", s(30), rendering).await;
    wait::for_it("both slow pages to be asked for", s(20), || (site.count("/slow") == 2).then_some(())).await;
    ids
}

fn builder(drain_s: u64) -> Builder {
    Stack::builder().set("SNAPHOOK_HTTP_DRAIN_SECONDS", drain_s).set("SNAPHOOK_RENDER_CONCURRENCY", 2)
}

fn signal(stack: &Stack) {
    let pid = Pid::from_raw(stack.backend_pid().cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
}

/// What every end must leave: a good exit, no process, no directory, no lease.
async fn assert_clean(stack: &mut Stack, children: &[descendants::Process], limit: Duration) {
    let ended = wait::until("the end", limit, async || stack.ended_part()).await;
    assert!(ended.starts_with("exit status: 0"), "{ended}");
    wait::for_it("the end of all browser processes", s(10), || {
        descendants::still_running(children).is_empty().then_some(())
    })
    .await;
    let scratch = stack.data_dir().join("scratch");
    assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0, "scratch directories");
    let held = stack.run_command(&["requests", "list", "--state", "rendering", "--json"]);
    assert_eq!(String::from_utf8_lossy(&held.stdout).trim(), "[]", "no lease is held by nobody");
    let sending = stack.run_command(&["webhooks", "list", "--state", "sending", "--json"]);
    assert_eq!(String::from_utf8_lossy(&sending.stdout).trim(), "[]");
}

async fn assert_all_done(stack: &mut Stack, client: &Client, ids: &[String]) {
    stack.restart();
    for id in ids {
        let view = client.request_when(id, "delivered", s(60), |view| view["webhook"]["state"] == "delivered").await;
        assert_eq!(view["state"], "done", "{view:#}");
    }
}

#[test]
fn what_does_not_end_in_time_goes_back_to_the_queue() {
    run(async {
        let mut stack = builder(1).start();
        let (client, site, receiver) = (stack.client(), Site::start(), Receiver::start());
        // A webhook that is under way counts as well.
        let mute = Receiver::start();
        mute.behave(Behaviour::Hang);
        let waiting = client.enqueue("/v1/screenshot", &json!({ "html": "<p>x", "webhook_url": mute.url() })).await;
        mute.first(s(30)).await;
        let mut ids = load(&client, &site, &receiver).await;
        let children = descendants::of(stack.backend_pid());
        signal(&stack);
        assert_clean(&mut stack, &children, s(10)).await;
        mute.behave(Behaviour::Status(204));
        stack.restart();
        let view = client.request(&ids[0]).await;
        assert_eq!(view["attempt_log"][0]["reason"], "the service ended", "{view:#}");
        ids.push(waiting);
        stack.terminate();
        assert_all_done(&mut stack, &client, &ids).await;
        let view = client.request(&ids[0]).await;
        assert!(view["attempt_log"].as_array().unwrap().len() >= 2, "{view:#}");
    });
}

#[test]
fn a_second_signal_ends_the_wait() {
    run(async {
        let mut stack = builder(60).start();
        let (client, site, receiver) = (stack.client(), Site::start(), Receiver::start());
        let ids = load(&client, &site, &receiver).await;
        let children = descendants::of(stack.backend_pid());
        signal(&stack);
        // The port closes first; from then on it is draining.
        wait::until("the end of the listener", s(10), async || {
            client.try_post("/v1/screenshot", &json!({})).await.is_none().then_some(())
        })
        .await;
        assert!(stack.ended_part().is_none(), "it waits for what is under way");
        let second = Instant::now();
        signal(&stack);
        assert_clean(&mut stack, &children, s(10)).await;
        assert!(second.elapsed() < s(10));
        assert_all_done(&mut stack, &client, &ids).await;
    });
}
