//! What callers can find out about their requests, and how they keep from asking twice.

use std::collections::HashSet;

use serde_json::{Value as Json, json};
use snaphook_tests::client::Client;
use snaphook_tests::receiver::Receiver;
use snaphook_tests::run;
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::s;

/// A client whose key nobody else uses.
fn own(stack: &Stack) -> Client {
    Client::new(&stack.api, &stack.new_key())
}

async fn list(client: &Client, query: &str) -> Json {
    client.get_with_key(&format!("/v1/requests{query}")).await.expect(200).json()
}

fn ids(page: &Json) -> Vec<String> {
    let requests = page["requests"].as_array().unwrap();
    requests.iter().map(|request| request["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn requests_are_listed_newest_first_and_page_by_page() {
    run(async {
        let stack = Stack::shared();
        let client = own(&stack);
        assert_eq!(list(&client, "").await, json!({ "requests": [], "next": null }));
        let mut made = Vec::new();
        for number in 0..5 {
            let options = json!({ "html": format!("<p>{number}"), "viewport_width": 20, "viewport_height": 20 });
            made.insert(0, client.enqueue("/take", &options).await);
        }
        assert_eq!(ids(&list(&client, "").await), made);
        let (mut pages, mut query) = (Vec::new(), "?limit=2".to_owned());
        loop {
            let page = list(&client, &query).await;
            pages.push(ids(&page));
            let Some(next) = page["next"].as_str() else { break };
            query = format!("?limit=2&before={next}");
        }
        assert_eq!(pages.concat(), made);
        assert!(pages.iter().all(|page| page.len() <= 2), "{pages:?}");
        // A cursor holds while new ones arrive.
        client.enqueue("/take", &json!({ "html": "<p>new" })).await;
        assert_eq!(ids(&list(&client, &format!("?before={}", made[1])).await), made[2..]);
        assert_eq!(ids(&Client::new(stack.edge_url(), &client.key).get_with_key("/v1/requests").await.json()).len(), 6);
    });
}

#[test]
fn requests_can_be_filtered_by_their_state() {
    run(async {
        let stack = Stack::shared();
        let (client, site) = (own(&stack), Site::start());
        let good = client.enqueue("/take", &json!({ "html": "<p>x" })).await;
        let bad = client.enqueue("/v1/screenshot", &json!({ "url": site.url("/status/500") })).await;
        let ended = |view: &Json| view["finished_at"].is_string();
        client.request_when(&good, "an end", s(30), ended).await;
        let view = client.request_when(&bad, "an end", s(30), ended).await;
        assert_eq!(view["error"]["code"], "host_returned_error", "{view:#}");
        assert_eq!((&view["target"], &view["async"]), (&json!(site.url("/status/500")), &json!(true)));
        assert_eq!(ids(&list(&client, "?state=done").await), [good]);
        assert_eq!(ids(&list(&client, "?state=failed").await), [bad]);
        assert!(ids(&list(&client, "?state=queued").await).is_empty());
        for query in ["?state=odd", "?limit=0", "?limit=x", "?limit=201", "?foo=1"] {
            let answer = client.get_with_key(&format!("/v1/requests{query}")).await.expect(400);
            assert_eq!(answer.json()["code"], "request_not_valid", "{query}");
        }
    });
}

#[test]
fn a_synchronous_request_is_listed_too() {
    run(async {
        let stack = Stack::shared();
        let client = own(&stack);
        let answer = client.take(&json!({ "html": "<p>x", "format": "png" })).await.expect(200);
        let page = list(&client, "").await;
        let view = &page["requests"][0];
        assert_eq!(view["id"], answer.header("x-snaphook-request-id"));
        assert_eq!((&view["state"], &view["async"], &view["file"]), (&json!("done"), &json!(false), &Json::Null));
    });
}

#[test]
fn what_belongs_to_another_key_is_not_there() {
    run(async {
        let stack = Stack::shared();
        let (owner, stranger) = (own(&stack), own(&stack));
        let id = owner.enqueue("/take", &json!({ "html": "<p>x" })).await;
        owner.done(&id, s(30)).await;
        let foreign = stranger.get_with_key(&format!("/v1/requests/{id}")).await.expect(404);
        let unknown = stranger.get_with_key("/v1/requests/req_00000000000000000000000000000000").await.expect(404);
        assert_eq!(foreign.body, unknown.body, "nothing tells the two apart");
        assert!(ids(&list(&stranger, "").await).is_empty());
        let answer = stranger.get("/v1/requests").await.expect(401);
        assert_eq!(answer.json()["code"], "access_key_required");
    });
}

#[test]
fn the_same_idempotency_key_gives_the_same_request() {
    run(async {
        let stack = Stack::shared();
        for base in [stack.api.as_str(), stack.edge_url()] {
            let (client, receiver) = (Client::new(base, &stack.new_key()), Receiver::start());
            let options = json!({ "html": "<p>once", "async": true, "webhook_url": receiver.url() });
            let headers = [("idempotency-key", "order-1")];
            let first = client.post_with("/v1/screenshot", &headers, &options).await.expect(202).json();
            let second = client.post_with("/v1/screenshot", &headers, &options).await.expect(202).json();
            assert_eq!(first, second);
            let mut other = options.clone();
            other["html"] = json!("<p>another");
            let answer = client.post_with("/v1/screenshot", &headers, &other).await.expect(422);
            assert_eq!(answer.json()["code"], "idempotency_key_reused");
            let answer = client.post_with("/take", &headers, &options).await.expect(422);
            assert_eq!(answer.json()["error_code"], "idempotency_key_reused");
            // The key is the caller's own: another caller may use the same text.
            let neighbour = Client::new(base, &stack.new_key());
            let theirs = neighbour.post_with("/v1/screenshot", &headers, &options).await.expect(202).json();
            assert_ne!(theirs["id"], first["id"]);
            receiver.wait_for(2, s(30)).await;
            assert_eq!(ids(&client.get_with_key("/v1/requests").await.json()), [first["id"].as_str().unwrap()]);
        }
    });
}

#[test]
fn a_hundred_at_the_same_time_with_one_idempotency_key_are_one_request() {
    run(async {
        let stack = Stack::shared();
        let (client, site) = (own(&stack), Site::start());
        let options = json!({ "url": site.url("/colors.html"), "async": true });
        let posts = (0..100).map(|_| client.post_with("/take", &[("idempotency-key", "rush")], &options));
        let answers = futures::future::join_all(posts).await;
        let made: HashSet<String> =
            answers.into_iter().map(|answer| answer.expect(202).header("x-snaphook-request-id").to_owned()).collect();
        assert_eq!(made.len(), 1, "{made:?}");
        let id = made.into_iter().next().unwrap();
        client.done(&id, s(30)).await;
        assert_eq!(ids(&list(&client, "").await), [id]);
        assert_eq!(site.count("/colors.html"), 1, "rendered once");
    });
}

#[test]
fn an_idempotency_key_says_nothing_to_a_caller_who_waits() {
    run(async {
        let stack = Stack::shared();
        let small = json!({ "html": "<p>x", "viewport_width": 20, "viewport_height": 20 });
        for client in [own(&stack), own(&stack).at(stack.edge_url())] {
            for _ in 0..2 {
                client.post_with("/take", &[("idempotency-key", "twice")], &small).await.expect(200);
            }
            assert_eq!(ids(&list(&client, "").await).len(), 2, "rendered twice, and both are listed");
        }
    });
}

#[test]
fn the_most_urgent_request_of_a_key_is_rendered_first() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_RENDER_CONCURRENCY", 1).edge().start();
        let (backend, edge, site) = (stack.client(), stack.edge_client(), Site::start());
        let busy = backend.enqueue("/take", &json!({ "url": site.url("/never"), "timeout": 60 })).await;
        backend.request_when(&busy, "rendering", s(30), |view| view["state"] == "rendering").await;
        let small = json!({ "html": "<p>x", "viewport_width": 20, "viewport_height": 20, "async": true });
        let mut ids = Vec::new();
        for (caller, path, priority) in [
            (&backend, "/v1/screenshot", "u=7"),
            (&edge, "/take", "nothing of the kind"),
            (&edge, "/v1/screenshot", "u=1, i"),
            (&backend, "/take", "u=0"),
        ] {
            let accepted = caller.post_with(path, &[("priority", priority)], &small).await.expect(202);
            ids.push(accepted.header("x-snaphook-request-id").to_owned());
        }
        backend.post(&format!("/v1/requests/{busy}/cancel"), &json!({})).await.expect(200);
        let mut begun = Vec::new();
        for id in &ids {
            begun.push((backend.done(id, s(30)).await["started_at"].as_str().unwrap().to_owned(), id.clone()));
        }
        begun.sort();
        let order: Vec<&String> = begun.iter().map(|(_, id)| id).collect();
        assert_eq!(order, ids.iter().rev().collect::<Vec<_>>(), "{begun:?}");
    });
}

#[test]
fn a_caller_who_hangs_up_has_a_whole_request_or_none_and_can_ask_again() {
    run(async {
        let stack = Stack::shared();
        let client = own(&stack);
        let body = json!({ "html": "<p>x", "async": true }).to_string();
        let head = |key: &str| {
            format!(
                "POST /v1/screenshot HTTP/1.1\r\nhost: x\r\nx-access-key: {}\r\nidempotency-key: {key}\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\n\r\n",
                client.key.access_key,
                body.len()
            )
        };
        for (number, sent) in [0, body.len() / 2, body.len()].into_iter().enumerate() {
            let key = format!("hung-up-{number}");
            hang_up_after(&stack.api, format!("{}{}", head(&key), &body[..sent]).as_bytes()).await;
            let options = json!({ "html": "<p>x", "async": true });
            let headers = [("idempotency-key", key.as_str())];
            let again = client.post_with("/v1/screenshot", &headers, &options).await.expect(202);
            let id = again.header("x-snaphook-request-id");
            let and_again = client.post_with("/v1/screenshot", &headers, &options).await.expect(202);
            assert_eq!(and_again.header("x-snaphook-request-id"), id);
            client.done(id, s(30)).await;
        }
        assert_eq!(ids(&list(&client, "").await).len(), 3, "one each");
    });
}

async fn hang_up_after(base: &str, request: &[u8]) {
    use tokio::io::AsyncWriteExt;
    let address = base.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream.shutdown().await.unwrap();
}

#[test]
fn devices_are_listed_as_the_vendor_lists_them() {
    run(async {
        let stack = Stack::shared();
        for client in [stack.client(), stack.edge_client()] {
            let list = client.get_with_key("/v1/devices").await.expect(200).json();
            let devices = list["devices"].as_array().unwrap();
            assert_eq!(devices.len(), 131);
            let phone = devices.iter().find(|device| device["id"] == "iphone_13_pro").unwrap();
            assert_eq!(
                (&phone["viewport"]["width"], &phone["viewport"]["deviceScaleFactor"]),
                (&json!(390), &json!(3.0))
            );
        }
    });
}

#[test]
fn a_cancelled_request_ends_without_a_picture_and_a_delivery_can_be_replayed() {
    run(async {
        let stack = Stack::shared();
        let (client, site, receiver) = (stack.edge_client(), Site::start(), Receiver::start());
        let slow = client.enqueue("/take", &json!({ "url": site.url("/never"), "webhook_url": receiver.url() })).await;
        let cancelled = client.post(&format!("/v1/requests/{slow}/cancel"), &json!({})).await.expect(200);
        assert_eq!(cancelled.json()["state"], "cancelled");

        let id = client
            .enqueue("/take", &json!({ "html": "<p>x", "response_type": "json", "webhook_url": receiver.url() }))
            .await;
        let first = receiver.first(s(30)).await;
        client.request_when(&id, "delivered", s(15), |view| view["webhook"]["state"] == "delivered").await;
        let delivery = id.replace("req_", "msg_");
        client.post(&format!("/v1/deliveries/{delivery}/replay"), &json!({})).await.expect(200);
        let both = receiver.wait_for(2, s(15)).await;
        assert_eq!((both[1].header("webhook-id"), &both[1].body), (delivery.as_str(), &first.body));
        let list = client.get_with_key("/v1/deliveries?limit=200").await.expect(200).json();
        let of_it = list["deliveries"].as_array().unwrap().iter().find(|view| view["id"] == delivery.as_str()).unwrap();
        assert!(!of_it["attempts"].as_array().unwrap().is_empty(), "{of_it:#}");
        assert_eq!(client.request(&slow).await["state"], "cancelled");
    });
}
