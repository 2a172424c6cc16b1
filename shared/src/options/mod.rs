//! The parameter tables: what each dialect calls an option, what it may be, and where it lands.
//!
//! A table drives parsing, validation and documentation. Adding an option is one entry in the dialect's table
//! ([`screenshotone`], [`screenshotmax`]), a field in [`model`] and its effect in the backend's renderer.

pub mod animate;
mod animation;
pub mod devices;
pub mod fields;
mod format;
pub mod model;
mod number;
mod pdf;
mod rules;
pub mod screencast;
pub mod screenshotmax;
pub mod screenshotone;

use std::cmp::Ordering;

use crate::code::Detail;
use crate::limits::ERRORS_MAX;
use crate::request::Endpoint;
use crate::secret::Secret;
use crate::target::{Host, ParseUrl, check_spelling, is_web_scheme};
use fields::{Field, Fields};
use model::Options;

/// What a parameter may be. The messages of a mismatch are those of ScreenshotOne's validator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`, in any case.
    Bool,
    /// A whole number within bounds, both included.
    Int { min: i64, max: i64 },
    /// A real number within bounds, both included, and whole for all that is known.
    Number { min: i32, max: i32 },
    /// Any text but the empty one.
    Text,
    /// Letters and digits, up to so many.
    AlphaNumeric { characters_max: usize },
    /// An absolute http(s) URL.
    Url,
    /// One of these. With `fold` the case does not matter, and blanks around it are dropped.
    Enum { of: &'static [&'static str], fold: bool },
    /// Any number of texts.
    List,
    /// Any number of these.
    EnumList { of: &'static [&'static str] },
}

/// A value after its [`Kind`] has been checked. No `Debug`: it may be a secret's.
#[derive(Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Number(f64),
    Text(String),
    List(Vec<String>),
}

impl Value {
    // Each kind yields one variant, so a table entry reads its value by the accessor that fits its kind; the defaults
    // below are never seen.
    pub(crate) fn bool(self) -> bool {
        matches!(self, Value::Bool(true))
    }
    pub(crate) fn int(self) -> i64 {
        if let Value::Int(number) = self { number } else { 0 }
    }
    pub(crate) fn number(self) -> f64 {
        if let Value::Number(number) = self { number } else { 0.0 }
    }
    pub(crate) fn text(self) -> String {
        if let Value::Text(text) = self { text } else { String::new() }
    }
    pub(crate) fn list(self) -> Vec<String> {
        if let Value::List(list) = self { list } else { Vec::new() }
    }
    pub(crate) fn secret(self) -> Secret {
        Secret::new(self.text())
    }
    pub(crate) fn secrets(self) -> Vec<Secret> {
        self.list().into_iter().map(Secret::new).collect()
    }
}

/// What a parameter does.
#[derive(Clone, Copy)]
pub enum Support {
    /// It sets this.
    Effect(fn(&mut Options, Value)),
    /// It is accepted and changes nothing, for the reason given.
    Ignored(&'static str),
    /// It is refused by name, unless it has the value that asks for nothing (`false`, an empty list).
    Refused(&'static str),
    /// As before, but for this value: the vendor's default, which asks for nothing in particular.
    RefusedBut(&'static str, &'static str),
}

/// One parameter of one dialect.
#[derive(Clone, Copy)]
pub struct Parameter {
    pub name: &'static str,
    pub kind: Kind,
    pub support: Support,
    /// One line for the reference.
    pub about: &'static str,
}

const PAID: &str = "it needs an outside service that a self-hosted installation does not have";

impl Parameter {
    const fn effect(name: &'static str, kind: Kind, apply: fn(&mut Options, Value), about: &'static str) -> Parameter {
        // The reference is made by the backend; a Worker would only carry its texts.
        let about = if cfg!(target_arch = "wasm32") { "" } else { about };
        Parameter { name, kind, support: Support::Effect(apply), about }
    }

    const fn refused(name: &'static str, kind: Kind, why: &'static str) -> Parameter {
        Parameter { name, kind, support: Support::Refused(why), about: "" }
    }
}

/// One table of several parts, which endpoints share, each without the parameters that are named. `N` is how many are left.
#[expect(clippy::indexing_slicing, reason = "the compiler runs this, and what it cannot index does not compile")]
const fn join<const N: usize>(parts: &[(&'static [Parameter], &[&str])]) -> [&'static Parameter; N] {
    let mut joined = [&parts[0].0[0]; N];
    let (mut part, mut filled) = (0, 0);
    while part < parts.len() {
        let (parameters, without) = parts[part];
        let mut entry = 0;
        while entry < parameters.len() {
            if !contains(without, parameters[entry].name) {
                joined[filled] = &parameters[entry];
                filled += 1;
            }
            entry += 1;
        }
        part += 1;
    }
    assert!(filled == N);
    joined
}

#[expect(clippy::indexing_slicing, reason = "as above")]
const fn contains(names: &[&str], wanted: &str) -> bool {
    let wanted = wanted.as_bytes();
    let mut index = 0;
    while index < names.len() {
        let name = names[index].as_bytes();
        let mut same = 0;
        while name.len() == wanted.len() && same < name.len() && name[same] == wanted[same] {
            same += 1;
        }
        if name.len() == wanted.len() && same == name.len() {
            return true;
        }
        index += 1;
    }
    false
}

/// Reads all fields by the endpoint's table and applies the rules between parameters.
///
/// Gives what could be read together with every problem found (at most [`ERRORS_MAX`]); the options may be acted upon
/// only when there is none.
pub fn read(endpoint: Endpoint, fields: &Fields, urls: &dyn ParseUrl) -> (Options, Vec<Detail>) {
    let table = endpoint.table();
    let mut options = endpoint.defaults();
    let mut problems = Vec::new();
    let mut given: Vec<&'static str> = Vec::new();
    // A device is a set of defaults, wherever in the request it stands.
    let (device, others): (Vec<_>, Vec<_>) = fields.iter().partition(|field| field.name == "viewport_device");
    for field in device.into_iter().chain(others) {
        let Some(parameter) = table.iter().find(|parameter| parameter.name == field.name) else {
            problems.push(detail(&field.name, format!("\"{}\" is not allowed", field.name)));
            continue;
        };
        given.push(parameter.name);
        match (parameter.kind.read(field, urls), &parameter.support) {
            (Err(message), _) => problems.push(detail(parameter.name, message)),
            (Ok(value), Support::Effect(apply)) => apply(&mut options, value),
            (Ok(_), Support::Ignored(_)) => {}
            (Ok(Value::Text(text)), Support::RefusedBut(harmless, _)) if text == *harmless => {}
            (Ok(value), Support::Refused(reason) | Support::RefusedBut(_, reason)) => {
                if value != Value::Bool(false) && value != Value::List(Vec::new()) {
                    problems.push(detail(parameter.name, format!("\"{}\" is not supported: {reason}", parameter.name)));
                }
            }
        }
    }
    rules::check(endpoint, &options, &given, &mut problems);
    problems.truncate(ERRORS_MAX);
    (options, problems)
}

fn detail(parameter: &str, message: String) -> Detail {
    Detail { parameter: parameter.to_owned(), message }
}

impl Kind {
    /// Checks one field. Query and JSON give the same verdict, since both arrive as texts.
    pub(crate) fn read(&self, field: &Field, urls: &dyn ParseUrl) -> Result<Value, String> {
        let name = &field.name;
        match self {
            Kind::List => Ok(Value::List(field.texts())),
            Kind::EnumList { of } => {
                let items = field.texts_split_at_commas();
                match items.iter().position(|item| !of.contains(&item.as_str())) {
                    None => Ok(Value::List(items)),
                    Some(index) => Err(format!("\"{name}[{index}]\" must be one of [{}]", of.join(", "))),
                }
            }
            _ => match field.single() {
                Some(text) => self.read_text(name, text, urls),
                None => Err(format!("\"{name}\" must be a {}", self.noun())),
            },
        }
    }

    fn read_text(&self, name: &str, text: &str, urls: &dyn ParseUrl) -> Result<Value, String> {
        match self {
            Kind::Bool => {
                let text = text.trim();
                // ScreenshotMAX's PHP SDK writes 1 and 0; ScreenshotOne's validator refuses them, which helps nobody.
                if text.eq_ignore_ascii_case("true") || text == "1" {
                    Ok(Value::Bool(true))
                } else if text.eq_ignore_ascii_case("false") || text == "0" {
                    Ok(Value::Bool(false))
                } else {
                    Err(format!("\"{name}\" must be a boolean"))
                }
            }
            Kind::Int { min, max } => {
                let number = number::read(text.trim()).ok_or_else(|| format!("\"{name}\" must be a number"))?;
                if number.fract() != 0.0 {
                    return Err(format!("\"{name}\" must be an integer"));
                }
                let number = number as i64; // saturates, and the bounds below are far inside
                within(name, number.cmp(min), number.cmp(max), *min, *max)?;
                Ok(Value::Int(number))
            }
            Kind::Number { min, max } => {
                let number = number::read(text.trim()).ok_or_else(|| format!("\"{name}\" must be a number"))?;
                let to = |bound: i32| number.partial_cmp(&f64::from(bound)).unwrap_or(Ordering::Less);
                within(name, to(*min), to(*max), (*min).into(), (*max).into())?;
                Ok(Value::Number(number))
            }
            Kind::Text if text.is_empty() => Err(format!("\"{name}\" is not allowed to be empty")),
            Kind::Text => Ok(Value::Text(text.to_owned())),
            Kind::AlphaNumeric { characters_max } => {
                if text.is_empty() {
                    Err(format!("\"{name}\" is not allowed to be empty"))
                } else if !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                    Err(format!("\"{name}\" must only contain alpha-numeric characters"))
                } else if text.len() > *characters_max {
                    Err(format!("\"{name}\" length must be less than or equal to {characters_max} characters long"))
                } else {
                    Ok(Value::Text(text.to_owned()))
                }
            }
            Kind::Url => read_url(name, text, urls).map(Value::Text),
            Kind::Enum { of, fold } => {
                let folded = if *fold { text.trim().to_ascii_lowercase() } else { text.to_owned() };
                match of.contains(&folded.as_str()) {
                    true => Ok(Value::Text(folded)),
                    false => Err(format!("\"{name}\" must be one of [{}]", of.join(", "))),
                }
            }
            Kind::List | Kind::EnumList { .. } => Ok(Value::List(vec![text.to_owned()])),
        }
    }

    fn noun(&self) -> &'static str {
        match self {
            Kind::Bool => "boolean",
            Kind::Int { .. } | Kind::Number { .. } => "number",
            _ => "string",
        }
    }
}

/// How a number compares with its bounds, and the bounds.
fn within(name: &str, to_min: Ordering, to_max: Ordering, min: i64, max: i64) -> Result<(), String> {
    if to_min.is_lt() {
        Err(format!("\"{name}\" must be greater than or equal to {min}"))
    } else if to_max.is_gt() {
        Err(format!("\"{name}\" must be less than or equal to {max}"))
    } else {
        Ok(())
    }
}

fn read_url(name: &str, text: &str, urls: &dyn ParseUrl) -> Result<String, String> {
    if text.trim() != text {
        return Err(format!("\"{name}\" must be specified without leading and trailing white spaces"));
    }
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme {
        // What the parser makes of a backslash has none left, so that no later rule could refuse it.
        Some(scheme) if is_web_scheme(&scheme) => match check_spelling(text).ok().and_then(|()| urls.parse(text)) {
            // `https://https://…` parses as a host named "https", and is never meant.
            Some(parts) if !matches!(&parts.host, Host::Name(name) if name == "http" || name == "https") => {
                Ok(parts.serialized)
            }
            _ => Err(format!("\"{name}\" must be a valid URI")),
        },
        // `example.com:8080` has no scheme, for all that a colon is in it.
        Some(scheme) if !scheme.contains('.') && !scheme.is_empty() && !scheme.contains('/') => {
            Err(format!("\"{name}\" must be a valid URI with a scheme matching the http|https pattern"))
        }
        _ => Err(format!("\"{name}\" must be a valid URI")),
    }
}
