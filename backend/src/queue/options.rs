//! Options as rows keep them: what differs from two documents that never change. Most of what a request says about itself is said
//! by everybody, and would be the better half of its row.
//!
//! A part that is left out is as in the whole, a field that is left out is as in the part (`base_options.json`): that is how
//! versions read their rows that kept all of it. The documents are not the defaults in the code, which may change: what is
//! kept means the same to every version that comes.

use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::Error as _;
use serde_json::{Error, Map, Value};
use snaphook_shared::options::model::Options;

#[derive(Deserialize, Default)]
struct Base {
    /// What a part is that is not there.
    whole: Map<String, Value>,
    /// What the fields of a part are that are not there.
    parts: Map<String, Value>,
}

static BASE: LazyLock<Base> =
    LazyLock::new(|| serde_json::from_str(include_str!("base_options.json")).unwrap_or_default());

/// The text of a row.
///
/// # Errors
/// None that options have: it is a matter of the type.
pub fn write(options: &Options) -> Result<String, Error> {
    let Value::Object(parts) = serde_json::to_value(options)? else { return Err(Error::custom("no object")) };
    let differ = parts.into_iter().filter(|(name, part)| BASE.whole.get(name) != Some(part));
    let difference = |(name, part): (String, Value)| {
        let part = match BASE.parts.get(&name) {
            Some(base) => difference(part, base),
            None => part,
        };
        (name, part)
    };
    serde_json::to_string(&differ.map(difference).collect::<Map<_, _>>())
}

/// What [`write`] was given.
///
/// # Errors
/// If the text is no JSON, or says what no options say.
pub fn read(text: &str) -> Result<Options, Error> {
    let mut all = BASE.whole.clone();
    for (name, difference) in serde_json::from_str::<Map<String, Value>>(text)? {
        let mut part = BASE.parts.get(&name).cloned().unwrap_or_default();
        replace(&mut part, difference);
        all.insert(name, part);
    }
    serde_json::from_value(all.into())
}

/// The fields that are not as in the base, if these are fields.
fn difference(value: Value, base: &Value) -> Value {
    match (value, base) {
        (Value::Object(fields), Value::Object(base)) => {
            let differ = fields.into_iter().filter(|(name, value)| base.get(name) != Some(value));
            let difference = |(name, value): (String, Value)| {
                let value = match base.get(&name) {
                    Some(base) => difference(value, base),
                    None => value,
                };
                (name, value)
            };
            Value::Object(differ.map(difference).collect())
        }
        (value, _) => value,
    }
}

/// The other way round.
fn replace(all: &mut Value, difference: Value) {
    match (all, difference) {
        (Value::Object(all), Value::Object(fields)) => {
            for (name, value) in fields {
                match all.get_mut(&name) {
                    Some(place) => replace(place, value),
                    None => drop(all.insert(name, value)),
                }
            }
        }
        (all, value) => *all = value,
    }
}

#[cfg(test)]
mod tests {
    use snaphook_shared::options::model::{Animation, Format};
    use snaphook_shared::request::Endpoint;

    use super::*;

    #[test]
    fn what_everybody_says_takes_no_room() {
        for endpoint in Endpoint::ALL {
            let text = write(&endpoint.defaults()).unwrap();
            // What is recorded has more to say than a picture.
            let most = if endpoint.defaults().animation.is_some() { 1_000 } else { 400 };
            assert!(text.len() < most, "{endpoint:?}: {text}");
            assert_eq!(read(&text).unwrap(), endpoint.defaults());
        }
    }

    #[test]
    fn whatever_differs_is_kept_and_comes_back() {
        let mut options = Options::default();
        options.source.url = Some("https://example.com/".to_owned());
        options.output.format = Format::Pdf;
        options.animation = Some(Animation::default());
        options.delivery.webhook.url = Some("https://example.com/hook".to_owned());
        options.viewport.width += 1;
        options.wait.for_selector = Some("#a".to_owned());
        options.fail.content_missing = vec!["price".to_owned()];
        assert_eq!(read(&write(&options).unwrap()).unwrap(), options);
        // And every field of them, whatever its kind.
        let (full, mut fields) = (serde_json::to_value(&options).unwrap(), 0);
        for (part, values) in full.as_object().unwrap() {
            for (name, value) in values.as_object().into_iter().flatten() {
                let mut other = full.clone();
                other[part][name] = match value {
                    Value::Bool(value) => (!value).into(),
                    Value::Number(value) => (value.as_u64().unwrap_or_default() + 1).into(),
                    // Of another kind; only its own place may change.
                    _ => Value::Null,
                };
                let mut read = BASE.parts[part].clone();
                replace(&mut read, difference(other[part].clone(), &BASE.parts[part]));
                assert_eq!(read, other[part], "{part}.{name}");
                fields += 1;
            }
        }
        assert!(fields > 80, "{fields}");
    }

    #[test]
    fn rows_that_have_all_of_it_are_read() {
        let mut options = Options::default();
        options.source.html = Some("<p>x".to_owned());
        let old = serde_json::to_string(&options).unwrap();
        assert_eq!(read(&old).unwrap(), options);
        assert_eq!(read("{}").unwrap(), Options::default());
        for wrong in ["", "[]", "7", "{\"viewport\":7}", "{\"source\":{\"url\":[]}}"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    /// A version of before reads what this one writes: it takes its own defaults for what is not there, and they are these.
    #[test]
    fn what_is_not_there_is_as_in_the_base() {
        // Until a default changes: then the documents stay as they are, and versions before that must be gone.
        assert_eq!(Value::Object(BASE.whole.clone()), serde_json::to_value(Options::default()).unwrap());
        for (part, value) in &BASE.parts {
            if value.is_object() {
                let options: Options = serde_json::from_str(&format!("{{\"{part}\":{{}}}}")).unwrap();
                assert_eq!(serde_json::to_value(&options).unwrap()[part], *value, "{part}");
            }
            // And so for what is within a part.
            for (name, inner) in value.as_object().into_iter().flatten().filter(|(_, inner)| inner.is_object()) {
                let alone = format!("{{\"{part}\":{{\"{name}\":{{}}}}}}");
                let options: Options = serde_json::from_str(&alone).unwrap();
                assert_eq!(serde_json::to_value(&options).unwrap()[part][name], *inner, "{part}.{name}");
            }
        }
    }
}
