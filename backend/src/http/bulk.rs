//! `POST /bulk`: up to twenty `/take` requests in one.
//!
//! With `execute=false` nothing is rendered: each item becomes a link that renders when it is opened. The links carry key
//! and signature, or they would be of no use; only the key's owner gets to see them. With `execute=true` the items are
//! rendered now, each counted and refused on its own, and the answer says what became of each.

use std::sync::Arc;

use bytes::Buf;
use futures::{Stream, StreamExt};
use http::HeaderMap;
use http_body_util::BodyExt;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value as Json, json};
use snaphook_shared::code::{Code, Detail, Problem};
use snaphook_shared::dialect::{self, Dialect, Reply};
use snaphook_shared::key::KeyRecord;
use snaphook_shared::limits::BODY_BYTES_MAX;
use snaphook_shared::link;
use snaphook_shared::request::{Endpoint, Head, Method, RawRequest, gate_body};
use snaphook_shared::route;
use snaphook_shared::target::NativeUrlParser;
use warp::Filter;
use warp::filters::BoxedFilter;

use super::{Api, Response, body, owner, raw_query, render, reply, with};
use crate::trace::TraceContext;

const ITEMS_MAX: usize = 20;
/// Items of one call that render at the same time: one call must not take every place that there is.
const AT_ONCE: usize = 4;
const UNESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) fn routes(api: Arc<Api>) -> BoxedFilter<(Response,)> {
    warp::path!("bulk")
        .and(with(api))
        .and(warp::method())
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(handle)
        .boxed()
}

async fn handle(
    api: Arc<Api>,
    method: http::Method,
    query: String,
    headers: HeaderMap,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Response {
    let answer = async {
        if method != http::Method::POST {
            return Err(Problem::method_not_allowed(route::methods("/bulk").unwrap_or_default()));
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        gate_body(Head {
            method: method.as_str(),
            path: "/bulk",
            query: &query,
            content_type: text("content-type"),
            content_length: text("content-length").and_then(|length| length.parse().ok()),
        })?;
        let (body, _room) = body::read(body, BODY_BYTES_MAX, api.body_timeout).await?;
        answer(&api, &query, &headers, &body).await
    };
    match answer.await {
        Ok(responses) => reply::from_shared(Reply::json(200, json!({ "responses": responses }).to_string())),
        Err(problem) => reply::problem(Dialect::ScreenshotOne, &problem, &api.links),
    }
}

async fn answer(api: &Api, query: &str, headers: &HeaderMap, body: &[u8]) -> Result<Vec<Json>, Problem> {
    let body: Json =
        serde_json::from_slice(body).map_err(|error| invalid("", format!("the body is not JSON: {error}")))?;
    let Json::Object(mut body) = body else { return Err(invalid("", "the body must be a JSON object")) };
    let in_body = body.remove("access_key").and_then(|key| key.as_str().map(str::to_owned));
    let record = owner::live_key(api, in_body, query, headers).await?;
    let bulk = Bulk::read(body)?;
    if !bulk.execute {
        return Ok(bulk.items.into_iter().map(|item| promise(api, &record, item)).collect());
    }
    // More at once than the key may have would only be refused.
    let limit = record.limits.concurrency.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(AT_ONCE);
    let caller = render::caller_of(headers);
    let answers = bulk.items.into_iter().map(|item| execute(api, &record, item, caller.as_ref()));
    Ok(futures::stream::iter(answers).buffered(limit.clamp(1, AT_ONCE)).collect().await)
}

/// A body of the right shape; its items are not looked into yet.
#[cfg_attr(test, derive(Debug))]
#[derive(PartialEq)]
struct Bulk {
    execute: bool,
    /// With the common options merged in.
    items: Vec<Map<String, Json>>,
}

impl Bulk {
    fn read(mut body: Map<String, Json>) -> Result<Bulk, Problem> {
        let mut details = Vec::new();
        let mut refuse = |parameter: &str, message: String| {
            details.push(Detail { parameter: parameter.to_owned(), message });
        };
        let mut flag = |name: &str| match body.remove(name) {
            None | Some(Json::Null) => false,
            Some(Json::Bool(flag)) => flag,
            Some(Json::String(text)) if text.eq_ignore_ascii_case("true") => true,
            Some(Json::String(text)) if text.eq_ignore_ascii_case("false") => false,
            Some(_) => {
                refuse(name, format!("\"{name}\" must be a boolean"));
                false
            }
        };
        let execute = flag("execute");
        // A hint to the vendor's scheduler; there is nothing here that it could change.
        flag("optimize");
        let options = match body.remove("options") {
            None | Some(Json::Null) => Map::new(),
            Some(Json::Object(options)) => options,
            Some(_) => {
                refuse("options", "\"options\" must be of type object".to_owned());
                Map::new()
            }
        };
        let requests = match body.remove("requests") {
            None => Err("\"requests\" is required".to_owned()),
            Some(Json::Array(requests)) if requests.is_empty() => {
                Err("\"requests\" must contain at least 1 items".to_owned())
            }
            Some(Json::Array(requests)) if requests.len() > ITEMS_MAX => {
                Err(format!("\"requests\" must contain less than or equal to {ITEMS_MAX} items"))
            }
            Some(Json::Array(requests)) => Ok(requests),
            Some(_) => Err("\"requests\" must be an array".to_owned()),
        };
        let requests = requests.unwrap_or_else(|message| {
            refuse("requests", message);
            Vec::new()
        });
        let mut items = Vec::new();
        for (index, request) in requests.into_iter().enumerate() {
            let Json::Object(request) = request else {
                refuse("requests", format!("\"requests[{index}]\" must be of type object"));
                continue;
            };
            let mut item = options.clone();
            item.extend(request);
            for name in ["access_key", "signature"] {
                item.remove(name);
            }
            items.push(item);
        }
        for name in body.keys() {
            refuse(name, format!("\"{name}\" is not allowed"));
        }
        match details.is_empty() {
            true => Ok(Bulk { execute, items }),
            false => Err(Problem { details, ..Problem::new(Code::RequestNotValid) }),
        }
    }
}

fn invalid(parameter: &str, message: impl Into<String>) -> Problem {
    Problem::with_detail(Code::RequestNotValid, parameter, message)
}

/// The link of an item, and what is wrong with it if anything is.
fn promise(api: &Api, record: &KeyRecord, item: Map<String, Json>) -> Json {
    let query = link(record, &item);
    let url = url(api, &query);
    let raw = RawRequest {
        endpoint: Endpoint::Take,
        method: Method::Get,
        query,
        access_key_header: None,
        idempotency_key: None,
        priority: None,
        body: Vec::new(),
    };
    match raw.read().and_then(|read| read.check(&NativeUrlParser, &api.policies)) {
        Ok(_) => json!({ "url": url }),
        Err(problem) => {
            let reply = dialect::error(Dialect::ScreenshotOne, &problem, &api.links.error_docs());
            json!({ "url": url, "response": outcome(reply.status, reply.body.as_bytes()) })
        }
    }
}

/// Goes the whole way of a request of its own.
async fn execute(api: &Api, record: &KeyRecord, item: Map<String, Json>, caller: Option<&TraceContext>) -> Json {
    let url = url(api, &link(record, &item));
    let raw = RawRequest {
        endpoint: Endpoint::Take,
        method: Method::Post,
        query: String::new(),
        access_key_header: Some(record.access_key.clone()),
        idempotency_key: None,
        priority: None,
        body: Json::Object(item).to_string().into_bytes(),
    };
    let (parts, body) = render::serve(api, raw, render::new_id(api), caller).await.into_parts();
    let is_json = parts.headers.get("content-type").is_some_and(|value| value == "application/json");
    let body = match is_json {
        true => body.collect().await.map(|body| body.to_bytes()).unwrap_or_default(),
        // A picture has no place in JSON; whoever wants it asks for response_type=json, and reads its link.
        false => bytes::Bytes::new(),
    };
    let mut answer = json!({ "url": url, "response": outcome(parts.status.as_u16(), &body) });
    if let Some(cache_url) = parts.headers.get("x-screenshotone-cache-url").and_then(|value| value.to_str().ok()) {
        answer["response"]["cache_url"] = cache_url.into();
    }
    answer
}

fn outcome(status: u16, body: &[u8]) -> Json {
    let status = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let mut outcome = json!({
        "is_successful": status.is_success(),
        "status": status.as_u16(),
        "statusText": status.canonical_reason().unwrap_or_default(),
    });
    if let Ok(body) = serde_json::from_slice::<Json>(body) {
        outcome["body"] = body;
    }
    outcome
}

fn url(api: &Api, query: &str) -> String {
    format!("{}{}?{query}", api.links.public_url, Endpoint::Take.path())
}

/// The item as a signed query. What cannot be written as one is left out, and fails in validation where it is executed.
fn link(record: &KeyRecord, item: &Map<String, Json>) -> String {
    let mut pairs = Vec::new();
    let mut add = |name: &str, value: &Json| {
        let text = match value {
            Json::String(text) => text.clone(),
            Json::Bool(_) | Json::Number(_) => value.to_string(),
            Json::Null | Json::Array(_) | Json::Object(_) => return,
        };
        let escape = |text: &str| utf8_percent_encode(text, UNESCAPED).to_string();
        pairs.push(format!("{}={}", escape(name), escape(&text)));
    };
    for (name, value) in item {
        match value {
            Json::Array(values) => values.iter().for_each(|value| add(name, value)),
            value => add(name, value),
        }
    }
    add("access_key", &Json::String(record.access_key.clone()));
    link::sign(&pairs.join("&"), &record.secret_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Json) -> Result<Bulk, Vec<String>> {
        let Json::Object(body) = body else { panic!("an object") };
        Bulk::read(body).map_err(|problem| problem.details.into_iter().map(|detail| detail.message).collect())
    }

    #[test]
    fn options_are_merged_into_each_item_which_wins() {
        let bulk = read(json!({
            "execute": "True", "optimize": false,
            "options": { "url": "https://a.example", "format": "png", "access_key": "x" },
            "requests": [{}, { "url": "https://b.example" }],
        }));
        let bulk = bulk.unwrap();
        assert!(bulk.execute);
        assert_eq!(Json::Object(bulk.items[0].clone()), json!({ "url": "https://a.example", "format": "png" }));
        assert_eq!(bulk.items[1]["url"], "https://b.example");
    }

    #[test]
    fn all_that_is_wrong_with_the_shape_is_said() {
        let many: Vec<Json> = (0..21).map(|_| json!({})).collect();
        assert_eq!(
            read(json!({ "requests": many })).unwrap_err(),
            ["\"requests\" must contain less than or equal to 20 items"]
        );
        assert_eq!(
            read(json!({ "execute": 1, "options": [], "foo": 1, "requests": [1] })).unwrap_err(),
            [
                "\"execute\" must be a boolean",
                "\"options\" must be of type object",
                "\"requests[0]\" must be of type object",
                "\"foo\" is not allowed"
            ]
        );
        assert_eq!(read(json!({})).unwrap_err(), ["\"requests\" is required"]);
        assert_eq!(read(json!({ "requests": [] })).unwrap_err(), ["\"requests\" must contain at least 1 items"]);
    }
}
