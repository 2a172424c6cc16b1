//! The edge and the backend are one front door: the same requests to both, and the same answers, byte for byte.
//!
//! What differs by nature is held still rather than left out: both show one public address, and what would get an id of its
//! own is sent under one idempotency key.

use std::collections::BTreeSet;

use http::{HeaderName, Method};
use serde_json::{Value as Json, json};
use snaphook_shared::dialect::{Dialect, REQUEST_ID};
use snaphook_shared::limits::QUERY_BYTES_MAX;
use snaphook_shared::request::Endpoint;
use snaphook_tests::client::{Answer, Client, send_raw};
use snaphook_tests::receiver::{Behaviour, Receiver};
use snaphook_tests::run;
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::{self, s};

const PUBLIC_URL: &str = "https://shots.example";

/// Their files hold the time, and take some.
const RECORDINGS: [Endpoint; 2] = [Endpoint::Animate, Endpoint::Screencast];

/// A document that is kept after it was first asked for.
const KEPT_PDF: &str = "format=pdf&cache=true";

/// Headers that are of one answer or one connection, and not of what is answered: its time, its framing, its id.
const OWN_HEADERS: [&str; 4] = ["connection", "date", "transfer-encoding", REQUEST_ID];

/// Headers of an answer out of the edge's cache that are the cache's own: how old it is, that it was found, and for how long it
/// may be kept, which is no longer than the cache keeps it. Not modified, it says a type all the same.
const CACHE_HEADERS: [&str; 3] = ["age", "cache-control", "cf-cache-status"];

/// One line of the table: what is sent, and the status that both must give.
struct Case {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    status: u16,
    /// Whether the edge's answer comes out of its cache.
    from_cache: bool,
}

impl Case {
    fn new(status: u16, method: &str, path: impl Into<String>) -> Case {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        Case { method, path: path.into(), headers: Vec::new(), body: None, status, from_cache: false }
    }

    fn get(status: u16, path: impl Into<String>) -> Case {
        Case::new(status, "GET", path)
    }

    fn post(status: u16, path: &str, body: &Json) -> Case {
        Case::raw(status, path, body.to_string())
    }

    fn raw(status: u16, path: &str, body: impl Into<Vec<u8>>) -> Case {
        let case = Case { body: Some(body.into()), ..Case::new(status, "POST", path) };
        case.header("content-type", "application/json")
    }

    fn header(mut self, name: &str, value: &str) -> Case {
        self.headers.retain(|(other, _)| other != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

#[test]
fn both_answer_alike() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_PUBLIC_URL", PUBLIC_URL).edge_with("PUBLIC_URL", PUBLIC_URL).start();
        let (backend, edge, site) = (stack.client(), stack.edge_client(), Site::start());
        let id = backend.enqueue("/v1/screenshot", &json!({ "html": "<p>kept", "format": "png" })).await;
        let done = backend.done(&id, s(30)).await;
        let file = done["file"]["url"].as_str().unwrap().trim_start_matches(PUBLIC_URL).to_owned();

        let document = backend.enqueue("/v1/pdf", &json!({ "html": "<p>kept" })).await;
        let document = backend.done(&document, s(30)).await["file"]["url"].as_str().unwrap().to_owned();

        let mut cases = renders(&backend, &site);
        // A document holds the time at which it was made. One that is kept is the same for all.
        let kept = cases.iter().find(|case| case.path.ends_with(KEPT_PDF)).unwrap();
        assert_eq!(send(&backend, kept).await.expect(200).header("x-snaphook-cache"), "miss");
        let files = [file.as_str(), document.trim_start_matches(PUBLIC_URL)];
        cases.extend(files.into_iter().flat_map(stored_files));
        let mut different = differences(&backend, &edge, &cases).await;
        for file in files {
            // They were read, and are kept while that goes on or a moment after.
            let kept = async || (edge.get(file).await.header("cf-cache-status") == "HIT").then_some(());
            wait::until("the cache to have it", s(10), kept).await;
        }
        let kept: Vec<Case> = files.into_iter().flat_map(kept_files).collect();
        different.extend(differences(&backend, &edge, &kept).await);
        cases.extend(kept);
        // What was accepted has ended before anything is counted.
        wait::until("nothing is under way", s(60), async || {
            let all = backend.get_with_key("/v1/requests?limit=50").await.expect(200).json();
            let all = all["requests"].as_array().unwrap().iter().all(|request| request["finished_at"].is_string());
            all.then_some(())
        })
        .await;
        let resources = resources(&backend.key.access_key, &id);
        different.extend(differences(&backend, &edge, &resources).await);
        cases.extend(resources);
        assert!(cases.len() > 150, "{}", cases.len());
        assert!(different.is_empty(), "{} of {}:\n{}", different.len(), cases.len(), different.join("\n"));
        eprintln!("{} requests, answered alike", cases.len());
    });
}

/// What changes something is done twice, once by way of each, and what names only the one of the two (ids, times) is left out.
#[test]
fn both_change_alike() {
    run(async {
        let stack = Stack::builder().edge().start();
        let (backend, edge, receiver) = (stack.client(), stack.edge_client(), Receiver::start());
        let mut different = Vec::new();

        let task = json!({ "name": "one", "api": "screenshot", "query": "html=x", "crontab": "0 0 1 1 *" });
        let (mut made, mut changed, mut removed) = (Vec::new(), Vec::new(), Vec::new());
        for client in [&backend, &edge] {
            let with_key = |case: Case| case.header("x-access-key", &client.key.access_key);
            let answer = send(client, &with_key(Case::post(201, "/v1/tasks", &task))).await;
            let path = format!("/v1/tasks/{}", answer.json()["id"]);
            made.push(without(answer, &["id", "created"]));
            let change = Case::post(200, &path, &json!({ "name": "two", "enabled": false }));
            let answer = send(client, &with_key(Case { method: Method::PATCH, ..change })).await;
            changed.push(without(answer, &["id", "created"]));
            removed.push(send(client, &with_key(Case::new(204, "DELETE", &path))).await);
        }
        for (status, method, answers) in [(201, "POST", made), (200, "PATCH", changed), (204, "DELETE", removed)] {
            different.extend(difference(&Case::new(status, method, "/v1/tasks"), &answers[0], &answers[1]));
        }

        // A receiver that wants no more: its endpoint is off, and there is a delivery to read of and to play again.
        receiver.behave(Behaviour::Status(410));
        let (key, url) = (backend.key.access_key.as_str(), receiver.url());
        let with_key = |case: Case| case.header("x-access-key", key);
        let id = backend.enqueue("/v1/screenshot", &json!({ "html": "<p>x", "webhook_url": url })).await;
        let dead = |view: &Json| view["webhook"]["state"] == "dead";
        backend.request_when(&id, "given up", s(30), dead).await;
        let paths = ["/v1/deliveries", "/v1/deliveries/endpoints"];
        different.extend(differences(&backend, &edge, &paths.map(|path| with_key(Case::get(200, path)))).await);
        let entry = backend.get_with_key(paths[0]).await.expect(200).json()["deliveries"][0].clone();
        let play = format!("/v1/deliveries/{}/replay", entry["id"].as_str().unwrap());
        let (play, enable) = (
            with_key(Case::new(200, "POST", play)),
            with_key(Case::new(200, "POST", format!("/v1/deliveries/endpoints/enable?url={url}"))),
        );
        let (mut enabled, mut played) = (Vec::new(), Vec::new());
        for client in [&backend, &edge] {
            enabled.push(send(client, &enable).await);
            let count = receiver.all().len();
            played.push(send(client, &play).await);
            // That turns the endpoint off once more, for the other to turn on.
            receiver.wait_for(count + 1, s(30)).await;
            backend.request_when(&id, "given up again", s(30), dead).await;
        }
        different.extend(difference(&enable, &enabled[0], &enabled[1]));
        different.extend(difference(&play, &played[0], &played[1]));

        let file = backend.done(&id, s(30)).await["file"]["url"].as_str().unwrap().to_owned();
        let path = file.trim_start_matches(&backend.base);
        std::fs::remove_file(stack.data_dir().join(path.trim_start_matches('/'))).unwrap();
        stack.keys(&["limits", key, "--quota", "1", "--json"]);
        let page = "html=%3Cp%3Ex";
        let refused = [
            Case::get(410, path),
            Case::new(410, "HEAD", path),
            // What this key may have was had above.
            with_key(Case::get(400, format!("/take?{page}"))),
            with_key(Case::get(429, format!("/v1/screenshot?{page}"))),
            with_key(Case::post(429, "/v1/screenshot", &json!({ "html": "<p>x", "async": true }))),
        ];
        different.extend(differences(&backend, &edge, &refused).await);
        let limited = send(&edge, &refused[3]).await;
        assert!(limited.header("retry-after").parse::<u64>().unwrap() > 0);
        assert!(different.is_empty(), "{}", different.join("\n"));
    });
}

/// An answer without these fields of its body.
fn without(answer: Answer, names: &[&str]) -> Answer {
    let mut body = answer.json();
    for name in names {
        assert!(body.as_object_mut().unwrap().remove(*name).is_some(), "{name} in {body}");
    }
    Answer { body: body.to_string().into(), ..answer }
}

#[test]
fn both_refuse_a_large_body_before_it_is_there() {
    run(async {
        let stack = Stack::shared();
        for path in Endpoint::ALL.map(Endpoint::path).into_iter().chain(["/bulk", "/v1/tasks"]) {
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nx-access-key: {}\r\ncontent-type: application/json\r\n\
                 content-length: 5242881\r\nexpect: 100-continue\r\n\r\n",
                stack.key.access_key
            );
            for base in [&stack.api, stack.edge_url()] {
                let answer = send_raw(base, head.clone().into_bytes()).await;
                assert!(answer.starts_with("HTTP/1.1 413"), "{base}{path}: {answer}");
                assert!(answer.contains("\"request_body_too_large\""), "{base}{path}: {answer}");
            }
        }
    });
}

async fn differences(backend: &Client, edge: &Client, cases: &[Case]) -> Vec<String> {
    let mut different = Vec::new();
    for case in cases {
        let (one, other) = (send(backend, case).await, send(edge, case).await);
        different.extend(difference(case, &one, &other));
    }
    different
}

async fn send(client: &Client, case: &Case) -> Answer {
    let headers: Vec<(&str, &str)> = case.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    client.send(case.method.clone(), &case.path, &headers, case.body.clone()).await
}

fn difference(case: &Case, backend: &Answer, edge: &Answer) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, one: &str, other: &str| {
        if one != other {
            let path: String = case.path.chars().take(120).collect();
            found.push(format!("{} {path}: {what}\n  backend: {one}\n  edge:    {other}", case.method));
        }
    };
    compare("expected status", &case.status.to_string(), backend.status.as_str());
    compare("status", backend.status.as_str(), edge.status.as_str());
    let names = backend.headers.keys().chain(edge.headers.keys()).map(HeaderName::as_str);
    let skipped = if case.from_cache { &CACHE_HEADERS[..] } else { &[] };
    let names: BTreeSet<&str> = names.filter(|name| !OWN_HEADERS.contains(name) && !skipped.contains(name)).collect();
    for name in names {
        let (one, other) = (values(backend, name), values(edge, name));
        let typed = case.from_cache && case.status == 304 && name == "content-type";
        let counts_down = ["cache-control", "retry-after"].contains(&name) && same_but_for_the_time(&one, &other);
        if !typed && !counts_down {
            compare(name, &one, &other);
        }
    }
    compare("body", &backend.text(), &edge.text());
    if backend.body != edge.body {
        compare("bytes", &backend.body.len().to_string(), &edge.body.len().to_string());
    }
    compare(
        "out of the cache",
        &case.from_cache.to_string(),
        &edge.headers.contains_key("cf-cache-status").to_string(),
    );
    for answer in [backend, edge] {
        compare("has an id", "true", &answer.headers.contains_key(REQUEST_ID).to_string());
    }
    found
}

/// All that an answer says under a name, one or several times or never.
fn values(answer: &Answer, name: &str) -> String {
    format!("{:?}", answer.headers.get_all(name).iter().collect::<Vec<_>>())
}

/// Whether two headers say the same, but that the clock has gone on between them: `max-age` and `Retry-After` count the seconds
/// that are left.
fn same_but_for_the_time(one: &str, other: &str) -> bool {
    let seconds = |text: &str| text.strip_prefix("[\"")?.strip_suffix("\"]")?.parse::<u64>().ok();
    if let (Some(one), Some(other)) = (seconds(one), seconds(other)) {
        return one.abs_diff(other) <= 5;
    }
    let parts = |text: &str| {
        let (before, rest) = text.split_once("max-age=")?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        Some((before.to_owned(), rest[..end].parse::<u64>().ok()?, rest[end..].to_owned()))
    };
    match (parts(one), parts(other)) {
        (Some(one), Some(other)) => (&one.0, &one.2) == (&other.0, &other.2) && one.1.abs_diff(other.1) <= 5,
        _ => false,
    }
}

/// The render routes of both dialects, good and bad.
fn renders(client: &Client, site: &Site) -> Vec<Case> {
    let key = &client.key.access_key;
    let mut cases = Vec::new();
    for endpoint in Endpoint::ALL {
        let path = endpoint.path();
        let denied = if endpoint.dialect() == Dialect::ScreenshotOne { 400 } else { 401 };
        let with_key = |case: Case| case.header("x-access-key", key);
        let (page, field, value) = match path {
            // These take pages by their address alone.
            "/v1/scrape" | "/v1/screencast" => {
                (format!("url={}", site.url("/colors.html")), "url", site.url("/colors.html"))
            }
            _ => ("html=%3Cp%3Ealike".to_owned(), "html", "<p>alike".to_owned()),
        };
        cases.extend([
            Case::get(denied, path),
            Case::new(denied, "HEAD", path),
            Case::new(denied, "POST", path),
            Case::get(denied, format!("{path}?access_key=&{page}")),
            Case::get(denied, format!("{path}?access_key=unknown&{page}")),
            Case::get(denied, format!("{path}?access_key=a%20b&{page}")),
            Case::get(denied, format!("{path}?access_key=unknown&{page}&signature=00")),
            Case::get(denied, format!("{path}?access_key={key}&{page}&signature={}", "0".repeat(64))),
            Case::get(denied, format!("{path}?access_key={key}&{page}&signature=a&signature=b")),
            Case::post(denied, path, &json!({ "access_key": "unknown", "html": "<p>" })),
            with_key(Case::get(400, path)),
            with_key(Case::get(400, format!("{path}?url=nonsense"))),
            with_key(Case::get(400, format!("{path}?url=ftp://example.com/"))),
            with_key(Case::get(400, format!("{path}?url=http://169.254.169.254/latest"))),
            with_key(Case::get(400, format!("{path}?url=http://10.0.0.1/"))),
            with_key(Case::get(400, format!("{path}?url=http://user:pass@example.com/"))),
            with_key(Case::get(400, format!("{path}?{page}&foo=1&bar=2"))),
            with_key(Case::get(400, format!("{path}?{page}&format=bmp"))),
            with_key(Case::get(400, format!("{path}?{page}&delay=-1"))),
            with_key(Case::get(400, format!("{path}?{page}&timeout=abc"))),
            with_key(Case::get(400, format!("{path}?{page}&%ff%00=1"))),
            with_key(Case::get(400, format!("{path}?{page}&async=true&webhook_url=nonsense"))),
            with_key(Case::get(400, format!("{path}?{page}&async=true&webhook_url=http://10.0.0.1/"))),
            with_key(Case::get(414, format!("{path}?html={}", "x".repeat(16 * 1024)))),
            with_key(Case::raw(400, path, "{")),
            with_key(Case::raw(400, path, "[]")),
            with_key(Case::raw(400, path, "null")),
            with_key(Case::raw(400, path, b"{\"html\":\"\xff\"}".to_vec())),
            with_key(Case::post(400, path, &json!({ "html": 1, "url": [] }))),
            with_key(Case::post(400, path, &json!({ "html": "<p>", "cookies": [{ "a": {} }] }))),
            with_key(Case::raw(415, path, "a=b").header("content-type", "text/plain")),
            with_key(Case::raw(415, path, "a=b").header("content-type", "application/x-www-form-urlencoded")),
            with_key(Case::post(400, path, &json!({ "html": "<p>", "async": true })))
                .header("idempotency-key", &"k".repeat(256)),
            Case::new(405, "PUT", path),
            Case::new(405, "DELETE", path),
            Case::new(405, "PATCH", path),
            Case::new(204, "OPTIONS", path).header("origin", "https://app.example"),
        ]);
        // What is accepted under one idempotency key is one request, whoever took it.
        let accept = format!("parity{}", path.replace('/', "-"));
        let mut wanted = json!({ field: value, "async": true });
        if RECORDINGS.contains(&endpoint) {
            wanted["duration"] = json!(1);
        }
        let mut clash = wanted.clone();
        clash["delay"] = json!(1);
        let accepted = Case::post(202, path, &wanted);
        cases.push(with_key(accepted).header("idempotency-key", &accept));
        cases.push(with_key(Case::post(422, path, &clash)).header("idempotency-key", &accept));
        // And what is rendered of the same page is the same, but for documents and recordings, which hold the time.
        if endpoint != Endpoint::Pdf && !RECORDINGS.contains(&endpoint) {
            cases.push(with_key(Case::get(200, format!("{path}?{page}"))));
            cases.push(with_key(Case::new(200, "HEAD", format!("{path}?{page}"))));
            cases.push(with_key(Case::post(200, path, &json!({ field: value }))));
            cases.push(Case::get(200, client.signed(path, &page)));
        }
    }
    let page = "html=%3Ctitle%3EA%20t%C3%AFtle%3C/title%3E%3Cp%3Ealike";
    for more in ["response_type=empty", "format=png&viewport_width=120", "metadata_page_title=true", KEPT_PDF] {
        cases.push(Case::get(200, format!("/take?access_key={key}&{page}&{more}")));
    }
    cases
}

/// Two that are right, and one that is not.
fn bulk(execute: bool) -> Json {
    let items =
        json!([{ "html": "<p>one" }, { "html": "<p>two", "format": "html" }, { "html": "<p>", "format": "bmp" }]);
    json!({ "execute": execute, "options": { "viewport_width": 120 }, "requests": items })
}

fn stored_files(file: &str) -> Vec<Case> {
    let none = format!("/files/{}.png", "0".repeat(48));
    let etag = format!("\"{}\"", file.rsplit('/').next().unwrap().split('.').next().unwrap());
    vec![
        Case::new(200, "HEAD", file),
        Case::get(206, file).header("range", "bytes=0-9"),
        Case::get(206, file).header("range", "bytes=-5"),
        Case::get(206, file).header("range", "bytes=0-9").header("if-range", &etag),
        Case::get(200, file).header("range", "bytes=0-9").header("if-range", "\"other\""),
        Case::get(416, file).header("range", "bytes=99999999-"),
        Case::get(304, file).header("if-none-match", &etag),
        Case::get(200, file),
        Case::get(404, none.as_str()),
        Case::new(404, "HEAD", none.as_str()),
        Case::get(404, "/files"),
        Case::get(404, "/files/"),
        Case::get(404, "/files/x/y"),
        Case::new(405, "POST", file),
        Case::new(405, "DELETE", file),
        Case::new(204, "OPTIONS", file),
    ]
}

/// What the edge answers out of its cache, where the file is.
fn kept_files(file: &str) -> Vec<Case> {
    let etag = format!("\"{}\"", file.rsplit('/').next().unwrap().split('.').next().unwrap());
    let cases = [
        Case::get(200, file),
        Case::get(206, file).header("range", "bytes=0-9"),
        Case::get(206, file).header("range", "bytes=-5"),
        Case::get(304, file).header("if-none-match", &etag),
    ];
    let mut cases: Vec<Case> = cases.into_iter().map(|case| Case { from_cache: true, ..case }).collect();
    // What it cannot give is the backend's to refuse.
    cases.push(Case::get(416, file).header("range", "bytes=99999999-"));
    cases
}

/// What the backend answers by itself, and what is not there.
fn resources(key: &str, id: &str) -> Vec<Case> {
    let with_key = |case: Case| case.header("x-access-key", key);
    let mut cases = vec![
        with_key(Case::get(200, format!("/v1/requests/{id}"))),
        with_key(Case::new(200, "HEAD", format!("/v1/requests/{id}"))),
        with_key(Case::get(404, "/v1/requests/req_none")),
        with_key(Case::get(404, format!("/v1/requests/{id}/x"))),
        with_key(Case::get(400, "/v1/requests?state=lost")),
        with_key(Case::get(400, "/v1/requests?limit=0")),
        with_key(Case::get(200, "/v1/requests?limit=1&state=failed")),
        with_key(Case::new(200, "POST", format!("/v1/requests/{id}/cancel"))),
        with_key(Case::new(404, "POST", "/v1/requests/req_none/cancel")),
        with_key(Case::get(405, format!("/v1/requests/{id}/cancel"))),
        with_key(Case::get(200, "/v1/deliveries")),
        with_key(Case::new(200, "POST", "/v1/deliveries/replay")),
        with_key(Case::new(404, "POST", "/v1/deliveries/msg_none/replay")),
        with_key(Case::get(200, "/usage")),
        with_key(Case::get(200, "/v1/usage")),
        with_key(Case::get(200, "/v1/devices")),
        with_key(Case::post(400, "/bulk", &json!({}))),
        with_key(Case::post(200, "/bulk", &bulk(false))),
        with_key(Case::post(200, "/bulk", &bulk(true))),
        with_key(Case::raw(400, "/bulk", "{")),
        with_key(Case::raw(415, "/bulk", "{}").header("content-type", "text/plain")),
        Case::post(400, "/bulk", &json!({ "requests": [{ "html": "<p>" }] })),
        with_key(Case::get(200, "/v1/deliveries/endpoints")),
        with_key(Case::new(400, "POST", "/v1/deliveries/endpoints/enable")),
        with_key(Case::get(200, "/v1/tasks")),
        with_key(Case::get(404, "/v1/tasks/1")),
        with_key(Case::get(404, "/v1/tasks/x")),
        with_key(Case::post(400, "/v1/tasks", &json!({ "foo": 1 }))),
        with_key(Case::raw(400, "/v1/tasks", "{")),
        with_key(Case::raw(415, "/v1/tasks", "a=b").header("content-type", "text/plain")),
        with_key(Case { method: Method::PATCH, ..Case::post(404, "/v1/tasks/1", &json!({ "enabled": false })) }),
        with_key(Case::new(404, "DELETE", "/v1/tasks/1")),
        with_key(Case::new(405, "PUT", "/v1/tasks/1")),
        with_key(Case::new(405, "DELETE", "/v1/tasks")),
        Case::post(401, "/v1/tasks", &json!({ "foo": 1 })),
        Case::new(401, "DELETE", "/v1/tasks/1"),
        Case::new(204, "OPTIONS", "/v1/tasks/1"),
        Case::get(405, "/bulk"),
        Case::get(200, "/openapi.json"),
        Case::new(200, "HEAD", "/openapi.json"),
        Case::get(200, "/docs"),
        Case::get(200, "/docs").header("accept", "text/html"),
        Case::new(200, "HEAD", "/docs"),
        Case::get(200, "/docs/errors"),
        Case::get(200, "/docs/errors/timeout"),
        Case::get(200, "/docs/errors/timeout").header("accept", "text/html"),
        Case::new(200, "HEAD", "/docs/errors/timeout"),
        Case::get(404, "/docs/errors/none"),
        Case::get(404, "/"),
        Case::get(404, "/Take"),
        Case::get(404, "/take/"),
        Case::get(404, "/v1"),
        Case::new(404, "POST", "/nothing"),
        Case::new(404, "OPTIONS", "/nothing"),
    ];
    // Nothing is looked at but the head; a method that is wrong all the same is said first.
    let long = "x".repeat(QUERY_BYTES_MAX + 1);
    for path in ["/files/x", "/v1/requests", "/v1/requests/req_none", "/v1/tasks", "/v1/tasks/1", "/usage", "/docs"] {
        cases.push(Case::get(414, format!("{path}?{long}")));
        cases.push(Case::new(414, "HEAD", format!("{path}?{long}")));
        cases.push(Case::new(405, "PUT", format!("{path}?{long}")));
        cases.push(Case::new(204, "OPTIONS", format!("{path}?{long}")));
    }
    for path in ["/bulk", "/v1/tasks", "/v1/requests/req_none/cancel", "/v1/deliveries/replay", "/take"] {
        cases.push(Case::post(414, &format!("{path}?{long}"), &json!({})));
    }
    cases.push(Case::get(404, format!("/nothing?{long}")));
    for path in ["/v1/requests", "/v1/deliveries", "/v1/tasks", "/usage", "/v1/usage"] {
        let denied = if path == "/usage" { 400 } else { 401 };
        cases.push(Case::get(denied, path));
        cases.push(Case::get(denied, path).header("x-access-key", "unknown"));
    }
    for path in
        ["/v1/requests", "/v1/deliveries", "/usage", "/v1/usage", "/v1/devices", "/openapi.json", "/docs/errors"]
    {
        cases.push(Case::new(405, "DELETE", path));
        cases.push(Case::new(204, "OPTIONS", path));
    }
    cases
}
