//! Webhooks: the list, one with what is sent and every attempt, and sending again.

use http::StatusCode;
use maud::{Markup, html};
use snaphook_shared::options::fields::Fields;

use super::answer::{self, Refusal, Result};
use super::html::{Frame, badge, choice, duration, input, layout, link, maybe_time, number, pager, said, time};
use super::requests::STANDS_STILL;
use super::{Dashboard, as_local, filled, moment};
use crate::domain::delivery::{DeliveryAttempt, DeliveryBody, DeliveryState, DeliveryView};
use crate::domain::operator::DeliveryDetail;
use crate::domain::ports::{DeliveryFilter, ReplayFilter};

const PAGE: u32 = 50;
/// More of a body is not shown.
const BODY_BYTES_MAX: usize = 64 * 1024;

pub(super) async fn list(dashboard: &Dashboard, frame: &Frame, fields: &mut Fields) -> Result {
    let filter = DeliveryFilter {
        access_key: filled(fields, "key"),
        state: filled(fields, "state").and_then(|name| DeliveryState::from_name(&name)),
        url: filled(fields, "url"),
        since_ms: moment(fields, "since")?,
        before: filled(fields, "before"),
        limit: PAGE,
        ..DeliveryFilter::default()
    };
    let replayed = fields.take("replayed").and_then(|count| count.parse::<u64>().ok());
    let views = dashboard.queue.deliveries(filter.clone()).await?;
    let keys: Vec<String> = dashboard.operator.keys().await?.into_iter().map(|key| key.access_key).collect();
    let (state, since) = (filter.state.map(DeliveryState::name), filter.since_ms.map(as_local));
    let pairs = [
        ("state", state),
        ("key", filter.access_key.as_deref()),
        ("url", filter.url.as_deref()),
        ("since", since.as_deref()),
    ];
    let next = views.last().filter(|_| views.len() == PAGE as usize).map(|view| view.id.as_str());
    let is_filtered = pairs.iter().any(|(_, value)| value.is_some());
    let states = DeliveryState::ALL.map(|state| state.name().to_owned());
    let notice = replayed.map(|count| format!("{} to be sent again.", number(count)));
    let body = html! {
        h1 { "Deliveries" }
        (said(notice.as_deref()))
        form method="get" action="/dashboard/deliveries" .filter role="search" aria-label="Filter deliveries" {
            (choice("state", "State", "Any", &states, state))
            (choice("key", "Key", "Any", &keys, filter.access_key.as_deref()))
            (input("url", "Address begins with", "search", filter.url.as_deref().unwrap_or_default()))
            (input("since", "Since (UTC)", "datetime-local", since.as_deref().unwrap_or_default()))
            div .actions {
                button type="submit" { "Filter" }
                @if is_filtered { a href="/dashboard/deliveries" { "Clear" } }
            }
        }
        @if filter.state == Some(DeliveryState::Dead) && !views.is_empty() { (replay_all(frame, &pairs)) }
        @if filter.url.is_some() { p .sub { (STANDS_STILL) } }
        div #live data-live=[(filter.before.is_none() && filter.url.is_none()).then_some("4")] {
            @if views.is_empty() {
                p .empty { @if is_filtered { "No delivery fits." } @else { "There is no delivery yet." } }
            } @else {
                (table(&views))
            }
            (pager("/dashboard/deliveries", &pairs, filter.before.as_deref(), next))
        }
    };
    Ok(answer::page(StatusCode::OK, layout(frame, "Deliveries", body)))
}

/// All dead ones of the filter, on this page or not.
fn replay_all(frame: &Frame, pairs: &[(&str, Option<&str>)]) -> Markup {
    html! {
        form method="post" action="/dashboard/deliveries/replay" .band {
            (frame.token())
            @for (name, value) in pairs { @if let Some(value) = value { input type="hidden" name=(name) value=(value); } }
            span { "Sends every dead delivery that fits the filter again, with the schedule from its start." }
            button type="submit" .primary { "Replay all dead" }
        }
    }
}

fn table(views: &[DeliveryView]) -> Markup {
    html! {
        table .list {
            caption .hidden { "Deliveries, newest first; times are UTC" }
            thead { tr {
                th scope="col" { "State" }
                th scope="col" { "To" }
                th scope="col" { "Last attempt" }
                th scope="col" { "Attempts" }
                th scope="col" { "Next" }
            } }
            tbody {
                @for view in views {
                    tr {
                        td { (badge(view.state.name())) }
                        td .wide {
                            a .target href={ "/dashboard/deliveries/" (view.id) } { (view.url) }
                            @if let Some(reason) = &view.end_reason { span .sub { (reason) } }
                        }
                        td data-label="Last attempt" {
                            @match view.log.last() {
                                Some(attempt) => { (outcome(attempt)) span .sub { (time(attempt.at_ms)) } },
                                None => span .none { "–" },
                            }
                        }
                        td .figure data-label="Attempts" { (view.attempts) }
                        td data-label="Next" { (maybe_time(view.next_attempt_ms)) }
                    }
                }
            }
        }
    }
}

fn outcome(attempt: &DeliveryAttempt) -> Markup {
    html! {
        @match (attempt.status, &attempt.error) {
            (Some(status), None) => span .good[(200..300).contains(&status)] .bad[!(200..300).contains(&status)] { (status) },
            (Some(status), Some(error)) => span .bad { (status) " · " (error) },
            (None, error) => span .bad { (error.as_deref().unwrap_or("no answer")) },
        }
    }
}

pub(super) async fn show(dashboard: &Dashboard, frame: &Frame, id: &str, fields: &mut Fields) -> Result {
    let detail = dashboard.operator.delivery_detail(id).await?.ok_or(Refusal::NotFound)?;
    let view = &detail.view;
    let notice = (fields.take("said").as_deref() == Some("replayed")).then_some("It is to be sent again.");
    let has_ended = matches!(view.state, DeliveryState::Delivered | DeliveryState::Dead);
    let body = html! {
        p .crumbs { a href="/dashboard/deliveries" { "Deliveries" } " / " span .id { (view.id) } }
        (said(notice))
        div #live data-live=[(!has_ended).then_some("2")] {
            div .title {
                h1 { (badge(view.state.name())) " " span .heading { (view.url) } }
                div .actions {
                    @if has_ended { (frame.button(&format!("/dashboard/deliveries/{id}/replay"), "Replay", "primary")) }
                }
            }
            section {
                dl .facts {
                    dt { "To" } dd { (link(&view.url)) }
                    dt { "Request" } dd { a .id href={ "/dashboard/requests/" (view.request_id) } { (view.request_id) } }
                    dt { "Key" } dd { a .id href={ "/dashboard/access/" (detail.access_key) } { (detail.access_key) } }
                    @if let Some(next_ms) = view.next_attempt_ms { dt { "Next attempt" } dd { (time(next_ms)) } }
                    @if let Some(reason) = &view.end_reason { dt { "Ended because" } dd { (reason) } }
                    dt { "Finished" } dd { (maybe_time(view.finished_ms)) }
                }
            }
            section {
                h2 { "Attempts" }
                @if view.log.is_empty() { p .empty { "None yet." } }
                ol .timeline {
                    @for attempt in &view.log {
                        li {
                            (time(attempt.at_ms)) " " (outcome(attempt)) " after " (duration(attempt.took_ms))
                            @if !attempt.answer.is_empty() {
                                pre tabindex="0" aria-label="First bytes of the answer" { (attempt.answer) }
                            }
                            @if !attempt.headers.is_empty() { (own_headers(attempt)) }
                        }
                    }
                }
            }
        }
        (sent(&detail))
    };
    Ok(answer::page(StatusCode::OK, layout(frame, &view.url, body)))
}

fn own_headers(attempt: &DeliveryAttempt) -> Markup {
    html! {
        details .headers {
            summary { "Its own headers" }
            dl .facts .options { @for (name, value) in &attempt.headers { dt { code { (name) } } dd .id { (value) } } }
        }
    }
}

fn sent(detail: &DeliveryDetail) -> Markup {
    html! {
        section {
            h2 { "What is sent" }
            dl .facts .options {
                @for (name, value) in &detail.headers { dt { code { (name) } } dd { (value) } }
            }
            p .sub {
                @if detail.sign { "With each attempt, these and its own: its time and its signatures." } @else { "Not signed, as its caller wanted." }
            }
            @match &detail.body {
                DeliveryBody::Inline(bytes) => {
                    @let shown = &bytes[..bytes.len().min(BODY_BYTES_MAX)];
                    pre tabindex="0" aria-label="Body" { (String::from_utf8_lossy(shown)) }
                    @if shown.len() < bytes.len() { p .sub { "The first " (shown.len()) " of " (bytes.len()) " bytes." } }
                },
                DeliveryBody::File(name) => p { "The body is the file " a .id href={ "/files/" (name) } { (name) } "." },
            }
        }
    }
}

pub(super) async fn replay(dashboard: &Dashboard, id: &str) -> Result {
    let filter = ReplayFilter { id: Some(id.to_owned()), ..ReplayFilter::default() };
    if dashboard.queue.replay(filter, dashboard.clock.now_ms()).await? == 0 {
        return match dashboard.operator.delivery_detail(id).await? {
            Some(_) => Err(Refusal::Conflict("It has not ended yet, so it is still to be sent.".to_owned())),
            None => Err(Refusal::NotFound),
        };
    }
    dashboard.deliveries.notify_one();
    Ok(answer::see(&format!("/dashboard/deliveries/{id}?said=replayed")))
}

pub(super) async fn replay_dead(dashboard: &Dashboard, fields: &mut Fields) -> Result {
    let filter = ReplayFilter {
        access_key: filled(fields, "key"),
        id: None,
        url: filled(fields, "url"),
        since_ms: moment(fields, "since")?,
    };
    let count = dashboard.queue.replay(filter, dashboard.clock.now_ms()).await?;
    dashboard.deliveries.notify_one();
    Ok(answer::see(&format!("/dashboard/deliveries?replayed={count}")))
}
