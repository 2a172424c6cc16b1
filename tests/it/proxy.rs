//! The caller's own proxy, a real one, chained through ours; and what a render's own way out keeps back and notes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value as Json, json};
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::s;
use snaphook_tests::{run, runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// A forward proxy that leads every name to one site, and wants a user name and a password.
struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Upstream {
    fn start(site: &Site) -> Upstream {
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let listener = runtime().block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let (address, noted) = (listener.local_addr().unwrap(), seen.clone());
        let target = site.url("").trim_start_matches("http://").to_owned();
        let task = runtime().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, target.clone(), noted.clone()));
            }
        });
        Upstream { address, seen, task }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn url(&self, user_info: &str) -> String {
        format!("http://{user_info}{}", self.address)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut client: TcpStream, target: String, seen: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let (line, headers) = head.split_once("\r\n")?;
    let wanted = format!("basic {}", BASE64.encode("us er:p@ss"));
    let given = headers.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization").then(|| value.trim().to_owned())
    });
    if given.is_none_or(|given| !given.eq_ignore_ascii_case(&wanted)) {
        seen.lock().unwrap().push(format!("407 {line}"));
        let refusal = b"HTTP/1.1 407 No\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n";
        return client.write_all(refusal).await.ok();
    }
    seen.lock().unwrap().push(line.to_owned());
    let mut words = line.split(' ');
    let (method, url) = (words.next()?, words.next()?);
    let mut server = TcpStream::connect(&target).await.ok()?;
    if method == "CONNECT" {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
    } else {
        let path = url.strip_prefix("http://").and_then(|rest| rest.find('/').map(|at| &rest[at..]))?;
        let is_ours = |line: &&str| {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            !matches!(name.as_str(), "proxy-authorization" | "connection")
        };
        let rest = headers.split("\r\n").filter(is_ours).collect::<Vec<_>>().join("\r\n");
        server.write_all(format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n{rest}").as_bytes()).await.ok()?;
    }
    copy_bidirectional(&mut client, &mut server).await.ok().map(|_| ())
}

/// As the URL of a proxy has them.
const USER_INFO: &str = "us%20er:p%40ss@";

#[test]
fn a_page_goes_by_the_callers_proxy_which_resolves_its_name() {
    let site = Site::start();
    let upstream = Upstream::start(&site);
    run(async {
        let stack = Stack::shared();
        let proxy = upstream.url(USER_INFO);
        let body = json!({ "url": "http://page.outer.example/streams.html", "proxy": proxy, "wait_until": ["load"] });
        for path in ["/take", "/v1/screenshot"] {
            for client in [stack.client(), stack.edge_client()] {
                let id = client.enqueue(path, &body).await;
                let view = client.done(&id, s(30)).await;
                assert!(!view.to_string().contains("us%20er"), "{view:#}");
            }
        }
        let seen = upstream.seen();
        let pages = seen.iter().filter(|line| *line == "GET http://page.outer.example/streams.html HTTP/1.1").count();
        assert_eq!(pages, 4, "{seen:?}");
        assert!(!seen.iter().any(|line| line.starts_with("407")), "credentials go along at once: {seen:?}");
        // A WebSocket is a tunnel.
        assert!(seen.iter().any(|line| line.starts_with("CONNECT page.outer.example:80 ")), "{seen:?}");
        let headers = site.requests("/streams.html");
        assert!(headers.iter().all(|headers| !headers.contains_key("proxy-authorization")));
        assert!(!stack.backend_log().contains("us%20er"), "in the log");
    });
}

#[test]
fn hosts_of_the_bypass_list_are_reached_without_the_proxy() {
    let site = Site::start();
    let upstream = Upstream::start(&site);
    run(async {
        let stack = Stack::shared();
        let client = stack.client();
        let take = async |bypass: Json| {
            let body = json!({
                "url": site.url("/element.html"), "proxy": upstream.url(USER_INFO), "proxy_bypass_hosts": bypass,
            });
            client.take(&body).await.expect(200);
            upstream.seen().len()
        };
        assert_eq!(take(json!(["cdn.example.com", "127.*.1"])).await, 0);
        assert!(take(json!(["cdn.example.com", "128.*.1"])).await >= 1);
    });
}

#[test]
fn what_is_wrong_with_the_proxy_is_said() {
    let site = Site::start();
    let upstream = Upstream::start(&site);
    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    run(async {
        let stack = Stack::shared();
        for page in ["http://page.outer.example/", "https://page.outer.example/"] {
            for (proxy, said) in [
                (upstream.url("us%20er:wrong@"), "\"proxy\" refused the user name and password (407)"),
                (upstream.url(""), "\"proxy\" refused the user name and password (407)"),
                (format!("http://{closed}"), "\"proxy\" cannot be reached"),
            ] {
                let answer = stack.client().take(&json!({ "url": page, "proxy": proxy })).await.expect(400).json();
                assert_eq!(answer["error_code"], "request_not_valid", "{answer:#}");
                assert_eq!(answer["error_details"][0]["message"], said, "{page} {answer:#}");
            }
        }
        for (proxy, code, said) in [
            (
                "socks5://127.0.0.1:1080",
                "request_not_valid",
                "must be a valid uri with a scheme matching the http pattern",
            ),
            (
                "https://127.0.0.1:8080",
                "request_not_valid",
                "must be a valid uri with a scheme matching the http pattern",
            ),
            ("http://", "request_not_valid", "\"proxy\" must be a valid uri"),
            ("http://10.0.0.1:3128", "target_not_allowed", "only public addresses are"),
            ("http://metadata.google.internal", "target_not_allowed", "the host name is not allowed"),
            ("http://example.com:22", "target_not_allowed", "port 22 is not allowed"),
        ] {
            for client in [stack.client(), stack.edge_client()] {
                let answer = client.take(&json!({ "html": "x", "proxy": proxy })).await.expect(400).json();
                assert_eq!(answer["error_code"], code, "{proxy} {answer:#}");
                assert!(answer["error_details"][0]["message"].as_str().unwrap().contains(said), "{proxy} {answer:#}");
            }
        }
    });
}

#[test]
fn a_proxy_opens_no_way_inside() {
    let site = Site::start();
    let upstream = Upstream::start(&site);
    run(async {
        let stack = Stack::shared();
        let client = stack.client();
        let proxy = upstream.url(USER_INFO);
        for url in ["http://10.0.0.5/", "http://[fd00::1]/", "http://printer/", "http://x.internal/"] {
            let answer = client.take(&json!({ "url": url, "proxy": proxy })).await.expect(400).json();
            assert_eq!(answer["error_code"], "target_not_allowed", "{url}");
        }
        let page =
            "<img src='http://10.0.0.5:8080/a'><img src='http://printer/b'><img src='http://outer.example/square.svg'>";
        let id =
            client.enqueue("/take", &json!({ "html": page, "proxy": proxy, "wait_until": ["networkidle0"] })).await;
        let view = client.done(&id, s(30)).await;
        let hosts: Vec<&str> =
            view["refused"].as_array().unwrap().iter().filter_map(|entry| entry["host"].as_str()).collect();
        assert!(hosts.len() == 2 && hosts.contains(&"10.0.0.5") && hosts.contains(&"printer"), "{hosts:?}");
        // Chromium asks for pictures of an https page by https.
        let seen = upstream.seen();
        assert!(!seen.is_empty() && seen.iter().all(|line| line.starts_with("CONNECT outer.example:443 ")), "{seen:?}");
    });
}

#[test]
fn a_refusal_is_in_the_record_of_its_request_and_in_no_other() {
    run(async {
        let stack = Stack::shared();
        let client = stack.client();
        let page = "<img src='http://10.0.0.5:8080/a'><img src='http://10.0.0.5:8080/b'><img src='http://[fd00::1]/'>";
        let (bad, good) = (json!({ "html": page, "delay": 1 }), json!({ "html": "<p>nothing", "delay": 1 }));
        let (one, other) = futures::join!(client.enqueue("/take", &bad), client.enqueue("/take", &good));
        let mut refused = client.done(&one, s(30)).await["refused"].as_array().unwrap().clone();
        // Which comes first is the browser's affair.
        refused.sort_by_key(|entry| entry["host"].to_string());
        let entry = |host: &str, port: u16, count: u32| json!({ "host": host, "port": port, "class": "private", "reason": "target", "count": count });
        assert_eq!(refused, [entry("10.0.0.5", 8080, 2), entry("[fd00::1]", 80, 1)]);
        assert_eq!(client.done(&other, s(30)).await["refused"], json!([]));
    });
}

#[test]
fn a_page_has_so_much_traffic_and_no_more() {
    let site = Site::start();
    run(async {
        let requests = Stack::builder().set("SNAPHOOK_RENDER_PAGE_REQUESTS_MAX", 3).start();
        let images: String = (0..8).map(|number| format!("<img src='{}?{number}'>", site.url("/square.svg"))).collect();
        let client = requests.client();
        let id = client.enqueue("/take", &json!({ "html": images, "wait_until": ["networkidle0"] })).await;
        let view = client.done(&id, s(30)).await;
        assert_eq!(view["refused"][0]["reason"], "limit", "{view:#}");
        assert_eq!(view["refused"][0]["count"], 5, "{view:#}");
        assert_eq!(site.count("/square.svg"), 3);
        drop(requests);

        let bytes = Stack::builder().set("SNAPHOOK_RENDER_PAGE_BYTES_MAX", 1_000_000).start();
        let client = bytes.client();
        // A part of a page is cut, what comes after it refused, and nobody waits for the rest.
        let page = format!(
            "<p id=said></p><script>fetch('{}').then((all) => all.text()).then(() => 'whole', () => 'cut').then(async (how) => {{
               const next = await fetch('{}').then((one) => one.status, () => 'failed');
               document.getElementById('said').textContent = `SAID[${{how}} ${{next}}]`;
             }})</script>",
            site.url("/endless"),
            site.url("/element.html"),
        );
        let began = Instant::now();
        let body = json!({ "html": page, "wait_for_selector": "#said:not(:empty)", "format": "html", "timeout": 60 });
        let id = client.enqueue("/take", &body).await;
        let view = client.done(&id, s(60)).await;
        assert!(began.elapsed() < s(20), "{:?}", began.elapsed());
        let html = client.get(view["file"]["url"].as_str().unwrap()).await.expect(200).text();
        assert!(html.contains("SAID[cut failed]"), "{html}");
        let (reason, count) = (&view["refused"][0]["reason"], site.count("/element.html"));
        assert_eq!((reason, count), (&json!("limit"), 0), "{view:#}");
        client.take(&json!({ "url": site.url("/element.html") })).await.expect(200);
    });
}

#[test]
fn a_document_past_the_limit_is_an_error_at_once() {
    let site = Site::start();
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_RENDER_PAGE_BYTES_MAX", 1_000_000).start();
        let client = stack.client();
        let began = Instant::now();
        let id = client.enqueue("/take", &json!({ "url": site.url("/endless"), "timeout": 60 })).await;
        let view = client.request_when(&id, "an error", s(90), |view| view["state"] == "failed").await;
        assert!(began.elapsed() < s(20), "{:?} {view:#}", began.elapsed());
        assert_eq!(view["refused"][0]["reason"], "limit", "{view:#}");
        assert_ne!(view["error"]["code"], "timeout_error", "{view:#}");
        client.take(&json!({ "url": site.url("/element.html") })).await.expect(200);
    });
}
