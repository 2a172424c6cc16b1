//! One decision for whatever goes out to a host that somebody else named: webhooks and uploads by name, and what an operator
//! opens, which is a name or a subnet and never one for the other.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;
use snaphook_tests::canary::Canary;
use snaphook_tests::client::Client;
use snaphook_tests::run;
use snaphook_tests::s3::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use snaphook_tests::site::Site;
use snaphook_tests::stack::{Builder, Stack};
use snaphook_tests::wait::s;

/// Only debug builds read it: names that resolve as a test wants.
const ZONE: &str = "SNAPHOOK_ZONE";
const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// An address that the operator has opened.
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

/// As for strangers, with one address of this machine opened.
fn opened() -> Builder {
    Stack::builder().without_development().set("SNAPHOOK_EGRESS_ALLOW_SUBNETS", "127.0.0.3/32")
}

#[test]
fn no_name_leads_a_webhook_inside() {
    let (inside, outside) = (Canary::listen(INSIDE), Canary::listen(OUTSIDE));
    run(async {
        let stack = opened()
            .set("SNAPHOOK_WEBHOOK_ALLOW_HTTP", true)
            .set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", "0,1,1")
            // The one that turns has nothing listening where it leads at first, so that it is tried again.
            .set(
                ZONE,
                "hook.test=127.0.0.1;both.test=127.0.0.3 127.0.0.1;turns.test=127.0.0.3|127.0.0.1;open.test=127.0.0.3",
            )
            .start();
        let client = stack.client();
        let told = async |name: &str, port: u16, state: &str| {
            let url = format!("http://{name}:{port}/{name}");
            let body = json!({ "html": "<p>x", "block_annoyance": "none", "webhook_url": url });
            let id = client.enqueue("/v1/screenshot", &body).await;
            let view = client.request_when(&id, state, s(60), |view| view["webhook"]["state"] == state).await;
            view["webhook"].clone()
        };
        for name in ["hook.test", "both.test", "turns.test"] {
            let webhook = told(name, inside.tcp.port(), "dead").await;
            let said = webhook["last_error"].as_str().unwrap();
            assert!(said.contains("not allowed") && !said.contains("127.0.0"), "{name}: {said}");
            assert_eq!(webhook["attempts"], 3, "{name}: {webhook:#}");
        }
        assert!(inside.seen().is_empty(), "{:?}", inside.seen());
        told("open.test", outside.tcp.port(), "delivered").await;
        assert!(outside.seen().contains("open.test"), "{:?}", outside.seen());
    });
}

#[test]
fn no_name_leads_an_upload_inside() {
    let (inside, outside) = (Canary::listen(INSIDE), Canary::listen(OUTSIDE));
    run(async {
        let zone =
            "bucket.test=127.0.0.1;both.test=127.0.0.3 127.0.0.1;turns.test=127.0.0.3|127.0.0.1;open.test=127.0.0.3";
        let stack = opened().set(ZONE, zone).start();
        let client = stack.client();
        let store = async |name: &str, port: u16| {
            let body = json!({
                "html": "<p>x", "block_cookie_banners": false, "response_type": "json", "store": true, "storage_path": "shot",
                "storage_bucket": "mine", "storage_endpoint": format!("http://{name}:{port}"),
                "storage_access_key_id": ACCESS_KEY_ID, "storage_secret_access_key": SECRET_ACCESS_KEY,
            });
            client.take(&body).await
        };
        let mut codes = Vec::new();
        // The one that turns has nothing listening where it leads at first.
        for name in ["bucket.test", "both.test", "turns.test", "turns.test"] {
            let answer = store(name, inside.tcp.port()).await;
            assert!(answer.status.as_u16() >= 400, "{name}: {}", answer.text());
            let said = answer.json();
            assert!(!said["error_message"].as_str().unwrap().contains("127.0.0"), "{name}: {said:#}");
            codes.push(said["error_code"].as_str().unwrap().to_owned());
        }
        assert!([0, 1, 3].iter().all(|at| codes[*at] == "target_not_allowed"), "{codes:?}");
        assert!(inside.seen().is_empty(), "{:?}", inside.seen());
        store("open.test", outside.tcp.port()).await.expect(200);
        assert!(outside.seen().iter().any(|path| path.contains("shot")), "{:?}", outside.seen());
    });
}

/// What is said of a page that is not taken; nothing of one that is.
async fn refusal(client: &Client, url: &str) -> Option<String> {
    let answer = client.take(&json!({ "url": url, "timeout": 10 })).await;
    match answer.status.as_u16() {
        200 => None,
        _ => answer.json()["error_code"].as_str().map(str::to_owned),
    }
}

#[test]
fn a_name_that_is_allowed_opens_no_subnet_and_a_subnet_no_name() {
    let site = Site::start_at(OUTSIDE);
    let page = site.url("/element.html").replace("127.0.0.3", "wiki");
    run(async {
        // A single label is refused unasked, unless an operator names it.
        for (names, subnets, is_taken) in
            [("", "", false), ("wiki", "", false), ("", "127.0.0.3/32", false), ("wiki", "127.0.0.3/32", true)]
        {
            let stack = Stack::builder()
                .without_development()
                .set("SNAPHOOK_EGRESS_ALLOW_HOSTS", names)
                .set("SNAPHOOK_EGRESS_ALLOW_SUBNETS", subnets)
                .set(ZONE, "wiki=127.0.0.3")
                .start();
            let before = site.count("/element.html");
            let said = refusal(&stack.client(), &page).await;
            let expected = (!is_taken).then(|| "target_not_allowed".to_owned());
            assert_eq!(said, expected, "names {names:?}, subnets {subnets:?}");
            assert_eq!(
                site.count("/element.html") - before,
                usize::from(is_taken),
                "names {names:?}, subnets {subnets:?}"
            );
        }
    });
}
