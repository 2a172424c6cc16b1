//! What has become of a request. Pictures and videos are shown from their files; the text of a page is shown as text, so that
//! nothing of it can run.

use bytes::Bytes;
use maud::{Markup, html};
use snaphook_shared::code::Problem;
use snaphook_shared::options::model::Medium;

use crate::dashboard::html::{badge, bytes, duration, prose};
use crate::dashboard::preview;
use crate::domain::job::StoredFile;
use crate::domain::pipeline::Rendered;
use crate::domain::trial::Trial;

/// More of a text is in its file.
const TEXT_CHARACTERS_MAX: usize = 20_000;

pub(super) fn result(trial: Option<&Trial>) -> Markup {
    html! {
        section #result aria-label="Result" {
            @match trial {
                None => p .empty .blank { "What is rendered is shown here. It counts for the key, like any other request." },
                Some(Trial::Refused(_)) => p .empty .blank { "Nothing was rendered. What is wrong is said above, or beside its field." },
                Some(Trial::Accepted { id }) => {
                    p { (badge("queued")) " It will be rendered in the background." }
                    (story(id))
                },
                Some(Trial::Failed { id, problem, took_ms }) => { (failure(problem)) (facts(id, *took_ms, None)) },
                Some(Trial::Rendered { id, rendered, took_ms }) => {
                    @if let Some(file) = &rendered.file { (shown(rendered, file)) }
                    (facts(id, *took_ms, rendered.file.as_ref()))
                },
            }
        }
    }
}

fn failure(problem: &Problem) -> Markup {
    let entry = problem.code.entry();
    html! {
        div .failed role="alert" {
            p { strong { code { (entry.name) } } " " (prose(&problem.message())) }
            @if let Some(status) = problem.returned_status_code { p .sub { "The page's host answered " (status) "." } }
            p { a href={ "/docs/errors/" (entry.slug) } { "What it means and how to mend it" } }
        }
    }
}

fn shown(rendered: &Rendered, file: &StoredFile) -> Markup {
    html! {
        @if rendered.artifact.format.medium() == Medium::Text {
            (text(&rendered.artifact.bytes))
        } @else {
            (preview::large(file))
        }
    }
}

fn text(content: &Bytes) -> Markup {
    let text = String::from_utf8_lossy(content);
    let cut = text.char_indices().nth(TEXT_CHARACTERS_MAX).map(|(index, _)| index);
    let shown = cut.and_then(|index| text.get(..index)).unwrap_or(&text);
    html! {
        pre .content tabindex="0" role="region" aria-label="The text of the page" { (shown) }
        @if cut.is_some() { p .sub { "The rest is in the file." } }
    }
}

fn facts(id: &str, took_ms: u64, file: Option<&StoredFile>) -> Markup {
    html! {
        dl .figures {
            div { dt { "Took" } dd { (duration(took_ms)) } }
            @if let Some(file) = file {
                div { dt { "Size" } dd { (bytes(file.bytes)) } }
                @if let Some(size) = file.size { div { dt { "Pixels" } dd { (size.width) " × " (size.height) } } }
                div { dt { "Type" } dd { (file.content_type.split(';').next().unwrap_or_default()) } }
            }
        }
        p .actions {
            a .button href={ "/dashboard/requests/" (id) } { "Its request" }
            @if let Some(file) = file {
                a .button href={ "/files/" (file.name) } download=(file.attachment.as_deref().unwrap_or(&file.name)) { "Download" }
            }
        }
    }
}

fn story(id: &str) -> Markup {
    html! { p .actions { a .button href={ "/dashboard/requests/" (id) } { "Its request" } } }
}
