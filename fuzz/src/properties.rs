//! What must hold for any bytes that a stranger sends. libFuzzer looks for bytes for which it does not (`run.sh`: seconds in
//! every test run, as long as one likes by `make fuzz`), and `shared/tests/fuzz.rs` tries the same ones each time. That nothing
//! panics is the least of it.

use snaphook_shared::code::Code;
use snaphook_shared::envelope::{self, Envelope};
use snaphook_shared::json::Json;
use snaphook_shared::key::KeyRecord;
use snaphook_shared::limits::IDEMPOTENCY_KEY_CHARACTERS_MAX;
use snaphook_shared::link;
use snaphook_shared::request::{self, Endpoint, Head, Method, Policies, RawRequest};
use snaphook_shared::route;
use snaphook_shared::secret::Secret;
use snaphook_shared::target::{NativeUrlParser, ParseUrl, TargetPolicy, check_target};
use snaphook_shared::trace;

use self::gate::{Address, Route};

/// The edge's own: it is no library that could be depended on.
#[path = "../../edge/src/gate.rs"]
mod gate;

const NOW: u64 = 1_764_000_000;

/// Text before the first empty line, and what is behind it: a head and a body, as in HTTP.
fn cut(data: &[u8]) -> (String, &[u8]) {
    let (text, rest) = match data.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &data[data.len()..]),
    };
    (String::from_utf8_lossy(text).into_owned(), rest)
}

fn record(access_key: &str) -> KeyRecord {
    KeyRecord {
        access_key: access_key.to_owned(),
        secret_key: Secret::new("secret"),
        previous_secrets: Vec::new(),
        require_signed: false,
        limits: Default::default(),
        revoked: false,
    }
}

/// A request, from its head to what may be acted upon. The head is the query, and three headers on lines of their own.
pub(crate) fn request(data: &[u8]) {
    let (selector, data) = data.split_first().map_or((0, data), |(first, rest)| (*first, rest));
    let (text, body) = cut(data);
    let mut lines = text.split('\n').map(str::to_owned);
    let query = lines.next().unwrap_or_default();
    let (idempotency_key, priority, traceparent) = (lines.next(), lines.next(), lines.next());
    if let Some((trace, parent, flags)) = traceparent.as_deref().and_then(trace::parts) {
        assert_eq!(traceparent, Some(format!("00-{trace}-{parent}-{flags}")), "what is passed on is all of it");
        assert_eq!((trace.len(), parent.len(), flags.len()), (32, 16, 2));
    }
    let endpoint = Endpoint::ALL[usize::from(selector >> 2) % Endpoint::ALL.len()];
    let method = [Method::Get, Method::Head, Method::Post][usize::from(selector & 3) % 3];
    let head = Head {
        method: method.name(),
        path: endpoint.path(),
        query: &query,
        content_type: Some("application/json"),
        content_length: Some(body.len() as u64),
    };
    assert!(!route::methods(&query).is_some_and(|methods| methods.is_empty()));
    if request::gate(head).is_err() {
        return;
    }
    let raw = RawRequest {
        endpoint,
        method,
        query,
        access_key_header: (selector & 64 != 0).then(|| "key".to_owned()),
        idempotency_key: idempotency_key.clone(),
        priority,
        body: if method == Method::Post { body.to_vec() } else { Vec::new() },
    };
    let Ok(read) = raw.read() else { return };
    assert!(read.authenticate(None, NOW).is_err(), "nobody has got in");
    let revoked = KeyRecord { revoked: true, ..record(read.access_key()) };
    assert!(read.authenticate(Some(&revoked), NOW).is_err(), "a revoked key has got in");
    let _ = read.authenticate(Some(&record(read.access_key())), NOW);
    let again = read.clone();
    let policies = Policies::default();
    if let Ok(checked) = read.check(&NativeUrlParser, &policies) {
        let checked_again =
            again.check(&NativeUrlParser, &policies).expect("the same request is as good the second time");
        assert_eq!(checked.fingerprint(), checked_again.fingerprint());
        if let Some(key) = &checked.idempotency_key {
            assert_eq!(Some(key), idempotency_key.as_ref(), "another's idempotency key");
            assert!((1..=IDEMPOTENCY_KEY_CHARACTERS_MAX).contains(&key.chars().count()), "{key}");
        }
        assert!(checked.urgency.level() <= 7, "{}", checked.urgency.level());
        if let Some(url) = &checked.options.source.url {
            assert!(check_target(url, &NativeUrlParser, &TargetPolicy::default()).is_ok(), "{url}");
        }
    }
}

/// The head of a request at the edge: method, path, query and type, a line each, and the length that it declares.
pub(crate) fn route(data: &[u8]) {
    let (text, length) = cut(data);
    let mut lines = text.split('\n');
    let (method, path) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let head = Head {
        method,
        path,
        query: lines.next().unwrap_or_default(),
        content_type: lines.next(),
        content_length: str::from_utf8(length).ok().and_then(|length| length.parse().ok()),
    };
    let methods = route::methods(path);
    match gate::route(head) {
        Ok(Route::Render(endpoint, method)) => {
            assert_eq!((endpoint.path(), method.name()), (head.path, head.method));
        }
        Ok(way @ (Route::File | Route::Forward)) => {
            assert!(methods.is_some_and(|methods| methods.contains(&method)), "{method} {path}");
            assert_eq!(way == Route::File, path.starts_with("/files/"), "{path}");
            // It leaves as a URL, and no parser on its way may make another path of it.
            let parts = NativeUrlParser.parse(&format!("https://backend.example{path}")).expect("a URL");
            assert_eq!(parts.serialized, format!("https://backend.example{path}"));
            assert!(!path.starts_with("/internal"), "{path}");
        }
        Ok(Route::Preflight(allowed)) => assert_eq!((method, Some(allowed)), ("OPTIONS", methods)),
        Err(problem) => assert_eq!(problem.code == Code::NotFound, methods.is_none(), "{method} {path}"),
    }

    let url = format!("https://edge.example{path}");
    let address = Address::cut(&url);
    let whole = url.split('#').next().unwrap_or_default();
    let question_mark = if whole.contains('?') { "?" } else { "" };
    let slash = if whole[address.origin.len()..].starts_with('/') { address.path } else { "" };
    assert_eq!([address.origin, slash, question_mark, address.query].concat(), whole, "no byte is lost");
}

/// Signed links.
pub(crate) fn query_signature(data: &[u8]) {
    let (query, _) = cut(data);
    let secrets = [Secret::new("secret")];
    let [secret] = &secrets;
    assert!(link::verify(&query, &[], NOW).is_err(), "signed by nobody");
    let _ = link::verify(&query, &secrets, NOW);
    let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    if has("signature") || has("expires") {
        return;
    }
    let signed = link::sign(&query, secret);
    assert_eq!(link::verify(&signed, &secrets, NOW), Ok(()), "{signed}");
    assert!(link::verify(&signed, &[Secret::new("another")], NOW).is_err());
    assert!(link::verify(&format!("{signed}&x=1"), &secrets, NOW).is_err(), "more was added");
    assert!(link::verify(&format!("x=1&{signed}"), &secrets, NOW).is_err(), "more was put before it");
}

/// What claims to come from the edge.
pub(crate) fn envelope(data: &[u8]) {
    let (text, body) = cut(data);
    let mut lines = text.split('\n').map(str::to_owned);
    let headers: Vec<(&str, Option<String>)> =
        [envelope::TIMESTAMP_HEADER, envelope::NONCE_HEADER, envelope::KEY_ID_HEADER, envelope::SIGNATURE_HEADER]
            .map(|name| (name, lines.next()))
            .to_vec();
    let header = |name: &str| headers.iter().find(|(other, _)| *other == name).and_then(|(_, value)| value.clone());
    let (path, query) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let secret = Secret::new("edge secret of some length");
    let opened = envelope::open(&[("k", &secret)], "POST", &path, &query, body, &header, NOW);
    assert!(opened.is_err(), "a seal was forged");

    if let Ok(parsed) = serde_json::from_slice::<Envelope>(body) {
        let json = serde_json::to_string(&parsed).expect("what was read can be written");
        assert_eq!(serde_json::from_str::<Envelope>(&json).expect("and read again"), parsed);
    }
    if !path.contains(['\n', '\r']) && !query.contains(['\n', '\r']) {
        let sealed = envelope::seal(&secret, "k", "POST", &path, &query, body, NOW, "nonce-of-sixteen-or-more");
        let header = |name: &str| sealed.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone());
        assert_eq!(envelope::open(&[("k", &secret)], "POST", &path, &query, body, &header, NOW), Ok(()));
        let other = [body, b"x"].concat();
        assert!(envelope::open(&[("k", &secret)], "POST", &path, &query, &other, &header, NOW).is_err());
    }
}

/// Addresses of pages and webhooks.
pub(crate) fn target_url(data: &[u8]) {
    let (url, _) = cut(data);
    for policy in [TargetPolicy::default(), TargetPolicy::development()] {
        if check_target(&url, &NativeUrlParser, &policy).is_err() {
            continue;
        }
        let parts = NativeUrlParser.parse(&url).expect("what is allowed can be read");
        assert!(matches!(parts.scheme.as_str(), "http" | "https") && !parts.has_credentials, "{url}");
        // What a browser makes of it is as allowed as what was given.
        assert!(check_target(&parts.serialized, &NativeUrlParser, &policy).is_ok(), "{url} as {}", parts.serialized);
    }
}

/// JSON, of which another reader must think the same.
pub(crate) fn json(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match (Json::read(&text), serde_json::from_str::<serde_json::Value>(&text)) {
        (Ok(ours), Ok(theirs)) => {
            assert!(same(&ours, &theirs), "{ours:?} and {theirs:?}");
            key_record(&ours);
        }
        // A number that is only kept as text has no end.
        (Ok(_), Err(error)) => assert!(error.to_string().starts_with("number out of range"), "{text}: {error}"),
        (Err(error), Ok(_)) => panic!("{text}: {error}"),
        (Err(_), Err(_)) => {}
    }
}

/// A record of a key, as the edge reads it from the backend and from its own store.
fn key_record(json: &Json) {
    let Some(record) = KeyRecord::from_json(json) else { return };
    let text = serde_json::to_string(&record).expect("what was read can be written");
    let again = Json::read(&text).expect("and is JSON");
    assert_eq!(KeyRecord::from_json(&again), Some(record), "and read again");
}

fn same(ours: &Json, theirs: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (ours, theirs) {
        (Json::Null, Value::Null) => true,
        (Json::Bool(ours), Value::Bool(theirs)) => ours == theirs,
        (Json::Text(ours), Value::String(theirs)) => ours == theirs,
        (Json::Number(ours), theirs) => serde_json::from_str::<Value>(ours).is_ok_and(|ours| ours == *theirs),
        (Json::List(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Json::Object(properties), Value::Object(theirs)) => {
            properties.iter().all(|(name, _)| theirs.contains_key(name))
                && theirs.iter().all(|(name, theirs)| ours.get(name).is_some_and(|ours| same(ours, theirs)))
        }
        _ => false,
    }
}
