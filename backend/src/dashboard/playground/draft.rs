//! What the form says: an endpoint, a key, and the parameters that were filled in; and the request that comes of it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use snaphook_shared::options::fields::Fields;
use snaphook_shared::options::model::Options;
use snaphook_shared::options::{self, Kind, Parameter};
use snaphook_shared::request::{Endpoint, Method, RawRequest};
use snaphook_shared::target::NativeUrlParser;

use super::effect::entries;
use crate::dashboard::filled;

/// The form's own fields, none of which is the name of a parameter.
pub(super) const ENDPOINT: &str = "endpoint";
pub(super) const KEY: &str = "key";
pub(super) const LANGUAGE: &str = "language";

/// RFC 3986's unreserved characters stay as they are, so that a link can be read.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A value as it goes into JSON.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    /// Digits as they were written, and as JSON writes them too.
    Number(String),
    Text(String),
    List(Vec<String>),
}

impl Value {
    /// The texts of a query.
    fn texts(&self) -> Vec<String> {
        match self {
            Value::Bool(flag) => vec![flag.to_string()],
            Value::Number(text) | Value::Text(text) => vec![text.clone()],
            Value::List(items) => items.clone(),
        }
    }

    /// What stands in a field of the form.
    pub(super) fn shown(&self) -> String {
        self.texts().join("\n")
    }
}

/// A parameter that was filled in.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) parameter: &'static Parameter,
    pub(super) value: Value,
}

/// The form, filled in.
#[derive(Clone)]
pub(super) struct Draft {
    pub(super) endpoint: Endpoint,
    /// May be empty, or any text.
    pub(super) access_key: String,
    /// In the order of the table.
    pub(super) given: Vec<Given>,
}

impl Draft {
    /// Reads a form or a query. What the endpoint does not know is left out: another one may have been chosen.
    pub(super) fn read(fields: &mut Fields) -> Draft {
        let endpoint = filled(fields, ENDPOINT).and_then(|path| Endpoint::from_path(&path)).unwrap_or(Endpoint::Take);
        let access_key = filled(fields, KEY).unwrap_or_default();
        let given = entries(endpoint).iter().filter_map(|entry| {
            let parameter = entry.parameter;
            value(fields, parameter).map(|value| Given { parameter, value })
        });
        Draft { endpoint, access_key, given: given.collect() }
    }

    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.given.iter().find(|given| given.parameter.name == name).map(|given| &given.value)
    }

    /// The body of a POST, a parameter on each line.
    pub(super) fn json(&self) -> String {
        let lines: Vec<String> =
            self.given.iter().map(|given| format!("  \"{}\": {}", given.parameter.name, json(&given.value))).collect();
        if lines.is_empty() { "{}".to_owned() } else { format!("{{\n{}\n}}", lines.join(",\n")) }
    }

    /// The query of a GET, escaped, with the key.
    pub(super) fn query(&self) -> String {
        let escape = |text: &str| utf8_percent_encode(text, QUERY).to_string();
        let mut pairs = vec![format!("access_key={}", escape(&self.access_key))];
        for Given { parameter, value } in &self.given {
            let texts = value.texts();
            // One item alone would be taken for a scalar, and a scalar that looks like a list for one.
            let suffix = if matches!(value, Value::List(_)) && texts.len() == 1 { "%5B%5D" } else { "" };
            pairs.extend(texts.iter().map(|text| format!("{}{suffix}={}", parameter.name, escape(text))));
        }
        pairs.join("&")
    }

    /// What is asked for, as far as it can be understood.
    pub(super) fn options(&self) -> Options {
        let fields = Fields::from_json(self.json().as_bytes()).unwrap_or_default();
        options::read(self.endpoint, &fields, &NativeUrlParser).0
    }

    pub(super) fn request(&self) -> RawRequest {
        RawRequest {
            endpoint: self.endpoint,
            method: Method::Post,
            query: String::new(),
            access_key_header: Some(self.access_key.clone()),
            idempotency_key: None,
            priority: None,
            body: self.json().into_bytes(),
        }
    }
}

/// The name of the box of one choice of a list.
pub(super) fn choice_name(parameter: &str, item: &str) -> String {
    format!("{parameter}.{item}")
}

/// An empty field is one that was not filled in.
fn value(fields: &mut Fields, parameter: &Parameter) -> Option<Value> {
    if let Kind::EnumList { of } = parameter.kind {
        let mut chosen: Vec<String> = of
            .iter()
            .filter(|item| fields.take(&choice_name(parameter.name, item)).is_some())
            .map(|item| (*item).to_owned())
            .collect();
        // As a link to the form may have it.
        chosen.extend(filled(fields, parameter.name).into_iter().flat_map(|text| items(&text.replace(',', "\n"))));
        return (!chosen.is_empty()).then_some(Value::List(chosen));
    }
    // Browsers send the lines of a text as CRLF, whatever they were.
    let text = fields.take(parameter.name)?.replace("\r\n", "\n");
    if text.trim().is_empty() {
        return None;
    }
    Some(match parameter.kind {
        Kind::Bool => match text.trim() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => return None,
        },
        // What the field cannot show was chosen for another endpoint.
        Kind::Enum { of, .. } => Value::Text(of.iter().find(|item| **item == text)?.to_string()),
        Kind::Int { .. } | Kind::Number { .. } => number(text.trim()),
        Kind::List => Value::List(items(&text)),
        Kind::Text | Kind::AlphaNumeric { .. } | Kind::Url | Kind::EnumList { .. } => Value::Text(text),
    })
}

/// One on each line.
fn items(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// What JSON would write otherwise stays a text, which the API takes too, or says what is wrong with it.
fn number(text: &str) -> Value {
    let whole = text.parse::<i64>().is_ok_and(|number| number.to_string() == text);
    let real = text.parse::<f64>().is_ok_and(|number| number.is_finite() && number.to_string() == text);
    if whole || real { Value::Number(text.to_owned()) } else { Value::Text(text.to_owned()) }
}

fn json(value: &Value) -> String {
    let text = super::quote::json;
    match value {
        Value::Bool(flag) => flag.to_string(),
        Value::Number(digits) => digits.clone(),
        Value::Text(value) => text(value),
        Value::List(items) => format!("[{}]", items.iter().map(|item| text(item)).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Draft {
        Draft::read(&mut Fields::from_query(query))
    }

    #[test]
    fn only_what_was_filled_in_is_asked_for() {
        let draft = read(
            "endpoint=/take&key=AK1&url=https://example.com/&html=&full_page=true&viewport_width=+390+&delay=&\
             device_scale_factor=1.50&hide_selectors=.a%0D%0A%0D%0A.b%20c%0D%0A&wait_until.load=on&wait_until.networkidle0=on&\
             viewport_height=many&unknown=1&styles=a%0D%0Ab&format=mp4&dark_mode=perhaps",
        );
        let body: serde_json::Value = serde_json::from_str(&draft.json()).unwrap();
        let expected = serde_json::json!({
            "url": "https://example.com/", "full_page": true, "viewport_width": 390, "viewport_height": "many",
            "device_scale_factor": "1.50", "hide_selectors": [".a", ".b c"], "wait_until": ["load", "networkidle0"],
            "styles": "a\nb",
        });
        assert_eq!(body, expected);
        assert_eq!((draft.endpoint, draft.access_key.as_str()), (Endpoint::Take, "AK1"));
        assert_eq!(read("").json(), "{}");
        assert_eq!(read("endpoint=/nowhere").endpoint, Endpoint::Take);
    }

    #[test]
    fn body_and_query_are_read_as_the_same_request() {
        for nasty in super::super::quote::tests::NASTY {
            let escaped = utf8_percent_encode(nasty, NON_ALPHANUMERIC).to_string();
            let draft = read(&format!(
                "url=https://example.com/&styles={escaped}&hide_selectors={escaped}&cookies=%5B'a'%5D&headers=a%0Ab\
                 &full_page=false&delay=3"
            ));
            let mut by_query = Fields::from_query(&draft.query());
            assert_eq!(by_query.take("access_key").as_deref(), Some(""));
            let by_json = Fields::from_json(draft.json().as_bytes()).unwrap();
            let read = |fields: &Fields| options::read(Endpoint::Take, fields, &NativeUrlParser);
            assert_eq!(read(&by_query), read(&by_json), "{nasty:?}");
            assert!(read(&by_json).1.is_empty(), "{nasty:?}: {:?}", read(&by_json).1);
        }
    }

    #[test]
    fn the_forms_own_fields_are_no_parameters() {
        for endpoint in Endpoint::ALL {
            for own in [ENDPOINT, KEY, LANGUAGE, "form_token"] {
                assert!(endpoint.table().iter().all(|parameter| parameter.name != own), "{own}");
            }
        }
    }
}
