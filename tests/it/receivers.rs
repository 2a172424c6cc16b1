//! Receivers that misbehave: each costs the sender a bounded time and bounded memory, and nobody else anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::StreamExt;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value as Json, json};
use sha2::Sha256;
use snaphook_shared::secret::Secret;
use snaphook_shared::signing::standard_webhook_secret;
use snaphook_tests::client::Client;
use snaphook_tests::receiver::{Behaviour, Receiver, Webhook};
use snaphook_tests::rogue::{Manner, Rogue};
use snaphook_tests::run;
use snaphook_tests::stack::{Builder, Stack};
use snaphook_tests::wait::{self, s};

use crate::programs;

/// What an attempt may take here, the answer's body included.
const TIMEOUT_S: u64 = 3;
/// Generous: the machine may be busy. What matters is that it is a few seconds and not an hour.
const SLACK_MS: u64 = 5_000;

/// By how much the backend may grow while receivers misbehave in every manner, nine of them at once.
const MANNERS_KIB_MAX: u64 = 24 << 10;

/// The most memory that the backend has ever had.
fn peak_kib(stack: &Stack) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", stack.backend_pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// One attempt, so that what came of it is there to be read.
fn impatient() -> Builder {
    Stack::builder().set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", "0").set("SNAPHOOK_WEBHOOK_TIMEOUT_SECONDS", TIMEOUT_S)
}

async fn post_to(client: &Client, url: &str) -> String {
    let options = json!({ "html": "<p>x", "viewport_width": 20, "viewport_height": 20, "webhook_url": url,
        "block_annoyance": "none" });
    client.enqueue("/v1/screenshot", &options).await
}

/// The delivery of a request once it has ended, or rests between two attempts.
async fn delivery(client: &Client, id: &str) -> Json {
    let id = id.replace("req_", "msg_");
    wait::until(&format!("the end of {id}"), s(40), async || {
        let list = client.get_with_key("/v1/deliveries?limit=200").await.expect(200).json();
        let of_it = list["deliveries"].as_array().unwrap().iter().find(|view| view["id"] == id.as_str())?.clone();
        (of_it["state"] != "sending" && !of_it["attempts"].as_array().unwrap().is_empty()).then_some(of_it)
    })
    .await
}

#[test]
fn whatever_a_receiver_does_an_attempt_ends_in_time() {
    run(async {
        let stack = impatient().start();
        let client = stack.client();
        let late = format!("no complete answer within {TIMEOUT_S} s");
        // Whatever a first render and a first webhook need.
        let first = Receiver::start();
        delivery(&client, &post_to(&client, &first.url()).await).await;
        let before_kib = peak_kib(&stack);
        let meet = async |manner: Manner, state: &str, status: Option<u16>, error: Option<&str>| {
            let rogue = Rogue::start(manner.clone());
            let id = post_to(&client, &rogue.url()).await;
            let view = delivery(&client, &id).await;
            let attempt = &view["attempts"][0];
            assert_eq!((&view["state"], &attempt["status"]), (&json!(state), &json!(status)), "{manner:?}: {view:#}");
            let said = attempt["error"].as_str();
            match error {
                Some(error) if !error.is_empty() => assert_eq!(said, Some(error), "{manner:?}"),
                Some(_) => assert!(said.is_some_and(|said| !said.is_empty()), "{manner:?}: {view:#}"),
                None => assert_eq!(said, None, "{manner:?}"),
            }
            let took_ms = attempt["took_ms"].as_u64().unwrap();
            assert!(took_ms <= TIMEOUT_S * 1000 + SLACK_MS, "{manner:?} took {took_ms} ms");
            assert_eq!(rogue.connections(), 1, "{manner:?}: one attempt is one connection");
            assert_eq!(client.request(&id).await["state"], "done", "the picture is there all the same");
        };
        let says = |text: &str| Manner::Says(text.to_owned());
        let unfinished = "HTTP/1.1 200 OK\r\n\r\nuntil the end, which does not come";
        futures::join!(
            meet(Manner::SlowHeaders, "dead", None, Some(&late)),
            meet(Manner::Drips, "dead", None, Some(&late)),
            meet(Manner::ReadsNothing, "dead", None, Some(&late)),
            meet(Manner::SaysAndStays(unfinished.to_owned()), "dead", None, Some(&late)),
            meet(Manner::SaysAndStays("HTTP/1.1 200 OK\r\n".to_owned()), "dead", None, Some(&late)),
        );
        futures::join!(
            meet(Manner::HugeHeader, "dead", None, Some("")),
            meet(Manner::EndlessHeaders, "dead", None, Some("")),
            meet(Manner::Resets, "dead", None, Some("")),
            meet(says(""), "dead", None, Some("")),
            meet(says("SSH-2.0-OpenSSH_9.9\r\n"), "dead", None, Some("")),
            meet(says("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"), "dead", None, Some("")),
            meet(says("HTTP/1.1 204 Fine\r\n\r\n"), "delivered", Some(204), None),
            meet(says("HTTP/1.1 200 OK\r\n\r\nto the end"), "delivered", Some(200), None),
            meet(Manner::SaysAndStays("HTTP/1.1 204 Fine\r\n\r\n".to_owned()), "delivered", Some(204), None),
        );
        // None of them keeps a sender: the next one is posted at once.
        let well = Receiver::start();
        delivery(&client, &post_to(&client, &well.url()).await).await;
        well.first(s(30)).await;
        let sending = client.get_with_key("/v1/deliveries?state=sending").await.expect(200).json();
        assert_eq!(sending["deliveries"], json!([]), "none is still being sent");
        // The most there ever was at a time, renders included.
        let grown_kib = peak_kib(&stack).saturating_sub(before_kib);
        assert!(grown_kib < MANNERS_KIB_MAX, "{grown_kib} KiB of memory for receivers that misbehave");
    });
}

#[test]
fn an_answer_of_ten_gigabytes_is_read_for_64_kib() {
    run(async {
        let stack = impatient().start();
        let client = stack.client();
        // Whatever a first render and a first webhook need.
        let well = Receiver::start();
        post_to(&client, &well.url()).await;
        well.first(s(30)).await;
        let flood = async || {
            let rogue = Rogue::start(Manner::Floods);
            let view = delivery(&client, &post_to(&client, &rogue.url()).await).await;
            assert_eq!((&view["state"], &view["attempts"][0]["status"]), (&json!("delivered"), &json!(200)));
            assert_eq!(view["attempts"][0]["answer"].as_str().unwrap().len(), 1024, "what is kept of it");
            rogue
        };
        flood().await;
        let before_kib = peak_kib(&stack);
        let rogues = futures::join!(flood(), flood(), flood(), flood());
        let taken = [rogues.0, rogues.1, rogues.2, rogues.3].map(|rogue| rogue.sent());
        // The buffers of two sockets lie between what we read and what they could write.
        assert!(taken.iter().all(|taken| *taken < 64 << 20), "{taken:?}");
        let grown_kib = peak_kib(&stack).saturating_sub(before_kib);
        assert!(grown_kib < 24 << 10, "{grown_kib} KiB of memory for answers that nobody wants");
    });
}

#[test]
fn a_redirect_is_a_failure_and_its_target_hears_nothing() {
    run(async {
        let stack = impatient().start();
        let (client, target) = (stack.client(), Receiver::start());
        for status in [301, 302, 303, 307, 308] {
            let answer = format!("HTTP/1.1 {status} There\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", target.url());
            let rogue = Rogue::start(Manner::Says(answer));
            let view = delivery(&client, &post_to(&client, &rogue.url()).await).await;
            assert_eq!((&view["state"], &view["attempts"][0]["status"]), (&json!("dead"), &json!(status)));
            assert_eq!(view["end_reason"], "the schedule is over");
        }
        assert!(target.all().is_empty());
    });
}

#[test]
fn a_receiver_that_asks_for_time_gets_it_within_bounds() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", "0,20,9999").start();
        let client = stack.client();
        let pause = async |status: u16, header: &str| {
            let answer = format!("HTTP/1.1 {status} Not now\r\n{header}content-length: 0\r\n\r\n");
            let rogue = Rogue::start(Manner::Says(answer));
            let view = delivery(&client, &post_to(&client, &rogue.url()).await).await;
            assert_eq!(view["state"], "pending", "{view:#}");
            let time = |value: &Json| value.as_str().unwrap().parse::<Timestamp>().unwrap();
            let (at, next) = (time(&view["attempts"][0]["at"]), time(&view["next_attempt_at"]));
            next.duration_since(at).as_secs()
        };
        // Planned are 20 s, ±4: at least that, at most twice as long; a minute for who says that it is overloaded.
        for (status, header, from_s, to_s) in [
            (500, "", 16, 26),
            (503, "retry-after: 30\r\n", 30, 33),
            (503, "retry-after: 1\r\n", 20, 23),
            (503, "retry-after: 86400\r\n", 40, 43),
            (503, "retry-after: Thu, 31 Dec 2099 23:59:59 GMT\r\n", 40, 43),
            (503, "retry-after: soon\r\n", 16, 26),
            (429, "", 60, 75),
            (502, "retry-after: 90\r\n", 90, 93),
            (504, "retry-after: 86400\r\n", 120, 123),
        ] {
            let pause_s = pause(status, header).await;
            assert!((from_s..=to_s).contains(&pause_s), "{status} {header:?}: {pause_s} s");
        }
    });
}

/// A certificate authority that the backend under test knows, and what it has signed.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    fn sign(&self, name: &str, years: (i32, i32)) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        server_config(certificate.der().clone(), &key)
    }
}

fn self_signed(name: &str) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    server_config(certificate.der().clone(), &key)
}

fn server_config(certificate: CertificateDer<'static>, key: &KeyPair) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap())
}

#[test]
fn only_a_good_certificate_gets_a_webhook() {
    run(async {
        let authority = Authority::new();
        let folder = tempfile::tempdir().unwrap();
        let known = folder.path().join("authorities.pem");
        std::fs::write(&known, authority.issuer.pem()).unwrap();
        let stack = impatient().set("SSL_CERT_FILE", known.display()).start();
        let client = stack.client();
        for (what, config, good) in [
            ("good", authority.sign("127.0.0.1", (2020, 2099)), true),
            ("expired", authority.sign("127.0.0.1", (2010, 2020)), false),
            ("not yet valid", authority.sign("127.0.0.1", (2098, 2099)), false),
            ("of another address", authority.sign("127.0.0.2", (2020, 2099)), false),
            ("of a name", authority.sign("hooks.example.com", (2020, 2099)), false),
            ("self-signed", self_signed("127.0.0.1"), false),
            ("of an unknown authority", Authority::new().sign("127.0.0.1", (2020, 2099)), false),
        ] {
            let answer = "HTTP/1.1 204 Fine\r\n\r\n".to_owned();
            let rogue = Rogue::with_tls(Manner::SaysAndStays(answer), config);
            let view = delivery(&client, &post_to(&client, &rogue.url()).await).await;
            let attempt = &view["attempts"][0];
            assert_eq!(rogue.connections(), 1, "{what}");
            match good {
                true => {
                    assert_eq!((&view["state"], &attempt["status"]), (&json!("delivered"), &json!(204)), "{view:#}")
                }
                false => {
                    assert_eq!((&view["state"], &attempt["status"]), (&json!("dead"), &Json::Null), "{what}: {view:#}");
                    let error = attempt["error"].as_str().unwrap();
                    assert!(error.contains("certificate"), "{what}: {error}");
                }
            }
        }
    });
}

/// The versions of TLS that a client offers, from the bytes of its first message.
fn offered_versions(hello: &[u8]) -> Vec<u16> {
    // The extension supported_versions: its number, its length, the length of the list, the list.
    let number = |at: usize| u16::from_be_bytes([hello[at], hello[at + 1]]);
    let is_extension = |at: &usize| {
        let list = usize::from(hello[at + 4]);
        number(*at) == 0x002b && usize::from(number(at + 2)) == list + 1 && list % 2 == 0 && list > 0
    };
    let at = (0..hello.len().saturating_sub(8)).find(is_extension).expect("the extension supported_versions");
    (0..usize::from(hello[at + 4]) / 2).map(|index| number(at + 5 + 2 * index)).collect()
}

#[test]
fn no_version_of_tls_below_1_2_is_offered() {
    use tokio::io::AsyncReadExt;
    run(async {
        let stack = impatient().start();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/hook", listener.local_addr().unwrap());
        post_to(&stack.client(), &url).await;
        let (mut stream, _) = tokio::time::timeout(s(30), listener.accept()).await.unwrap().unwrap();
        let mut hello = vec![0; 4096];
        let length = stream.read(&mut hello).await.unwrap();
        let mut versions = offered_versions(&hello[..length]);
        versions.sort_unstable();
        assert_eq!(versions, [0x0303, 0x0304], "TLS 1.2 and 1.3");
    });
}

/// More than one receiver may have under way.
const DELIVERIES_EACH: usize = PER_RECEIVER + 2;
/// `[webhook] per_receiver_concurrency`, by default.
const PER_RECEIVER: usize = 8;
const SAMPLES: usize = 100;

/// A request whose webhook is there at once: its bucket has no bucket's name, which ends it before a page is opened.
async fn tell(client: &Client, url: &str) -> String {
    let options = json!({ "html": "<p>x", "store": true, "storage_bucket": "x", "storage_path": "x",
        "storage_access_key_id": "x", "storage_secret_access_key": "x", "webhook_url": url, "webhook_errors": true });
    client.enqueue("/take", &options).await
}

/// How long after its end each of so many requests, one after the other, was told to a receiver that is well; sorted.
async fn delays(client: &Client, well: &Receiver) -> Vec<Duration> {
    let mut delays = Vec::new();
    for number in well.all().len() + 1..=well.all().len() + SAMPLES {
        let id = tell(client, &well.url()).await;
        client.request_when(&id, "an end", s(30), |view| view["finished_at"].is_string()).await;
        let ended = Instant::now();
        well.wait_for(number, s(30)).await;
        delays.push(ended.elapsed());
    }
    delays.sort_unstable();
    delays
}

#[test]
fn a_hundred_receivers_that_hang_do_not_delay_one_that_is_well() {
    run(async {
        let schedule = format!("0{}", ",1".repeat(30));
        let mut stack = Stack::builder()
            .set("SNAPHOOK_WEBHOOK_TIMEOUT_SECONDS", 600)
            .set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", schedule)
            .start();
        let client = stack.client();
        let hanging: Vec<Receiver> = (0..100).map(|_| Receiver::start()).collect();
        for receiver in &hanging {
            receiver.behave(Behaviour::Hang);
        }
        let urls = hanging.iter().flat_map(|receiver| vec![receiver.url(); DELIVERIES_EACH]);
        futures::stream::iter(urls)
            .for_each_concurrent(16, async |url| {
                tell(&client, &url).await;
            })
            .await;
        let came = || hanging.iter().map(|receiver| receiver.all().len());
        wait::for_it("them to hang", s(90), || came().all(|count| count >= PER_RECEIVER).then_some(())).await;

        let (well, p99) = (Receiver::start(), SAMPLES * 99 / 100 - 1);
        let beside_many = delays(&client, &well).await;
        assert!(beside_many[p99] < s(2), "{beside_many:?}");
        assert!(
            came().all(|count| count == PER_RECEIVER),
            "each has all that it may have, and no more: {:?}",
            came().collect::<Vec<_>>()
        );

        // Now their attempts end, and fail, and whoever fails again and again has one under way.
        stack.kill9();
        stack.try_restart_with(&[("SNAPHOOK_WEBHOOK_TIMEOUT_SECONDS", "2")]).unwrap();
        let began = Instant::now();
        wait::for_it("their second failure", s(90), || came().all(|count| count > 2 * PER_RECEIVER).then_some(()))
            .await;
        let before: Vec<usize> = came().collect();
        let failing = Instant::now();
        let beside_failing = delays(&client, &well).await;
        assert!(beside_failing[p99] < s(2), "{beside_failing:?}");
        // One every two seconds, and as many at once as may have been on their way when the fifth failure was counted.
        let most = PER_RECEIVER + (failing.elapsed().as_secs() / 2 + 1) as usize;
        let more: Vec<usize> = came().zip(&before).map(|(now, before)| now - before).collect();
        assert!(more.iter().all(|more| *more <= most), "at most {most} in {:?}: {more:?}", failing.elapsed());
        eprintln!(
            "p99 {:?} beside 100 receivers with {PER_RECEIVER} attempts each, {:?} beside those that fail for {:?}",
            beside_many[p99],
            beside_failing[p99],
            began.elapsed()
        );
    });
}

#[test]
fn an_address_that_is_gone_is_disabled_until_it_is_enabled_again() {
    run(async {
        let stack = Stack::shared();
        let client = Client::new(&stack.api, &stack.new_key());
        let receiver = Receiver::start();
        receiver.behave(Behaviour::Status(410));
        let gone = post_to(&client, &receiver.url()).await;
        assert_eq!(delivery(&client, &gone).await["end_reason"], "the receiver said that it is gone");
        let list = client.get_with_key("/v1/deliveries/endpoints").await.expect(200).json();
        let endpoint = &list["endpoints"][0];
        assert_eq!((&endpoint["url"], &endpoint["state"]), (&json!(receiver.url()), &json!("disabled")), "{list:#}");
        assert!(endpoint["disabled_at"].is_string() && endpoint["last_error"] == "status 410", "{list:#}");
        // What comes later is not sent, and not lost either.
        receiver.behave(Behaviour::Status(204));
        let later = post_to(&client, &receiver.url()).await;
        let view = client.request_when(&later, "dead", s(30), |view| view["webhook"]["state"] == "dead").await;
        assert_eq!(view["webhook"]["end_reason"], "the endpoint is disabled", "{view:#}");
        assert_eq!(receiver.all().len(), 1);

        let enable = format!("/v1/deliveries/endpoints/enable?url={}", receiver.url());
        let stranger = Client::new(&stack.api, &stack.new_key());
        stranger.post(&enable, &json!({})).await.expect(404);
        client.post("/v1/deliveries/endpoints/enable", &json!({})).await.expect(400);
        let edge = Client::new(stack.edge_url(), &client.key);
        edge.post(&enable, &json!({})).await.expect(200);
        assert_eq!(edge.get_with_key("/v1/deliveries/endpoints").await.expect(200).json(), json!({ "endpoints": [] }));
        let replayed = edge.post("/v1/deliveries/replay?since=2020-01-01T00:00:00Z", &json!({})).await.expect(200);
        assert_eq!(replayed.json(), json!({ "replayed": 2 }));
        let all = receiver.wait_for(3, s(15)).await;
        let ids: Vec<&str> = all.iter().map(|webhook| webhook.header("webhook-id")).collect();
        assert!(ids[1..].contains(&gone.replace("req_", "msg_").as_str()), "{ids:?}");
        assert!(ids[1..].contains(&later.replace("req_", "msg_").as_str()), "{ids:?}");
        client.get_with_key("/v1/deliveries?since=yesterday").await.expect(400);
    });
}

#[test]
fn a_thousand_webhooks_are_signed_over_the_bytes_that_came() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", "0,2,2,2,2,2,2,2,2,2").start();
        let (client, receiver) = (stack.client(), Receiver::start());
        receiver.behave(Behaviour::EveryNth(10, 204, 500));
        // A storage without its secret fails before any page is opened, and that is announced like a picture.
        let options = json!({
            "html": "<p>x", "async": true, "store": true, "storage_path": "a", "storage_bucket": "mine",
            "webhook_url": receiver.url(), "webhook_errors": true,
        });
        const WEBHOOKS: usize = 1_000;
        for _ in 0..WEBHOOKS / 50 {
            let answers = futures::future::join_all((0..50).map(|_| client.post("/take", &options))).await;
            assert!(answers.iter().all(|answer| answer.status == 202));
        }
        let told = wait::for_it("a thousand webhooks, each delivered", s(120), || {
            let all = receiver.all();
            let ids: BTreeSet<String> = all.iter().map(|webhook| webhook.header("webhook-id").to_owned()).collect();
            // Those that were refused came again.
            (ids.len() == WEBHOOKS && all.len() - all.len() / 10 >= WEBHOOKS).then_some(all)
        })
        .await;
        let mut bodies: BTreeMap<&str, (&[u8], BTreeSet<&str>)> = BTreeMap::new();
        let key = stack.key.secret_key.as_bytes();
        for webhook in &told {
            let (id, timestamp) = (webhook.header("webhook-id"), webhook.header("webhook-timestamp"));
            assert!(id.starts_with("msg_") && id[4..].bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
            assert!(!timestamp.starts_with('0') && timestamp.bytes().all(|byte| byte.is_ascii_digit()), "{timestamp}");
            let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &webhook.body[..]].concat();
            let standard = format!("v1,{}", BASE64.encode(hmac(key, &signed)));
            assert_eq!(webhook.header("webhook-signature"), standard);
            let bare = hex::encode(hmac(key, &webhook.body));
            assert_eq!(webhook.header("x-screenshotone-signature"), bare);
            assert_eq!(webhook.header("x-screenshotmax-webhook-signature"), bare);
            assert!(webhook.body.len() < 20_000);
            let (body, timestamps) = bodies.entry(id).or_insert((&webhook.body, BTreeSet::new()));
            assert_eq!(*body, &webhook.body[..], "{id}");
            assert!(timestamps.insert(timestamp), "{id} is signed anew at each attempt");
        }
        assert_eq!(bodies.len(), WEBHOOKS);
        let again = bodies.values().filter(|(_, timestamps)| timestamps.len() > 1).count();
        // A tenth is refused, and some of them again.
        assert!(again >= WEBHOOKS / 20, "{again} came more than once");

        // By code that is not ours, every single attempt.
        let headers = |webhook: &Webhook| -> serde_json::Map<String, Json> {
            webhook.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
        };
        let all: Vec<Json> = told
            .iter()
            .map(|webhook| json!({ "body": BASE64.encode(&webhook.body), "headers": headers(webhook) }))
            .collect();
        let secret = &stack.key.secret_key;
        let standard = standard_webhook_secret(&Secret::new(secret));
        let given = json!({ "webhooks": all, "secret": secret, "standard_secret": standard.expose() });
        let taken = told.len();
        assert_eq!(
            programs::ask("node", "verify-many.mjs", &given),
            json!({ "library": taken, "screenshotone": taken, "screenshotmax": taken })
        );
        assert_eq!(programs::ask(programs::python(), "verify_many.py", &given), json!({ "library": taken }));
        let rust = standardwebhooks::Webhook::from_bytes(key.to_vec()).unwrap();
        for webhook in &told {
            let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
            let pairs = names.map(|name| (http::HeaderName::from_static(name), webhook.header(name).parse().unwrap()));
            rust.verify(&webhook.body, &http::HeaderMap::from_iter(pairs)).unwrap();
        }
    });
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}
