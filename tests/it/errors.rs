//! Bad input, and a world that misbehaves: each gets a clear answer in its dialect, and nothing is lost or left hanging.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value as Json, json};
use snaphook_tests::client::{Answer, Client, send_raw};
use snaphook_tests::receiver::{Behaviour, Receiver};
use snaphook_tests::run;
use snaphook_tests::serve::Port;
use snaphook_tests::site::Site;
use snaphook_tests::stack::{KeyPair, Stack};
use snaphook_tests::wait::{self, s};

/// A route of each dialect.
const ROUTES: [&str; 2] = ["/take", "/v1/screenshot"];
/// What a 10 MB body is.
const TOO_MUCH: usize = 10 * 1024 * 1024;

/// The error in a dialect's shape: its code, and what it says in detail.
#[derive(Debug, PartialEq)]
struct Refusal {
    status: u16,
    code: String,
    details: Vec<String>,
}

/// Reads an error answer and checks everything that all of them have.
#[track_caller]
fn refusal(path: &str, answer: &Answer) -> Refusal {
    let status = answer.status.as_u16();
    let body = answer.json();
    assert_eq!(answer.header("content-type"), "application/json", "{body}");
    assert_eq!(answer.header("cache-control"), "no-store", "{body}");
    assert!(answer.header("x-snaphook-request-id").starts_with("req_"), "{body}");
    let page = body["documentation_url"].as_str().unwrap();
    assert!(page.starts_with("http") && page.contains("/docs/errors/"), "{body}");
    let details = if path == "/take" { "error_details" } else { "details" };
    let details = body[details].as_array().into_iter().flatten();
    let details = details.map(|detail| detail["message"].as_str().unwrap().to_owned()).collect();
    let code = if path == "/take" {
        assert_eq!(body["is_successful"], false);
        assert!(body["error_message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        &body["error_code"]
    } else {
        assert_eq!(body["statusCode"], status);
        assert!(body["error"].is_string(), "{body}");
        assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        &body["code"]
    };
    Refusal { status, code: code.as_str().unwrap().to_owned(), details }
}

#[track_caller]
fn assert_refused(path: &str, answer: &Answer, status: u16, code: &str) -> Vec<String> {
    let refusal = refusal(path, answer);
    assert_eq!((refusal.status, refusal.code.as_str()), (status, code), "{path}: {}", answer.text());
    refusal.details
}

/// ScreenshotOne answers what is the caller's fault with 400, the other dialect by the book.
fn unauthorized(path: &str) -> u16 {
    if path == "/take" { 400 } else { 401 }
}

/// The backend itself and the Worker before it.
fn both(stack: &Stack) -> [Client; 2] {
    [stack.client(), stack.edge_client()]
}

#[test]
fn a_key_is_required_and_must_be_known() {
    run(async {
        let stack = Stack::shared();
        for client in both(&stack) {
            for path in ROUTES {
                let missing = client.get(&format!("{path}?url=https://example.com/")).await;
                assert_refused(path, &missing, unauthorized(path), "access_key_required");
                let stranger = client.with_key(&KeyPair::random());
                let unknown = stranger.post(path, &json!({ "html": "<p>x" })).await;
                assert_refused(path, &unknown, unauthorized(path), "access_key_invalid");
                let unknown = stranger.get_with_key(&format!("{path}?html=x")).await;
                assert_refused(path, &unknown, unauthorized(path), "access_key_invalid");
                let odd = KeyPair { access_key: "no key's text!".to_owned(), secret_key: "x".to_owned() };
                let odd = client.with_key(&odd).post(path, &json!({ "html": "<p>x" })).await;
                assert_refused(path, &odd, unauthorized(path), "access_key_invalid");
            }
            let page = client.get("/docs/errors/access-key-invalid").await.expect(200);
            assert!(page.text().contains("access_key_invalid"));
        }
    });
}

#[test]
fn a_wrong_signature_is_refused_and_tells_nothing_about_keys() {
    run(async {
        let stack = Stack::shared();
        for client in both(&stack) {
            for path in ROUTES {
                let link = client.signed(path, "html=hello&format=png&viewport_width=20&viewport_height=10");
                client.get(&link).await.expect(200);
                let flipped = if link.ends_with('0') { "1" } else { "0" };
                let wrong = client.get(&format!("{}{flipped}", &link[..link.len() - 1])).await;
                assert_refused(path, &wrong, unauthorized(path), "signature_is_not_valid");
                let moved = client.get(&link.replace("viewport_width=20", "viewport_width=21")).await;
                assert_refused(path, &moved, unauthorized(path), "signature_is_not_valid");

                let stranger = client.with_key(&KeyPair::random());
                let link = stranger.signed(path, "html=hello&format=png&viewport_width=20&viewport_height=10");
                let unknown = stranger.get(&link).await;
                assert_eq!((unknown.status, &unknown.body), (wrong.status, &wrong.body), "the same to the last byte");
            }
        }
    });
}

#[test]
fn a_signed_link_may_have_an_end() {
    run(async {
        let stack = Stack::shared();
        let client = stack.edge_client();
        let options = "html=hello&viewport_width=20&viewport_height=10";
        client.get(&client.signed("/take", &format!("{options}&expires=4102444800"))).await.expect(200);
        let over = client.get(&client.signed("/take", &format!("{options}&expires=1700000000"))).await;
        assert_refused("/take", &over, 400, "signature_is_not_valid");
    });
}

#[test]
fn everything_that_is_wrong_is_reported_at_once() {
    run(async {
        let stack = Stack::shared();
        for client in both(&stack) {
            for path in ROUTES {
                let unknown = client.post(path, &json!({ "html": "x", "foo": 1 })).await;
                let details = assert_refused(path, &unknown, 400, "request_not_valid");
                assert_eq!(details, ["\"foo\" is not allowed"]);
                let wrong = client.get_with_key(&format!("{path}?html=x&viewport_width=abc")).await;
                let details = assert_refused(path, &wrong, 400, "request_not_valid");
                assert_eq!(details, ["\"viewport_width\" must be a number"]);
                let options = json!({ "url": "example.com", "foo": 1, "viewport_width": "abc", "full_page": "maybe" });
                let mut details = assert_refused(path, &client.post(path, &options).await, 400, "request_not_valid");
                details.sort();
                let expected = [
                    "\"foo\" is not allowed",
                    "\"full_page\" must be a boolean",
                    "\"url\" must be a valid URI",
                    "\"viewport_width\" must be a number",
                ];
                assert_eq!(details, expected);
                let nothing = client.post(path, &json!({})).await;
                let details = assert_refused(path, &nothing, 400, "request_not_valid");
                assert_eq!(details, ["\"value\" must contain at least one of [html, url, markdown]"]);
            }
        }
    });
}

#[test]
fn a_body_that_is_no_json_is_refused() {
    run(async {
        let stack = Stack::shared();
        for client in both(&stack) {
            let key = client.key.access_key.clone();
            for path in ROUTES {
                for (body, said) in [
                    ("{\"url\":", "not valid JSON"),
                    ("[1]", "must be a JSON object"),
                    ("{\"url\":{\"a\":1}}", "\"url\" must be"),
                    ("\u{1}", "not valid JSON"),
                ] {
                    let headers = [("x-access-key", key.as_str()), ("content-type", "application/json")];
                    let answer = client.send(Method::POST, path, &headers, Some(body.into())).await;
                    let details = assert_refused(path, &answer, 400, "request_not_valid");
                    assert!(details[0].contains(said), "{details:?}");
                }
                let headers = [("x-access-key", key.as_str()), ("content-type", "text/plain")];
                let answer = client.send(Method::POST, path, &headers, Some("{\"html\":\"x\"}".into())).await;
                assert_refused(path, &answer, 415, "unsupported_media_type");
            }
        }
    });
}

#[test]
fn a_body_of_ten_megabytes_is_refused_however_it_is_declared() {
    run(async {
        let stack = Stack::shared();
        for base in [stack.api.as_str(), stack.edge_url()] {
            for path in ROUTES {
                let head = format!(
                    "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json\r\n\
                     x-access-key: {}\r\n",
                    stack.key.access_key
                );
                let declared = format!("{head}content-length: {TOO_MUCH}\r\n\r\n").into_bytes();
                let promised = send_raw(base, declared.clone()).await;
                let sent = send_raw(base, [declared, vec![b' '; TOO_MUCH]].concat()).await;
                let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
                let chunks = chunk.repeat(TOO_MUCH / 0x10000);
                let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
                let chunked = send_raw(base, [chunked, chunks, b"0\r\n\r\n".to_vec()].concat()).await;
                for (how, answer) in [("declared", promised), ("sent", sent), ("chunked", chunked)] {
                    assert!(answer.starts_with("HTTP/1.1 413 "), "{base}{path} {how}: {answer}");
                    assert!(answer.contains("request_body_too_large"), "{base}{path} {how}: {answer}");
                }
            }
        }
        stack.client().take(&json!({ "html": "<p>still well" })).await.expect(200);
    });
}

#[test]
fn only_the_web_can_be_taken() {
    run(async {
        let stack = Stack::shared();
        for client in both(&stack) {
            for path in ROUTES {
                for url in
                    ["file:///etc/passwd", "ftp://example.com/", "javascript:1", "data:text/html,x", "chrome://gpu"]
                {
                    let details = assert_refused(
                        path,
                        &client.post(path, &json!({ "url": url })).await,
                        400,
                        "request_not_valid",
                    );
                    assert!(details[0].starts_with("\"url\" must be a valid URI"), "{url}: {details:?}");
                    let hook = json!({ "html": "x", "async": true, "webhook_url": url });
                    let details = assert_refused(path, &client.post(path, &hook).await, 400, "request_not_valid");
                    assert!(details[0].starts_with("\"webhook_url\" must be a valid URI"), "{url}: {details:?}");
                }
            }
        }
    });
}

#[test]
fn without_the_development_setting_this_machine_and_its_network_are_out_of_bounds() {
    run(async {
        let stack = Stack::builder().without_development().edge().start();
        let (site, receiver) = (Site::start(), Receiver::start());
        let port = site.url("").rsplit(':').next().unwrap().to_owned();
        for client in both(&stack) {
            for path in ROUTES {
                for host in ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"]
                {
                    let options = json!({ "url": format!("http://{host}:{port}/colors.html") });
                    assert_refused(path, &client.post(path, &options).await, 400, "target_not_allowed");
                }
                for host in ["10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "[fd00::1]"] {
                    let options = json!({ "url": format!("http://{host}/"), "async": true });
                    assert_refused(path, &client.post(path, &options).await, 400, "target_not_allowed");
                }
                let options = json!({ "html": "x", "async": true, "webhook_url": receiver.url() });
                let details = assert_refused(path, &client.post(path, &options).await, 400, "target_not_allowed");
                assert!(details[0].contains("webhook_url"), "{details:?}");
            }
        }
        // What a page asks for by itself goes the same way.
        let html = format!(
            "<body style='margin:0;background:#00ff00'><img src={0}/square.svg><iframe src={0}/tall.html></iframe>
             <link rel=stylesheet href={0}/a.css><script>fetch('{0}/b').catch(() => 0);
             new WebSocket('{1}/socket'); navigator.sendBeacon('{0}/c', 'x')</script>",
            site.url(""),
            site.url("").replace("http:", "ws:"),
        );
        let options = json!({ "html": html, "format": "png", "viewport_width": 50, "viewport_height": 50, "delay": 1 });
        stack.client().take(&options).await.expect(200);
        for path in ["/square.svg", "/tall.html", "/a.css", "/b", "/c", "/socket", "/colors.html"] {
            assert_eq!(site.count(path), 0, "{path} was reached");
        }
        assert!(receiver.all().is_empty());
        // With the setting they all arrive, so it is the policy that kept them.
        Stack::shared().client().take(&options).await.expect(200);
        for path in ["/square.svg", "/tall.html", "/a.css", "/b", "/c", "/socket"] {
            assert_eq!(site.count(path), 1, "{path}");
        }
    });
}

#[test]
fn a_webhook_goes_over_http_only_if_that_is_wanted() {
    run(async {
        let request = json!({ "html": "x", "async": true, "webhook_url": "http://example.com/hook" });
        let strict = Stack::builder().without_development().edge().start();
        for client in both(&strict) {
            for path in ROUTES {
                let details = assert_refused(path, &client.post(path, &request).await, 400, "target_not_allowed");
                assert_eq!(details, ["\"webhook_url\": the URL must start with https://"]);
                let mut secure = request.clone();
                secure["webhook_url"] = json!("https://example.com/hook");
                client.post(path, &secure).await.expect(202);
            }
        }
        drop(strict);
        let open = Stack::builder()
            .without_development()
            .set("SNAPHOOK_WEBHOOK_ALLOW_HTTP", true)
            .edge_with("WEBHOOK_ALLOW_HTTP", true)
            .start();
        for client in both(&open) {
            for path in ROUTES {
                client.post(path, &request).await.expect(202);
            }
        }
    });
}

#[test]
fn a_host_that_cannot_be_reached_is_named_as_the_cause() {
    run(async {
        let stack = Stack::shared();
        let closed = Port::reserve();
        for client in both(&stack) {
            for path in ROUTES {
                let options = json!({ "url": format!("http://{}/", closed.address) });
                assert_refused(path, &client.post(path, &options).await, 500, "network_error");
            }
        }
        let options = json!({ "url": format!("http://{}/", closed.address) });
        let id = stack.client().enqueue("/v1/screenshot", &options).await;
        let view = ended(&stack.client(), &id).await;
        assert_eq!((&view["state"], &view["error"]["code"]), (&json!("failed"), &json!("network_error")), "{view:#}");
    });
}

#[test]
fn a_name_that_does_not_exist_is_named_as_the_cause() {
    run(async {
        let stack = Stack::shared();
        for client in both(&stack) {
            for path in ROUTES {
                let options = json!({ "url": "http://no-such-host.invalid/" });
                assert_refused(path, &client.post(path, &options).await, 400, "name_not_resolved");
            }
        }
    });
}

#[test]
fn a_host_that_answers_with_an_error_is_named_as_the_cause() {
    run(async {
        let stack = Stack::shared();
        let (client, site) = (stack.client(), Site::start());
        let answer = client.take(&json!({ "url": site.url("/status/404") })).await;
        assert_refused("/take", &answer, 500, "host_returned_error");
        assert_eq!(answer.json()["returned_status_code"], 404);
        let answer = client.take(&json!({ "url": site.url("/status/401") })).await;
        assert_refused("/take", &answer, 400, "host_requires_authentication");
        let options = json!({ "url": site.url("/status/404"), "ignore_host_errors": true });
        client.take(&options).await.expect(200);
    });
}

#[test]
fn a_page_that_never_loads_ends_in_time() {
    run(async {
        // A page for each, so that none waits for another.
        let stack = Stack::builder().set("SNAPHOOK_RENDER_CONCURRENCY", 8).edge().start();
        let (client, site) = (stack.client(), Site::start());
        let within = async |path: &str, options: Json, limit_s: u64| {
            let started = Instant::now();
            let answer = client.post(path, &options).await;
            let took = started.elapsed();
            assert_refused(path, &answer, 500, "timeout_error");
            assert!(took < s(limit_s) + s(2), "{path} took {took:?}, the limit was {limit_s} s");
        };
        let never = site.url("/never");
        let half = format!("<img src={never}>half a page");
        futures::join!(
            within("/take", json!({ "url": never, "navigation_timeout": 1 }), 1),
            within("/take", json!({ "url": never, "timeout": 2 }), 2),
            within("/v1/screenshot", json!({ "url": never, "timeout": 2 }), 2),
        );
        futures::join!(
            within("/take", json!({ "html": half, "timeout": 2 }), 2),
            within("/take", json!({ "html": "<p>x", "wait_for_selector": "#never", "timeout": 2 }), 2),
            within("/take", json!({ "html": "<script>for (;;) {}</script>", "timeout": 2 }), 2),
        );
        let edge = stack.edge_client().take(&json!({ "url": never, "timeout": 1 })).await;
        assert_refused("/take", &edge, 500, "timeout_error");
        client.take(&json!({ "html": "<p>still well" })).await.expect(200);
    });
}

#[test]
fn a_failed_render_is_told_to_the_webhook_of_who_wants_to_know() {
    run(async {
        let stack = Stack::shared();
        let (client, site) = (stack.client(), Site::start());
        let (one, max, silent) = (Receiver::start(), Receiver::start(), Receiver::start());
        let failing = |receiver: &Receiver| json!({ "url": site.url("/status/500"), "webhook_url": receiver.url() });
        let mut wants_to_know = failing(&one);
        wants_to_know["webhook_errors"] = json!(true);
        let id_one = client.enqueue("/take", &wants_to_know).await;
        let id_max = client.enqueue("/v1/screenshot", &failing(&max)).await;
        let id_silent = client.enqueue("/take", &failing(&silent)).await;

        let webhook = one.first(s(30)).await;
        assert_eq!(webhook.json()["error_code"], "host_returned_error");
        assert_eq!(webhook.header("x-screenshotone-error-code"), "host_returned_error");
        assert_eq!(ended(&client, &id_one).await["error"]["code"], "host_returned_error");
        let webhook = max.first(s(30)).await;
        assert_eq!((&webhook.json()["id"], webhook.json().get("file")), (&json!(id_max), None));
        assert_eq!(webhook.json()["error"]["code"], "host_returned_error");
        let view = ended(&client, &id_silent).await;
        assert_eq!((&view["state"], &view["webhook"]), (&json!("failed"), &Json::Null), "{view:#}");
        assert!(silent.all().is_empty());
    });
}

#[test]
fn a_webhook_that_is_refused_waits_and_arrives_when_the_receiver_is_back() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", "0,1,1,1,1,1,1,1,1,1").start();
        let (client, port) = (stack.client(), Port::reserve());
        let url = format!("http://{}/hook", port.address);
        let id = client.enqueue("/v1/screenshot", &json!({ "html": "<p>x", "webhook_url": url })).await;
        let view = client
            .request_when(&id, "two attempts", s(30), |view| view["webhook"]["attempts"].as_u64() >= Some(2))
            .await;
        assert_eq!(view["state"], "done", "{view:#}");
        assert_eq!(view["webhook"]["last_status"], Json::Null, "{view:#}");
        let view = client
            .request_when(&id, "a pause", s(15), |view| {
                view["webhook"]["state"] == "pending" && view["webhook"]["last_error"].is_string()
            })
            .await;
        assert!(view["webhook"]["next_attempt_at"].is_string(), "{view:#}");
        let receiver = Receiver::on(port);
        let webhook = receiver.first(s(15)).await;
        assert_eq!(webhook.header("webhook-id"), id.replace("req_", "msg_"));
        let view = client.request_when(&id, "delivered", s(15), |view| view["webhook"]["state"] == "delivered").await;
        assert_eq!((&view["webhook"]["last_status"], &view["webhook"]["last_error"]), (&json!(204), &Json::Null));
    });
}

#[test]
fn receivers_that_misbehave_are_tried_again_until_the_schedule_ends() {
    run(async {
        let stack = Stack::builder()
            .set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", "0,1,1")
            .set("SNAPHOOK_WEBHOOK_TIMEOUT_SECONDS", 1)
            .start();
        let client = stack.client();
        let elsewhere = Receiver::start();
        let start = async |behaviour: Behaviour| {
            let receiver = Receiver::start();
            receiver.behave(behaviour);
            let options = json!({ "html": "<p>x", "webhook_url": receiver.url() });
            let id = client.enqueue("/v1/screenshot", &options).await;
            (receiver, id)
        };
        let (broken, broken_id) = start(Behaviour::Status(500)).await;
        let (gone, gone_id) = start(Behaviour::Status(410)).await;
        let (moved, moved_id) = start(Behaviour::Redirect(elsewhere.url())).await;
        let (mute, mute_id) = start(Behaviour::Hang).await;
        let dead = async |id: &str| {
            client.request_when(id, "given up", s(40), |view| view["webhook"]["state"] == "dead").await["webhook"]
                .clone()
        };
        let view = dead(&gone_id).await;
        assert_eq!((gone.all().len(), &view["attempts"], &view["last_status"]), (1, &json!(1), &json!(410)));
        let view = dead(&broken_id).await;
        assert_eq!((broken.all().len(), &view["attempts"], &view["last_status"]), (3, &json!(3), &json!(500)));
        let ids: Vec<_> = broken.all().iter().map(|webhook| webhook.header("webhook-id").to_owned()).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "one id for all attempts: {ids:?}");
        let view = dead(&moved_id).await;
        assert_eq!((moved.all().len(), &view["last_status"], elsewhere.all().len()), (3, &json!(302), 0));
        let view = dead(&mute_id).await;
        assert_eq!(mute.all().len(), 3);
        assert_eq!(view["last_error"], "no complete answer within 1 s");
        for id in [broken_id, gone_id, moved_id, mute_id] {
            assert_eq!(client.request(&id).await["state"], "done", "the picture is there all the same");
        }
    });
}

#[test]
fn the_edge_says_when_the_backend_is_away_and_recovers_with_it() {
    run(async {
        let mut stack = Stack::builder().edge().start();
        let edge = stack.edge_client();
        let unknown_to_edge = edge.with_key(&stack.new_key());
        let options = json!({ "html": "<p>x", "viewport_width": 20, "viewport_height": 20 });
        edge.take(&options).await.expect(200);
        stack.kill9();
        for client in [&edge, &unknown_to_edge] {
            for path in ROUTES {
                for mode in [false, true] {
                    let mut options = options.clone();
                    options["async"] = json!(mode);
                    let answer = client.post(path, &options).await;
                    assert_refused(path, &answer, 503, "temporary_unavailable");
                    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
                }
            }
        }
        assert_eq!(edge.get_with_key("/v1/requests").await.status, 503);
        // What can be refused without the backend still is.
        let invalid = edge.take(&json!({ "foo": 1 })).await;
        assert_refused("/take", &invalid, 400, "request_not_valid");
        stack.restart();
        wait::until("the edge to recover", s(10), async || (edge.take(&options).await.status == 200).then_some(()))
            .await;
        unknown_to_edge.take(&options).await.expect(200);
    });
}

#[test]
fn routes_and_methods_that_do_not_exist_say_so() {
    run(async {
        let stack = Stack::shared();
        for client in both(&stack) {
            assert_eq!(client.get("/").await.json()["code"], "not_found");
            for path in ["/v1/nothing", "/animated", "/internal/v1/nothing", "/v1/requests/x/y"] {
                assert_eq!(client.get_with_key(path).await.status, 404, "{path}");
            }
            let answer = client.send(Method::DELETE, "/take", &[], None).await;
            assert_eq!(answer.json()["error_code"], "method_not_allowed");
            assert_eq!(answer.status, 405);
            let long = "x".repeat(17 * 1024);
            let answer = client.get_with_key(&format!("/take?html={long}")).await;
            assert_eq!(answer.json()["error_code"], "uri_too_long");
        }
        // The edge's own entrance is closed to everybody else, and behind the edge it is not even there.
        let inside = format!("/internal/v1/keys/{}", stack.key.access_key);
        let answer = stack.client().get(&inside).await.expect(401);
        assert!(!answer.text().contains(&stack.key.secret_key));
        stack.edge_client().get(&inside).await.expect(404);
    });
}

async fn ended(client: &Client, id: &str) -> Json {
    client.request_when(id, "an end", Duration::from_secs(30), |view| view["finished_at"].is_string()).await
}
