//! Raw parameters, from a query string or a JSON body, in one form: a name and its texts.
//!
//! The vendors' SDKs write arrays in six ways: repeated keys, `k[]`, `k[0]`, comma-joined, a JSON array, and a Python
//! list's `repr`. All of them end up as the same [`Field`].

use std::fmt;

use percent_encoding::percent_decode_str;
use zeroize::{Zeroize, Zeroizing};

use crate::json::{Json, JsonError};

/// One parameter as it came. The values of some are secrets, so `Debug` has its name alone, and they are wiped when it goes.
#[derive(Clone, PartialEq)]
pub struct Field {
    pub name: String,
    values: Vec<String>,
    /// Written as a list, so that one element is a list of one and no scalar.
    list: bool,
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Field").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        self.values.iter_mut().for_each(Zeroize::zeroize);
    }
}

/// All parameters of a request, each name once, in the order of first appearance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(Vec<Field>);

/// Properties in a body: many times as many as there are parameters. Each is compared with all before it.
const PROPERTIES_MAX: usize = 1000;

/// Why a JSON body has no fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is not valid JSON: {0}")]
    Invalid(#[from] JsonError),
    #[error("the body is not valid UTF-8 from byte {0} on")]
    NotUtf8(usize),
    #[error("the body must be a JSON object")]
    NotAnObject,
    #[error("the body has more than {PROPERTIES_MAX} properties")]
    TooMany,
    #[error("\"{0}\" must be a string, a number, a boolean or an array of them")]
    Nested(String),
}

impl Fields {
    /// Decodes a raw query string. Both `+` and `%20` are blanks; a key without `=` counts as absent, as the Ruby SDK
    /// sends them for options that are not set.
    pub fn from_query(raw: &str) -> Fields {
        let mut fields = Fields::default();
        for pair in raw.split('&') {
            if let Some((name, value)) = pair.split_once('=') {
                let name = decode(name);
                let (name, list) = strip_list_suffix(&name);
                fields.push(name, decode(value), list);
            }
        }
        fields
    }

    /// Reads the properties of a JSON object. `null` counts as absent.
    ///
    /// # Errors
    /// [`BodyError`] for what is no JSON object of scalars and arrays of scalars.
    pub fn from_json(body: &[u8]) -> Result<Fields, BodyError> {
        let text = str::from_utf8(body).map_err(|error| BodyError::NotUtf8(error.valid_up_to()))?;
        let Json::Object(object) = Json::read(text)? else { return Err(BodyError::NotAnObject) };
        if object.len() > PROPERTIES_MAX {
            return Err(BodyError::TooMany);
        }
        let mut fields = Fields::default();
        for (name, value) in object {
            // Of a name that came twice the later counts, as everywhere.
            fields.0.retain(|field| field.name != name);
            let (values, list) = match value {
                Json::Null => continue,
                Json::List(items) => (items.into_iter().map(scalar).collect(), true),
                value => (scalar(value).map(|text| vec![text]), false),
            };
            let values = values.ok_or_else(|| BodyError::Nested(name.clone()))?;
            if !name.is_empty() {
                fields.0.push(Field { name, values, list });
            }
        }
        Ok(fields)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Field> {
        self.0.iter()
    }

    /// The name of a parameter with a NUL in it, which no database keeps and so no filter can find.
    pub fn with_nul(&self) -> Option<&str> {
        let has_nul = |field: &&Field| field.values.iter().any(|value| value.contains('\0'));
        self.0.iter().find(has_nul).map(|field| field.name.as_str())
    }

    /// Removes a parameter and gives its first text: for those that are not options (`access_key`, `signature`).
    pub fn take(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|field| field.name == name)?;
        std::mem::take(&mut self.0.remove(index).values).into_iter().next()
    }

    fn push(&mut self, name: &str, value: String, list: bool) {
        if name.is_empty() {
            return;
        }
        match self.0.iter_mut().find(|field| field.name == name) {
            Some(field) => {
                field.values.push(value);
                field.list = true;
            }
            None => self.0.push(Field { name: name.to_owned(), values: vec![value], list }),
        }
    }
}

impl Field {
    /// The text of a scalar; None for what was written as a list.
    pub(crate) fn single(&self) -> Option<&str> {
        match self.values.as_slice() {
            [text] if !self.list => Some(text),
            _ => None,
        }
    }

    /// The texts of a list; a scalar is a list of one.
    pub(crate) fn texts(&self) -> Vec<String> {
        match self.single() {
            Some(text) => python_list(text).unwrap_or_else(|| vec![text.to_owned()]),
            None => self.values.clone(),
        }
    }

    /// As [`Field::texts`], with `a,b` as two: for lists whose items cannot hold a comma.
    pub(crate) fn texts_split_at_commas(&self) -> Vec<String> {
        let split = |text: String| text.split(',').map(|item| item.trim().to_owned()).collect::<Vec<_>>();
        self.texts().into_iter().flat_map(split).collect()
    }
}

fn scalar(value: Json) -> Option<String> {
    match value {
        Json::Text(text) | Json::Number(text) => Some(text),
        Json::Bool(flag) => Some(if flag { "true" } else { "false" }.to_owned()),
        Json::Null | Json::List(_) | Json::Object(_) => None,
    }
}

fn decode(text: &str) -> String {
    // Never longer than its spelling, so it does not grow and leave parts of itself behind: it may be a secret.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    bytes.extend(text.split('+').enumerate().flat_map(|(index, part)| {
        let blank = (index > 0).then_some(b' ');
        blank.into_iter().chain(percent_decode_str(part))
    }));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `name[]` and `name[3]` → `name`.
fn strip_list_suffix(name: &str) -> (&str, bool) {
    if let Some((stem, index)) = name.strip_suffix(']').and_then(|rest| rest.rsplit_once('['))
        && index.bytes().all(|byte| byte.is_ascii_digit())
    {
        return (stem, true);
    }
    (name, false)
}

/// `['.a', ".b"]`, as ScreenshotMAX's Python SDK writes a list into a query. None for any other text.
fn python_list(text: &str) -> Option<Vec<String>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let mut items = Vec::new();
    let mut characters = inner.trim().chars();
    loop {
        let Some(quote) = characters.next() else { return Some(items) };
        if quote != '\'' && quote != '"' {
            return None;
        }
        let mut item = String::new();
        loop {
            match characters.next()? {
                '\\' => item.push(match characters.next()? {
                    'n' => '\n',
                    't' => '\t',
                    other => other,
                }),
                end if end == quote => break,
                other => item.push(other),
            }
        }
        items.push(item);
        let rest = characters.as_str().trim_start();
        characters = match rest.strip_prefix(',') {
            Some(more) => more.trim_start().chars(),
            None if rest.is_empty() => return Some(items),
            None => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(query: &str) -> Vec<String> {
        Fields::from_query(query).iter().flat_map(Field::texts).collect()
    }

    #[test]
    fn every_way_to_write_an_array_reads_the_same() {
        let expected = vec![".a".to_owned(), ".b c".to_owned()];
        assert_eq!(texts("hide_selectors=.a&hide_selectors=.b+c"), expected);
        assert_eq!(texts("hide_selectors[]=.a&hide_selectors[]=.b%20c"), expected);
        assert_eq!(texts("hide_selectors%5B0%5D=.a&hide_selectors%5B1%5D=.b+c"), expected);
        assert_eq!(texts("hide_selectors=%5B%27.a%27%2C+%27.b+c%27%5D"), expected);
        let json = Fields::from_json(br#"{"hide_selectors":[".a",".b c"]}"#).unwrap();
        assert_eq!(json.iter().flat_map(Field::texts).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn bare_keys_and_nulls_are_absent_and_nested_json_is_refused() {
        assert_eq!(Fields::from_query("url&html=x").iter().count(), 1);
        let with_nul = |query| Fields::from_query(query).with_nul().map(str::to_owned);
        assert_eq!((with_nul("a=%30&b=1&b=x%00"), with_nul("a=%2500")), (Some("b".to_owned()), None));
        assert_eq!(Fields::from_json(br#"{"url":null}"#).unwrap(), Fields::default());
        assert_eq!(Fields::from_json(br#"{"url":{}}"#), Err(BodyError::Nested("url".into())));
        assert_eq!(Fields::from_json(b"[1]"), Err(BodyError::NotAnObject));
        assert!(matches!(Fields::from_json(b"{"), Err(BodyError::Invalid(_))));
        assert_eq!(Fields::from_json(b"{\"\xff\":1}"), Err(BodyError::NotUtf8(2)));
    }

    #[test]
    fn properties_keep_their_order_and_their_numbers_and_have_an_end() {
        let fields = Fields::from_json(br#"{"b":1.50,"a":true,"b":2e3,"c":1,"c":null}"#).unwrap();
        let shown: Vec<_> = fields.iter().map(|field| (field.name.as_str(), field.single())).collect();
        assert_eq!(shown, [("a", Some("true")), ("b", Some("2e3"))]);
        let many =
            |count: usize| format!("{{{}}}", (0..count).map(|n| format!("\"p{n}\":0")).collect::<Vec<_>>().join(","));
        assert_eq!(Fields::from_json(many(1000).as_bytes()).unwrap().iter().count(), 1000);
        assert_eq!(Fields::from_json(many(1001).as_bytes()), Err(BodyError::TooMany));
    }

    #[test]
    fn attribute_selectors_are_not_mistaken_for_python_lists() {
        assert_eq!(texts("hide_selectors=[data-ad]"), vec!["[data-ad]".to_owned()]);
        assert_eq!(texts("hide_selectors=['x' 'y']"), vec!["['x' 'y']".to_owned()]);
    }
}
