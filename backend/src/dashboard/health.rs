//! How the installation fares: what is missing, what waits, what is kept, whom nothing is sent to.

use http::StatusCode;
use maud::{Markup, html};
use snaphook_shared::options::fields::Fields;

use super::answer::{self, Refusal, Result};
use super::html::{Frame, badge, bytes, duration, layout, number, said, time};
use super::{Dashboard, filled};
use crate::domain::delivery::EndpointView;
use crate::domain::operator::{COUNT_MAX, Holdings};

pub(super) async fn show(dashboard: &Dashboard, frame: &Frame, fields: &mut Fields) -> Result {
    let missing = dashboard.readiness.missing();
    let warnings = dashboard.readiness.warnings();
    let browser = dashboard.readiness.browser().await;
    let holdings = dashboard.operator.holdings().await?;
    let endpoints = dashboard.queue.endpoints(None).await?;
    let notice = (fields.take("said").as_deref() == Some("enabled"))
        .then_some("The address is enabled, from its next webhook on. Its dead deliveries can be replayed.");
    let body = html! {
        h1 { "Health" }
        (said(notice))
        div #live data-live="5" {
            @if missing.is_empty() {
                p .band .good { (badge("ready")) " Work can be done." }
            } @else {
                p .band .bad role="alert" { (badge("missing")) " Work cannot be done without: " (missing.join(", ")) "." }
            }
            @for warning in &warnings { p .band .warn { (badge("warning")) " " (warning) } }
            (tiles(&holdings, frame.now_ms))
            div .columns {
                section {
                    h2 { "Software" }
                    dl .facts {
                        dt { "snaphook" } dd { (env!("CARGO_PKG_VERSION")) }
                        dt { "Browser" } dd { @match &browser { Some(browser) => (browser), None => span .none { "none is running" } } }
                        dt { "Started" } dd { (time(dashboard.started_ms)) }
                        dt { "Up for" } dd { (duration(frame.now_ms.saturating_sub(dashboard.started_ms))) }
                    }
                }
                section {
                    h2 { "Storage" }
                    dl .facts {
                        dt { "Files" } dd { a href="/dashboard/storage" { (number(holdings.files)) ", " (bytes(holdings.file_bytes)) } }
                        dt { "Database" } dd { (bytes(holdings.database_bytes)) }
                    }
                }
            }
            (failing(frame, &endpoints))
        }
    };
    Ok(answer::page(StatusCode::OK, layout(frame, "Health", body)))
}

fn tiles(holdings: &Holdings, now_ms: u64) -> Markup {
    let since = |moment: Option<u64>| moment.map(|ms| duration(now_ms.saturating_sub(ms)));
    let late = holdings.oldest_due_ms.filter(|due_ms| *due_ms < now_ms);
    html! {
        dl .tiles {
            div { dt { "Queued" } dd { (many(holdings.queued))
                @if let Some(age) = since(holdings.oldest_queued_ms) { span .sub { "oldest " (age) } } } }
            div { dt { "Rendering" } dd { (many(holdings.rendering)) } }
            div { dt { "Webhooks waiting" } dd { (many(holdings.deliveries_waiting))
                @if let Some(age) = since(late) { span .sub { "due for " (age) } } } }
            div { dt { "Webhooks dead" } dd { a href="/dashboard/deliveries?state=dead" { (many(holdings.deliveries_dead)) } } }
        }
    }
}

fn many(count: u64) -> String {
    if count >= COUNT_MAX { format!("{} or more", number(COUNT_MAX)) } else { number(count) }
}

fn failing(frame: &Frame, endpoints: &[EndpointView]) -> Markup {
    html! {
        section {
            h2 { "Addresses that fail" }
            @if endpoints.is_empty() { p .empty { "None: every receiver took its last webhook." } } @else {
                table .list {
                    caption .hidden { "Addresses of webhooks whose last attempt failed" }
                    thead { tr {
                        th scope="col" { "State" } th scope="col" { "Address" } th scope="col" { "Failures" }
                        th scope="col" { "Since" } th scope="col" { span .hidden { "Action" } }
                    } }
                    tbody {
                        @for endpoint in endpoints {
                            tr {
                                td { (badge(if endpoint.disabled_ms.is_some() { "disabled" } else { "failing" })) }
                                td .wide {
                                    span .target { (endpoint.url) }
                                    span .sub { span .id { (endpoint.access_key) } " · " (endpoint.last_error) }
                                }
                                td .figure data-label="Failures" { (number(u64::from(endpoint.failures))) }
                                td data-label="Since" { (time(endpoint.failing_since_ms)) }
                                td { @if endpoint.disabled_ms.is_some() { (enable_button(frame, endpoint)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn enable_button(frame: &Frame, endpoint: &EndpointView) -> Markup {
    html! {
        form method="post" action="/dashboard/health/enable" .inline {
            (frame.token())
            input type="hidden" name="url" value=(endpoint.url);
            input type="hidden" name="key" value=(endpoint.access_key);
            button type="submit" { "Enable" span .hidden { " " (endpoint.url) } }
        }
    }
}

pub(super) async fn enable(dashboard: &Dashboard, fields: &mut Fields) -> Result {
    let (key, url) = (filled(fields, "key").unwrap_or_default(), filled(fields, "url").unwrap_or_default());
    match dashboard.queue.enable_endpoint(&key, &url).await? {
        true => Ok(answer::see("/dashboard/health?said=enabled")),
        false => Err(Refusal::Conflict("That address is not disabled.".to_owned())),
    }
}
