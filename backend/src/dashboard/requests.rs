//! The list of requests, of all keys.

use http::StatusCode;
use maud::html;
use snaphook_shared::options::fields::Fields;

use super::answer::{self, Result};
use super::html::{Frame, badge, bytes, choice, duration, input, layout, pager, time};
use super::{Dashboard, as_local, filled, moment, preview};
use crate::domain::job::{RequestState, RequestView};
use crate::domain::ports::RequestFilter;

const PAGE: u32 = 50;
/// Above a list that is the answer to a search.
pub(super) const STANDS_STILL: &str = "A search stands still: reload the page to see what has come since.";

pub(super) async fn list(dashboard: &Dashboard, frame: &Frame, fields: &mut Fields) -> Result {
    let filter = RequestFilter {
        access_key: filled(fields, "key"),
        state: filled(fields, "state").and_then(|name| RequestState::from_name(&name)),
        since_ms: moment(fields, "since")?,
        until_ms: moment(fields, "until")?,
        text: filled(fields, "text"),
        before: filled(fields, "before"),
        limit: PAGE,
        ..RequestFilter::default()
    };
    let views = dashboard.queue.requests(filter.clone()).await?;
    let keys: Vec<String> = dashboard.operator.keys().await?.into_iter().map(|key| key.access_key).collect();
    let (since, until) = (filter.since_ms.map(as_local), filter.until_ms.map(as_local));
    let state = filter.state.map(RequestState::name);
    let pairs = [
        ("state", state),
        ("key", filter.access_key.as_deref()),
        ("text", filter.text.as_deref()),
        ("since", since.as_deref()),
        ("until", until.as_deref()),
    ];
    let next = views.last().filter(|_| views.len() == PAGE as usize).map(|view| view.id.as_str());
    let is_filtered = pairs.iter().any(|(_, value)| value.is_some());
    let states = RequestState::ALL.map(|state| state.name().to_owned());
    let body = html! {
        h1 { "Requests" }
        form method="get" action="/dashboard/requests" .filter role="search" aria-label="Filter requests" {
            (choice("state", "State", "Any", &states, state))
            (choice("key", "Key", "Any", &keys, filter.access_key.as_deref()))
            (input("text", "Target contains", "search", filter.text.as_deref().unwrap_or_default()))
            (input("since", "From (UTC)", "datetime-local", since.as_deref().unwrap_or_default()))
            (input("until", "Until (UTC)", "datetime-local", until.as_deref().unwrap_or_default()))
            div .actions {
                button type="submit" { "Filter" }
                @if is_filtered { a href="/dashboard/requests" { "Clear" } }
            }
        }
        // A page of older ones stands still, and so does a search: it may look at every request there is.
        @if filter.text.is_some() { p .sub { (STANDS_STILL) } }
        div #live data-live=[(filter.before.is_none() && filter.text.is_none()).then_some("4")] {
            @if views.is_empty() {
                p .empty { @if is_filtered { "No request fits." } @else { "There is no request yet." } }
            } @else {
                (table(&views, frame.now_ms))
            }
            (pager("/dashboard/requests", &pairs, filter.before.as_deref(), next))
        }
    };
    Ok(answer::page(StatusCode::OK, layout(frame, "Requests", body)))
}

fn table(views: &[RequestView], now_ms: u64) -> maud::Markup {
    html! {
        table .list {
            caption .hidden { "Requests, newest first; times are UTC" }
            thead { tr {
                th scope="col" { "State" }
                th scope="col" { "Target" }
                th scope="col" { "Result" }
                th scope="col" { "Key" }
                th scope="col" { "Took" }
                th scope="col" { "Created" }
            } }
            tbody {
                @for view in views {
                    tr {
                        td { (badge(view.state.name())) }
                        td .wide {
                            a .target href={ "/dashboard/requests/" (view.id) } { (view.target) }
                            span .sub { (view.endpoint) @if view.asynchronous { " · async" } @if view.task_id.is_some() { " · task" } }
                        }
                        td data-label="Result" { (result(view, now_ms)) }
                        td data-label="Key" { a .id href={ "/dashboard/access/" (view.access_key) } { (view.access_key) } }
                        td .figure data-label="Took" { (took(view, now_ms)) }
                        td data-label="Created" { (time(view.created_ms)) }
                    }
                }
            }
        }
    }
}

fn result(view: &RequestView, now_ms: u64) -> maud::Markup {
    html! {
        @if let Some(code) = &view.error_code {
            code .bad { (code) }
        } @else if let Some(file) = &view.file {
            div .result {
                (preview::small(file, now_ms))
                div {
                    (file.content_type.split(';').next().unwrap_or_default().rsplit('/').next().unwrap_or_default())
                    " · " (bytes(file.bytes))
                    @if let Some(size) = file.size { span .sub { (size.width) " × " (size.height) } }
                }
            }
        } @else {
            span .none { "–" }
        }
    }
}

/// From the first lease to the end; a request that was answered at once has its beginning for that.
pub(super) fn took(view: &RequestView, now_ms: u64) -> maud::Markup {
    let started_ms = view.started_ms.or_else(|| view.finished_ms.map(|_| view.created_ms));
    let ended_ms = view.finished_ms.unwrap_or(now_ms);
    html! {
        @match started_ms {
            Some(started_ms) => (duration(ended_ms.saturating_sub(started_ms))),
            None => span .none { "–" },
        }
    }
}
