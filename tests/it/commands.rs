//! `snaphook requests` and `snaphook webhooks`: the operator's view of all keys, beside a running service.

use serde_json::{Value as Json, json};
use snaphook_tests::client::Client;
use snaphook_tests::receiver::{Behaviour, Receiver};
use snaphook_tests::run;
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::{self, s};

/// Runs a command that must succeed and reads its JSON.
fn ask(stack: &Stack, arguments: &[&str]) -> Json {
    let said = tell(stack, &[arguments, &["--json"]].concat());
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{arguments:?}: {said}: {error}"))
}

/// Runs a command that must succeed and gives what it says to people.
fn tell(stack: &Stack, arguments: &[&str]) -> String {
    let output = stack.run_command(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command that is refused; gives the reason.
fn refused(stack: &Stack, arguments: &[&str]) -> String {
    let output = stack.run_command(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn ids(list: &Json) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|view| view["id"].as_str().unwrap()).collect()
}

#[test]
fn requests_of_all_keys_are_listed_shown_and_cancelled() {
    run(async {
        let stack = Stack::builder().start();
        let (first, second) = (stack.client(), Client::new(&stack.api, &stack.new_key()));
        let site = Site::start();
        let good = first.enqueue("/take", &json!({ "html": "<p>x" })).await;
        first.done(&good, s(30)).await;
        let slow = second.enqueue("/take", &json!({ "url": site.url("/never"), "timeout": 60 })).await;
        second.request_when(&slow, "rendering", s(30), |view| view["state"] == "rendering").await;

        assert_eq!(ids(&ask(&stack, &["requests", "list"])), [&slow, &good]);
        assert_eq!(ids(&ask(&stack, &["requests", "list", "--limit", "1"])), [&slow]);
        assert_eq!(ids(&ask(&stack, &["requests", "list", "--before", &slow])), [&good]);
        assert_eq!(ids(&ask(&stack, &["requests", "list", "--state", "done"])), [&good]);
        let of_second = ask(&stack, &["requests", "list", "--key", &second.key.access_key]);
        assert_eq!(
            (ids(&of_second), &of_second[0]["access_key"]),
            (vec![slow.as_str()], &json!(second.key.access_key))
        );
        let shown = ask(&stack, &["requests", "show", &good]);
        assert_eq!(shown["attempt_log"], first.request(&good).await["attempt_log"]);
        assert!(shown["attempt_log"][0]["ended_at"].is_string(), "{shown:#}");
        let text = tell(&stack, &["requests", "show", &good]);
        assert!(text.contains(&good) && text.contains("done") && text.lines().count() == 2, "{text}");

        assert!(tell(&stack, &["requests", "cancel", &slow]).contains("is cancelled"));
        let view = second.request(&slow).await;
        assert_eq!((&view["state"], &view["attempt_log"][0]["reason"]), (&json!("cancelled"), &json!("cancelled")));
        assert!(refused(&stack, &["requests", "cancel", &good]).contains("it is done"));
        assert!(refused(&stack, &["requests", "show", "req_0"]).contains("no request req_0"));
        refused(&stack, &["requests", "list", "--state", "odd"]);
    });
}

#[test]
fn a_request_is_followed_to_its_end() {
    run(async {
        let stack = Stack::builder().start();
        let (client, site) = (stack.client(), Site::start());
        let slow = client.enqueue("/take", &json!({ "url": site.url("/slow?1500") })).await;
        let output = stack.run_command(&["requests", "watch", &slow, "--json"]);
        let told: Vec<Json> =
            output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        assert_eq!(output.status.code(), Some(0), "{told:#?}");
        assert!(told.len() >= 2 && told[0]["state"] != "done", "{told:#?}");
        assert_eq!(told.last().unwrap()["state"], "done");
        let bad = client.enqueue("/take", &json!({ "url": site.url("/status/404") })).await;
        let output = stack.run_command(&["requests", "watch", &bad]);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("host_returned_error"));
        assert!(refused(&stack, &["requests", "watch", "req_0"]).contains("no request req_0"));
    });
}

#[test]
fn dead_webhooks_are_found_and_sent_again_one_by_one_and_by_filter() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", "0").start();
        let client = stack.client();
        let (one, other) = (Receiver::start(), Receiver::start());
        let mut made = Vec::new();
        for receiver in [&one, &one, &other] {
            receiver.behave(Behaviour::Status(500));
            let options = json!({ "html": "<p>x", "webhook_url": receiver.url() });
            let id = client.enqueue("/v1/screenshot", &options).await;
            client.request_when(&id, "given up", s(30), |view| view["webhook"]["state"] == "dead").await;
            made.insert(0, id.replace("req_", "msg_"));
        }
        assert_eq!(ids(&ask(&stack, &["webhooks", "list", "--dead"])), made);
        assert_eq!(ids(&ask(&stack, &["webhooks", "list", "--dead", "--url", &one.url()])), made[1..]);
        assert_eq!(ids(&ask(&stack, &["webhooks", "list", "--since", "1h"])), made);
        assert!(ids(&ask(&stack, &["webhooks", "list", "--since", "2099-01-01T00:00:00Z"])).is_empty());
        assert!(ids(&ask(&stack, &["webhooks", "list", "--state", "delivered"])).is_empty());
        let text = tell(&stack, &["webhooks", "show", &made[0]]);
        assert!(text.contains("the schedule is over") && text.contains("500"), "{text}");
        assert_eq!(ask(&stack, &["webhooks", "show", &made[0]])["attempts"].as_array().unwrap().len(), 1);
        let failing = ask(&stack, &["webhooks", "endpoints"]);
        assert_eq!((failing.as_array().unwrap().len(), &failing[0]["state"]), (2, &json!("failing")), "{failing:#}");

        for receiver in [&one, &other] {
            receiver.behave(Behaviour::Status(204));
        }
        assert_eq!(tell(&stack, &["webhooks", "replay", &made[2]]), "1 to be sent again\n");
        one.wait_for(3, s(15)).await;
        assert!(other.all().len() == 1, "nobody else's");
        let dead = async || ids(&ask(&stack, &["webhooks", "list", "--dead"])).len();
        assert_eq!(dead().await, 2);
        let filter = ["webhooks", "replay", "--dead", "--url", &other.url(), "--since", "1h"];
        assert_eq!(ask(&stack, &filter), json!({ "replayed": 1 }));
        other.wait_for(2, s(15)).await;
        assert_eq!(ask(&stack, &["webhooks", "replay", "--dead", "--key", "somebody"]), json!({ "replayed": 0 }));
        assert_eq!(ask(&stack, &["webhooks", "replay", "--dead"]), json!({ "replayed": 1 }));
        one.wait_for(4, s(15)).await;
        wait::until("all delivered", s(15), async || {
            (ids(&ask(&stack, &["webhooks", "list", "--state", "delivered"])).len() == 3).then_some(())
        })
        .await;
        let bodies: Vec<_> =
            one.all().iter().map(|webhook| (webhook.header("webhook-id").to_owned(), webhook.body.clone())).collect();
        assert!(bodies.iter().all(|(id, body)| bodies.iter().all(|(its, same)| its != id || same == body)));

        refused(&stack, &["webhooks", "replay"]);
        refused(&stack, &["webhooks", "replay", &made[0], "--dead"]);
        assert!(refused(&stack, &["webhooks", "replay", "msg_0"]).contains("no webhook msg_0"));
        refused(&stack, &["webhooks", "list", "--since", "yesterday"]);
        assert!(
            refused(&stack, &["webhooks", "enable", "https://example.com/", "--key", "nobody"]).contains("no disabled")
        );
    });
}

#[test]
fn an_endpoint_can_be_enabled_by_the_operator() {
    run(async {
        let stack = Stack::builder().start();
        let (client, receiver) = (stack.client(), Receiver::start());
        receiver.behave(Behaviour::Status(410));
        let options = json!({ "html": "<p>x", "webhook_url": format!("{}?job=1", receiver.url()) });
        let id = client.enqueue("/v1/screenshot", &options).await;
        client.request_when(&id, "given up", s(30), |view| view["webhook"]["state"] == "dead").await;
        let (key, url) = (client.key.access_key.as_str(), receiver.url());
        let endpoints = ask(&stack, &["webhooks", "endpoints", "--key", key]);
        assert_eq!((&endpoints[0]["url"], &endpoints[0]["state"]), (&json!(url), &json!("disabled")), "{endpoints:#}");
        assert!(tell(&stack, &["webhooks", "endpoints"]).contains("disabled"));
        assert!(tell(&stack, &["webhooks", "enable", &url, "--key", key]).contains("is enabled"));
        assert_eq!(ask(&stack, &["webhooks", "endpoints"]), json!([]));
        receiver.behave(Behaviour::Status(204));
        client.enqueue("/v1/screenshot", &options).await;
        receiver.wait_for(2, s(30)).await;
    });
}

/// The error on standard error, which is all that is there.
fn error(stack: &Stack, arguments: &[&str], exit_code: i32) -> Json {
    let output = stack.run_command(arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(exit_code), "{arguments:?}: {told}");
    serde_json::from_str::<Json>(&told).unwrap_or_else(|error| panic!("{arguments:?}: {told}: {error}"))["error"].take()
}

#[test]
fn programs_are_told_in_json_what_there_is_and_what_went_wrong() {
    run(async {
        let stack = Stack::builder().start();
        let compat = ask(&stack, &["compat"]);
        let take = compat.as_array().unwrap().iter().find(|route| route["path"] == "/take").unwrap();
        let parameters = take["parameters"].as_array().unwrap();
        let width = parameters.iter().find(|parameter| parameter["name"] == "viewport_width").unwrap();
        assert_eq!((&width["support"], &width["takes"]["type"]), (&json!("supported"), &json!("integer")));
        let known = crate::tidy::settings();
        let settings = ask(&stack, &["config", "reference"]);
        let variables: Vec<&str> =
            settings.as_array().unwrap().iter().map(|one| one["variable"].as_str().unwrap()).collect();
        assert_eq!(variables.len(), known.len());
        assert!(known.iter().all(|one| variables.contains(&one.as_str())), "{variables:?}");
        let capacity = settings.as_array().unwrap().iter().find(|one| one["name"] == "queue.capacity").unwrap();
        assert!(capacity["default"].is_u64() && capacity["meaning"].as_str().unwrap().len() > 20, "{capacity}");
        assert_eq!(ask(&stack, &["openapi"])["openapi"], "3.1.0");

        let refused = error(&stack, &["requests", "show", "req_0", "--json"], 2);
        assert_eq!(refused["code"], "wrong_usage");
        assert!(refused["message"].as_str().unwrap().contains("no request req_0"), "{refused}");
        let unknown = error(&stack, &["requests", "show", "--json", "--odd"], 2);
        assert_eq!(unknown["code"], "wrong_usage");
        assert!(unknown["message"].as_str().unwrap().contains("--odd"), "{unknown}");
        let settings = error(&stack, &["config", "check", "--json", "--config", "/nowhere.toml"], 78);
        assert_eq!(settings["code"], "settings_not_valid");
    });
}
