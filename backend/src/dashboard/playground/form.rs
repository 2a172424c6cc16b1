//! The form: a field for each parameter that does something, by its kind, in groups; and beside each what is wrong with it.

use maud::{Markup, html};
use snaphook_shared::code::{Code, Problem};
use snaphook_shared::options::Kind;
use snaphook_shared::request::Endpoint;

use super::draft::{Draft, ENDPOINT, KEY, Value, choice_name};
use super::effect::{Entry, GROUPS, entries, left_out};
use crate::dashboard::html::{number, prose};

/// The parameter that has its place in the bar.
const TARGET: &str = "url";
/// What is open before anything is filled in.
const OPEN_GROUP: &str = "result";

/// What is wrong with a request: in the fields that are to blame, and on the whole.
pub(super) struct Complaints<'a> {
    problem: Option<&'a Problem>,
    /// Those whose parameter has no field.
    elsewhere: Vec<&'a str>,
}

impl<'a> Complaints<'a> {
    pub(super) fn new(endpoint: Endpoint, problem: Option<&'a Problem>) -> Complaints<'a> {
        let has_field = |name: &str| entries(endpoint).iter().any(|entry| entry.parameter.name == name);
        let details = problem.into_iter().flat_map(|problem| &problem.details);
        let elsewhere = details.filter(|detail| !has_field(&detail.parameter)).map(|detail| detail.message.as_str());
        Complaints { problem, elsewhere: elsewhere.collect() }
    }

    fn of<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b str> {
        let details = self.problem.into_iter().flat_map(|problem| &problem.details);
        details.filter(move |detail| detail.parameter == name).map(|detail| detail.message.as_str())
    }

    fn blames(&self, name: &str) -> bool {
        self.of(name).next().is_some()
    }
}

/// What every request has: where it goes, of which page, and for whom.
pub(super) fn bar(draft: &Draft, keys: &[(String, String)], complaints: &Complaints) -> Markup {
    let target = entries(draft.endpoint).iter().find(|entry| entry.parameter.name == TARGET);
    html! {
        div .call {
            div {
                label for="endpoint" { span { "Endpoint" } }
                select name=(ENDPOINT) #endpoint {
                    @for endpoint in Endpoint::ALL {
                        option value=(endpoint.path()) selected[endpoint == draft.endpoint] { (endpoint.path()) }
                    }
                }
            }
            @if let Some(entry) = target {
                div .target-field {
                    label for={ "in-" (TARGET) } { span { "URL" } }
                    input type="url" name=(TARGET) id={ "in-" (TARGET) } autocomplete="off" spellcheck="false" inputmode="url"
                        placeholder="https://example.com/" value=[draft.value(TARGET).map(Value::shown)]
                        aria-invalid=[complaints.blames(TARGET).then_some("true")] aria-describedby={ "wrong-" (TARGET) };
                    (wrong(entry.parameter.name, complaints))
                }
            }
            div {
                label for="key" { span { "Access key" } }
                select name=(KEY) #key {
                    @for (key, name) in keys {
                        option value=(key) selected[*key == draft.access_key] { (key) @if !name.is_empty() { " · " (name) } }
                    }
                    @if !draft.access_key.is_empty() && keys.iter().all(|(key, _)| *key != draft.access_key) {
                        option value=(draft.access_key) selected { (draft.access_key) }
                    }
                }
            }
            div .go {
                button type="submit" .primary aria-keyshortcuts="Control+Enter" { "Render" }
                label .check .with-script hidden title="After each change; every render counts for the key." {
                    input type="checkbox" #as-you-go; span { "as I type" }
                }
            }
        }
    }
}

/// What is wrong with the request on the whole.
pub(super) fn problems(complaints: &Complaints, no_key: bool) -> Markup {
    html! {
        div #problems role="status" {
            @if no_key {
                p .band .bad { "There is no live access key, and a request needs one. " a href="/dashboard/access" { "Create a key" } }
            }
            @if let Some(problem) = complaints.problem.filter(|problem| has_words_of_its_own(problem)) {
                @let entry = problem.code.entry();
                p .band .bad {
                    strong { code { (entry.name) } }
                    span { (prose(entry.text)) }
                    a href={ "/docs/errors/" (entry.slug) } { "What it means" }
                }
            }
            @if !complaints.elsewhere.is_empty() {
                div .band .bad { ul { @for message in &complaints.elsewhere { li { (prose(message)) } } } }
            }
        }
    }
}

/// What validation has found is told beside the fields. What went wrong later is told with the result.
fn has_words_of_its_own(problem: &Problem) -> bool {
    problem.details.is_empty() && !matches!(problem.code, Code::RequestNotValid)
}

/// All parameters but the one in the bar.
pub(super) fn options(draft: &Draft, complaints: &Complaints) -> Markup {
    let entries = entries(draft.endpoint);
    html! {
        div #options data-endpoint=(draft.endpoint.path()) {
            p .find .with-script hidden {
                label for="find" .hidden { "Find a parameter" }
                input #find type="search" placeholder="Find a parameter" autocomplete="off" aria-controls="options";
            }
            p #none-found .empty role="status" hidden { "No parameter fits." }
            div .groups {
                @for group in &GROUPS {
                    @let own: Vec<&Entry> =
                        entries.iter().filter(|entry| entry.group == group.name && entry.parameter.name != TARGET).collect();
                    @if !own.is_empty() { (details(group.name, group.title, &own, draft, complaints)) }
                }
                (not_available(draft.endpoint))
            }
        }
    }
}

fn details(name: &str, title: &str, own: &[&Entry], draft: &Draft, complaints: &Complaints) -> Markup {
    let set = own.iter().filter(|entry| draft.value(entry.parameter.name).is_some()).count();
    let is_blamed = own.iter().any(|entry| complaints.blames(entry.parameter.name));
    let is_open = set > 0 || is_blamed || (name == OPEN_GROUP && draft.given.is_empty());
    html! {
        details .group id={ "group-" (name) } open[is_open] {
            summary {
                (title) " "
                span .badge .set id={ "set-" (name) } data-slot hidden[set == 0] { (set) " set" }
            }
            div .fields { @for entry in own { (field(entry, draft, complaints)) } }
        }
    }
}

fn field(entry: &Entry, draft: &Draft, complaints: &Complaints) -> Markup {
    let name = entry.parameter.name;
    if let Kind::EnumList { of } = entry.parameter.kind {
        return choices(entry, of, draft, complaints);
    }
    html! {
        div .field data-words={ (name) " " (entry.parameter.about.to_lowercase()) } {
            label for={ "in-" (name) } { code { (name) } }
            (control(entry, draft, complaints))
            (about(entry))
            (wrong(name, complaints))
        }
    }
}

/// A list of known items: a box for each.
fn choices(entry: &Entry, of: &[&str], draft: &Draft, complaints: &Complaints) -> Markup {
    let name = entry.parameter.name;
    let chosen = draft.value(name);
    let is_chosen =
        |item: &str| matches!(chosen, Some(Value::List(items)) if items.iter().any(|chosen| chosen == item));
    html! {
        fieldset .field .choices data-words={ (name) " " (entry.parameter.about.to_lowercase()) " " (of.join(" ")) }
            aria-describedby={ "about-" (name) " wrong-" (name) } {
            legend { code { (name) } }
            @for item in of {
                label .check { input type="checkbox" name=(choice_name(name, item)) checked[is_chosen(item)]; span { (item) } }
            }
            (about(entry))
            (wrong(name, complaints))
        }
    }
}

fn control(entry: &Entry, draft: &Draft, complaints: &Complaints) -> Markup {
    let name = entry.parameter.name;
    let (id, described) = (format!("in-{name}"), format!("about-{name} wrong-{name}"));
    let invalid = complaints.blames(name).then_some("true");
    let value = draft.value(name).map(Value::shown).unwrap_or_default();
    let default = entry.default.as_deref();
    let select = |items: &[&str]| {
        html! {
            select name=(name) id=(id) aria-invalid=[invalid] aria-describedby=(described) {
                option value="" { @match default { Some(default) => { "Default: " (default) }, None => "Not given" } }
                @for item in items { @if !item.is_empty() { option value=(item) selected[*item == value] { (item) } } }
            }
        }
    };
    let figure = |min: i64, max: i64, step: &str| {
        html! {
            input type="number" name=(name) id=(id) value=(value) min=(min) max=(max) step=(step) placeholder=[default]
                autocomplete="off" aria-invalid=[invalid] aria-describedby=(described);
        }
    };
    let text = |rows: u8, placeholder: Option<&str>| {
        html! {
            textarea name=(name) id=(id) rows=(rows) placeholder=[placeholder] autocomplete="off" spellcheck="false"
                aria-invalid=[invalid] aria-describedby=(described) { "\n" (value) }
        }
    };
    let line = |kind: &str, characters_max: Option<usize>| {
        html! {
            input type=(kind) name=(name) id=(id) value=(value) maxlength=[characters_max] placeholder=[default]
                autocomplete="off" spellcheck="false" aria-invalid=[invalid] aria-describedby=(described);
        }
    };
    match entry.parameter.kind {
        Kind::Bool => select(&["true", "false"]),
        Kind::Enum { of, .. } => select(of),
        Kind::Int { min, max } => figure(min, max, "1"),
        Kind::Number { min, max } => figure(min.into(), max.into(), "any"),
        Kind::Url => line("url", None),
        Kind::AlphaNumeric { characters_max } => line("text", Some(characters_max)),
        Kind::Text => text(1, default),
        Kind::List | Kind::EnumList { .. } => text(2, default.or(Some("One on each line"))),
    }
}

fn about(entry: &Entry) -> Markup {
    let range = match entry.parameter.kind {
        Kind::Int { min, max } => Some((min, max)),
        Kind::Number { min, max } => Some((min.into(), max.into())),
        _ => None,
    };
    html! {
        p .sub id={ "about-" (entry.parameter.name) } {
            (entry.parameter.about)
            @if let Some((min, max)) = range { " " span .range { (grouped(min)) " to " (grouped(max)) "." } }
            @if let (Kind::EnumList { .. }, Some(default)) = (entry.parameter.kind, &entry.default) { " Default: " (default) "." }
        }
    }
}

/// `-90`, `16 384`
fn grouped(bound: i64) -> String {
    format!("{}{}", if bound < 0 { "-" } else { "" }, number(bound.unsigned_abs()))
}

fn wrong(name: &str, complaints: &Complaints) -> Markup {
    let is_blamed = complaints.blames(name);
    html! {
        p .error id={ "wrong-" (name) } data-slot hidden[!is_blamed] {
            @for message in complaints.of(name) { span { (prose(message)) } " " }
        }
    }
}

fn not_available(endpoint: Endpoint) -> Markup {
    html! {
        @if left_out(endpoint).next().is_some() {
            details .group {
                summary { "Without effect here" }
                dl .facts .options { @for (name, why) in left_out(endpoint) { dt { code { (name) } } dd { (why) } } }
            }
        }
    }
}
