//! The Cloudflare Worker in front of a snaphook backend: the same front door, moved close to the caller.
//!
//! A request for a render is refused here if it can be, and costs the backend nothing then; else it is handed over
//! under a seal, and the backend's answer goes to the caller as it is. What is right and wrong is `shared`'s to say.
//! Never answers 202 by itself but for what its Queue holds, never reaches the backend's `/internal/` for a caller, never panics:
//! one panic would end every request that the isolate is at, for all that it begins anew after it.
//!
//! The order is the data's way: `gate` (head alone) → `body` → read → `authenticate` → check → `handover`.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod authenticate;
mod backend;
mod bindings;
mod body;
mod executor;
mod files;
mod gate;
mod handover;
mod outbox;
mod platform;
mod reply;
mod services;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use snaphook_shared::code::{Code, Problem};
use snaphook_shared::dialect::{self, Dialect};
use snaphook_shared::id::request_id;
use snaphook_shared::limits::RETRY_AFTER_SECONDS;
use snaphook_shared::request::{Head, Method, RawRequest, access_key};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use web_sys::{Request, Response};
use worker::Env;

use crate::backend::{Asked, AskedHead, Away, Limit};
use crate::bindings::{BindingError, Bindings};
use crate::executor::apart;
use crate::gate::{Address, Route};
use crate::handover::Arrival;
use crate::platform::{Arrived, PlatformUrlParser};
use crate::services::{Context, Message};

/// What is passed on with a request that the backend answers by itself.
const FORWARDED_HEADERS: [&str; 7] =
    ["accept", "content-type", "if-none-match", "if-range", "range", "traceparent", "x-access-key"];
const FORWARD_LIMIT: Duration = Duration::from_secs(25);

/// Why there is no answer of the backend to give.
enum Failure {
    /// The caller's doing.
    Refused(Problem),
    Away(Away),
    /// The operator's.
    Unconfigured(BindingError),
    Platform(JsValue),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        Failure::Refused(problem)
    }
}

impl From<Away> for Failure {
    fn from(away: Away) -> Failure {
        Failure::Away(away)
    }
}

impl From<JsValue> for Failure {
    fn from(error: JsValue) -> Failure {
        Failure::Platform(error)
    }
}

/// A request. As of all events here, `task` numbers what [`executor`] runs, and what it gives is for `worker.js`.
///
/// # Errors
/// The platform's.
#[wasm_bindgen]
pub fn fetch(task: u32, request: Request, env: Env, context: Context) -> Result<JsValue, JsValue> {
    executor::begin(task, async move { respond(&request, &env, &context).await.map(Into::into) })
}

/// Answers whatever comes.
///
/// # Errors
/// The platform's, where not even an answer can be made.
async fn respond(request: &Request, env: &Env, context: &Context) -> Result<Response, JsValue> {
    let received_at_ms = platform::now_ms();
    let (arrived, random) = Arrived::of(request)?;
    let request_id = request_id(received_at_ms, random);
    let address = Address::cut(arrived.url());
    let bindings = settings(env);
    let answer = match &bindings {
        Ok(bindings) => {
            let worker = Worker { bindings, env, context };
            answer(request, worker, &arrived, address, &request_id, received_at_ms).await
        }
        Err(error) => Err(Failure::Unconfigured(*error)),
    };
    let failure = match answer {
        Ok(response) => return Ok(response),
        Err(failure) => failure,
    };
    let public_origin = bindings.as_ref().ok().and_then(|bindings| bindings.public_origin.as_deref());
    let docs_base = [public_origin.unwrap_or(address.origin), "/docs/errors"].concat();
    let reply = dialect::error(Dialect::of_path(address.path), &problem(failure, &request_id), &docs_base);
    reply::own(&reply, &request_id)
}

/// A message of the outbox is to be handed over. Never fails: an error here would bring its neighbours again too.
///
/// # Errors
/// None.
#[wasm_bindgen]
pub fn queue(task: u32, message: Message, queue: String, env: Env) -> Result<JsValue, JsValue> {
    executor::begin(task, async move {
        match settings(&env) {
            Ok(bindings) => outbox::consume(&bindings, &env, &message, &queue).await,
            Err(error) => {
                platform::log(format_args!("the Worker is not configured: {error}"));
                // It comes again, by the Queue's own schedule.
                message.retry(&services::options(&[("delaySeconds", 60.into())]));
            }
        }
        Ok(JsValue::UNDEFINED)
    })
}

/// The clock: what could not be handed over for days is tried again.
///
/// # Errors
/// None.
#[wasm_bindgen]
pub fn scheduled(task: u32, env: Env) -> Result<JsValue, JsValue> {
    executor::begin(task, async move {
        let swept = match settings(&env) {
            Ok(bindings) => outbox::sweep(&bindings, &env).await.map_err(|error| platform::message(&error)),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = swept {
            platform::log(format_args!("undelivered requests could not be tried: {error}"));
        }
        Ok(JsValue::UNDEFINED)
    })
}

/// What a task waited for has come.
///
/// # Errors
/// The task's own.
#[wasm_bindgen]
pub fn resume(task: u32, value: JsValue, failed: bool) -> Result<JsValue, JsValue> {
    executor::resume(task, value, failed)
}

/// What a request is answered with.
#[derive(Clone, Copy)]
struct Worker<'a> {
    bindings: &'a Bindings,
    env: &'a Env,
    context: &'a Context,
}

/// What the caller reads of a failure. What is not theirs to know goes to the operator's log, under the request's id.
fn problem(failure: Failure, request_id: &str) -> Problem {
    match failure {
        Failure::Refused(problem) => problem,
        Failure::Away(away) => {
            platform::log(format_args!("{request_id}: {away}"));
            Problem::unavailable()
        }
        Failure::Unconfigured(error) => {
            platform::log(format_args!("{request_id}: the Worker is not configured: {error}"));
            Problem::new(Code::InternalApplicationError)
        }
        Failure::Platform(error) => {
            platform::log(format_args!("{request_id}: {}", platform::message(&error)));
            Problem::new(Code::InternalApplicationError)
        }
    }
}

thread_local! {
    static SETTINGS: RefCell<Option<Rc<Bindings>>> = const { RefCell::new(None) };
}

/// The settings; they are the same for as long as the isolate lives.
fn settings(env: &Env) -> Result<Rc<Bindings>, BindingError> {
    if let Some(bindings) = SETTINGS.with_borrow(Option::clone) {
        return Ok(bindings);
    }
    let get = |name: &str| services::variable(env, name);
    let mut bindings = Bindings::read(&get, &PlatformUrlParser::default())?;
    bindings.has_limiter = services::limiter(env).is_some();
    let bindings = Rc::new(bindings);
    SETTINGS.set(Some(Rc::clone(&bindings)));
    Ok(bindings)
}

async fn answer(
    request: &Request,
    worker: Worker<'_>,
    arrived: &Arrived,
    address: Address<'_>,
    request_id: &str,
    received_at_ms: u64,
) -> Result<Response, Failure> {
    let content_type = arrived.header("content-type");
    let head = Head {
        method: arrived.method(),
        path: address.path,
        query: address.query,
        content_type,
        content_length: arrived.header("content-length").and_then(|length| length.parse().ok()),
    };
    match gate::route(head)? {
        Route::Preflight(methods) => Ok(reply::own(&dialect::preflight(methods), request_id)?),
        Route::File => {
            let arrived = arrived.whole(request)?;
            apart(files::serve(worker.bindings, worker.context, &arrived, address, request_id)).await
        }
        Route::Forward => {
            let arrived = arrived.whole(request)?;
            apart(async {
                if let Some(access_key) = access_key(arrived.header("x-access-key"), address.query) {
                    allowance(worker, &access_key).await?;
                }
                let takes_body = matches!(head.method, "POST" | "PATCH");
                let body = if takes_body { Some(body::read(request).await?) } else { None };
                forward(worker.bindings, &arrived, address, body).await
            })
            .await
        }
        Route::Render(endpoint, method) => {
            let traceparent = arrived.header("traceparent");
            let arrival = Arrival { request_id, received_at_ms, content_type, traceparent };
            let raw = RawRequest {
                endpoint,
                method,
                query: address.query.to_owned(),
                access_key_header: arrived.header("x-access-key").map(str::to_owned),
                idempotency_key: arrived.header("idempotency-key").map(str::to_owned),
                priority: arrived.header("priority").map(str::to_owned),
                body: if method == Method::Post { apart(body::read(request)).await? } else { Vec::new() },
            };
            render(request, worker, raw, address, arrival).await
        }
    }
}

async fn render(
    request: &Request,
    worker: Worker<'_>,
    raw: RawRequest,
    address: Address<'_>,
    arrival: Arrival<'_>,
) -> Result<Response, Failure> {
    let Worker { bindings, env, context } = worker;
    let dialect = raw.endpoint.dialect();
    let read = raw.read()?;
    let nonce = [arrival.request_id, "-key"].concat();
    let found = authenticate::find(bindings, env, context, read.access_key(), &nonce).await?;
    if let Err(problem) = read.authenticate(found.record.as_deref(), arrival.received_at_ms / 1000) {
        // By an older record nobody is refused: there is none of an unknown key, and the two would differ.
        return Err(found.older.map_or(Failure::Refused(problem), Failure::Away));
    }
    allowance(worker, read.access_key()).await?;
    let mut envelope = handover::wrap(read.raw(), read.access_key(), arrival)?;
    let checked = read.check(&PlatformUrlParser::default(), &bindings.policies)?;
    let asynchronous = checked.options.delivery.asynchronous;
    // What was accepted does not end with its caller; what somebody waits for does.
    let caller = (!asynchronous).then(|| request.signal());
    if !asynchronous {
        envelope.wait_ms = Some(handover::wait_ms(bindings));
    }
    let json = envelope.to_json();
    let limit = handover::limit(bindings, caller.as_ref());
    let away = match handover::post(bindings, &json, &envelope.request_id, limit).await {
        Ok(response) => return Ok(response),
        Err(away) => away,
    };
    if !asynchronous || !apart(outbox::keep(env, &envelope, json)).await {
        return Err(Failure::Away(away));
    }
    let id = &envelope.request_id;
    platform::log(format_args!("{id}: kept in the outbox: {away}"));
    let origin = bindings.public_origin.as_deref().unwrap_or(address.origin);
    let status = bindings.accepted_status(dialect);
    let accepted =
        dialect::accepted(status, id, envelope.received_at_ms / 1000, &[origin, "/v1/requests/", id].concat());
    Ok(reply::own(&accepted, id)?)
}

/// The rate limit of a key, where one is bound. A limiter that fails limits nobody.
async fn allowance(worker: Worker<'_>, access_key: &str) -> Result<(), Problem> {
    if !worker.bindings.has_limiter {
        return Ok(());
    }
    let Some(limiter) = services::limiter(worker.env) else { return Ok(()) };
    let verdict = match limiter.limit(&services::options(&[("key", access_key.into())])).await {
        Ok(verdict) => verdict,
        Err(error) => {
            platform::log(format_args!("LIMITER: {}", platform::message(&error)));
            return Ok(());
        }
    };
    match services::field(&verdict, "success").as_bool() {
        Some(false) => {
            Err(Problem { retry_after: Some(RETRY_AFTER_SECONDS), ..Problem::new(Code::ConcurrencyLimitReached) })
        }
        _ => Ok(()),
    }
}

async fn forward(
    bindings: &Bindings,
    arrived: &Arrived,
    address: Address<'_>,
    body: Option<Vec<u8>>,
) -> Result<Response, Failure> {
    let passed_on = FORWARDED_HEADERS.into_iter().filter_map(|name| Some((name, arrived.header(name)?)));
    let question_mark = if address.query.is_empty() { "" } else { "?" };
    let asked = Asked {
        method: arrived.method(),
        path_and_query: &[address.path, question_mark, address.query].concat(),
        head: AskedHead::PassedOn(&platform::headers(passed_on)),
        body: body.as_deref(),
        limit: Limit::Head(FORWARD_LIMIT, None),
    };
    Ok(backend::ask(bindings, asked).await?)
}
