//! `GET /openapi.json`: the description of this API, made from the tables that drive it.

use std::sync::Arc;

use snaphook_shared::dialect::Reply;
use warp::Filter;
use warp::filters::BoxedFilter;

use super::{Api, Response, reply, with};
use crate::reference;

pub(super) fn routes(api: Arc<Api>) -> BoxedFilter<(Response,)> {
    warp::path!("openapi.json")
        .and(warp::get().or(warp::head()).unify())
        .and(with(api))
        .map(|api: Arc<Api>| {
            let document = reference::openapi(&api.links.public_url);
            let mut response = reply::from_shared(Reply::json(200, document.to_string()));
            reply::set(&mut response, "cache-control", "public, max-age=300");
            // Tools that run in a browser read it from elsewhere.
            reply::set(&mut response, "access-control-allow-origin", "*");
            response
        })
        .boxed()
}
