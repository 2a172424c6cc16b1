//! The Markdown source: a document of plain HTML with a style sheet of ours.

use pulldown_cmark::{Options, Parser, html};

const STYLE: &str = include_str!("css/markdown.css");

/// A whole HTML document. HTML within the Markdown stays what it is: the page it is shown on is the caller's own.
pub(super) fn document(markdown: &str) -> String {
    let extensions = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_GFM;
    let mut body = String::with_capacity(markdown.len() * 3 / 2);
    html::push_html(&mut body, Parser::new_ext(markdown, extensions));
    format!(
        "<!doctype html>\n<html><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::document;

    #[test]
    fn markdown_becomes_a_document() {
        let html = document("# Title\n\n| a | b |\n|---|---|\n| 1 | ~~2~~ |\n\n- [x] done\n");
        for part in ["<!doctype html>", "<h1>Title</h1>", "<th>a</th>", "<del>2</del>", "type=\"checkbox\" checked"] {
            assert!(html.contains(part), "{part} in {html}");
        }
    }
}
