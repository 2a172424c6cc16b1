//! What each parameter does to a request's options, found out by trying it: the group of the form that it belongs to, and
//! what holds where it is not given. So neither has to be written beside the tables, and neither can be out of date.

use std::sync::LazyLock;

use serde_json::Value as Json;
use snaphook_shared::options::{Kind, Parameter, Support, Value};
use snaphook_shared::request::Endpoint;

/// A part of the form: its heading, and the parts of the options that its parameters change.
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    changes: &'static [&'static str],
}

const fn group(name: &'static str, title: &'static str, changes: &'static [&'static str]) -> Group {
    Group { name, title, changes }
}

/// In the order of the form. A parameter that changes several parts, as a device does, belongs to the first.
pub(super) const GROUPS: [Group; 15] = [
    group("source", "Source", &["/source/"]),
    group("result", "Result", &["/output/", "/delivery/response_type", "/delivery/attachment_name"]),
    group("area", "Area", &["/capture/"]),
    group("video", "Video", &["/animation/"]),
    group("paper", "Paper", &["/pdf/"]),
    group("viewport", "Viewport", &["/viewport/"]),
    group("emulation", "Emulation", &["/emulation/"]),
    group("page", "Changes to the page", &["/page/"]),
    group("blocking", "Blocking", &["/blocking/"]),
    group("network", "Network", &["/network/"]),
    group("waiting", "Waiting and failing", &["/wait/", "/fail/"]),
    group("metadata", "Metadata", &["/metadata/"]),
    group("cache", "Cache", &["/delivery/cache/"]),
    group("storage", "Storage", &["/delivery/store/"]),
    group("background", "Background and webhook", &["/delivery/"]),
];

/// A parameter that can be filled in.
pub(super) struct Entry {
    pub(super) parameter: &'static Parameter,
    /// Of [`GROUPS`].
    pub(super) group: &'static str,
    /// What holds without it, as it would be written; None if there is nothing like that.
    pub(super) default: Option<String>,
}

static ENTRIES: LazyLock<Vec<(Endpoint, Vec<Entry>)>> = LazyLock::new(|| {
    let of = |endpoint: Endpoint| endpoint.table().iter().filter_map(|parameter| entry(endpoint, parameter)).collect();
    Endpoint::ALL.map(|endpoint| (endpoint, of(endpoint))).into()
});

/// The parameters of an endpoint that do something here, in the order of its table.
pub(super) fn entries(endpoint: Endpoint) -> &'static [Entry] {
    ENTRIES.iter().find(|(of, _)| *of == endpoint).map_or(&[], |(_, entries)| entries)
}

fn entry(endpoint: Endpoint, parameter: &'static Parameter) -> Option<Entry> {
    let Support::Effect(apply) = parameter.support else { return None };
    let defaults = endpoint.defaults();
    let with = |value: Value| {
        let mut options = defaults.clone();
        apply(&mut options, value);
        options
    };
    let before = serde_json::to_value(&defaults).ok()?;
    let mut changed = Vec::new();
    for value in samples(&parameter.kind) {
        compare("", &before, &serde_json::to_value(with(value)).ok()?, &mut changed);
    }
    let is_changed =
        |group: &&Group| changed.iter().any(|path| group.changes.iter().any(|part| path.starts_with(part)));
    let group = GROUPS.iter().find(is_changed)?.name;
    let kept = changed.iter().filter_map(|path| before.pointer(path));
    Some(Entry { parameter, group, default: default(&parameter.kind, kept, |value| with(value) == defaults) })
}

/// Values that are tried: every choice, or the ends of what is possible.
fn samples(kind: &Kind) -> Vec<Value> {
    let text = |text: &str| Value::Text(text.to_owned());
    match kind {
        Kind::Bool => vec![Value::Bool(false), Value::Bool(true)],
        Kind::Int { min, max } => vec![Value::Int(*min), Value::Int(*max)],
        Kind::Number { min, max } => vec![Value::Number((*min).into()), Value::Number((*max).into())],
        Kind::Enum { of, .. } => of.iter().map(|name| text(name)).collect(),
        Kind::EnumList { of } => of.iter().map(|name| Value::List(vec![(*name).to_owned()])).collect(),
        Kind::List => vec![Value::List(vec!["x".to_owned()])],
        Kind::Text | Kind::AlphaNumeric { .. } | Kind::Url => vec![text("x")],
    }
}

/// The value that changes nothing: one of the choices, or one of those that are `kept` where the parameter's goes.
fn default<'a>(
    kind: &Kind,
    kept: impl Iterator<Item = &'a Json>,
    changes_nothing: impl Fn(Value) -> bool,
) -> Option<String> {
    let mut kept = kept;
    let default = match kind {
        Kind::Bool => {
            [false, true].into_iter().find(|flag| changes_nothing(Value::Bool(*flag))).map(|flag| flag.to_string())
        }
        Kind::Enum { of, .. } => {
            of.iter().find(|name| changes_nothing(Value::Text((**name).to_owned()))).map(|name| (*name).to_owned())
        }
        // Options count in milliseconds what some parameters count in seconds.
        Kind::Int { .. } => kept
            .filter_map(Json::as_f64)
            .flat_map(|number| [number, number / 1000.0])
            .map(|number| number as i64)
            .find(|number| changes_nothing(Value::Int(*number)))
            .map(|number| number.to_string()),
        Kind::Number { .. } => kept
            .filter_map(Json::as_f64)
            .flat_map(|number| [number, number / 1000.0])
            .find(|number| changes_nothing(Value::Number(*number)))
            .map(|number| number.to_string()),
        Kind::List | Kind::EnumList { .. } => kept
            .filter_map(|json| serde_json::from_value::<Vec<String>>(json.clone()).ok())
            .find(|list| changes_nothing(Value::List(list.clone())))
            .map(|list| list.join(", ")),
        Kind::Text | Kind::AlphaNumeric { .. } | Kind::Url => kept
            .find_map(|json| json.as_str().filter(|text| changes_nothing(Value::Text((*text).to_owned()))))
            .map(str::to_owned),
    };
    default.filter(|text| !text.is_empty())
}

/// Adds the paths of what differs; a list counts as one thing.
fn compare(path: &str, before: &Json, after: &Json, changed: &mut Vec<String>) {
    match (before, after) {
        (Json::Object(before), Json::Object(after)) => {
            for (name, value) in after {
                compare(&format!("{path}/{name}"), before.get(name).unwrap_or(&Json::Null), value, changed);
            }
        }
        _ if before != after => changed.push(path.to_owned()),
        _ => {}
    }
}

/// What of the table is not in the form, and why.
pub(super) fn left_out(endpoint: Endpoint) -> impl Iterator<Item = (&'static str, &'static str)> {
    endpoint.table().iter().filter_map(|parameter| match parameter.support {
        Support::Effect(_) => None,
        Support::Ignored(why) | Support::Refused(why) | Support::RefusedBut(_, why) => Some((parameter.name, why)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_has_an_effect_is_in_the_form_and_nothing_else() {
        for endpoint in Endpoint::ALL {
            let names: Vec<&str> = entries(endpoint).iter().map(|entry| entry.parameter.name).collect();
            let has_effect = |parameter: &&&Parameter| matches!(parameter.support, Support::Effect(_));
            let wanted: Vec<&str> =
                endpoint.table().iter().filter(has_effect).map(|parameter| parameter.name).collect();
            assert_eq!(names, wanted, "{}", endpoint.path());
            assert_eq!(names.len() + left_out(endpoint).count(), endpoint.table().len());
            assert!(left_out(endpoint).all(|(_, why)| !why.is_empty()));
        }
    }

    #[test]
    fn groups_and_defaults_are_those_of_the_options() {
        let of = |endpoint, name: &str| {
            let entry = entries(endpoint).iter().find(|entry| entry.parameter.name == name).unwrap();
            (entry.group, entry.default.clone().unwrap_or_default())
        };
        for (endpoint, name, group, default) in [
            (Endpoint::Take, "url", "source", ""),
            (Endpoint::Take, "format", "result", "jpeg"),
            (Endpoint::Take, "image_quality", "result", "80"),
            (Endpoint::Take, "viewport_device", "viewport", ""),
            (Endpoint::Take, "viewport_width", "viewport", "1280"),
            (Endpoint::Take, "device_scale_factor", "viewport", "1"),
            (Endpoint::Take, "full_page", "area", "false"),
            (Endpoint::Take, "selector_scroll_into_view", "area", "true"),
            (Endpoint::Take, "dark_mode", "emulation", ""),
            (Endpoint::Take, "time_zone", "emulation", "GMT"),
            (Endpoint::Take, "wait_until", "waiting", "load"),
            (Endpoint::Screenshot, "wait_until", "waiting", "domcontentloaded"),
            (Endpoint::Screenshot, "block_annoyance", "blocking", "cookies_banner"),
            (Endpoint::Take, "cache_ttl", "cache", "14400"),
            (Endpoint::Screenshot, "cache_ttl", "cache", "604800"),
            (Endpoint::Take, "storage_secret_access_key", "storage", ""),
            (Endpoint::Take, "webhook_sign", "background", "true"),
            (Endpoint::Take, "fail_if_content_contains", "waiting", ""),
            (Endpoint::Animate, "duration", "video", "5"),
            (Endpoint::Animate, "format", "result", "mp4"),
            (Endpoint::Animate, "scroll_navigate_link_hints", "video", "pricing, about, customers"),
            (Endpoint::Pdf, "media_type", "emulation", "screen"),
            (Endpoint::Scrape, "js_enabled", "source", "true"),
            (Endpoint::Scrape, "format", "result", "html"),
        ] {
            assert_eq!(of(endpoint, name), (group, default.to_owned()), "{} {name}", endpoint.path());
        }
    }
}
