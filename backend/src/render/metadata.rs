//! What is told about a page beside its picture: gathered in the page, when it looks as it is taken.

use std::collections::BTreeMap;

use serde::Deserialize;
use snaphook_shared::metadata::{Font, HttpResponse, Icon, Metadata};
use snaphook_shared::options::model::ContentFormat;

use super::page::Page;
use crate::domain::failure::Failure;

const GATHER: &str = include_str!("js/metadata.js");
const CONTENT: &str = include_str!("js/content.js");

/// What the page's script says. A page can bend it as it likes: it is only ever shown.
#[derive(Deserialize)]
struct Gathered {
    icon: Option<Icon>,
    open_graph: BTreeMap<String, String>,
    title: String,
    fonts: Vec<Font>,
}

/// Everything that was asked for, save what needs the finished file.
pub(super) async fn gather(page: &Page<'_>) -> Result<Metadata, Failure> {
    let wanted = &page.options.metadata;
    let mut metadata = Metadata::default();
    if wanted.icon || wanted.open_graph || wanted.page_title || wanted.fonts {
        let script = format!("({GATHER})({}, {})", wanted.fonts, wanted.icon);
        let gathered: Gathered = page.evaluate(script).await?;
        metadata.icon = gathered.icon.filter(|_| wanted.icon);
        metadata.open_graph = wanted.open_graph.then_some(gathered.open_graph);
        metadata.page_title = wanted.page_title.then_some(gathered.title);
        metadata.fonts = wanted.fonts.then_some(gathered.fonts);
    }
    if let Some(main) = page.main_response() {
        metadata.http_response = HttpResponse {
            status_code: wanted.status_code.then_some(main.status),
            headers: wanted.headers.then_some(main.headers),
        };
    }
    Ok(metadata)
}

/// The page's content, if it was asked for, in the format that was asked for.
pub(super) async fn content(page: &Page<'_>) -> Result<Option<String>, Failure> {
    let wanted = &page.options.metadata;
    if !wanted.content {
        return Ok(None);
    }
    let markdown = wanted.content_format == ContentFormat::Markdown;
    // In HTML a shadow root is written as the template that makes it again; Markdown has text alone, so there the trees
    // are made one.
    let html: String =
        page.evaluate(format!("({CONTENT})({}, {})", page.options.output.include_shadow_dom, markdown)).await?;
    if !markdown {
        return Ok(Some(html));
    }
    // The work of a long page is no work for a thread that others wait for.
    let converted = tokio::task::spawn_blocking(move || {
        let converter =
            htmd::HtmlToMarkdown::builder().skip_tags(vec!["head", "script", "style", "noscript", "template"]);
        converter.build().convert(&html)
    });
    match converted.await {
        Ok(Ok(text)) => Ok(Some(text)),
        Ok(Err(error)) => Err(Failure::internal(format!("Markdown: {error}"))),
        Err(error) => Err(Failure::internal(format!("Markdown: {error}"))),
    }
}
