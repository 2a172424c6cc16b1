//! The vendors' render routes: `GET | HEAD | POST` of every [`Endpoint`].

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Buf;
use futures::Stream;
use http::{HeaderMap, Method as HttpMethod};
use snaphook_shared::code::{Code, Job, Problem};
use snaphook_shared::dialect::{self, Dialect, REQUEST_ID};
use snaphook_shared::limits::{BODY_BYTES_MAX, RETRY_AFTER_SECONDS};
use snaphook_shared::options::model::{Medium, ResponseType};
use snaphook_shared::request::{CheckedRequest, Endpoint, Head, Method, RawRequest, gate};
use snaphook_shared::target::NativeUrlParser;
use snaphook_shared::trace::TRACEPARENT;
use tracing::Instrument;
use warp::filters::BoxedFilter;
use warp::path::FullPath;
use warp::{Filter, Rejection};

use super::waiting::WaitingPlace;
use super::{Api, Response, body, cache, owner, raw_query, reply, with};
use crate::domain::job::{NewRequest, StoredFile, new_request_id};
use crate::domain::limits::Place;
use crate::domain::pipeline::Rendered;
use crate::domain::ports::{Acceptance, Admission, QueueError};
use crate::trace::{self, Span, TraceContext};

pub(super) fn routes(api: Arc<Api>) -> BoxedFilter<(Response,)> {
    let renders = warp::path::full().and_then(|path: FullPath| async move {
        Endpoint::from_path(path.as_str()).ok_or_else(|| -> Rejection { warp::reject::not_found() })
    });
    renders
        .and(with(api))
        .and(warp::method())
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(handle)
        .boxed()
}

async fn handle(
    endpoint: Endpoint,
    api: Arc<Api>,
    method: HttpMethod,
    query: String,
    headers: HeaderMap,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Response {
    let id = new_id(&api);
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let head = Head {
        method: method.as_str(),
        path: endpoint.path(),
        query: &query,
        content_type: text("content-type"),
        content_length: text("content-length").and_then(|length| length.parse().ok()),
    };
    let read = async {
        let (endpoint, method) = gate(head)?;
        let (body, room) = match method {
            Method::Post => {
                let (body, room) = body::read(body, BODY_BYTES_MAX, api.body_timeout).await?;
                (body, Some(room))
            }
            Method::Get | Method::Head => (Vec::new(), None),
        };
        let raw = RawRequest {
            endpoint,
            method,
            query: query.clone(),
            access_key_header: text("x-access-key").map(str::to_owned),
            idempotency_key: text("idempotency-key").map(str::to_owned),
            priority: text("priority").map(str::to_owned),
            body,
        };
        Ok((raw, room))
    };
    match read.await {
        Ok((raw, _room)) => serve(&api, raw, id, caller_of(&headers).as_ref()).await,
        Err(problem) => finish(reply::problem(endpoint.dialect(), &problem, &api.links), &id),
    }
}

/// An id for a request that comes without one.
pub(super) fn new_id(api: &Api) -> String {
    new_request_id(api.clock.now_ms())
}

/// Where in a trace the caller is.
pub(super) fn caller_of(headers: &HeaderMap) -> Option<TraceContext> {
    headers.get(TRACEPARENT).and_then(|value| TraceContext::read(value.to_str().ok()?))
}

/// How a request came here.
pub(super) struct Arrival {
    /// When, in Unix seconds. By then its link had expired or not, however long it was on its way.
    pub(super) at_s: u64,
    /// For how long its caller can be held: a render that takes longer goes on as a job. None for as long as it takes.
    pub(super) wait: Option<Duration>,
}

/// The whole way of a render request, whoever read it: authenticate, check, and then accept it or render it now.
pub(super) async fn serve(api: &Api, raw: RawRequest, id: String, caller: Option<&TraceContext>) -> Response {
    serve_since(api, raw, id, caller, Arrival { at_s: api.clock.now_s(), wait: None }).await
}

/// As [`serve`], for a request that was not made here and now.
pub(super) async fn serve_since(
    api: &Api,
    raw: RawRequest,
    id: String,
    caller: Option<&TraceContext>,
    arrival: Arrival,
) -> Response {
    // Of the level that is never filtered out: what is logged inside says whose it is.
    let log = tracing::error_span!("render", request = id);
    let mut span = Span::of_server(raw.method.name(), raw.endpoint.path(), caller);
    span.set("snaphook.request.id", id.clone());
    let response = span.scope(answer_since(api, raw, id, arrival)).instrument(log).await;
    span.set("http.response.status_code", i64::from(response.status().as_u16()));
    if response.status().is_server_error() {
        span.fail(response.status().as_str().to_owned());
    }
    response
}

async fn answer_since(api: &Api, raw: RawRequest, id: String, arrival: Arrival) -> Response {
    let dialect = raw.endpoint.dialect();
    let under_way = UnderWay::default();
    let response = match (admit(api, raw, arrival.at_s).await, arrival.wait) {
        (Ok(checked), _) if checked.options.delivery.asynchronous => accept(api, checked, &id).await,
        (Ok(checked), None) => answer_now(api, checked, &id, &under_way).await,
        (Ok(checked), Some(wait)) => {
            let mut answer = pin!(answer_now(api, checked.clone(), &id, &under_way));
            match tokio::time::timeout(wait, &mut answer).await {
                Ok(answer) => answer,
                // The picture is there, and its row in a moment. A job would find that row, and the picture would be lost.
                Err(_) if under_way.is_rendered() => answer.await,
                Err(_) => Err(go_on_as_job(api, checked, &id, under_way.place()).await),
            }
        }
        (Err(problem), _) => Err(problem),
    };
    finish(response.unwrap_or_else(|problem| reply::problem(dialect, &problem, &api.links)), &id)
}

fn finish(mut response: Response, id: &str) -> Response {
    if !response.headers().contains_key(REQUEST_ID) {
        reply::set(&mut response, REQUEST_ID, id);
    }
    response
}

/// How far a render has come whose caller waits for it.
#[derive(Default)]
struct UnderWay {
    /// The key's place, for as long as the caller of this wants to hold it.
    place: Mutex<Option<Place>>,
    /// Nothing but its record is missing.
    rendered: AtomicBool,
}

impl UnderWay {
    fn hold(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    }

    fn place(&self) -> Option<Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn is_rendered(&self) -> bool {
        self.rendered.load(Ordering::Relaxed)
    }
}

/// Names the caller, and checks all that can be checked before anything is done. Whether the key was revoked counts as of
/// now; its links and its old secrets are judged as of `at_s` (Unix seconds), when the request was made.
pub(super) async fn admit(api: &Api, raw: RawRequest, at_s: u64) -> Result<CheckedRequest, Problem> {
    let read = raw.read()?;
    let record = api.queue.key(read.access_key()).await.map_err(|error| {
        tracing::error!(%error, "a key could not be looked up");
        Problem::unavailable()
    })?;
    read.authenticate(record.as_ref(), at_s)?;
    let checked = read.check(&NativeUrlParser, &api.policies)?;
    match checked.options.medium() {
        Medium::Video if !api.makes_videos => Err(Problem::new(Code::VideoNotAvailable)),
        _ => Ok(checked),
    }
}

pub(super) fn new_request(api: &Api, checked: CheckedRequest, id: &str) -> NewRequest {
    // An idempotency key is for what is accepted: a caller who waits has their answer, or asks again.
    let asynchronous = checked.options.delivery.asynchronous;
    NewRequest {
        id: id.to_owned(),
        fingerprint: checked.fingerprint(),
        access_key: checked.access_key,
        endpoint: checked.endpoint,
        options: checked.options,
        idempotency_key: checked.idempotency_key.filter(|_| asynchronous),
        urgency: checked.urgency,
        created_ms: api.clock.now_ms(),
        traceparent: trace::current().as_ref().map(TraceContext::traceparent),
    }
}

/// Puts a request whose caller cannot be held any longer into the queue, and says so. What was rendered of it is given up:
/// a job that a worker leases is there after any crash, and a render that a connection began is not.
///
/// One that had its place was checked and counted when it got it.
async fn go_on_as_job(api: &Api, checked: CheckedRequest, id: &str, place: Option<Place>) -> Problem {
    // The fingerprint stays that of the request as it was sent: should the render have ended in this very moment, its row is
    // found again under the id.
    let mut request = new_request(api, checked, id);
    request.options.delivery.asynchronous = true;
    let accepted = match place {
        Some(place) => accepted(api, api.queue.turn_over(request, place).await),
        None => enqueue(api, request).await,
    };
    match accepted {
        Ok((id, _)) => {
            let status_url = api.links.request(&id);
            Problem { job: Some(Box::new(Job { id, status_url })), ..Problem::new(Code::StillRendering) }
        }
        Err(problem) => problem,
    }
}

/// Answers only after the request is on the disk.
async fn accept(api: &Api, checked: CheckedRequest, id: &str) -> Result<Response, Problem> {
    let dialect = checked.endpoint.dialect();
    let (id, created_ms) = enqueue(api, new_request(api, checked, id)).await?;
    let status = match dialect {
        Dialect::ScreenshotOne => api.screenshotone_async_status,
        Dialect::ScreenshotMax | Dialect::Native => 202,
    };
    let accepted = dialect::accepted(status, &id, created_ms / 1000, &api.links.request(&id));
    Ok(reply::from_shared(accepted.header(REQUEST_ID, id)))
}

/// The id under which it is kept, and since when.
pub(super) async fn enqueue(api: &Api, request: NewRequest) -> Result<(String, u64), Problem> {
    if api.disk.is_short() {
        return Err(Problem::unavailable());
    }
    accepted(api, api.queue.accept(request).await)
}

fn accepted(api: &Api, acceptance: Result<Acceptance, QueueError>) -> Result<(String, u64), Problem> {
    let acceptance = acceptance.map_err(|error| {
        tracing::error!(%error, "a request could not be accepted");
        Problem::unavailable()
    })?;
    let accepted = match acceptance {
        Acceptance::Accepted { id, created_ms } => (id, created_ms),
        Acceptance::KeyReused => return Err(Problem::new(Code::IdempotencyKeyReused)),
        Acceptance::Full => return Err(Problem::unavailable()),
        Acceptance::Limited(limited) => return Err(limited.problem()),
    };
    api.requests.notify_one();
    Ok(accepted)
}

async fn answer_now(api: &Api, checked: CheckedRequest, id: &str, under_way: &UnderWay) -> Result<Response, Problem> {
    let _place = place(api, &checked.access_key)?;
    let Some(key) = cache::key(&checked) else {
        return render_now(api, checked, id, under_way).await.map(|(response, _)| response);
    };
    if let Some(hit) = cache::find(api, &key).await {
        return Ok(hit);
    }
    let flight = api.flights.join(&key).await?;
    // Somebody else may have rendered it in the meantime.
    if let Some(hit) = cache::find(api, &key).await {
        return Ok(hit);
    }
    let ttl_s = checked.options.delivery.cache.ttl_s;
    match render_now(api, checked, id, under_way).await {
        Ok((response, Some(file))) => Ok(cache::keep(api, key, ttl_s, &file, response).await),
        Ok((response, None)) => Ok(response),
        Err(problem) => {
            flight.fail(&problem);
            Err(problem)
        }
    }
}

/// A place among those who wait for their answer.
pub(super) fn place<'a>(api: &'a Api, access_key: &str) -> Result<WaitingPlace<'a>, Problem> {
    let full = || Problem { retry_after: Some(RETRY_AFTER_SECONDS), ..Problem::new(Code::ConcurrencyLimitReached) };
    api.waiting.enter(access_key).ok_or_else(full)
}

/// Counts a render for its key, which it keeps busy for as long as the place is held.
pub(super) async fn begin(api: &Api, access_key: &str) -> Result<Place, Problem> {
    match api.queue.admit(access_key, api.clock.now_ms()).await.map_err(owner::unavailable)? {
        Admission::Admitted(place) => Ok(place),
        Admission::Limited(limited) => Err(limited.problem()),
    }
}

async fn render_now(
    api: &Api,
    checked: CheckedRequest,
    id: &str,
    under_way: &UnderWay,
) -> Result<(Response, Option<StoredFile>), Problem> {
    let place = begin(api, &checked.access_key).await?;
    under_way.hold(place);
    let delivery = checked.options.delivery.clone();
    let request = new_request(api, checked, id);
    let keep_file = delivery.store.enabled || delivery.cache.enabled || delivery.response_type == ResponseType::Json;
    let finished = api.pipeline.render_now(&request, keep_file).await;
    under_way.rendered.store(true, Ordering::Relaxed);
    let rendered = api.pipeline.record(request.clone(), finished).await.map_err(|failure| failure.problem)?;
    api.deliveries.notify_one();
    let response = answer(api, &request, &rendered);
    Ok((response, rendered.file))
}

fn answer(api: &Api, request: &NewRequest, rendered: &Rendered) -> Response {
    let delivery = &request.options.delivery;
    let mut response = match (delivery.response_type, &rendered.file) {
        (ResponseType::Json, Some(file)) => {
            let mut response = Response::new(
                api.links
                    .screenshotone_json(request, file, &rendered.artifact.metadata, rendered.slices.as_ref())
                    .into(),
            );
            reply::set(&mut response, "content-type", "application/json");
            response
        }
        (ResponseType::Empty, _) => Response::default(),
        _ => {
            let mut response = Response::new(rendered.artifact.bytes.clone().into());
            reply::set(&mut response, "content-type", rendered.artifact.format.content_type());
            if let Some(name) = &delivery.attachment_name {
                let name = format!("{name}.{}", rendered.artifact.format.extension());
                reply::set(&mut response, "content-disposition", &reply::attachment(&name));
            }
            response
        }
    };
    if delivery.response_type != ResponseType::Json {
        for (name, value) in rendered.artifact.metadata.headers(request.dialect()) {
            reply::set(&mut response, name, &value);
        }
    }
    reply::set(&mut response, "cache-control", "no-store");
    if let (true, Some(size)) = (request.options.output.tell_size, rendered.artifact.size) {
        let (width, height) = match request.dialect() {
            Dialect::ScreenshotOne => ("x-screenshotone-image-width", "x-screenshotone-image-height"),
            // The vendor does not say where it puts its metadata.
            Dialect::ScreenshotMax | Dialect::Native => ("x-screenshotmax-image-width", "x-screenshotmax-image-height"),
        };
        reply::set(&mut response, width, &size.width.to_string());
        reply::set(&mut response, height, &size.height.to_string());
    }
    if let Some(slices) = &rendered.slices {
        let url = api.links.file(&slices.manifest.name);
        reply::set(&mut response, "x-screenshotone-full-page-slices-url", &url);
    }
    if rendered.artifact.format.medium() == Medium::Text {
        // HTML of a stranger under our address: to be looked at, not to run. As for stored files.
        reply::set(&mut response, "content-security-policy", "default-src 'none'; sandbox");
    }
    if let Some(stored) = rendered.file.as_ref().and_then(|file| api.links.stored(request, file)) {
        reply::set(&mut response, "x-screenshotone-store-key", &stored.key);
        reply::set(&mut response, "x-screenshotone-store-bucket", &stored.bucket);
        if let Some(location) = &stored.location {
            reply::set(&mut response, "x-screenshotone-store-location", location);
        }
    }
    if let (true, Some(file)) = (delivery.cache.enabled, &rendered.file) {
        reply::set(&mut response, "x-screenshotone-cache-url", &api.links.file(&file.name));
    }
    response
}
