//! What the native routes share: who asks, for which page of a list, and the answer's shape.

use http::HeaderMap;
use serde_json::Value as Json;
use snaphook_shared::code::{Code, Problem};
use snaphook_shared::dialect::{Dialect, Reply};
use snaphook_shared::key::{KeyRecord, is_access_key};
use snaphook_shared::link::{self, LinkError};
use snaphook_shared::options::fields::Fields;

use super::{Api, Response, reply};
pub(super) use crate::clock::rfc3339 as time;
use crate::domain::ports::QueueError;

const PAGE_DEFAULT: u32 = 50;
const PAGE_MAX: u32 = 200;

/// The access key, and the other parameters. As for the vendors' own look-ups, the key is enough, unless it accepts signed
/// links only.
pub(super) async fn authenticate(api: &Api, query: &str, headers: &HeaderMap) -> Result<(String, Fields), Problem> {
    let mut fields = Fields::from_query(query);
    fields.take("signature");
    fields.take("expires");
    let in_query = fields.take("access_key");
    let record = live_key(api, in_query, "", headers).await?;
    let now_s = api.clock.now_s();
    match link::verify(query, &record.live_secrets(now_s), now_s) {
        Ok(()) => {}
        Err(LinkError::Missing) if !record.require_signed => {}
        Err(LinkError::Missing) => return Err(Problem::new(Code::SignatureIsRequired)),
        Err(_) => return Err(Problem::new(Code::SignatureIsNotValid)),
    }
    if let Some(name) = fields.with_nul() {
        let message = format!("\"{name}\" has a character in it that no text here has: U+0000");
        return Err(Problem::with_detail(Code::RequestNotValid, name, message));
    }
    Ok((record.access_key, fields))
}

/// The caller's key: from the header, else as it was given in the body, else from the query. For a call that changes
/// something it is enough, as it is for a render that is posted: signatures are for links.
pub(super) async fn live_key(
    api: &Api,
    given: Option<String>,
    query: &str,
    headers: &HeaderMap,
) -> Result<KeyRecord, Problem> {
    let in_header = headers.get("x-access-key").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let in_query = || Fields::from_query(query).take("access_key");
    let access_key = in_header.or(given).or_else(in_query).filter(|key| !key.is_empty());
    let access_key = access_key.ok_or_else(|| Problem::new(Code::AccessKeyRequired))?;
    let invalid = || Problem::new(Code::AccessKeyInvalid);
    if !is_access_key(&access_key) {
        return Err(invalid());
    }
    let record = api.queue.key(&access_key).await.map_err(unavailable)?;
    record.filter(|record| !record.revoked).ok_or_else(invalid)
}

/// The `state` parameter of a list, one of `names`.
pub(super) fn state<T>(
    fields: &mut Fields,
    names: &[&str],
    from_name: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Problem> {
    let Some(name) = fields.take("state") else { return Ok(None) };
    let message = || format!("\"state\" must be one of [{}]", names.join(", "));
    from_name(&name).map(Some).ok_or_else(|| Problem::with_detail(Code::RequestNotValid, "state", message()))
}

/// The `limit` parameter of a list.
pub(super) fn limit(fields: &mut Fields) -> Result<u32, Problem> {
    let Some(limit) = fields.take("limit") else { return Ok(PAGE_DEFAULT) };
    let message = || format!("\"limit\" must be a number from 1 to {PAGE_MAX}");
    let limit = limit.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
    limit.ok_or_else(|| Problem::with_detail(Code::RequestNotValid, "limit", message()))
}

/// The `since` parameter of a list, RFC 3339; Unix milliseconds.
pub(super) fn since(fields: &mut Fields) -> Result<Option<u64>, Problem> {
    let Some(text) = fields.take("since") else { return Ok(None) };
    let message = "\"since\" must be a time as 2026-11-21T08:00:00Z";
    let time = text.parse::<jiff::Timestamp>().ok().and_then(|time| u64::try_from(time.as_millisecond()).ok());
    time.map(Some).ok_or_else(|| Problem::with_detail(Code::RequestNotValid, "since", message.to_owned()))
}

/// Refuses what is left when all known parameters have been taken.
pub(super) fn nothing_else(fields: &Fields) -> Result<(), Problem> {
    match fields.iter().next() {
        Some(field) => {
            let message = format!("\"{}\" is not allowed", field.name);
            Err(Problem::with_detail(Code::RequestNotValid, &field.name, message))
        }
        None => Ok(()),
    }
}

pub(super) fn answer(api: &Api, result: Result<Json, Problem>) -> Response {
    match result {
        Ok(json) => reply::from_shared(Reply::json(200, json.to_string())),
        Err(problem) => reply::problem(Dialect::Native, &problem, &api.links),
    }
}

pub(super) fn unavailable(error: QueueError) -> Problem {
    tracing::error!(%error, "the queue could not be asked");
    Problem::unavailable()
}
