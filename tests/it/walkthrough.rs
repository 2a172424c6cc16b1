//! The whole line once, with every real part: the Worker in workerd, the backend, Chromium, a receiver.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value as Json, json};
use sha2::Sha256;
use snaphook_shared::secret::Secret;
use snaphook_shared::signing::standard_webhook_secret;
use snaphook_tests::picture::Picture;
use snaphook_tests::receiver::{Receiver, Webhook};
use snaphook_tests::run;
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::s;

use crate::programs;

const SIGNATURE_HEADERS: [&str; 5] = [
    "x-screenshotone-signature",
    "x-screenshotmax-webhook-signature",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

#[test]
fn a_page_becomes_a_stored_picture_and_a_signed_webhook() {
    run(async {
        let stack = Stack::builder().edge().start();
        let (edge, site, receiver) = (stack.edge_client(), Site::start(), Receiver::start());
        let before_s = now_s();
        let accepted = edge
            .screenshot(&json!({
                "url": site.url("/colors.html"), "format": "png", "viewport_width": 320, "viewport_height": 200,
                "device_scale_factor": 2, "async": true, "webhook_url": receiver.url(),
            }))
            .await
            .expect(202);
        let id = accepted.header("x-snaphook-request-id").to_owned();
        assert!(id.starts_with("req_") && id.len() == 36, "{id}");
        assert_eq!(accepted.header("content-type"), "application/json");
        assert_eq!(accepted.header("cache-control"), "no-store");
        let body = accepted.json();
        let created_s = body["created"].as_u64().unwrap();
        assert!((before_s..=now_s()).contains(&created_s), "{body}");
        let status_url = format!("{}/v1/requests/{id}", stack.api);
        let expected = json!({
            "status": "Accepted", "message": "The request has been accepted for processing", "created": created_s,
            "id": id, "status_url": status_url,
        });
        assert_eq!(body, expected);
        assert_eq!(accepted.header("location"), status_url);

        let mut states = Vec::new();
        snaphook_tests::wait::until("done", s(30), async || {
            let state = edge.request(&id).await["state"].as_str().unwrap().to_owned();
            if states.last() != Some(&state) {
                states.push(state.clone());
            }
            (state == "done").then_some(())
        })
        .await;
        let order = ["queued", "rendering", "done"];
        let places: Vec<_> =
            states.iter().map(|state| order.iter().position(|known| known == state).unwrap()).collect();
        assert!(places.is_sorted(), "{states:?}");

        let webhook = receiver.first(s(15)).await;
        let view = edge.request_when(&id, "delivered", s(10), |view| view["webhook"]["state"] == "delivered").await;
        assert_eq!(view["webhook"]["attempts"], 1, "{view:#}");
        assert_eq!(view["webhook"]["last_status"], 204);
        assert_eq!(view["attempts"], 1);
        assert_eq!((&view["file"]["width"], &view["file"]["height"]), (&json!(640), &json!(400)));

        let file = view["file"]["url"].as_str().unwrap();
        let expires_s = webhook.json()["expires"].as_u64().unwrap();
        let week = 7 * 24 * 3600;
        assert!((created_s + week..=now_s() + week).contains(&expires_s), "{expires_s}");
        let exactly = format!(r#"{{"id":"{id}","file":"{file}","expires":{expires_s},"created":{created_s}}}"#);
        assert_eq!(webhook.text(), exactly);
        assert_eq!(webhook.header("content-type"), "application/json");
        assert_eq!(webhook.header("webhook-id"), id.replace("req_", "msg_"));

        for url in [file.to_owned(), file.replace(&stack.api, stack.edge_url())] {
            let answer = edge.get(&url).await.expect(200);
            assert_eq!(answer.header("content-type"), "image/png");
            let picture = Picture::decode(&answer.body);
            assert_eq!(picture.size(), (640, 400));
            assert_eq!(picture.pixel(0, 0), 0xff0000);
            assert_eq!(picture.pixel(79, 39), 0xff0000, "two device pixels for each of CSS");
            assert_eq!(picture.pixel(80, 40), 0x204080);
            assert_eq!(picture.pixel(639, 399), 0x204080);
        }
        verify_signatures(&webhook, &stack.key.secret_key);
        assert_eq!(receiver.all().len(), 1);
    });
}

/// The three signatures, by code and libraries that share nothing with ours.
fn verify_signatures(webhook: &Webhook, secret: &str) {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(&webhook.body);
    let expected = hex::encode(mac.finalize().into_bytes());
    assert_eq!(webhook.header("x-screenshotone-signature"), expected);
    assert_eq!(webhook.header("x-screenshotmax-webhook-signature"), expected);
    let sent_s: u64 = webhook.header("webhook-timestamp").parse().unwrap();
    assert!(now_s().abs_diff(sent_s) < 60);

    let headers: serde_json::Map<String, Json> =
        webhook.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let given = json!({
        "body": BASE64.encode(&webhook.body), "headers": headers, "secret": secret,
        "standard_secret": standard_webhook_secret(&Secret::new(secret)).expose(),
    });
    let node = programs::ask("node", "verify.mjs", &given);
    let python = programs::ask(programs::python(), "verify.py", &given);
    for said in [&node, &python] {
        assert_eq!(said["library"]["payload"], webhook.json(), "{said:#}");
        assert!(said["library_on_other_bytes"]["refused"].is_string(), "{said:#}");
    }
    let verified = json!({ "scheme": "standard-webhooks", "id": webhook.header("webhook-id"), "timestamp": sent_s });
    assert_eq!(node["wasm"], verified);
    assert_eq!(node["wasm_screenshotone"]["scheme"], "screenshotone");
    assert_eq!(node["wasm_screenshotmax"]["scheme"], "screenshotmax");
    assert_eq!(node["wasm_wrong_secret"]["refused"], "wrong_signature");
    assert_eq!(node["wasm_other_bytes"]["refused"], "wrong_signature");
}

#[test]
fn screenshotone_gets_its_json_with_the_store_location() {
    run(async {
        let stack = Stack::shared();
        let (edge, site, receiver) = (stack.edge_client(), Site::start(), Receiver::start());
        let query = format!(
            "url={}&format=png&viewport_width=100&viewport_height=80&async=true&response_type=json&store=true\
             &storage_path=a/b&storage_return_location=true&webhook_url={}&external_identifier=order42",
            site.url("/colors.html"),
            receiver.url(),
        );
        let accepted = edge.get_with_key(&format!("/take?{query}")).await.expect(202);
        let webhook = receiver.first(s(30)).await;
        let body = webhook.json();
        assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["screenshot_url", "store"], "{body}");
        for url in [&body["screenshot_url"], &body["store"]["location"]] {
            let answer = edge.get(url.as_str().unwrap()).await.expect(200);
            assert_eq!(Picture::decode(&answer.body).size(), (100, 80));
        }
        assert_eq!(webhook.header("x-screenshotone-external-identifier"), "order42");
        assert_eq!(webhook.header("x-screenshotone-reference"), accepted.header("x-snaphook-request-id"));
        verify_signatures(&webhook, &stack.key.secret_key);
    });
}

#[test]
fn screenshotone_gets_the_picture_itself_without_response_type() {
    run(async {
        let stack = Stack::shared();
        let (edge, receiver) = (stack.edge_client(), Receiver::start());
        let options = json!({
            "html": "<body style='margin:0;background:#0a6'>", "format": "png", "viewport_width": 30,
            "viewport_height": 20, "webhook_url": receiver.url(),
        });
        edge.enqueue("/take", &options).await;
        let webhook = receiver.first(s(30)).await;
        assert_eq!(webhook.header("content-type"), "image/png");
        assert_eq!(webhook.header("x-screenshotone-size-bytes"), webhook.body.len().to_string());
        let picture = Picture::decode(&webhook.body);
        assert_eq!((picture.size(), picture.pixel(29, 19)), ((30, 20), 0x00aa66));
    });
}

#[test]
fn a_webhook_that_is_not_to_be_signed_has_no_signature_header() {
    run(async {
        let stack = Stack::shared();
        let edge = stack.edge_client();
        for (path, parameter) in [("/v1/screenshot", "webhook_signed"), ("/take", "webhook_sign")] {
            let receiver = Receiver::start();
            let mut options = json!({ "html": "<p>hello", "webhook_url": receiver.url() });
            options[parameter] = json!(false);
            edge.enqueue(path, &options).await;
            let webhook = receiver.first(s(30)).await;
            for name in SIGNATURE_HEADERS {
                assert!(!webhook.has(name), "{path}: {name}");
            }
        }
    });
}

#[test]
fn a_synchronous_take_streams_the_picture_through_the_edge() {
    run(async {
        let stack = Stack::shared();
        let (edge, site) = (stack.edge_client(), Site::start());
        let options = json!({
            "url": site.url("/colors.html"), "format": "png", "viewport_width": 120, "viewport_height": 90,
        });
        for path in ["/take", "/v1/screenshot"] {
            let answer = edge.post(path, &options).await.expect(200);
            assert_eq!(answer.header("content-type"), "image/png");
            assert!(answer.header("x-snaphook-request-id").starts_with("req_"));
            let picture = Picture::decode(&answer.body);
            assert_eq!((picture.size(), picture.pixel(50, 30)), ((120, 90), 0x204080), "{path}");
        }
    });
}

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}
