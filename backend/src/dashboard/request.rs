//! One request: what was asked, what came of it, and what can be done about it.

use http::StatusCode;
use maud::{Markup, html};
use serde_json::Value as Json;
use snaphook_shared::code::Code;
use snaphook_shared::options::fields::Fields;
use snaphook_shared::options::model::Options;

use super::answer::{self, Refusal, Result};
use super::html::{Frame, badge, bytes, duration, layout, link, maybe_time, prose, said, time};
use super::requests::took;
use super::{Dashboard, preview};
use crate::domain::delivery::DeliveryState;
use crate::domain::job::{NewRequest, RequestState, RequestView, StoredFile, new_request_id};
use crate::domain::operator::RequestDetail;
use crate::domain::ports::Acceptance;
use crate::domain::refused::RefusedFor;

/// Longer texts of options are cut where they are shown.
const SHOWN_CHARACTERS_MAX: usize = 400;

pub(super) async fn show(dashboard: &Dashboard, frame: &Frame, id: &str, fields: &mut Fields) -> Result {
    let view = dashboard.queue.request(id).await?.ok_or(Refusal::NotFound)?;
    let detail = dashboard.operator.request_detail(id).await?.ok_or(Refusal::NotFound)?;
    let notice = match fields.take("said").as_deref() {
        Some("cancelled") => Some("The request is cancelled."),
        Some("retried") => Some("This is the new request, with the options of the one before."),
        _ => None,
    };
    let has_ended = |state| matches!(state, DeliveryState::Delivered | DeliveryState::Dead);
    let may_change = view.webhook.as_ref().is_some_and(|webhook| !has_ended(webhook.state));
    let is_over = view.finished_ms.is_some();
    let body = html! {
        p .crumbs { a href="/dashboard/requests" { "Requests" } " / " span .id { (view.id) } }
        (said(notice))
        div #live data-live=[(!is_over || may_change).then_some("2")] {
            div .title {
                h1 { (badge(view.state.name())) " " span .heading { (view.target) } }
                div .actions { (actions(frame, &view)) }
            }
            @if view.error_code.is_some() { (failure(&view, &detail)) }
            div .columns {
                div {
                    @match &view.file {
                        Some(file) => (kept(file, frame.now_ms)),
                        None if view.state == RequestState::Done => {
                            section { h2 { "Result" } p .empty { "It went to its caller and was not kept." } }
                        },
                        None => {},
                    }
                    (timeline(&view, frame.now_ms))
                    @if !view.refused.is_empty() { (refused_connections(&view)) }
                }
                div {
                    (facts(&view, &detail, frame.now_ms))
                    @if let Some(webhook) = &view.webhook {
                        section {
                            h2 { "Webhook" }
                            dl .facts {
                                dt { "State" } dd { (badge(webhook.state.name())) @if let Some(reason) = &webhook.end_reason { " " (reason) } }
                                dt { "To" } dd { (link(&webhook.url)) }
                                dt { "Attempts" } dd { (webhook.attempts) @if let Some(status) = webhook.last_status { ", the last answered " (status) } }
                                @if let Some(error) = &webhook.last_error { dt { "Error" } dd { (error) } }
                                @if let Some(next_ms) = webhook.next_attempt_ms { dt { "Next" } dd { (time(next_ms)) } }
                                dt { "Delivery" } dd { a .id href={ "/dashboard/deliveries/" (webhook.id) } { (webhook.id) } }
                            }
                        }
                    }
                }
            }
        }
        (options(&detail))
    };
    Ok(answer::page(StatusCode::OK, layout(frame, &view.target, body)))
}

fn actions(frame: &Frame, view: &RequestView) -> Markup {
    let file = view.file.as_ref().filter(|file| file.expires_ms > frame.now_ms);
    let path = |action: &str| format!("/dashboard/requests/{}/{action}", view.id);
    html! {
        @if let Some(file) = file {
            a .button href={ "/files/" (file.name) } download=(file.attachment.as_deref().unwrap_or(&file.name)) { "Download" }
        }
        @if view.finished_ms.is_some() {
            (frame.button(&path("retry"), "Retry", "primary"))
        } @else {
            (frame.button(&path("cancel"), "Cancel", "danger"))
        }
    }
}

fn failure(view: &RequestView, detail: &RequestDetail) -> Markup {
    let code = view.error_code.as_deref().unwrap_or_default();
    html! {
        section .failure aria-label="Error" {
            p {
                strong { code { (code) } }
                " " (prose(view.error_message.as_deref().unwrap_or_default()))
            }
            @if let Some(cause) = detail.error_cause.as_deref().filter(|cause| !cause.is_empty()) {
                p .sub { "Cause: " (cause) }
            }
            @if let Some(known) = Code::from_name(code) {
                p { a href={ "/docs/errors/" (known.entry().slug) } { "What it means and how to mend it" } }
            }
        }
    }
}

fn kept(file: &StoredFile, now_ms: u64) -> Markup {
    html! {
        section {
            h2 { "Result" }
            @if file.expires_ms <= now_ms {
                p .empty { "The file has expired." }
            } @else {
                (preview::large(file))
            }
            dl .facts {
                dt { "Type" } dd { (file.content_type) }
                dt { "Size" } dd { (bytes(file.bytes)) @if let Some(size) = file.size { ", " (size.width) " × " (size.height) " pixels" } }
                dt { "Expires" } dd { (time(file.expires_ms)) }
            }
        }
    }
}

fn timeline(view: &RequestView, now_ms: u64) -> Markup {
    html! {
        section {
            h2 { "Timeline" }
            ol .timeline {
                li { (time(view.created_ms)) " accepted" }
                @for attempt in &view.log {
                    li .bad[attempt.reason.is_some()] {
                        (time(attempt.started_ms)) " attempt " (attempt.number)
                        @match attempt.ended_ms {
                            Some(ended_ms) => { ", " (duration(ended_ms.saturating_sub(attempt.started_ms))) },
                            None if view.finished_ms.is_none() && attempt.reason.is_none() => {
                                ", under way for " (duration(now_ms.saturating_sub(attempt.started_ms)))
                            },
                            None => {},
                        }
                        @if let Some(reason) = &attempt.reason { span .sub { (reason) } }
                    }
                }
                @if let Some(finished_ms) = view.finished_ms { li { (time(finished_ms)) " " (view.state.name()) } }
            }
        }
    }
}

fn refused_connections(view: &RequestView) -> Markup {
    html! {
        section {
            h2 { "Refused connections" }
            p .sub { "What the page wanted to reach and did not." }
            table .list {
                caption .hidden { "Refused connections" }
                thead { tr { th scope="col" { "Host" } th scope="col" { "Why" } th scope="col" { "Times" } } }
                tbody {
                    @for refused in &view.refused {
                        tr {
                            td .wide { span .id { (refused.host) ":" (refused.port) } }
                            td data-label="Why" {
                                @match refused.reason {
                                    RefusedFor::Target => { "not allowed" @if let Some(class) = &refused.class { " (" (class) ")" } },
                                    RefusedFor::Limit => "too much traffic",
                                }
                            }
                            td .figure data-label="Times" { (refused.count) }
                        }
                    }
                }
            }
        }
    }
}

fn facts(view: &RequestView, detail: &RequestDetail, now_ms: u64) -> Markup {
    html! {
        section {
            h2 { "Request" }
            dl .facts {
                dt { "Target" } dd { (link(&view.target)) }
                dt { "Endpoint" } dd { code { (view.endpoint) } @if view.asynchronous { " asynchronous" } @else { " synchronous" } }
                dt { "Key" } dd { a .id href={ "/dashboard/access/" (view.access_key) } { (view.access_key) } }
                dt { "Created" } dd { (time(view.created_ms)) }
                dt { "Finished" } dd { (maybe_time(view.finished_ms)) }
                dt { "Took" } dd { (took(view, now_ms)) }
                @if let Some(render_ms) = detail.render_ms { dt { "Render" } dd { (duration(render_ms)) } }
                @if let Some(task) = view.task_id { dt { "Task" } dd { (task) } }
                @if let Some(key) = &detail.request.idempotency_key { dt { "Idempotency key" } dd .id { (key) } }
            }
        }
    }
}

fn options(detail: &RequestDetail) -> Markup {
    let changed = changed(&detail.request.options, &detail.request.endpoint.defaults());
    html! {
        section {
            h2 { "Options" }
            p .sub {
                "Those that differ from the endpoint's defaults. Headers, cookies, proxies and credentials are secrets: they are "
                "not shown, and forgotten when a request ends, so that a retry goes without them."
            }
            @if changed.is_empty() {
                p .empty { "All as they are by default." }
            } @else {
                dl .facts .options {
                    @for (name, value) in &changed { dt { code { (name) } } dd { (value) } }
                }
            }
        }
    }
}

/// Names and values of what is not as it is by default.
fn changed(options: &Options, defaults: &Options) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if let (Ok(options), Ok(defaults)) = (serde_json::to_value(options), serde_json::to_value(defaults)) {
        compare("", &options, &defaults, &mut found);
    }
    found
}

fn compare(name: &str, value: &Json, default: &Json, found: &mut Vec<(String, String)>) {
    if value == default {
        return;
    }
    if let Json::Object(members) = value {
        for (member, value) in members {
            let name = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
            compare(&name, value, default.get(member).unwrap_or(&Json::Null), found);
        }
        return;
    }
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let cut = text.char_indices().nth(SHOWN_CHARACTERS_MAX).map(|(index, _)| index);
    let shown = cut.map_or_else(|| text.clone(), |index| format!("{}… ({} bytes)", &text[..index], text.len()));
    found.push((name.to_owned(), shown));
}

/// Accepts the same options again, as a request of its own. It counts for its key like any other.
pub(super) async fn retry(dashboard: &Dashboard, id: &str) -> Result {
    let detail = dashboard.operator.request_detail(id).await?.ok_or(Refusal::NotFound)?;
    let key = dashboard.queue.key(&detail.request.access_key).await?;
    if key.is_none_or(|key| key.revoked) {
        return Err(Refusal::Conflict("Its key is revoked.".to_owned()));
    }
    if dashboard.disk.is_short() {
        return Err(Refusal::Conflict("The disk is nearly full: nothing new is taken.".to_owned()));
    }
    let now_ms = dashboard.clock.now_ms();
    let mut again = NewRequest {
        id: new_request_id(now_ms),
        idempotency_key: None,
        created_ms: now_ms,
        // That trace has ended.
        traceparent: None,
        ..detail.request
    };
    again.options.delivery.asynchronous = true;
    match dashboard.queue.accept(again).await? {
        Acceptance::Accepted { id, .. } => {
            dashboard.requests.notify_one();
            Ok(answer::see(&format!("/dashboard/requests/{id}?said=retried")))
        }
        Acceptance::Full => Err(Refusal::Conflict("The queue is full. Try again later.".to_owned())),
        Acceptance::Limited(_) => Err(Refusal::Conflict("Its key has used what it may use for now.".to_owned())),
        Acceptance::KeyReused => Err(Refusal::Unavailable),
    }
}

pub(super) async fn cancel(dashboard: &Dashboard, id: &str) -> Result {
    let view = dashboard.queue.request(id).await?.ok_or(Refusal::NotFound)?;
    match dashboard.queue.cancel(&view.access_key, id, dashboard.clock.now_ms()).await? {
        Some(RequestState::Cancelled) => Ok(answer::see(&format!("/dashboard/requests/{id}?said=cancelled"))),
        Some(state) => Err(Refusal::Conflict(format!("It has ended already: it is {}.", state.name()))),
        None => Err(Refusal::NotFound),
    }
}

#[cfg(test)]
mod tests {
    use snaphook_shared::request::Endpoint;
    use snaphook_shared::secret::Secret;

    use super::*;

    #[test]
    fn options_that_differ_are_told_and_secrets_are_not_among_them() {
        let defaults = Endpoint::Take.defaults();
        let mut options = defaults.clone();
        assert_eq!(changed(&options, &defaults), []);
        options.source.url = Some("https://example.com/".to_owned());
        options.viewport.width = 390;
        options.page.styles = Some("x".repeat(1000));
        options.network.authorization = Some(Secret::new("open-sesame"));
        options.network.cookies = vec![Secret::new("open-sesame")];
        options.take_secrets();
        let changed = changed(&options, &defaults);
        let names: Vec<&str> = changed.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.contains(&"source.url") && names.contains(&"viewport.width"), "{names:?}");
        assert!(changed.iter().all(|(_, value)| value.len() < 500 && !value.contains("sesame")), "{changed:?}");
    }
}
