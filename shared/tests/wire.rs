//! Golden bytes: what goes over the wire today is what went over it yesterday. Other languages may read the same files.

use snaphook_shared::code::{Code, Problem};
use snaphook_shared::dialect::{self, Dialect};
use snaphook_shared::event::{self, Finished};
use snaphook_shared::key::KeyRecord;
use snaphook_shared::metadata::{HttpResponse, Metadata};
use snaphook_shared::options::model::{Format, Medium, WaitUntil};
use snaphook_shared::request::{CheckedRequest, Endpoint, Method, Policies, RawRequest};
use snaphook_shared::secret::Secret;
use snaphook_shared::target::{ParseUrl, UrlParts};

macro_rules! tests {
    ($($(#[$note:meta])* fn $name:ident() $body:block)*) => {$(
        $(#[$note])*
        #[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
        #[cfg_attr(not(target_arch = "wasm32"), test)]
        fn $name() $body
    )*};
}

const METADATA: Metadata = Metadata {
    icon: None,
    open_graph: None,
    page_title: None,
    fonts: None,
    http_response: HttpResponse { status_code: None, headers: None },
    hash: None,
    content: None,
};

const FINISHED: Finished<'_> = Finished {
    id: "req_0190a1b2c3d4e5f60718293a4b5c6d7e",
    file_url: "https://shots.example.com/files/abc.png",
    expires_s: 1_722_625_200,
    created_s: 1_716_898_800,
    store_location: None,
    image_size: None,
    slices: Vec::new(),
    metadata: Some(&METADATA),
    cache_url: None,
};

/// Enough of a URL parser for these tests, the same natively and as wasm; the real ones have tests of their own.
struct PlainParser;

impl ParseUrl for PlainParser {
    fn parse(&self, input: &str) -> Option<UrlParts> {
        let (scheme, rest) = input.split_once("://")?;
        let host = rest.split(['/', '?', '#']).next()?;
        UrlParts::from_platform(input, &format!("{scheme}:"), host, "", "", "")
    }
}

fn raw(endpoint: Endpoint, method: Method, query: &str, body: &str) -> RawRequest {
    RawRequest {
        endpoint,
        method,
        query: query.to_owned(),
        access_key_header: None,
        idempotency_key: None,
        priority: None,
        body: body.as_bytes().to_vec(),
    }
}

fn check(raw: RawRequest) -> Result<CheckedRequest, Problem> {
    raw.read()?.check(&PlainParser, &Policies::default())
}

fn get(endpoint: Endpoint, query: &str) -> Result<CheckedRequest, Problem> {
    check(raw(endpoint, Method::Get, &format!("access_key=AK&{query}"), ""))
}

fn post(endpoint: Endpoint, body: &str) -> Result<CheckedRequest, Problem> {
    check(raw(endpoint, Method::Post, "access_key=AK", body))
}

fn messages(result: Result<CheckedRequest, Problem>) -> Vec<String> {
    result.expect_err("refused").details.into_iter().map(|detail| detail.message).collect()
}

fn record(require_signed: bool, revoked: bool) -> KeyRecord {
    KeyRecord {
        access_key: "AK".into(),
        secret_key: Secret::new("SK"),
        previous_secrets: Vec::new(),
        require_signed,
        limits: Default::default(),
        revoked,
    }
}

tests! {
    fn webhook_bodies() {
        assert_eq!(event::screenshotmax(&FINISHED), include_str!("../golden/webhook_screenshotmax.json").trim_end());
        let stored = Finished { store_location: Some("https://shots.example.com/files/abc.png"), ..FINISHED };
        assert_eq!(event::screenshotone(&stored), include_str!("../golden/webhook_screenshotone.json").trim_end());
        let problem = Problem::new(Code::TimeoutError);
        let failed = event::failed(Dialect::ScreenshotMax, FINISHED.id, FINISHED.created_s, &problem, "https://shots.example.com/docs/errors");
        assert_eq!(failed, include_str!("../golden/webhook_failed_screenshotmax.json").trim_end());
    }

    fn answers() {
        let accepted = dialect::accepted(202, FINISHED.id, FINISHED.created_s, "https://shots.example.com/v1/requests/req_0190a1b2c3d4e5f60718293a4b5c6d7e");
        assert_eq!(accepted.body, include_str!("../golden/accepted.json").trim_end());
        assert_eq!(accepted.status, 202);
        let problem = get(Endpoint::Take, "foo=1&viewport_width=abc").unwrap_err();
        let error = dialect::error(Dialect::ScreenshotOne, &problem, "https://shots.example.com/docs/errors");
        assert_eq!(error.body, include_str!("../golden/error_screenshotone.json").trim_end());
        let error = dialect::error(Dialect::ScreenshotMax, &problem, "https://shots.example.com/docs/errors");
        assert_eq!(error.body, include_str!("../golden/error_screenshotmax.json").trim_end());
        let away = dialect::error(Dialect::ScreenshotOne, &Problem::unavailable(), "");
        assert_eq!(away.status, 503);
        assert!(away.headers.contains(&("retry-after", "5".to_owned())));
    }

    /// The messages that ScreenshotOne's own validator gives for the same input.
    fn validation_messages_are_the_vendors() {
        let message = |query: &str| messages(get(Endpoint::Take, query));
        assert_eq!(message("format=png"), ["\"value\" must contain at least one of [html, url, markdown]"]);
        assert_eq!(message("html=x&foo=1"), ["\"foo\" is not allowed"]);
        assert_eq!(message("url=example.com"), ["\"url\" must be a valid URI"]);
        // The parser would take it for a slash, other readers for a part of the host.
        assert_eq!(message("url=http://example.com%5C@127.0.0.1/"), ["\"url\" must be a valid URI"]);
        assert_eq!(message("url=%20https://example.com"), ["\"url\" must be specified without leading and trailing white spaces"]);
        assert_eq!(message("url=ftp://x"), ["\"url\" must be a valid URI with a scheme matching the http|https pattern"]);
        assert_eq!(message("html=x&viewport_width=abc"), ["\"viewport_width\" must be a number"]);
        assert_eq!(message("html=x&delay=40"), ["\"delay\" must be less than or equal to 30"]);
        assert_eq!(message("html=x&timeout=100"), ["\"timeout\" must be less than or equal to 90"]);
        assert_eq!(message("html=x&store=true"), ["\"storage_path\" is required"]);
        assert_eq!(message("html=x&full_page_scroll=true"), ["\"full_page_scroll\" is not allowed"]);
        assert_eq!(message("html=x&full_page=yes"), ["\"full_page\" must be a boolean"]);
        assert_eq!(message("html=x&vision_prompt=hi")[0].split(':').next(), Some("\"vision_prompt\" is not supported"));
    }

    fn all_that_is_wrong_is_said_at_once() {
        let found = messages(get(Endpoint::Screenshot, "url=https://example.com&delay=x&full_page=maybe&foo=1&format=bmp"));
        assert_eq!(found.len(), 4, "{found:?}");
    }

    fn every_spelling_of_the_sdks_means_the_same() {
        let expected = get(Endpoint::Take, "url=https://example.com/&full_page=true&wait_until=load&wait_until=networkidle0&delay=1").unwrap();
        assert_eq!(expected.options.wait.until, [WaitUntil::Load, WaitUntil::NetworkIdle0]);
        for query in [
            "url=https%3A%2F%2Fexample.com%2F&full_page=True&wait_until[]=load&wait_until[]=networkidle0&delay=1",
            "url=https://example.com/&full_page=TRUE&wait_until=load,networkidle0&delay=1.",
            "url=https://example.com/&full_page=1&wait_until%5B0%5D=load&wait_until%5B1%5D=networkidle0&delay=1.0&markdown",
            "url=https://example.com/&full_page=true&wait_until=%5B%27load%27%2C+%27networkidle0%27%5D&delay=1",
        ] {
            assert_eq!(get(Endpoint::Take, query).unwrap().options, expected.options, "{query}");
        }
        for body in [
            r#"{"url":"https://example.com/","full_page":true,"wait_until":["load","networkidle0"],"delay":1}"#,
            r#"{"url":"https://example.com/","full_page":"true","wait_until":["load","networkidle0"],"delay":"1","html":null}"#,
        ] {
            assert_eq!(post(Endpoint::Take, body).unwrap().options, expected.options, "{body}");
        }
    }

    /// Two parsers in front of one table: the verdict must not depend on which one was used.
    fn query_and_json_get_the_same_verdict() {
        let values = ["true", "FALSE", "0", "1", "-1", "48.", "1e3", "abc", "png", "load", "https://example.com/", "ftp://x", "300"];
        for endpoint in Endpoint::ALL {
            for parameter in endpoint.table() {
                for value in values {
                    let base = if parameter.name == "url" { "" } else { "url=https://example.com/&" };
                    let by_query = get(endpoint, &format!("{base}{}={value}", parameter.name));
                    let url = if parameter.name == "url" { "" } else { r#""url":"https://example.com/","# };
                    let by_json = post(endpoint, &format!(r#"{{{url}"{}":"{value}"}}"#, parameter.name));
                    assert_eq!(by_query.clone().map(|c| c.options), by_json.map(|c| c.options), "{}={value}", parameter.name);
                }
            }
        }
    }

    fn keys_and_signatures_are_told_apart_only_as_far_as_they_may_be() {
        let now = 1_700_000_000;
        let read = |query: &str| raw(Endpoint::Take, Method::Get, query, "").read().unwrap();
        let unsigned = read("access_key=AK&html=x");
        let signed = read(&snaphook_shared::link::sign("access_key=AK&html=x", &Secret::new("SK")));
        let wrong = read("access_key=AK&html=x&signature=00");
        let code = |result: Result<(), Problem>| result.err().map(|problem| problem.code);
        assert_eq!(code(unsigned.authenticate(Some(&record(false, false)), now)), None);
        assert_eq!(code(unsigned.authenticate(Some(&record(true, false)), now)), Some(Code::SignatureIsRequired));
        assert_eq!(code(unsigned.authenticate(None, now)), Some(Code::AccessKeyInvalid));
        assert_eq!(code(unsigned.authenticate(Some(&record(false, true)), now)), Some(Code::AccessKeyInvalid));
        assert_eq!(code(signed.authenticate(Some(&record(true, false)), now)), None);
        assert_eq!(code(signed.authenticate(None, now)), Some(Code::SignatureIsNotValid));
        assert_eq!(code(wrong.authenticate(Some(&record(false, false)), now)), Some(Code::SignatureIsNotValid));
        assert_eq!(code(wrong.authenticate(None, now)), Some(Code::SignatureIsNotValid));
        assert_eq!(raw(Endpoint::Take, Method::Get, "html=x", "").read().unwrap_err().code, Code::AccessKeyRequired);
        assert_eq!(raw(Endpoint::Take, Method::Get, "access_key=%00", "").read().unwrap_err().code, Code::AccessKeyInvalid);
    }

    fn private_addresses_are_refused_by_name_of_the_parameter() {
        let problem = get(Endpoint::Screenshot, "url=http://169.254.169.254/&webhook_url=http://10.0.0.1/").unwrap_err();
        assert_eq!(problem.code, Code::TargetNotAllowed);
        assert_eq!(problem.details.iter().map(|detail| detail.parameter.as_str()).collect::<Vec<_>>(), ["url", "webhook_url"]);
    }

    fn defaults_are_the_vendors() {
        let one = get(Endpoint::Take, "html=x").unwrap().options;
        assert_eq!((one.output.format, one.viewport.width, one.viewport.height, one.timeout_s()), (Format::Jpeg, 1280, 1024, 60));
        let max = get(Endpoint::Screenshot, "html=x").unwrap().options;
        assert_eq!((max.output.format, max.timeout_s(), max.wait.until.as_slice()), (Format::Jpeg, 30, [WaitUntil::DomContentLoaded].as_slice()));
        assert_eq!(get(Endpoint::Take, "html=x&async=true").unwrap().options.timeout_s(), 600);
        // A recording's own time comes on top.
        let film = get(Endpoint::Animate, "html=x&duration=2.5").unwrap().options;
        assert_eq!((film.output.format, film.timeout_s(), film.medium()), (Format::Mp4, 63, Medium::Video));
        let cast = get(Endpoint::Screencast, "url=https://example.com/&scenario=scroll").unwrap().options;
        let (timeout_s, animation) = (cast.timeout_s(), cast.animation.unwrap());
        assert_eq!((timeout_s, animation.scrolls, animation.scroll.easing.as_str()), (35, true, "linear"));
    }

    fn no_input_panics() {
        let junk = ["", "&&&", "=", "a=%", "%%%=%%%", "url[=x", "url]=x", "url[[0]]=x", "\u{0}=\u{0}", "access_key=AK&url=http://[::", "delay=1e999", "delay=-0", "clip_x=9223372036854775808"];
        for query in junk {
            let _ = get(Endpoint::Take, query);
            let _ = post(Endpoint::Screenshot, query);
            let _ = post(Endpoint::Take, &format!(r#"{{"url":"{query}"}}"#));
        }
        for body in ["null", "[]", "{\"a\":[[]]}", "{\"a\":{}}", "\u{feff}{}", "{\"url\":[1,2]}"] {
            assert!(post(Endpoint::Take, body).is_err(), "{body}");
        }
    }
}
