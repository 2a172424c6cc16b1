//! The API around the render: limits and usage, the cache, uploads to a bucket of the caller's, bulk requests, and the
//! pages that explain it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use serde_json::{Value as Json, json};
use snaphook_tests::client::Client;
use snaphook_tests::receiver::Receiver;
use snaphook_tests::run;
use snaphook_tests::s3::S3;
use snaphook_tests::serve::{Port, Server, full};
use snaphook_tests::site::Site;
use snaphook_tests::stack::{KeyPair, Stack};
use snaphook_tests::wait::{self, s};

/// A client with a key of its own, made with these limits.
fn limited(stack: &Stack, limits: &[&str]) -> Client {
    let made = stack.keys(&[&["create", "--json"], limits].concat());
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let key = KeyPair { access_key: text("access_key"), secret_key: text("secret_key") };
    Client::new(&stack.api, &key)
}

async fn usage(client: &Client) -> Json {
    client.get_with_key("/usage").await.expect(200).json()
}

#[test]
fn usage_counts_what_was_rendered_and_nothing_else() {
    run(async {
        let (stack, site) = (Stack::builder().start(), Site::start());
        let client = limited(&stack, &["--quota", "10", "--requests-per-minute", "100"]);
        let fresh = usage(&client).await;
        assert_eq!((&fresh["total"], &fresh["available"], &fresh["used"]), (&json!(10), &json!(10), &json!(0)));

        client.take(&json!({ "html": "<p>x" })).await.expect(200);
        client.take(&json!({ "url": site.url("/status/500") })).await.expect(500);
        client.take(&json!({ "html": "<p>x", "foo": 1 })).await.expect(400);
        let id = client.enqueue("/v1/screenshot", &json!({ "html": "<p>y" })).await;
        client.done(&id, s(30)).await;

        let one = usage(&client).await;
        assert_eq!((&one["available"], &one["used"]), (&json!(8), &json!(2)), "{one}");
        let max = client.get_with_key("/v1/usage").await.expect(200).json();
        assert_eq!(max["hits"], json!({ "quota": 10, "used": 2, "remaining": 8 }));
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let reset_s = max["concurrency"]["reset"].as_u64().unwrap();
        assert!((now_s..=now_s + 60).contains(&reset_s), "{max}");
        assert!(one["concurrency"]["reset"].as_u64().unwrap() >= now_s * 1_000_000_000, "{one}");
        assert_eq!(max["concurrency"]["limit"], 100);

        let nobody = client.get("/usage").await.expect(400).json();
        assert_eq!(nobody["error_code"], "access_key_required");
        assert_eq!(client.get("/v1/usage").await.expect(401).json()["statusCode"], 401);
    });
}

#[test]
fn limits_refuse_with_the_vendors_codes_and_can_be_moved() {
    run(async {
        let stack = Stack::builder().start();
        let client = limited(&stack, &["--quota", "1"]);
        client.take(&json!({ "html": "<p>x" })).await.expect(200);
        let refused = client.take(&json!({ "html": "<p>x" })).await.expect(400);
        assert_eq!(refused.json()["error_code"], "screenshots_limit_reached");
        assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
        let refused = client.screenshot(&json!({ "html": "<p>x", "async": true })).await.expect(429);
        assert_eq!(refused.json()["code"], "screenshots_limit_reached");

        let key = client.key.access_key.clone();
        let said = stack.keys(&["limits", &key, "--quota", "unlimited", "--requests-per-minute", "1", "--json"]);
        assert_eq!(said["limits"], json!({ "monthly_quota": null, "requests_per_minute": 1, "concurrency": null }));
        // Two in a row may fall into two minutes; three cannot.
        let small = json!({ "html": "<p>x" });
        let answers = join_all((0..3).map(|_| client.take(&small))).await;
        let refused = answers.iter().find(|answer| answer.status == 400).expect("a refusal");
        assert_eq!(refused.json()["error_code"], "concurrency_limit_reached");
        assert!((1..=60).contains(&refused.header("retry-after").parse::<u64>().unwrap()));

        stack.keys(&["limits", &key, "--requests-per-minute", "unlimited", "--concurrency", "1", "--json"]);
        let slow = json!({ "html": "<p>x", "delay": 1 });
        let both = join_all((0..2).map(|_| client.take(&slow))).await;
        let mut statuses: Vec<u16> = both.iter().map(|answer| answer.status.as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 400], "one at a time");
        let odd = stack.run_keys(&["limits", &key, "--quota", "many"]);
        assert_eq!(odd.status.code(), Some(2));
    });
}

#[test]
fn the_cache_gives_the_same_answer_without_rendering_or_counting() {
    run(async {
        let (stack, site, receiver) = (Stack::builder().start(), Site::start(), Receiver::start());
        let client = limited(&stack, &["--quota", "100"]);
        let options = json!({
            "url": site.url("/colors.html"), "format": "png", "cache": true, "webhook_url": receiver.url(),
        });
        let first = client.take(&options).await.expect(200);
        assert_eq!(first.header("x-snaphook-cache"), "miss");
        let again = client.take(&options).await.expect(200);
        assert_eq!(again.header("x-snaphook-cache"), "hit");
        assert_eq!((again.header("content-type"), &again.body), ("image/png", &first.body));
        let url = again.header("x-screenshotone-cache-url");
        assert!(!url.is_empty() && url == first.header("x-screenshotone-cache-url"));
        assert_eq!(client.get(url).await.expect(200).body, first.body);
        assert_eq!(site.count("/colors.html"), 1);
        assert_eq!(usage(&client).await["used"], 1);

        // Whatever shapes the answer makes another one of it; so does another key.
        for change in [json!({ "cache_key": "b" }), json!({ "format": "jpg" }), json!({ "response_type": "json" })] {
            let mut other = options.clone();
            other.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            assert_eq!(client.take(&other).await.expect(200).header("x-snaphook-cache"), "miss", "{change}");
        }
        let mut linked = options.clone();
        linked["response_type"] = json!("json");
        let hit = client.take(&linked).await.expect(200);
        assert_eq!(hit.header("x-snaphook-cache"), "hit");
        assert!(hit.json()["cache_url"].is_string() && hit.json()["cache_url"] == hit.json()["screenshot_url"]);
        let stranger = limited(&stack, &[]);
        assert_eq!(stranger.take(&options).await.expect(200).header("x-snaphook-cache"), "miss");
        let webhooks = receiver.wait_for(5, s(15)).await.len();
        assert_eq!(webhooks, 5, "one for each render, none for a hit");

        // The file stays as long as its answer may be given again.
        let mut long = options.clone();
        long["cache_ttl"] = json!(2_592_000);
        long["cache_key"] = json!("long");
        let id = client.take(&long).await.expect(200).header("x-snaphook-request-id").to_owned();
        let file = client.request(&id).await["file"].clone();
        let created = client.request(&id).await["created_at"].as_str().unwrap()[..7].to_owned();
        assert!(file["expires_at"].as_str().unwrap()[..7] > *created, "{file}");

        let empty = json!({ "html": "<p>x", "cache": true, "response_type": "empty" });
        assert_eq!(client.take(&empty).await.expect(200).header("x-snaphook-cache"), "");
        let loose = client.take(&json!({ "html": "<p>x", "cache_ttl": 20000 })).await.expect(400).json();
        let message = "The `cache_ttl` option cannot be used when the `cache` option is false or not set.";
        assert_eq!(loose["error_details"][0]["message"], message);
        let short = client.take(&json!({ "html": "<p>x", "cache": true, "cache_ttl": 10 })).await.expect(400).json();
        let message = "\"cache_ttl\" must be greater than or equal to 14400";
        assert_eq!(short["error_details"][0]["message"], message);
        let max = json!({ "html": "<p>x", "cache": true, "cache_ttl": 1 });
        assert_eq!(client.screenshot(&max).await.expect(200).header("x-snaphook-cache"), "miss");
    });
}

#[test]
fn many_callers_of_the_same_page_cost_one_render() {
    run(async {
        let (stack, site) = (Stack::builder().start(), Site::start());
        let client = stack.client();
        let options = json!({ "url": site.url("/slow?500"), "cache": true });
        let answers = join_all((0..12).map(|_| client.take(&options))).await;
        let first = &answers.first().unwrap().body;
        assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == first));
        assert_eq!(answers.iter().filter(|answer| answer.header("x-snaphook-cache") == "miss").count(), 1);
        assert_eq!(site.count("/slow"), 1);

        let failing = json!({ "url": site.url("/status/503"), "cache": true });
        let answers = join_all((0..6).map(|_| client.take(&failing))).await;
        assert!(answers.iter().all(|answer| answer.json()["returned_status_code"] == 503));
        assert!(site.count("/status/503") < 6, "a failure is shared too");
    });
}

/// A storage that answers everything like this, and counts.
fn answering(status: u16, body: &'static str) -> (Server, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let server = Server::start(Port::reserve(), move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        let response = http::Response::builder().status(status).header("location", "/elsewhere").body(full(body));
        std::future::ready(response.expect("a valid response"))
    });
    (server, asked)
}

#[test]
fn files_go_to_the_callers_own_bucket() {
    run(async {
        let stack = Stack::builder().start();
        let client = stack.client();
        let s3 = S3::start("shots");
        let endpoint = &s3.url;
        let options = |change: Json| {
            let mut options = json!({
                "html": "<p>x", "format": "png", "store": true, "storage_path": "a b/ü",
                "storage_bucket": "shots", "storage_endpoint": endpoint, "storage_access_key_id": "AKID",
                "storage_secret_access_key": "s3-secret", "storage_acl": "public-read",
                "storage_class": "standard", "storage_return_location": true,
            });
            options.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            options
        };
        let stored = client.take(&options(json!({}))).await.expect(200);
        let object = s3.path("shots/a b/ü.png");
        assert_eq!(std::fs::read(&object).unwrap(), stored.body);
        assert_eq!(stored.header("x-screenshotone-store-bucket"), "shots");
        let location = format!("{endpoint}/shots/a%20b/%C3%BC.png");
        assert_eq!(stored.header("x-screenshotone-store-location"), location);

        // In the background as well, and the secret is nowhere at rest while it waits.
        let json_options = options(json!({ "storage_path": "later", "response_type": "json", "delay": 2 }));
        let id = client.enqueue("/take", &json_options).await;
        for file in std::fs::read_dir(stack.data_dir()).unwrap().map(|entry| entry.unwrap().path()) {
            if file.is_file() {
                let bytes = std::fs::read(&file).unwrap();
                assert!(!bytes.windows(9).any(|window| window == b"s3-secret"), "{}", file.display());
            }
        }
        client.done(&id, s(30)).await;
        let later = s3.path("shots/later.png");
        wait::for_it("the second object", s(5), || later.exists().then_some(())).await;

        let error = async |change: Json| client.take(&options(change)).await.json()["error_code"].clone();
        assert_eq!(error(json!({ "storage_secret_access_key": "wrong" })).await, "storage_access_denied");
        assert_eq!(error(json!({ "storage_access_key_id": null })).await, "invalid_storage_configuration");
        assert_eq!(error(json!({ "storage_class": "cheap" })).await, "request_not_valid");
        // This server knows no other class than the standard one, and says so of what it is sent.
        let frozen = client.take(&options(json!({ "storage_class": "glacier" }))).await.expect(400).json();
        assert_eq!(frozen["error_details"][0]["message"], "the storage answered 400 InvalidStorageClass");
        let (nowhere, _) = answering(404, "<Error><Code>NoSuchBucket</Code></Error>");
        assert_eq!(error(json!({ "storage_endpoint": nowhere.url() })).await, "invalid_storage_configuration");
        let (elsewhere, _) = answering(307, "");
        assert_eq!(error(json!({ "storage_endpoint": elsewhere.url() })).await, "invalid_storage_configuration");
        let (tired, tries) = answering(503, "");
        assert_eq!(error(json!({ "storage_endpoint": tired.url() })).await, "storage_returned_transient_error");
        assert_eq!(tries.load(Ordering::Relaxed), 3);
        assert!(!stack.backend_log().contains("s3-secret"));
    });
}

#[test]
fn a_storage_inside_the_network_is_not_reached() {
    run(async {
        let stack = Stack::builder().without_development().start();
        let options = json!({
            "html": "<p>x", "store": true, "storage_path": "a", "storage_bucket": "shots",
            "storage_endpoint": "http://127.0.0.1:9000", "storage_access_key_id": "A", "storage_secret_access_key": "S",
        });
        let refused = stack.client().take(&options).await.expect(400).json();
        assert_eq!(refused["error_code"], "target_not_allowed");
    });
}

#[test]
fn bulk_gives_links_or_renders_and_errors_stay_in_their_place() {
    run(async {
        let (stack, site) = (Stack::builder().start(), Site::start());
        let client = limited(&stack, &["--quota", "100"]);
        let page = site.url("/colors.html");
        let requests = json!([{}, { "format": "jpg" }, { "format": "bmp" }]);
        let body = json!({ "options": { "url": page, "format": "png" }, "requests": requests });
        let answer = client.post("/bulk", &body).await.expect(200).json();
        let responses = answer["responses"].as_array().unwrap();
        assert_eq!((responses.len(), site.count("/colors.html")), (3, 0), "nothing is rendered yet");
        let shot = client.get(responses[0]["url"].as_str().unwrap()).await.expect(200);
        assert_eq!(shot.header("content-type"), "image/png");
        assert_eq!(responses[2]["response"]["body"]["error_code"], "request_not_valid");

        let mut now = body.clone();
        now["execute"] = json!(true);
        now["options"]["response_type"] = json!("json");
        let answer = client.post("/bulk", &now).await.expect(200).json();
        let responses = answer["responses"].as_array().unwrap();
        for response in &responses[..2] {
            assert_eq!(response["response"]["status"], 200, "{response}");
            client.get(response["response"]["body"]["screenshot_url"].as_str().unwrap()).await.expect(200);
        }
        assert_eq!(responses[2]["response"]["is_successful"], false);
        assert_eq!(responses[2]["response"]["status"], 400);
        assert_eq!(usage(&client).await["used"], 3);

        let many: Vec<Json> = (0..21).map(|_| json!({ "html": "x" })).collect();
        let refused = client.post("/bulk", &json!({ "requests": many })).await.expect(400).json();
        let message = "\"requests\" must contain less than or equal to 20 items";
        assert_eq!(refused["error_details"][0]["message"], message);
        client.get_with_key("/bulk").await.expect(405);
        let stranger = Client::new(&stack.api, &KeyPair::random());
        let refused = stranger.post("/bulk", &body).await.expect(400).json();
        assert_eq!(refused["error_code"], "access_key_invalid");
    });
}

#[test]
fn errors_lead_to_their_page_and_the_api_describes_itself() {
    run(async {
        let stack = Stack::builder().start();
        let client = stack.client();
        let error = client.take(&json!({ "foo": 1 })).await.expect(400).json();
        let page = client.get(error["documentation_url"].as_str().unwrap()).await.expect(200);
        assert!(page.text().starts_with("# request_not_valid\n"));
        let html = client.send(http::Method::GET, "/docs/errors/timeout", &[("accept", "text/html")], None).await;
        assert!(html.header("content-type").starts_with("text/html") && html.text().contains("<h1>timeout_error</h1>"));
        client.get("/docs/errors/nonsense").await.expect(404);

        let document = client.get("/openapi.json").await.expect(200).json();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["servers"][0]["url"], stack.api.as_str());
        for path in ["/take", "/v1/screenshot", "/bulk", "/usage", "/v1/usage", "/v1/requests"] {
            assert!(document["paths"][path].is_object(), "{path}");
        }
    });
}
