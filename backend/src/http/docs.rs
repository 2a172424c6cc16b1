//! `GET /docs/errors/<slug>`: the page that an error links to, made from the error's own entry.

use snaphook_shared::code::Code;
use warp::Filter;
use warp::filters::BoxedFilter;

use super::{Response, reply};

pub(super) fn routes() -> BoxedFilter<(Response,)> {
    warp::path!("docs" / "errors" / String)
        .and(warp::get())
        .and_then(|slug: String| async move {
            let code = Code::ALL.into_iter().find(|code| code.entry().slug == slug);
            code.map(page).ok_or_else(warp::reject::not_found)
        })
        .boxed()
}

fn page(code: Code) -> Response {
    let entry = code.entry();
    let text = format!(
        "# {}\n\n{}\n\nHTTP status: {} in the ScreenshotOne dialect, {} elsewhere.\n",
        entry.name, entry.text, entry.status, entry.status_plain
    );
    let mut response = Response::new(text.into());
    reply::set(&mut response, "content-type", "text/markdown; charset=utf-8");
    response
}
