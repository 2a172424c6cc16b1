//! The page's own content as a file: its HTML as it stands after scripts have run, or Markdown made of that.

use bytes::Bytes;
use serde::Deserialize;
use snaphook_shared::code::Code;
use snaphook_shared::options::model::Format;

use super::page::{Page, json, list};
use crate::domain::artifact::Artifact;
use crate::domain::failure::Failure;

const OUTER_HTML: &str = include_str!("js/outer_html.js");
/// The most of a page's HTML that is read, in UTF-16 units.
const CHARS_MAX: u32 = 64 * 1024 * 1024;
/// What is no text for a reader.
const SKIPPED: [&str; 8] = ["head", "script", "style", "noscript", "template", "svg", "iframe", "canvas"];

/// Reads the page, or the element of the selector.
pub(super) async fn read(page: &Page<'_>) -> Result<Artifact, Failure> {
    let options = page.options;
    let selector = options.capture.selector.as_deref();
    let found = html(page, selector, options.output.include_shadow_dom).await?;
    let html = match found {
        Some(html) => html,
        None if options.capture.error_on_selector_not_found => {
            return Err(Failure::new(Code::SelectorNotFound, "no element to read"));
        }
        None => html(page, None, options.output.include_shadow_dom).await?.unwrap_or_default(),
    };
    let text = match options.output.format {
        Format::Markdown => markdown(html).await?,
        _ => html,
    };
    Ok(Artifact::new(Bytes::from(text), options.output.format, None))
}

/// The outer HTML of the document with its doctype, or of the selector's first match. None if nothing matches.
async fn html(page: &Page<'_>, selector: Option<&str>, shadow: bool) -> Result<Option<String>, Failure> {
    let selector = selector.map_or_else(|| "null".to_owned(), json);
    let hidden = list(&page.options.page.hide_selectors);
    let script = format!(
        "((html) => (html?.length > {CHARS_MAX} ? html.length : html))(({OUTER_HTML})({selector}, {shadow}, {hidden}))"
    );
    match page.evaluate(script).await.map_err(|failure| failure.blame("selector"))? {
        Some(Html::Text(html)) => Ok(Some(html)),
        Some(Html::TooLong(chars)) => {
            let cause = format!("the page's HTML has {chars} characters, and may have {CHARS_MAX}");
            Err(Failure::new(Code::ResultingImageTooLarge, cause))
        }
        None => Ok(None),
    }
}

/// What is read of a page.
#[derive(Deserialize)]
#[serde(untagged)]
enum Html {
    Text(String),
    TooLong(u64),
}

/// Markdown of HTML. A large page takes a while, so this is done off the async threads.
async fn markdown(html: String) -> Result<String, Failure> {
    let convert = move || {
        let converter = htmd::HtmlToMarkdown::builder().skip_tags(SKIPPED.to_vec()).build();
        converter.convert(&html)
    };
    let converted = tokio::task::spawn_blocking(convert).await.map_err(|error| Failure::internal(error.to_string()))?;
    let mut text = converted.map_err(|error| Failure::internal(format!("HTML to Markdown: {error}")))?;
    text.push('\n');
    Ok(text)
}
