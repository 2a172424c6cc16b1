//! `snaphook webhooks listen` and `verify`: a receiver for people, with real webhooks and forged ones.

use serde_json::{Value as Json, json};
use snaphook_tests::part::Part;
use snaphook_tests::receiver::{Behaviour, Receiver};
use snaphook_tests::stack::{Stack, snaphook};
use snaphook_tests::wait::{self, s};
use snaphook_tests::{client::Client, run};

/// A listener, and where it listens.
fn listen(stack: &Stack, arguments: &[&str]) -> (Part, String) {
    let mut command = stack.command();
    command.args(["webhooks", "listen", "--port", "0", "--json"]).args(arguments);
    let mut part = Part::start("listener", &mut command).unwrap();
    let url = part.json_line(s(20)).unwrap()["listening"].as_str().unwrap().to_owned();
    (part, url)
}

#[test]
fn each_webhook_is_shown_and_all_its_signatures_hold() {
    run(async {
        let stack = Stack::builder().start();
        let client = stack.client();
        let receiver = Receiver::start();
        let forwarded = receiver.url();
        let (mut listener, url) = listen(&stack, &["--access-key", &client.key.access_key, "--forward", &forwarded]);
        let id = client.enqueue("/v1/screenshot", &json!({ "html": "<p>x", "webhook_url": url })).await;
        let shown = listener.json_line(s(30)).unwrap();
        assert_eq!(
            (&shown["verified"], &shown["status"], &shown["event"]),
            (&json!(true), &json!(204), &json!("done")),
            "{shown:#}"
        );
        assert_eq!(shown["id"], id.replace("req_", "msg_"));
        let ok = json!({ "standard-webhooks": "ok", "screenshotone": "ok", "screenshotmax": "ok" });
        assert_eq!(shown["signatures"], ok);
        assert_eq!(receiver.first(s(10)).await.text(), shown["body"].as_str().unwrap(), "passed on as it came");
        receiver.behave(Behaviour::Status(500));
        let failing = client.enqueue("/v1/screenshot", &json!({ "html": "<p>x", "webhook_url": url })).await;
        client.request_when(&failing, "a failed attempt", s(30), |view| view["webhook"]["last_status"] == 500).await;

        // A stranger, and one who changed a body.
        let stranger = Client::new(&url, &client.key);
        assert_eq!(stranger.post("", &json!({})).await.status, 401);
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in shown["headers"].as_object().unwrap() {
            headers.push((name.clone(), value.as_str().unwrap().to_owned()));
        }
        let given: Vec<(&str, &str)> = headers
            .iter()
            .filter(|(name, _)| name.contains("signature") || name.starts_with("webhook-"))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let forged = stranger.send(http::Method::POST, "", &given, Some(b"{}".to_vec())).await;
        assert_eq!(forged.status, 401);
    });
}

#[test]
fn it_answers_as_told_and_ends_after_so_many() {
    run(async {
        let stack = Stack::builder().start();
        let client = stack.client();
        let (mut listener, url) =
            listen(&stack, &["--secret", &client.key.secret_key, "--status", "410", "--count", "1"]);
        let id = client.enqueue("/take", &json!({ "html": "<p>x", "webhook_url": url })).await;
        let view = client.request_when(&id, "given up", s(30), |view| view["webhook"]["state"] == "dead").await;
        assert_eq!(view["webhook"]["last_status"], 410);
        wait::for_it("its end", s(10), || listener.status()).await;
        let verified = wait::within(s(5), || listener.log().contains("\"verified\":true")).await;
        assert!(verified, "{}", listener.log());
    });
}

#[test]
fn a_kept_webhook_is_verified_by_hand() {
    run(async {
        let stack = Stack::builder().start();
        let (client, receiver) = (stack.client(), Receiver::start());
        client.enqueue("/take", &json!({ "html": "<p>x", "webhook_url": receiver.url() })).await;
        let webhook = receiver.first(s(30)).await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hook.json"), &webhook.body).unwrap();
        let verify = |secret: &str, headers: &[(String, String)]| {
            let mut command = snaphook(folder.path());
            command.args(["webhooks", "verify", "--secret", secret, "--body", "hook.json", "--json"]);
            for (name, value) in headers {
                command.args(["-H", &format!("{name}: {value}")]);
            }
            let output = command.output().unwrap();
            let told: Json = serde_json::from_slice(&output.stdout).unwrap();
            (output.status.code(), told)
        };
        let secret = &client.key.secret_key;
        let (code, told) = verify(secret, &webhook.headers);
        assert_eq!((code, &told["verified"]), (Some(0), &json!(true)), "{told:#}");
        assert_eq!(told["signatures"].as_object().unwrap().len(), 3);
        let (code, told) = verify("another", &webhook.headers);
        assert_eq!((code, &told["signatures"]["screenshotone"]), (Some(1), &json!("wrong_signature")), "{told:#}");
        assert_eq!(verify(secret, &[]), (Some(1), json!({ "verified": false, "signatures": {} })));
        std::fs::write(folder.path().join("hook.json"), "{}").unwrap();
        assert_eq!(verify(secret, &webhook.headers).0, Some(1));
    });
}
