//! What was done, and how long it took: over time and by key, from figures that the database keeps as things happen.

use http::StatusCode;
use maud::{Markup, html};
use snaphook_shared::options::fields::Fields;

use super::answer::{self, Result};
use super::html::{Frame, duration, layout, number, query};
use super::plot::{self, Column};
use super::{Dashboard, filled};
use crate::domain::operator::{KeyUsage, UsageSpan};

const HOUR_MS: u64 = 3_600_000;

/// A choice of how far to look back.
struct Range {
    name: &'static str,
    label: &'static str,
    span_hours: u64,
    spans: u64,
}

const RANGES: [Range; 3] = [
    Range { name: "day", label: "24 hours", span_hours: 1, spans: 24 },
    Range { name: "week", label: "7 days", span_hours: 6, spans: 28 },
    Range { name: "month", label: "30 days", span_hours: 24, spans: 30 },
];

pub(super) async fn show(dashboard: &Dashboard, frame: &Frame, fields: &mut Fields) -> Result {
    let (key, name) = (filled(fields, "key"), filled(fields, "range"));
    let range = RANGES.iter().find(|range| Some(range.name) == name.as_deref()).unwrap_or(&RANGES[0]);
    // Up to the end of the span that goes on.
    let span_ms = range.span_hours * HOUR_MS;
    let to_ms = (frame.now_ms / span_ms + 1) * span_ms;
    let from_ms = to_ms.saturating_sub(range.spans * span_ms);
    let found = dashboard.operator.usage_over_time(key.as_deref(), from_ms, to_ms, range.span_hours).await?;
    let by_key = dashboard.operator.usage_by_key(from_ms, to_ms).await?;
    let spans = without_gaps(found, from_ms, span_ms, range.spans);
    let mut total = UsageSpan::default();
    for span in &spans {
        total.requests += span.requests;
        total.done += span.done;
        total.failed += span.failed;
        total.times.add_all(&span.times);
    }
    let path =
        |range: &str, key: Option<&str>| format!("/dashboard/usage?{}", query(&[("range", Some(range)), ("key", key)]));
    let body = html! {
        div .title {
            h1 { "Usage" @if let Some(key) = &key { " of " span .id { (key) } } }
            nav .tabs aria-label="Time" {
                @for one in &RANGES {
                    a href=(path(one.name, key.as_deref())) aria-current=[(one.name == range.name).then_some("true")] {
                        (one.label)
                    }
                }
                @if key.is_some() { a href=(path(range.name, None)) { "All keys" } }
            }
        }
        dl .tiles {
            div { dt { "Requests" } dd { (number(total.requests)) } }
            div { dt { "Done" } dd { (number(total.done)) } }
            div { dt { "Renders" } dd { (number(total.times.count())) span .sub { "that succeeded" } } }
            div { dt { "Failed" } dd { (number(total.failed)) span .sub { (share(total.failed, total.done + total.failed)) } } }
            div { dt { "Render time, p50" } dd { (maybe(total.times.percentile(0.5))) } }
            div { dt { "Render time, p95" } dd { (maybe(total.times.percentile(0.95))) } }
        }
        (plots(&spans, range.span_hours))
        (keys(&by_key, range.name))
    };
    Ok(answer::page(StatusCode::OK, layout(frame, "Usage", body)))
}

/// One entry for each span, whether anything was done in it or not.
fn without_gaps(found: Vec<UsageSpan>, from_ms: u64, span_ms: u64, spans: u64) -> Vec<UsageSpan> {
    let mut found = found.into_iter().peekable();
    (0..spans)
        .map(|index| {
            let start_ms = from_ms + index * span_ms;
            found.next_if(|span| span.start_ms == start_ms).unwrap_or(UsageSpan { start_ms, ..UsageSpan::default() })
        })
        .collect()
}

fn plots(spans: &[UsageSpan], span_hours: u64) -> Markup {
    let columns: Vec<Column> = spans
        .iter()
        .map(|span| Column {
            label: label(span.start_ms, span_hours),
            came: span.requests,
            parts: [span.done, span.failed, span.cancelled],
            renders: span.times.count(),
            lines: [span.times.percentile(0.5), span.times.percentile(0.95)],
        })
        .collect();
    html! {
        div .columns {
            figure {
                figcaption { h2 { "Requests" }
                    ul .legend { li .came { "came" } li .renders { "renders" } li .done { "done" } li .failed { "failed" } li .cancelled { "cancelled" } } }
                (plot::bars(&columns))
            }
            figure {
                figcaption { h2 { "Render time" } ul .legend { li .p50 { "p50" } li .p95 { "p95" } } }
                (plot::lines(&columns))
            }
        }
        details {
            summary { "The same as a table" }
            table .list {
                caption .hidden { "Usage over time; times are UTC" }
                thead { tr {
                    th scope="col" { "From" } th scope="col" { "Requests" } th scope="col" { "Done" } th scope="col" { "Failed" }
                    th scope="col" { "Cancelled" } th scope="col" { "Renders" } th scope="col" { "p50" } th scope="col" { "p95" }
                } }
                tbody {
                    @for (span, column) in spans.iter().zip(&columns) {
                        tr {
                            td { (column.label) }
                            td .figure data-label="Requests" { (number(span.requests)) }
                            td .figure data-label="Done" { (number(span.done)) }
                            td .figure data-label="Failed" { (number(span.failed)) }
                            td .figure data-label="Cancelled" { (number(span.cancelled)) }
                            td .figure data-label="Renders" { (number(column.renders)) }
                            td .figure data-label="p50" { (maybe(column.lines[0])) }
                            td .figure data-label="p95" { (maybe(column.lines[1])) }
                        }
                    }
                }
            }
        }
    }
}

fn keys(keys: &[KeyUsage], range: &str) -> Markup {
    html! {
        section {
            h2 { "By key" }
            @if keys.is_empty() { p .empty { "Nothing was asked for in this time." } } @else {
                table .list {
                    caption .hidden { "Usage by key" }
                    thead { tr {
                        th scope="col" { "Key" } th scope="col" { "Requests" } th scope="col" { "Done" } th scope="col" { "Failed" }
                        th scope="col" { "Renders" } th scope="col" { "p50" } th scope="col" { "p95" }
                    } }
                    tbody {
                        @for key in keys {
                            tr {
                                td .wide { a .target .id href={ "/dashboard/usage?range=" (range) "&key=" (key.access_key) } { (key.access_key) } }
                                td .figure data-label="Requests" { (number(key.usage.requests)) }
                                td .figure data-label="Done" { (number(key.usage.done)) }
                                td .figure data-label="Failed" { (number(key.usage.failed)) }
                                td .figure data-label="Renders" { (number(key.usage.times.count())) }
                                td .figure data-label="p50" { (maybe(key.usage.times.percentile(0.5))) }
                                td .figure data-label="p95" { (maybe(key.usage.times.percentile(0.95))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `25 Nov 14:00`, or the day alone where a span is a day.
fn label(start_ms: u64, span_hours: u64) -> String {
    let time = jiff::Timestamp::from_millisecond(i64::try_from(start_ms).unwrap_or(i64::MAX)).unwrap_or_default();
    time.strftime(if span_hours < 24 { "%-d %b %H:%M" } else { "%-d %b" }).to_string()
}

fn maybe(ms: Option<u64>) -> String {
    ms.map_or_else(|| "–".to_owned(), duration)
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { String::new() } else { format!("{:.1} %", part as f64 * 100.0 / whole as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled_and_labels_are_short() {
        let busy = UsageSpan { start_ms: 2 * HOUR_MS, requests: 5, ..UsageSpan::default() };
        let spans = without_gaps(vec![busy.clone()], HOUR_MS, HOUR_MS, 3);
        assert_eq!(spans.iter().map(|span| span.requests).collect::<Vec<_>>(), [0, 5, 0]);
        assert_eq!((label(HOUR_MS, 1), label(HOUR_MS, 24)), ("1 Jan 01:00".to_owned(), "1 Jan".to_owned()));
        assert_eq!((share(1, 4), share(0, 0)), ("25.0 %".to_owned(), String::new()));
    }
}
