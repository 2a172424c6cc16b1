//! The HTTP surface: the list of routes, and what they share. The only module that knows warp.
//!
//! Errors are values here: a handler gives a `Result` and [`reply`] makes an answer of it. warp's rejections mean "not my
//! route" and nothing else.

mod body;
mod bulk;
mod cache;
mod dashboard;
pub(crate) mod deliveries;
mod devices;
mod docs;
mod files;
mod health;
mod internal;
mod manual;
mod measure;
mod openapi;
mod owner;
mod render;
mod reply;
pub(crate) mod requests;
mod server;
mod tasks;
mod trial;
mod usage;
mod waiting;

use std::sync::Arc;

use snaphook_shared::code::{Code, Problem};
use snaphook_shared::dialect::{CORS, Dialect, REQUEST_ID, preflight};
use snaphook_shared::limits::QUERY_BYTES_MAX;
use snaphook_shared::request::Policies;
use snaphook_shared::route;
use snaphook_shared::secret::Secret;
use tokio::sync::Notify;
use warp::filters::BoxedFilter;
use warp::path::FullPath;
use warp::{Filter, Reply};

use crate::clock::Clock;
use crate::dashboard::Dashboard;
use crate::disk::LastLook;
use crate::domain::notice::Links;
use crate::domain::pipeline::Pipeline;
use crate::domain::ports::{FileStore, JobQueue};
use crate::domain::task::Tasks;
pub use cache::Flights;
pub use dashboard::dashboard_routes;
pub use health::{Scrape, routes as operations_routes};
pub use server::{Limits, Server};
pub use waiting::Waiting;

pub type Response = warp::reply::Response;
/// All that a listener serves.
pub type Routes = BoxedFilter<(Response,)>;

/// What handlers work with.
pub struct Api {
    pub pipeline: Arc<Pipeline>,
    pub queue: Arc<dyn JobQueue>,
    pub tasks: Arc<dyn Tasks>,
    pub store: Arc<dyn FileStore>,
    /// Nothing new is accepted while it is short of room.
    pub disk: LastLook,
    pub clock: Clock,
    pub links: Links,
    pub policies: Policies,
    /// Key ids and secrets of the edges.
    pub edge_secrets: Vec<(String, Secret)>,
    pub screenshotone_async_status: u16,
    pub body_timeout: std::time::Duration,
    /// Whether there is something to make them with.
    pub makes_videos: bool,
    pub waiting: Waiting,
    /// Cacheable renders under way.
    pub flights: Flights,
    /// To ring when a request was accepted.
    pub requests: Arc<Notify>,
    /// To ring when a webhook may be due.
    pub deliveries: Arc<Notify>,
}

/// All routes of the API, and the dashboard's if there is one. Nothing of the API's answers, such as that pages of other
/// origins may read them, is for the dashboard.
pub fn routes(api: Arc<Api>, dashboard: Option<Arc<Dashboard>>) -> BoxedFilter<(Response,)> {
    match dashboard {
        Some(dashboard) => dashboard::routes(dashboard, api.body_timeout).or(api_routes(api)).unify().boxed(),
        None => api_routes(api),
    }
}

/// A request that fits no route gets an error in the dialect of its path.
fn api_routes(api: Arc<Api>) -> BoxedFilter<(Response,)> {
    let nowhere = warp::method().and(warp::path::full()).then({
        let api = api.clone();
        move |method: http::Method, path: FullPath| {
            let api = api.clone();
            async move {
                let problem = match route::methods(path.as_str()) {
                    Some(methods) if !methods.contains(&method.as_str()) => Problem::method_not_allowed(methods),
                    _ => Problem::new(Code::NotFound),
                };
                reply::problem(Dialect::of_path(path.as_str()), &problem, &api.links)
            }
        }
    });
    preflights()
        .or(long_queries(api.clone()))
        .unify()
        .or(render::routes(api.clone()))
        .unify()
        .or(internal::routes(api.clone()))
        .unify()
        .or(requests::routes(api.clone()))
        .unify()
        .or(deliveries::routes(api.clone()))
        .unify()
        .or(devices::routes(api.clone()))
        .unify()
        .or(files::routes(api.clone()))
        .unify()
        .or(usage::routes(api.clone()))
        .unify()
        .or(bulk::routes(api.clone()))
        .unify()
        .or(tasks::routes(api.clone()))
        .unify()
        .or(openapi::routes(api.clone()))
        .unify()
        .or(manual::routes(&api))
        .unify()
        .or(docs::routes())
        .unify()
        .or(nowhere)
        .unify()
        .map(move |response: Response| finish(response, &api))
        .with(measure::answers())
        .map(into_response)
        .boxed()
}

/// A browser asks whether a page of another origin may call us.
fn preflights() -> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone {
    warp::options().and(warp::path::full()).and_then(|path: FullPath| async move {
        let methods = route::methods(path.as_str()).ok_or_else(warp::reject::not_found)?;
        Ok::<_, warp::Rejection>(reply::from_shared(preflight(methods)))
    })
}

/// A query that is too long, whatever it is sent to: the edge refuses it alike.
fn long_queries(api: Arc<Api>) -> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone {
    warp::method().and(warp::path::full()).and(raw_query()).and(with(api)).and_then(
        |method: http::Method, path: FullPath, query: String, api: Arc<Api>| async move {
            let path = path.as_str();
            let is_ours = route::methods(path).is_some_and(|methods| methods.contains(&method.as_str()));
            if !is_ours || query.len() <= QUERY_BYTES_MAX {
                return Err(warp::reject::not_found());
            }
            Ok(reply::problem(Dialect::of_path(path), &Problem::new(Code::UriTooLong), &api.links))
        },
    )
}

/// What every answer has. The id also tells the edge that the answer is ours, and not that of something in between.
fn finish(mut response: Response, api: &Api) -> Response {
    reply::set(&mut response, "x-content-type-options", "nosniff");
    for (name, value) in CORS {
        reply::set(&mut response, name, value);
    }
    let for_a_caller = response.extensions_mut().remove::<internal::Unsealed>().is_none();
    if for_a_caller && !response.headers().contains_key(REQUEST_ID) {
        reply::set(&mut response, REQUEST_ID, &render::new_id(api));
    }
    response
}

/// Gives every handler of a resource its own handle.
fn with<T: Clone + Send + Sync>(part: T) -> impl Filter<Extract = (T,), Error = std::convert::Infallible> + Clone {
    warp::any().map(move || part.clone())
}

/// The query string as it was sent; empty if there is none.
fn raw_query() -> impl Filter<Extract = (String,), Error = std::convert::Infallible> + Clone {
    warp::query::raw().or(warp::any().map(String::new)).unify()
}

fn into_response(reply: impl Reply) -> Response {
    reply.into_response()
}
