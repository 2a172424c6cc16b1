//! The proxy against real sockets: 127.0.0.1 plays the public Internet, 127.0.0.2 the inside of the network.

use std::net::IpAddr;
use std::sync::Mutex;

use snaphook_shared::target::{Host, PortPolicy, TargetPolicy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::super::testing::FakeResolver;
use super::*;

const SOON: Duration = Duration::from_secs(5);

/// 127.0.0.1 plays the public Internet, 127.0.0.2 the inside of the network.
struct Lab {
    proxy: EgressProxy,
    resolver: Arc<FakeResolver>,
}

impl Lab {
    async fn new(limits: ProxyLimits) -> Lab {
        let policy = TargetPolicy {
            allow_subnets: vec!["127.0.0.1".parse().unwrap()],
            allowed_ports: PortPolicy::Unprivileged,
            ..TargetPolicy::default()
        };
        let resolver = FakeResolver::new(&[
            ("outer.example", &["127.0.0.1"]),
            ("inner.example", &["127.0.0.2"]),
            ("mixed.example", &["127.0.0.1 127.0.0.2"]),
            ("rebind.example", &["127.0.0.1", "127.0.0.2"]),
        ]);
        let proxy = EgressProxy::start(Egress::new(policy, resolver.clone()), limits).await.unwrap();
        Lab { proxy, resolver }
    }

    async fn client(&self) -> Client {
        Client { stream: TcpStream::connect(self.proxy.address).await.unwrap() }
    }

    /// The answer to one request on a connection of its own.
    async fn ask(&self, request: &str) -> String {
        let mut client = self.client().await;
        client.send(request).await;
        client.answer().await
    }
}

struct Client {
    stream: TcpStream,
}

impl Client {
    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn get(&mut self, url: &str) -> String {
        self.send(&format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        self.answer().await
    }

    async fn connect(&mut self, authority: &str) -> String {
        self.send(&format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
        self.answer().await
    }

    /// Up to and with the end of the head.
    async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    async fn until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            text.push(timeout(SOON, self.stream.read_u8()).await.expect("in time").expect("not closed"));
        }
        String::from_utf8(text).unwrap()
    }

    /// The head, and the body if it has a length.
    async fn answer(&mut self) -> String {
        let mut text = self.head().await;
        let length = text.to_ascii_lowercase();
        let length = length.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let mut body = vec![0; length.map_or(0, |digits| digits.parse().unwrap())];
        timeout(SOON, self.stream.read_exact(&mut body)).await.expect("in time").unwrap();
        text.push_str(&String::from_utf8(body).unwrap());
        text
    }

    /// What comes before the other end closes or resets.
    async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = timeout(SOON, self.stream.read_to_end(&mut bytes)).await.expect("closed in time");
        bytes
    }
}

async fn listen_on(ip: &str) -> (TcpListener, u16) {
    let listener = TcpListener::bind((ip.parse::<IpAddr>().unwrap(), 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Answers the same to every request, one per connection, and keeps the heads.
async fn upstream(reply: &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
    let (listener, port) = listen_on("127.0.0.1").await;
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut client = Client { stream };
            let head = client.head().await;
            seen.lock().unwrap().push(head);
            client.send(reply).await;
        }
    });
    (port, heads)
}

/// A host that answers each request of a connection, and keeps the heads of each connection.
async fn patient_upstream() -> (u16, Arc<Mutex<Vec<Vec<String>>>>) {
    let (listener, port) = listen_on("127.0.0.1").await;
    let connections: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
    let seen = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            let number = seen.lock().unwrap().len();
            seen.lock().unwrap().push(Vec::new());
            tokio::spawn(async move {
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
                        let answer = match text.contains("/last") {
                            true => "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
                            false => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                        };
                        let hangs_up = text.contains("/hang-up");
                        seen.lock().unwrap()[number].push(text);
                        stream.write_all(answer.as_bytes()).await.unwrap();
                        if hangs_up {
                            return;
                        }
                    }
                }
            });
        }
    });
    (port, connections)
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request_to_the_same_host() {
    let lab = Lab::new(ProxyLimits { max_bytes: 200, max_exchanges: 1, ..ProxyLimits::default() }).await;
    let (port, connections) = patient_upstream().await;
    let counts = || connections.lock().unwrap().iter().map(Vec::len).collect::<Vec<_>>();
    let mut client = lab.client().await;
    for _ in 0..5 {
        // Each is an exchange of its own for the limits: five are more bytes than one may have.
        assert!(client.get(&format!("http://outer.example:{port}/")).await.ends_with("ok"));
    }
    assert_eq!(counts(), [5]);
    // It is left where it leads elsewhere by another name, and another client never gets it.
    assert!(client.get(&format!("http://127.0.0.1:{port}/")).await.ends_with("ok"));
    assert!(lab.client().await.get(&format!("http://127.0.0.1:{port}/")).await.ends_with("ok"));
    assert_eq!(counts(), [5, 1, 1]);
    // What might do something when it comes twice has a connection of its own.
    client.send(&format!("POST http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")).await;
    assert!(client.answer().await.ends_with("ok"));
    assert_eq!(counts(), [5, 1, 1, 1]);
    assert_eq!(lab.proxy.failures_since(Instant::now() - SOON), []);
}

#[tokio::test]
async fn a_host_that_hangs_up_between_two_requests_is_dialled_again() {
    let lab = Lab::new(ProxyLimits::default()).await;
    let (port, connections) = patient_upstream().await;
    let mut client = lab.client().await;
    for path in ["hang-up", "last", "hang-up", "last"] {
        let answer = client.get(&format!("http://outer.example:{port}/{path}")).await;
        assert!(answer.ends_with("ok"), "{path}: {answer}");
    }
    assert_eq!(connections.lock().unwrap().len(), 4);
    assert_eq!(lab.proxy.failures_since(Instant::now() - SOON), []);

    // Of a request that was sent, and answered by the end of its connection, the second try counts.
    let (listener, port) = listen_on("127.0.0.1").await;
    let host = tokio::spawn(async move {
        let mut first = Client { stream: listener.accept().await.unwrap().0 };
        first.head().await;
        first.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        first.head().await;
        drop(first);
        let mut second = Client { stream: listener.accept().await.unwrap().0 };
        second.head().await;
        second.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        second
    });
    for _ in 0..2 {
        let answer = client.get(&format!("http://outer.example:{port}/")).await;
        assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    }
    host.await.unwrap();
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_by_now_leaves_its_connection() {
    let lab = Lab::new(ProxyLimits::default()).await;
    let (port, connections) = patient_upstream().await;
    let mut client = lab.client().await;
    assert!(client.get(&format!("http://rebind.example:{port}/")).await.ends_with("ok"));
    let again = client.get(&format!("http://rebind.example:{port}/")).await;
    assert!(is_marked(&again, 403, Failure::Refused), "{again}");
    assert_eq!(connections.lock().unwrap().iter().map(Vec::len).sum::<usize>(), 1);
}

async fn saw_nothing(canary: &TcpListener) -> bool {
    timeout(Duration::from_millis(50), canary.accept()).await.is_err()
}

fn is_marked(answer: &str, status: u16, failure: Failure) -> bool {
    answer.starts_with(&format!("HTTP/1.1 {status} "))
        && answer.contains(&format!("{MARKER}: {}\r\n", failure.marker()))
        && answer.ends_with(failure.text())
}

#[tokio::test]
async fn a_plain_request_goes_through_without_a_trace_of_the_proxy() {
    let lab = Lab::new(ProxyLimits::default()).await;
    let reply = "HTTP/1.1 200 Fine\r\nX-CaSe: kept\r\nContent-Length: 2\r\nX-Snaphook-Egress: refused\r\n\
                 Proxy-Authenticate: Basic\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\r\nok";
    let (port, heads) = upstream(reply).await;
    let answer = lab
        .ask(&format!(
            "GET http://outer.example:{port}/a?b={{|}} HTTP/1.1\r\nHost: elsewhere\r\nUser-AGENT: x\r\n\
             Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp4\r\nConnection: X-Private, close\r\n\
             X-Private: 1\r\nTE: trailers\r\nUpgrade: h2c\r\n\r\n"
        ))
        .await;
    assert_eq!(answer, "HTTP/1.1 200 Fine\r\nX-CaSe: kept\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    let expected = format!("GET /a?b={{|}} HTTP/1.1\r\nHost: outer.example:{port}\r\nUser-AGENT: x\r\n\r\n");
    assert_eq!(*heads.lock().unwrap(), [expected]);
    assert_eq!(lab.proxy.failures_since(Instant::now() - SOON), []);
    assert!(lab.proxy.total_bytes() > 100);
}

#[tokio::test]
async fn answers_stream_as_they_come() {
    let lab = Lab::new(ProxyLimits::default()).await;
    let (listener, port) = listen_on("127.0.0.1").await;
    let mut client = lab.client().await;
    client.send(&format!("GET http://outer.example:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    let mut server = Client { stream: listener.accept().await.unwrap().0 };
    server.head().await;
    server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    // The second half is not even written when the first one arrives.
    assert!(client.until("first\r\n").await.contains("\r\nTransfer-Encoding: chunked\r\n"));
    server.send("6\r\nsecond\r\n0\r\n\r\n").await;
    assert_eq!(client.until("0\r\n\r\n").await, "6\r\nsecond\r\n0\r\n\r\n");
}

#[tokio::test]
async fn requests_stream_as_they_come() {
    let lab = Lab::new(ProxyLimits::default()).await;
    let (listener, port) = listen_on("127.0.0.1").await;
    let mut client = lab.client().await;
    client.send(&format!("POST http://outer.example:{port}/ HTTP/1.1\r\nContent-Length: 10\r\n\r\nfirst")).await;
    let mut server = Client { stream: listener.accept().await.unwrap().0 };
    assert!(server.until("first").await.contains("Content-Length: 10\r\n"));
    client.send("other").await;
    server.until("other").await;
    server.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 204 "));
}

#[tokio::test]
async fn tunnels_carry_bytes_both_ways() {
    let lab = Lab::new(ProxyLimits::default()).await;
    let (listener, port) = listen_on("127.0.0.1").await;
    let mut client = lab.client().await;
    assert_eq!(client.connect(&format!("outer.example:{port}")).await, "HTTP/1.1 200 OK\r\n\r\n");
    let mut server = Client { stream: listener.accept().await.unwrap().0 };
    client.send("ping").await;
    assert_eq!(server.until("ping").await, "ping");
    server.send("pong").await;
    assert_eq!(client.until("pong").await, "pong");
    drop(client);
    assert_eq!(server.rest().await, b"");
}

#[tokio::test]
async fn every_request_of_a_connection_is_decided() {
    let lab = Lab::new(ProxyLimits::default()).await;
    let (port, heads) = upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let mut client = lab.client().await;
    for _ in 0..2 {
        assert!(client.get(&format!("http://outer.example:{port}/")).await.ends_with("ok"));
        assert!(is_marked(&client.get(&format!("http://inner.example:{port}/")).await, 403, Failure::Refused));
        assert!(is_marked(&client.get(&format!("http://127.0.0.2:{port}/")).await, 403, Failure::Refused));
    }
    assert!(is_marked(&client.connect(&format!("inner.example:{port}")).await, 403, Failure::Refused));
    assert_eq!(heads.lock().unwrap().len(), 2);
    assert_eq!((lab.resolver.asked("outer.example"), lab.resolver.asked("inner.example")), (2, 3));
}

#[tokio::test]
async fn a_refused_target_gets_no_packet() {
    let lab = Lab::new(ProxyLimits::default()).await;
    let (canary, port) = listen_on("127.0.0.2").await;
    let start = Instant::now();
    let hosts = ["inner.example", "mixed.example", "127.0.0.2", "0x7f.2", "2130706434", "[::ffff:7f00:2]", "localhost"];
    for host in hosts {
        let connect = lab.ask(&format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n")).await;
        assert!(is_marked(&connect, 403, Failure::Refused), "{host}: {connect}");
        assert!(!connect.contains("127.0.0.2"), "tells nothing: {connect}");
        let get = lab.ask(&format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert!(is_marked(&get, 403, Failure::Refused), "{host}: {get}");
    }
    let ssh = lab.ask("CONNECT outer.example:22 HTTP/1.1\r\nHost: outer.example:22\r\n\r\n").await;
    assert!(is_marked(&ssh, 403, Failure::Refused), "{ssh}");
    assert!(saw_nothing(&canary).await);

    let failures = lab.proxy.failures_since(start);
    // Three spellings of one address are one entry.
    assert_eq!(failures.len(), hosts.len() - 2 + 1);
    assert_eq!(failures.iter().map(|failed| failed.count).sum::<u32>() as usize, 2 * hosts.len() + 1);
    assert!(failures.iter().all(|failed| failed.failure == Failure::Refused));
    assert_eq!((&failures[0].host, failures[0].port), (&Host::Name("inner.example".to_owned()), port));
    assert_eq!(lab.proxy.failures_since(Instant::now()), []);
    assert_eq!(lab.proxy.total_bytes(), 0);
}

#[tokio::test]
async fn a_rebinding_name_is_asked_once_per_connection() {
    let lab = Lab::new(ProxyLimits::default()).await;
    let (listener, port) = listen_on("127.0.0.1").await;
    let canary = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let mut client = lab.client().await;
    assert!(client.connect(&format!("rebind.example:{port}")).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(lab.resolver.asked("rebind.example"), 1);
    let (stream, _) = listener.accept().await.unwrap();
    assert_eq!(stream.local_addr().unwrap().ip(), IpAddr::from([127, 0, 0, 1]));
    let again = lab.client().await.connect(&format!("rebind.example:{port}")).await;
    assert!(is_marked(&again, 403, Failure::Refused), "{again}");
    assert_eq!(lab.resolver.asked("rebind.example"), 2);
    assert!(saw_nothing(&canary).await);
}

#[tokio::test]
async fn failures_differ() {
    let lab = Lab::new(ProxyLimits { idle: Duration::from_millis(80), ..ProxyLimits::default() }).await;
    let unknown = lab.ask("GET http://unknown.example/ HTTP/1.1\r\nHost: unknown.example\r\n\r\n").await;
    assert!(is_marked(&unknown, 502, Failure::NameNotResolved), "{unknown}");
    let unknown = lab.client().await.connect("unknown.example:443").await;
    assert!(is_marked(&unknown, 502, Failure::NameNotResolved), "{unknown}");

    let (listener, port) = listen_on("127.0.0.1").await;
    drop(listener);
    let closed = lab.client().await.connect(&format!("outer.example:{port}")).await;
    assert!(is_marked(&closed, 502, Failure::ConnectFailed), "{closed}");

    let (silent, port) = listen_on("127.0.0.1").await;
    let late = lab.client().await.get(&format!("http://outer.example:{port}/")).await;
    assert!(is_marked(&late, 504, Failure::TimedOut), "{late}");
    drop(silent);

    for reply in ["", "SSH-2.0-x\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"]
    {
        let (port, _) = upstream(reply).await;
        let wrong = lab.client().await.get(&format!("http://outer.example:{port}/")).await;
        assert!(is_marked(&wrong, 502, Failure::UpstreamFailed), "{reply:?}: {wrong}");
    }
}

#[tokio::test]
async fn only_a_proxy() {
    let lab = Lab::new(ProxyLimits::default()).await;
    for target in ["/", "https://outer.example/", "ftp://outer.example/", "http://user@outer.example/", "*"] {
        let answer = lab.ask(&format!("GET {target} HTTP/1.1\r\nHost: outer.example\r\n\r\n")).await;
        assert!(is_marked(&answer, 400, Failure::BadRequest), "{target}: {answer}");
    }
    let answer = lab.client().await.connect("outer.example").await;
    assert!(is_marked(&answer, 400, Failure::BadRequest), "{answer}");
    assert_eq!(lab.resolver.total(), 0);
}

#[tokio::test]
async fn own_listeners_stay_closed_in_development() {
    let egress = Egress::new(TargetPolicy::development(), FakeResolver::new(&[]));
    let proxy = EgressProxy::start(egress.clone(), ProxyLimits::default()).await.unwrap();
    let lab = Lab { resolver: FakeResolver::new(&[]), proxy };
    let (devtools, closed) = listen_on("127.0.0.1").await;
    egress.deny_endpoint(devtools.local_addr().unwrap());
    let (open, _) = upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    for host in ["localhost", "x.localhost", "127.0.0.1", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]"] {
        for port in [closed, lab.proxy.address.port()] {
            let answer = lab.client().await.get(&format!("http://{host}:{port}/json/list")).await;
            assert!(is_marked(&answer, 403, Failure::Refused), "{host}:{port}: {answer}");
        }
    }
    assert!(saw_nothing(&devtools).await);
    for host in ["localhost", "127.0.0.1"] {
        assert!(lab.client().await.get(&format!("http://{host}:{open}/")).await.ends_with("ok"), "{host}");
    }
}

#[tokio::test]
async fn exchanges_are_limited() {
    let lab = Lab::new(ProxyLimits { max_exchanges: 1, ..ProxyLimits::default() }).await;
    let (_listener, port) = listen_on("127.0.0.1").await;
    let mut first = lab.client().await;
    assert!(first.connect(&format!("outer.example:{port}")).await.starts_with("HTTP/1.1 200 "));
    let second = lab.client().await.connect(&format!("outer.example:{port}")).await;
    assert!(is_marked(&second, 503, Failure::OverLimit), "{second}");
    drop(first);
    // Room again as soon as the tunnel is gone.
    let mut answer = String::new();
    for _ in 0..100 {
        answer = lab.client().await.connect(&format!("outer.example:{port}")).await;
        if answer.starts_with("HTTP/1.1 200 ") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{answer}");
}

#[tokio::test]
async fn bytes_are_limited() {
    let lab = Lab::new(ProxyLimits { max_bytes: 10_000, ..ProxyLimits::default() }).await;
    let (listener, port) = listen_on("127.0.0.1").await;
    let mut client = lab.client().await;
    client.connect(&format!("outer.example:{port}")).await;
    let (mut server, _) = listener.accept().await.unwrap();
    let flood = tokio::spawn(async move { while server.write_all(&[b'x'; 1_000]).await.is_ok() {} });
    assert!(client.rest().await.len() <= 10_000);
    timeout(SOON, flood).await.expect("upstream is closed too").unwrap();

    let mut client = lab.client().await;
    client.send(&format!("GET http://outer.example:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    let (mut server, _) = listener.accept().await.unwrap();
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await.unwrap();
    let flood = tokio::spawn(async move { while server.write_all(&[b'x'; 1_000]).await.is_ok() {} });
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    assert!(client.rest().await.len() <= 10_000, "cut off, so that it cannot pass for complete");
    timeout(SOON, flood).await.expect("upstream is closed too").unwrap();
    let cut = || {
        lab.proxy
            .failures_since(Instant::now() - SOON)
            .iter()
            .map(|failed| (failed.failure, failed.count))
            .collect::<Vec<_>>()
    };
    timeout(SOON, async {
        while cut() != vec![(Failure::OverLimit, 2)] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("both are in the log");
}

#[tokio::test]
async fn total_bytes_are_limited() {
    let lab = Lab::new(ProxyLimits { max_total_bytes: 150, ..ProxyLimits::default() }).await;
    let (port, _) = upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let mut last = String::new();
    for _ in 0..3 {
        last = lab.client().await.get(&format!("http://outer.example:{port}/")).await;
    }
    assert!(is_marked(&last, 503, Failure::OverLimit), "{last}");
}

#[tokio::test]
async fn idle_tunnels_end_and_busy_ones_do_not() {
    let lab = Lab::new(ProxyLimits { idle: Duration::from_millis(400), ..ProxyLimits::default() }).await;
    let (listener, port) = listen_on("127.0.0.1").await;
    let mut client = lab.client().await;
    client.connect(&format!("outer.example:{port}")).await;
    let mut server = Client { stream: listener.accept().await.unwrap().0 };
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(900) {
        server.send(".").await;
        client.until(".").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(client.rest().await, b"");
    assert!(start.elapsed() >= Duration::from_millis(1_200), "{:?}", start.elapsed());
}

#[tokio::test]
async fn dropping_the_proxy_ends_everything() {
    let egress = Egress::new(TargetPolicy::development(), FakeResolver::new(&[]));
    let proxy = EgressProxy::start(egress.clone(), ProxyLimits::default()).await.unwrap();
    let lab = Lab { resolver: FakeResolver::new(&[]), proxy };
    let (listener, port) = listen_on("127.0.0.1").await;
    let (mut client, mut waiting) = (lab.client().await, lab.client().await);
    client.connect(&format!("127.0.0.1:{port}")).await;
    let mut server = Client { stream: listener.accept().await.unwrap().0 };
    waiting.send(&format!("GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    let mut asked = Client { stream: listener.accept().await.unwrap().0 };
    asked.head().await;
    let address = lab.proxy.address;
    assert!(egress.decide(&Host::V4(Ipv4Addr::LOCALHOST), address.port()).await.is_err());

    drop(lab);
    assert_eq!((client.rest().await.len(), server.rest().await.len()), (0, 0));
    assert_eq!((waiting.rest().await.len(), asked.rest().await.len()), (0, 0));
    assert!(TcpStream::connect(address).await.is_err());
    assert!(egress.decide(&Host::V4(Ipv4Addr::LOCALHOST), address.port()).await.is_ok());
}
