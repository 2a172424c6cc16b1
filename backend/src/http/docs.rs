//! `GET /docs/errors/<slug>`: the page that an error links to. The pages are `docs/errors/*.md`, compiled in, so that an
//! error and its explanation are always of one version.
//!
//! A browser gets HTML, everybody else the Markdown itself.

use http::HeaderMap;
use snaphook_shared::code::Code;
use warp::Filter;
use warp::filters::BoxedFilter;

use super::{Response, reply};

macro_rules! page {
    ($slug:literal) => {
        include_str!(concat!("../../../docs/errors/", $slug, ".md"))
    };
}

/// The page of a code. A code without a page does not compile.
pub(super) const fn page(code: Code) -> &'static str {
    match code {
        Code::AccessKeyRequired => page!("access-key-required"),
        Code::AccessKeyInvalid => page!("access-key-invalid"),
        Code::SignatureIsRequired => page!("signature-is-required"),
        Code::SignatureIsNotValid => page!("signature-is-invalid"),
        Code::RequestNotValid => page!("request-invalid"),
        Code::RequestBodyTooLarge => page!("request-body-too-large"),
        Code::ConcurrencyLimitReached => page!("concurrency-limit-reached"),
        Code::ScreenshotsLimitReached => page!("usage-quota-exceeded"),
        Code::NameNotResolved => page!("name-not-resolved"),
        Code::NetworkError => page!("network-error"),
        Code::HostReturnedError => page!("host-returned-error"),
        Code::HostRequiresAuthentication => page!("host-requires-authentication"),
        Code::TimeoutError => page!("timeout"),
        Code::SelectorNotFound => page!("selector-not-found"),
        Code::ScriptTriggersRedirect => page!("script-triggers-redirect"),
        Code::ContentContainsSpecifiedString => page!("content-contains-specified-string"),
        Code::ContentMissingSpecifiedString => page!("content-missing-specified-string"),
        Code::MatchedFailedRequest => page!("matched-failed-request"),
        Code::InvalidCookieParameter => page!("invalid-cookie-parameter"),
        Code::InvalidHeaderParameter => page!("invalid-header-parameter"),
        Code::InvalidStorageConfiguration => page!("invalid-storage-configuration"),
        Code::StorageAccessDenied => page!("storage-access-denied"),
        Code::StorageReturnedTransientError => page!("storage-returned-transient-error"),
        Code::ResultingImageTooLarge => page!("resulting-image-too-large"),
        Code::RequestAborted => page!("request-aborted"),
        Code::InternalApplicationError => page!("internal-application-error"),
        Code::TemporaryUnavailable => page!("temporary-unavailable"),
        Code::TargetNotAllowed => page!("target-not-allowed"),
        Code::PageCrashed => page!("page-crashed"),
        Code::VideoNotAvailable => page!("video-not-available"),
        Code::IdempotencyKeyReused => page!("idempotency-key-reused"),
        Code::NotFound => page!("not-found"),
        Code::MethodNotAllowed => page!("method-not-allowed"),
        Code::UnsupportedMediaType => page!("unsupported-media-type"),
        Code::UriTooLong => page!("uri-too-long"),
        Code::Gone => page!("file-expired"),
        Code::StillRendering => page!("still-rendering"),
    }
}

pub(super) fn routes() -> BoxedFilter<(Response,)> {
    let readable = warp::get().or(warp::head()).unify();
    let index = warp::path!("docs" / "errors")
        .and(readable)
        .and(warp::header::headers_cloned())
        .map(|headers: HeaderMap| respond(&index(), &headers));
    let pages = warp::path!("docs" / "errors" / String).and(readable).and(warp::header::headers_cloned()).and_then(
        |slug: String, headers: HeaderMap| async move {
            let slug = slug.strip_suffix(".md").unwrap_or(&slug);
            let code = Code::ALL.into_iter().find(|code| code.entry().slug == slug);
            code.map(|code| respond(page(code), &headers)).ok_or_else(warp::reject::not_found)
        },
    );
    index.or(pages).unify().boxed()
}

fn index() -> String {
    let line = |code: Code| {
        let entry = code.entry();
        format!("- [`{}`](/docs/errors/{}): {}", entry.name, entry.slug, entry.text)
    };
    format!("# Errors\n\n{}\n", Code::ALL.map(line).join("\n"))
}

fn respond(markdown: &str, headers: &HeaderMap) -> Response {
    let accepts = headers.get("accept").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (body, content_type) = match accepts.contains("text/html") {
        true => (html(markdown), "text/html; charset=utf-8"),
        false => (markdown.to_owned(), "text/markdown; charset=utf-8"),
    };
    let mut response = Response::new(body.into());
    reply::set(&mut response, "content-type", content_type);
    reply::set(&mut response, "vary", "accept");
    reply::set(&mut response, "cache-control", "public, max-age=3600");
    reply::set(&mut response, "content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox");
    response
}

const HEAD: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><style>\
:root{color-scheme:light dark;background:Canvas}body{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}\
pre{overflow:auto;padding:.5rem;border:1px solid #8886}</style>";

/// Enough of Markdown for our own pages: headings, paragraphs, lists, code, links.
fn html(markdown: &str) -> String {
    let mut html = HEAD.to_owned();
    for (index, block) in markdown.split("```").enumerate() {
        if index % 2 == 1 {
            html.push_str(&format!("<pre>{}</pre>", escape(block.trim_matches('\n'))));
            continue;
        }
        for paragraph in block.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty()) {
            let text = if let Some(title) = paragraph.strip_prefix("# ") {
                format!("<title>{0}</title><h1>{0}</h1>", escape(title))
            } else if paragraph.starts_with("- ") {
                let items = paragraph.lines().map(|line| line.strip_prefix("- ").unwrap_or(line));
                let items: String = items.map(|item| format!("<li>{}</li>", inline(item))).collect();
                format!("<ul>{items}</ul>")
            } else {
                format!("<p>{}</p>", inline(paragraph))
            };
            html.push_str(&text);
        }
    }
    html
}

fn inline(text: &str) -> String {
    let mut html = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        let parts = link.split_once("](").and_then(|(label, rest)| Some((label, rest.split_once(')')?)));
        let Some((label, (target, after))) = parts else { break };
        html.push_str(&code(before));
        html.push_str(&format!("<a href=\"{}\">{}</a>", escape(target), code(label)));
        rest = after;
    }
    html.push_str(&code(rest));
    html
}

fn code(text: &str) -> String {
    let parts = text.split('`').map(escape).enumerate();
    parts.map(|(index, part)| if index % 2 == 1 { format!("<code>{part}</code>") } else { part }).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_page_and_no_page_is_orphaned() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors");
        let mut files: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut slugs = Code::ALL.map(|code| format!("{}.md", code.entry().slug)).to_vec();
        files.sort();
        slugs.sort();
        assert_eq!(files, slugs);
    }

    #[test]
    fn each_page_is_of_its_code_and_of_a_readable_length() {
        for code in Code::ALL {
            let (entry, page) = (code.entry(), page(code));
            let status = match entry.status == entry.status_plain {
                true => format!("HTTP status {}.", entry.status),
                false => {
                    format!(
                        "HTTP status {} in the ScreenshotOne dialect, {} elsewhere.",
                        entry.status, entry.status_plain
                    )
                }
            };
            assert!(page.starts_with(&format!("# {}\n\n{status}\n\n", entry.name)), "{page}");
            assert!((5..=16).contains(&page.lines().count()), "{page}");
        }
    }

    #[test]
    fn html_is_escaped_and_has_its_links() {
        let html = html("# a\n\nx < `y` [`z`](z.md)\n\n- one\n- two\n\n```\n<b>\n```\n");
        assert!(html.ends_with(
            "<h1>a</h1><p>x &lt; <code>y</code> <a href=\"z.md\"><code>z</code></a></p><ul><li>one</li><li>two</li></ul><pre>&lt;b&gt;</pre>"
        ), "{html}");
    }
}
