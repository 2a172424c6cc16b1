//! The playground: a form made from the parameter tables, what comes of it, and the same request as code.
//!
//! The form is a plain one, that renders when it is sent. `assets/playground.js` does the same without leaving the page: it
//! sends the form and takes over what has changed of the page that comes back, so there is one place that knows what is shown.
//! A request is made of the form ([`draft`]), goes the way of a caller's ([`crate::domain::trial`]), and is checked there.

mod draft;
mod effect;
mod form;
mod outcome;
mod quote;
mod snippets;

use http::StatusCode;
use maud::{Markup, html};
use snaphook_shared::code::Problem;
use snaphook_shared::key::KeyRecord;
use snaphook_shared::options::fields::Fields;

use self::draft::{Draft, LANGUAGE};
use self::form::Complaints;
use self::snippets::{Snippet, VARIABLE, snippets};
use super::answer::{self, Result};
use super::html::{Frame, layout, script};
use super::{Dashboard, filled};
use crate::domain::trial::Trial;

/// The form as a link leads to it, filled in by the query; nothing is rendered and nothing is found wrong yet.
pub(super) async fn show(dashboard: &Dashboard, frame: &Frame, fields: &mut Fields) -> Result {
    let (page, draft) = read(dashboard, fields).await?;
    Ok(page.answer(frame, StatusCode::OK, &draft, None, None))
}

/// The form and its code after a change, with what is wrong with it.
pub(super) async fn code(dashboard: &Dashboard, frame: &Frame, fields: &mut Fields) -> Result {
    let (page, draft) = read(dashboard, fields).await?;
    // Nobody has to be told that a form which they have not begun to fill in is empty.
    let problem = match draft.given.is_empty() {
        true => None,
        false => dashboard.trials.check(draft.request()).await.err(),
    };
    Ok(page.answer(frame, StatusCode::OK, &draft, problem.as_ref(), None))
}

/// The form, and what has become of its request.
pub(super) async fn render(dashboard: &Dashboard, frame: &Frame, fields: &mut Fields) -> Result {
    let (page, draft) = read(dashboard, fields).await?;
    let trial = dashboard.trials.run(draft.request()).await;
    let (status, problem) = match &trial {
        Trial::Refused(problem) => (StatusCode::BAD_REQUEST, Some(problem)),
        // What no parameter is to blame for is told with the result.
        Trial::Failed { problem, .. } => (StatusCode::OK, Some(problem).filter(|problem| !problem.details.is_empty())),
        Trial::Rendered { .. } | Trial::Accepted { .. } => (StatusCode::OK, None),
    };
    Ok(page.answer(frame, status, &draft, problem, Some(&trial)))
}

/// What a page is made of besides its form.
struct Page {
    /// Live access keys, with what each is for.
    keys: Vec<(String, String)>,
    /// The chosen key's.
    record: Option<KeyRecord>,
    public_url: String,
    /// Whose code is shown; any text.
    language: String,
}

async fn read(dashboard: &Dashboard, fields: &mut Fields) -> Result<(Page, Draft)> {
    let mut draft = Draft::read(fields);
    let live = dashboard.operator.keys().await?.into_iter().filter(|key| key.revoked_ms.is_none());
    let keys: Vec<(String, String)> = live.map(|key| (key.access_key, key.name)).collect();
    if draft.access_key.is_empty()
        && let Some((first, _)) = keys.first()
    {
        draft.access_key.clone_from(first);
    }
    let record = dashboard.queue.key(&draft.access_key).await?.filter(|record| !record.revoked);
    let language = filled(fields, LANGUAGE).unwrap_or_default();
    Ok((Page { keys, record, public_url: dashboard.links.public_url.clone(), language }, draft))
}

impl Page {
    fn answer(
        &self,
        frame: &Frame,
        status: StatusCode,
        draft: &Draft,
        problem: Option<&Problem>,
        trial: Option<&Trial>,
    ) -> answer::Answer {
        let complaints = Complaints::new(draft.endpoint, problem);
        let body = html! {
            h1 { "Playground" }
            form #playground .playground method="post" action="/dashboard/playground" {
                (frame.token())
                (form::bar(draft, &self.keys, &complaints))
                (form::problems(&complaints, self.keys.is_empty()))
                (form::options(draft, &complaints))
                div .outcome {
                    (outcome::result(trial))
                    (self.code(draft))
                }
            }
            (script("playground.js"))
        };
        answer::page(status, layout(frame, "Playground", body))
    }

    fn code(&self, draft: &Draft) -> Markup {
        let snippets = snippets(draft, &self.public_url, self.record.as_ref());
        let is_known = snippets.iter().any(|snippet| snippet.name == self.language);
        let is_shown =
            |index: usize, snippet: &Snippet| if is_known { snippet.name == self.language } else { index == 0 };
        html! {
            section #code {
                h2 { "The same request" }
                fieldset .codes {
                    legend .hidden { "Language" }
                    @for (index, snippet) in snippets.iter().enumerate() {
                        input .hidden type="radio" name=(LANGUAGE) value=(snippet.name) id={ "in-" (snippet.name) }
                            checked[is_shown(index, snippet)];
                        label for={ "in-" (snippet.name) } { (snippet.label) }
                        div .code {
                            @match &snippet.code {
                                Ok(code) => {
                                    button type="button" .copy .with-script hidden { "Copy" }
                                    pre tabindex="0" role="region" aria-label={ "Code: " (snippet.label) } { (code) }
                                    @if snippet.name == "link" {
                                        p .sub {
                                            "Whoever has the link can open it and sees all that is in it. It has no end, unless "
                                            code { "expires" } " is signed too."
                                        }
                                    } @else if !draft.access_key.is_empty() {
                                        p .sub { code { "export " (VARIABLE) "=" (draft.access_key) } }
                                    }
                                },
                                Err(why) => p .empty { (why) },
                            }
                        }
                    }
                }
                p .actions { button type="submit" formaction="/dashboard/playground/code" .quiet .without-script { "Update the code only" } }
            }
        }
    }
}
