//! Secrets are replaced while webhooks flow: libraries that are not ours verify them with every secret that is still good,
//! and with no other.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value as Json, json};
use sha2::Sha256;
use snaphook_tests::client::Client;
use snaphook_tests::receiver::{Receiver, Webhook};
use snaphook_tests::run;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::s;

use crate::programs;

/// Whether the npm and the PyPI library take a webhook with this secret; they must be of one mind.
fn libraries_take(webhook: &Webhook, pair: &Json) -> bool {
    let headers: serde_json::Map<String, Json> =
        webhook.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let given = json!({
        "body": BASE64.encode(&webhook.body), "headers": headers, "secret": pair["secret_key"],
        "standard_secret": pair["webhook_secret"],
    });
    let said = [programs::ask("node", "verify.mjs", &given), programs::ask(programs::python(), "verify.py", &given)];
    let [node, python] = said.map(|said| said["library"]["payload"].is_object());
    assert_eq!(node, python, "{webhook:?}");
    node
}

fn hex_hmac(secret: &Json, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_str().unwrap().as_bytes()).unwrap();
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

#[test]
fn every_secret_that_is_still_good_verifies_and_no_other() {
    run(async {
        let stack = Stack::shared();
        let (client, receiver) = (Client::new(&stack.api, &stack.new_key()), Receiver::start());
        let key = client.key.access_key.as_str();
        let rotate = |hours: &str| stack.keys(&["rotate", key, "--overlap-hours", hours, "--json"]);
        let mut pairs = vec![rotate("0"), rotate("24"), rotate("24")];
        let post = async |count: usize| {
            client.enqueue("/v1/screenshot", &json!({ "html": "<p>x", "webhook_url": receiver.url() })).await;
            receiver.wait_for(count, s(30)).await.pop().unwrap()
        };
        let webhook = post(1).await;
        assert_eq!(webhook.header("webhook-signature").split(' ').count(), 3, "one for each");
        for pair in &pairs {
            assert!(libraries_take(&webhook, pair));
        }
        // The vendors' headers hold one signature: that of the newest.
        for name in ["x-screenshotone-signature", "x-screenshotmax-webhook-signature"] {
            assert_eq!(webhook.header(name), hex_hmac(&pairs[2]["secret_key"], &webhook.body), "{name}");
        }
        pairs.push(rotate("0"));
        let webhook = post(2).await;
        let taken: Vec<bool> = pairs.iter().map(|pair| libraries_take(&webhook, pair)).collect();
        assert_eq!(taken, [false, false, false, true], "no old one outlives the end that was said last");

        for _ in 0..10 {
            rotate("24");
        }
        let refused = stack.run_keys(&["rotate", key]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("ten old secrets"));
        let webhook = post(3).await;
        assert_eq!(webhook.header("webhook-signature").split(' ').count(), 11);
        assert!(libraries_take(&webhook, &pairs[3]), "the oldest of ten");
        let newest = rotate("0");
        assert!(libraries_take(&post(4).await, &newest));
    });
}

#[test]
fn the_picture_itself_comes_with_every_header_of_the_vendor() {
    run(async {
        let stack = Stack::shared();
        let (client, receiver) = (stack.client(), Receiver::start());
        let options = json!({
            "html": "<title>A page</title><p>x", "format": "png", "viewport_width": 30, "viewport_height": 20,
            "webhook_url": receiver.url(), "external_identifier": "order42", "response_type": "by_format",
            "metadata_page_title": true,
        });
        let id = client.enqueue("/take", &options).await;
        let webhook = receiver.first(s(30)).await;
        let file = client.request(&id).await["file"].clone();
        assert_eq!(webhook.header("content-type"), "image/png");
        assert_eq!(webhook.body, client.get(file["url"].as_str().unwrap()).await.expect(200).body, "the file's bytes");
        assert_eq!(webhook.header("content-length"), webhook.body.len().to_string());
        assert_eq!(webhook.header("x-screenshotone-size-bytes"), file["bytes"].to_string());
        assert_eq!(webhook.header("x-screenshotone-reference"), id);
        assert_eq!(webhook.header("x-screenshotone-trace-id"), id, "the caller has no trace of their own");
        assert_eq!(webhook.header("x-screenshotone-external-identifier"), "order42");
        let seconds = webhook.header("x-screenshotone-rendering-seconds");
        let (whole, part) = seconds.split_once('.').unwrap();
        assert!(whole.parse::<u32>().is_ok() && part.len() == 2 && part.parse::<u32>().is_ok(), "{seconds}");
        assert_eq!(webhook.header("x-screenshotone-page-title"), "A%20page");
        let secret = json!(stack.key.secret_key);
        assert_eq!(webhook.header("x-screenshotone-signature"), hex_hmac(&secret, &webhook.body));
        assert_eq!(webhook.header("x-screenshotmax-webhook-signature"), hex_hmac(&secret, &webhook.body));
        let signed = [webhook.header("webhook-id"), webhook.header("webhook-timestamp"), ""].join(".");
        let standard = hex::decode(hex_hmac(&secret, &[signed.as_bytes(), &webhook.body].concat())).unwrap();
        assert_eq!(webhook.header("webhook-signature"), format!("v1,{}", BASE64.encode(standard)));
    });
}

#[test]
fn a_failure_comes_with_what_the_caller_gave_it() {
    run(async {
        let stack = Stack::shared();
        let (client, receiver) = (stack.client(), Receiver::start());
        let options = json!({
            "html": "<p>x", "wait_for_selector": "#never", "timeout": 1, "webhook_url": receiver.url(),
            "webhook_errors": true, "external_identifier": "order43",
        });
        client.enqueue("/take", &options).await;
        let webhook = receiver.first(s(30)).await;
        let body = webhook.json();
        assert_eq!(webhook.header("x-screenshotone-external-identifier"), "order43");
        for name in ["error-code", "error-message", "documentation-url"] {
            let header = webhook.header(&format!("x-screenshotone-{name}")).to_owned();
            assert_eq!(body[name.replace('-', "_")], header, "{name}: {body}");
        }
        let page = client.get(webhook.header("x-screenshotone-documentation-url")).await.expect(200);
        assert!(page.text().contains(webhook.header("x-screenshotone-error-code")));
        assert_eq!(webhook.header("x-screenshotone-signature"), hex_hmac(&json!(stack.key.secret_key), &webhook.body));
    });
}
