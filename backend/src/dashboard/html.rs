//! What the pages have in common: their frame, and the small parts that they are made of. Everything is escaped by `maud`,
//! which knows no other way to put a text into a page.

use std::sync::LazyLock;

use maud::{DOCTYPE, Markup, html};
use snaphook_shared::signing::sha256_hex;

use super::session::Open;
use crate::clock::rfc3339;

pub(super) const STYLE: &str = include_str!("assets/style.css");
pub(super) const LIVE: &str = include_str!("assets/live.js");
pub(super) const PLAYGROUND: &str = include_str!("assets/playground.js");
pub(super) const ICON: &str = include_str!("assets/icon.svg");

/// Names what an asset says, so that a browser may keep it for ever.
static ASSETS_VERSION: LazyLock<String> =
    LazyLock::new(|| sha256_hex([STYLE, LIVE, PLAYGROUND, ICON].concat().as_bytes()).chars().take(12).collect());

const SECTIONS: [(&str, &str); 7] = [
    ("requests", "Requests"),
    ("deliveries", "Deliveries"),
    ("access", "Access"),
    ("playground", "Playground"),
    ("usage", "Usage"),
    ("storage", "Storage"),
    ("health", "Health"),
];

/// What surrounds a page: who reads it, and where they are.
pub(super) struct Frame {
    /// Of the session; None before there is one.
    form_token: Option<String>,
    section: &'static str,
    pub(super) now_ms: u64,
}

impl Frame {
    pub(super) fn new(session: Option<&Open>, section: &str, now_ms: u64) -> Frame {
        let known = SECTIONS.iter().find(|(name, _)| *name == section);
        Frame { form_token: session.map(Open::form_token), section: known.map_or("", |(name, _)| name), now_ms }
    }

    /// The hidden field that every form has.
    pub(super) fn token(&self) -> Markup {
        html! { input type="hidden" name="form_token" value=(self.form_token.as_deref().unwrap_or_default()); }
    }

    /// A form of one button.
    pub(super) fn button(&self, action: &str, label: &str, class: &str) -> Markup {
        html! {
            form method="post" action=(action) .inline { (self.token()) button type="submit" class=(class) { (label) } }
        }
    }
}

pub(super) fn layout(frame: &Frame, title: &str, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · snaphook" }
                link rel="icon" type="image/svg+xml" href={ "/dashboard/assets/icon.svg?v=" (*ASSETS_VERSION) };
                link rel="stylesheet" href={ "/dashboard/assets/style.css?v=" (*ASSETS_VERSION) };
                @if frame.form_token.is_some() {
                    (script("live.js"))
                }
            }
            body {
                @if frame.form_token.is_some() {
                    a .skip href="#main" { "Skip to the content" }
                    header .bar {
                        a .brand href="/dashboard/requests" { span .mark aria-hidden="true" {} "snaphook" }
                        nav aria-label="Sections" {
                            @for (name, label) in SECTIONS {
                                a href={ "/dashboard/" (name) } aria-current=[(name == frame.section).then_some("page")] {
                                    (label)
                                }
                            }
                        }
                        (frame.button("/dashboard/logout", "Sign out", "quiet"))
                    }
                }
                main #main { (body) }
            }
        }
    }
}

/// A script of ours, which runs when the page is there.
pub(super) fn script(name: &str) -> Markup {
    html! { script src={ "/dashboard/assets/" (name) "?v=" (*ASSETS_VERSION) } defer {} }
}

/// A message at the top of a page, about what was just done.
pub(super) fn said(text: Option<&str>) -> Markup {
    html! { @if let Some(text) = text { p .said role="status" { (text) } } }
}

pub(super) fn badge(state: &str) -> Markup {
    html! { span class={ "badge " (state) } { (state) } }
}

/// A moment, exact to the second; all times are UTC.
pub(super) fn time(unix_ms: u64) -> Markup {
    let exact = rfc3339(unix_ms);
    let (day, rest) = exact.split_once('T').unwrap_or((&exact, ""));
    let clock = rest.get(..8).unwrap_or(rest);
    html! { time datetime=(exact) { span .day { (day) } " " span .clock { (clock) } } }
}

pub(super) fn maybe_time(unix_ms: Option<u64>) -> Markup {
    html! { @match unix_ms { Some(unix_ms) => (time(unix_ms)), None => span .none { "–" } } }
}

/// `850 ms`, `12.3 s`, `4 min 10 s`.
pub(super) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        60_000..3_600_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600_000..172_800_000 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `512 B`, `48.2 kB`, `1.2 GB`.
pub(super) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    for unit in ["kB", "MB", "GB", "TB"] {
        value /= 1000.0;
        if value < 999.95 {
            return format!("{value:.1} {unit}");
        }
    }
    format!("{:.1} PB", value / 1000.0)
}

/// `12 345`, with a thin space that does not break.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join("\u{202f}")
}

/// Whether browsers show it as a picture; everything else they would run or open.
pub(super) fn is_image(content_type: &str) -> bool {
    ["image/png", "image/jpeg", "image/webp", "image/avif", "image/gif"].contains(&content_type)
}

/// An address: a link only if it leads to the web.
pub(super) fn link(url: &str) -> Markup {
    html! {
        @if url.starts_with("https://") || url.starts_with("http://") {
            a .url href=(url) rel="noreferrer noopener" { (url) }
        } @else {
            span .url { (url) }
        }
    }
}

/// A sentence of ours, whose parts between backticks are names.
pub(crate) fn prose(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// A choice of one, with "any" first.
pub(super) fn choice(name: &str, label: &str, any: &str, options: &[String], chosen: Option<&str>) -> Markup {
    html! {
        label { span { (label) }
            select name=(name) {
                option value="" selected[chosen.is_none()] { (any) }
                @for option in options {
                    option value=(option) selected[chosen == Some(option)] { (option) }
                }
            }
        }
    }
}

/// A line of text to fill in.
pub(super) fn input(name: &str, label: &str, kind: &str, value: &str) -> Markup {
    html! { label { span { (label) } input type=(kind) name=(name) value=(value) autocomplete="off"; } }
}

/// A query string of those that have a value.
pub(super) fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let escape =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let given = pairs.iter().filter_map(|(name, value)| {
        value.filter(|value| !value.is_empty()).map(|value| format!("{name}={}", escape(value)))
    });
    given.collect::<Vec<_>>().join("&")
}

/// What leads to older entries and back to the newest.
pub(super) fn pager(path: &str, filter: &[(&str, Option<&str>)], before: Option<&str>, next: Option<&str>) -> Markup {
    html! {
        nav .pager aria-label="Pages" {
            @if before.is_some() { a href={ (path) "?" (query(filter)) } { "← Newest" } }
            @if let Some(next) = next {
                a .next href={ (path) "?" (query(&[filter, &[("before", Some(next))]].concat())) } { "Older →" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_write_stays_text() {
        let evil = "\"><script>alert(1)</script>' onload='";
        for page in [
            link(evil).into_string(),
            link(&format!("https://example.com/{evil}")).into_string(),
            badge(evil).into_string(),
            input("a", "b", "text", evil).into_string(),
            pager("/p", &[("text", Some(evil))], Some(evil), Some(evil)).into_string(),
            choice("a", "b", "any", &[evil.to_owned()], Some(evil)).into_string(),
            said(Some(evil)).into_string(),
            prose(&format!("a `{evil}` b {evil}")).into_string(),
        ] {
            assert!(!page.contains("<script") && !page.contains("\"><s"), "{page}");
        }
        assert!(!link("javascript:alert(1)").into_string().contains("href"));
    }

    #[test]
    fn names_in_a_sentence_are_code() {
        assert_eq!(prose("Send `a` or `b`.").into_string(), "Send <code>a</code> or <code>b</code>.");
        assert_eq!(prose("plain & simple").into_string(), "plain &amp; simple");
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(
            [999, 1_000, 999_949, 999_950, 1_500_000_000].map(bytes),
            ["999 B", "1.0 kB", "999.9 kB", "1.0 MB", "1.5 GB"]
        );
        assert_eq!(
            [5, 999, 1_000, 65_000, 7_260_000, 259_200_000].map(duration),
            ["5 ms", "999 ms", "1.0 s", "1 min 5 s", "2 h 1 min", "3 days"]
        );
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
    }
}
