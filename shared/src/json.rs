//! JSON as strangers send it, read strictly (RFC 8259) into values whose numbers are still text.
//!
//! Every verdict is serde_json's, to which the tests hold this reader; but that no number is too large for it. That one needs floating point, both ways, and the texts
//! of a hundred errors, a third of what a Worker may weigh; and a number kept as it was written is what its sender meant.

/// Values within one another, at most: each takes its room on the stack.
const DEPTH_MAX: usize = 127;

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    Null,
    Bool(bool),
    /// As it was written.
    Number(String),
    Text(String),
    List(Vec<Json>),
    /// In the order in which they came. A name that came twice is there twice.
    Object(Vec<(String, Json)>),
}

/// What is not JSON, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wrong} at byte {at}")]
pub struct JsonError {
    wrong: &'static str,
    at: usize,
}

impl Json {
    /// Reads one value, with nothing but blanks around it.
    ///
    /// # Errors
    /// [`JsonError`].
    pub fn read(text: &str) -> Result<Json, JsonError> {
        let mut reader = Reader { text, at: 0, depth: 0 };
        let value = reader.value()?;
        reader.skip_blanks();
        if reader.rest().is_empty() { Ok(value) } else { Err(reader.error("something stands behind the end")) }
    }

    /// The property of an object; of two, the later.
    pub fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(properties) => properties.iter().rfind(|(own, _)| own == name).map(|(_, value)| value),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        if let Json::Text(text) = self { Some(text) } else { None }
    }

    pub fn bool(&self) -> Option<bool> {
        if let Json::Bool(flag) = self { Some(*flag) } else { None }
    }

    pub fn whole_number(&self) -> Option<u64> {
        if let Json::Number(number) = self { number.parse().ok() } else { None }
    }

    pub fn list(&self) -> Option<&[Json]> {
        if let Json::List(items) = self { Some(items) } else { None }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn error(&self, wrong: &'static str) -> JsonError {
        JsonError { wrong, at: self.at }
    }

    fn skip_blanks(&mut self) {
        let blanks = self.rest().bytes().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t'));
        self.at += blanks.count();
    }

    /// Goes past this text, if it is what comes next.
    fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// As [`Reader::eat`], with blanks before it.
    fn eat_token(&mut self, token: &str) -> bool {
        self.skip_blanks();
        self.eat(token)
    }

    fn value(&mut self) -> Result<Json, JsonError> {
        self.skip_blanks();
        match self.rest().bytes().next() {
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(Json::Number),
            Some(b'[') => {
                let mut list = Vec::new();
                self.items("]", &mut |reader| reader.value().map(|value| list.push(value)))?;
                Ok(Json::List(list))
            }
            Some(b'{') => {
                let mut object = Vec::new();
                self.items("}", &mut |reader| reader.property().map(|property| object.push(property)))?;
                Ok(Json::Object(object))
            }
            _ if self.eat("null") => Ok(Json::Null),
            _ if self.eat("true") => Ok(Json::Bool(true)),
            _ if self.eat("false") => Ok(Json::Bool(false)),
            _ => Err(self.error("a value is missing")),
        }
    }

    /// What stands between two brackets, commas between.
    fn items(
        &mut self,
        end: &str,
        item: &mut dyn FnMut(&mut Reader<'a>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        if self.depth == DEPTH_MAX {
            return Err(self.error("too many brackets are open"));
        }
        self.depth += 1;
        self.at += 1;
        if !self.eat_token(end) {
            item(self)?;
            while self.eat_token(",") {
                item(self)?;
            }
            if !self.eat_token(end) {
                return Err(self.error("a comma or a closing bracket is missing"));
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn property(&mut self) -> Result<(String, Json), JsonError> {
        self.skip_blanks();
        let name = self.string()?;
        if !self.eat_token(":") {
            return Err(self.error("a colon is missing"));
        }
        Ok((name, self.value()?))
    }

    fn string(&mut self) -> Result<String, JsonError> {
        if !self.eat("\"") {
            return Err(self.error("a quotation mark is missing"));
        }
        // Its text has no more bytes than its spelling. What does not grow leaves no parts of itself behind: it may be a secret.
        let mut string = String::with_capacity(self.string_bytes());
        loop {
            let plain = self.rest().bytes().take_while(|byte| !matches!(byte, b'"' | b'\\' | ..=0x1f)).count();
            string.push_str(self.rest().get(..plain).unwrap_or_default());
            self.at += plain;
            if self.eat("\"") {
                return Ok(string);
            }
            if !self.eat("\\") {
                return Err(self.error("a text does not end, or has a control character in it"));
            }
            string.push(self.escaped()?);
        }
    }

    /// To the quotation mark that ends it.
    fn string_bytes(&self) -> usize {
        let mut escaped = false;
        let inside = self.rest().bytes().take_while(|byte| {
            let ends = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            !ends
        });
        inside.count()
    }

    /// What stands behind a backslash.
    fn escaped(&mut self) -> Result<char, JsonError> {
        let letter = self.rest().chars().next().unwrap_or_default();
        self.at += letter.len_utf8();
        Ok(match letter {
            '"' | '\\' | '/' => letter,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let mut code = self.four_digits()?;
                // UTF-16: what lies beyond the first 65,536 is written in two halves.
                if matches!(code, 0xd800..=0xdbff) && self.eat("\\u") {
                    let low = self.four_digits()?;
                    code = if matches!(low, 0xdc00..=0xdfff) { (code << 10) + low - 0x35f_dc00 } else { code };
                }
                char::from_u32(code).ok_or_else(|| self.error("half a character is missing"))?
            }
            _ => return Err(self.error("nothing is escaped so")),
        })
    }

    fn four_digits(&mut self) -> Result<u32, JsonError> {
        let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let number = number.ok_or_else(|| self.error("four hexadecimal digits are missing"))?;
        self.at += 4;
        Ok(number)
    }

    fn number(&mut self) -> Result<String, JsonError> {
        let rest = self.rest();
        let start = self.at;
        self.eat("-");
        if !self.eat("0") {
            self.digits()?;
        }
        if self.eat(".") {
            self.digits()?;
        }
        if self.eat("e") || self.eat("E") {
            let _ = self.eat("+") || self.eat("-");
            self.digits()?;
        }
        Ok(rest.get(..self.at - start).unwrap_or_default().to_owned())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        self.at += digits;
        if digits == 0 { Err(self.error("a digit is missing")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_were_written() {
        let read =
            Json::read(" {\"a\" : [1.50, -0, 1e+3 ,\"\\u00e4\\ud83d\\ude00\\n/\\/\"],\r\n\"a\":{ },\t\"\":null} ")
                .unwrap();
        let numbers = ["1.50", "-0", "1e+3"].map(|number| Json::Number(number.to_owned()));
        let list = numbers.into_iter().chain([Json::Text("ä😀\n//".to_owned())]).collect();
        let of = |name: &str, value| (name.to_owned(), value);
        let object = vec![of("a", Json::List(list)), of("a", Json::Object(Vec::new())), of("", Json::Null)];
        assert_eq!(read, Json::Object(object));
        assert_eq!(read.get("a"), Some(&Json::Object(Vec::new())), "the later of two");
    }

    #[test]
    fn an_error_says_where() {
        let said = |text: &str| Json::read(text).unwrap_err().to_string();
        assert_eq!(said("{\"url\":"), "a value is missing at byte 7");
        assert_eq!(said("[1 2]"), "a comma or a closing bracket is missing at byte 3");
        assert_eq!(said("{} x"), "something stands behind the end at byte 3");
    }

    /// As serde_json shows it, which is the other reader's own word.
    fn shown(json: Json) -> serde_json::Value {
        match json {
            Json::Null => serde_json::Value::Null,
            Json::Bool(flag) => flag.into(),
            Json::Number(number) => serde_json::from_str(&number).unwrap(),
            Json::Text(text) => text.into(),
            Json::List(items) => items.into_iter().map(shown).collect(),
            Json::Object(properties) => properties.into_iter().map(|(name, value)| (name, shown(value))).collect(),
        }
    }

    #[test]
    fn the_verdict_is_serde_jsons() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let texts = [
            "null",
            "true",
            "false",
            "nul",
            "truefalse",
            "0",
            "-0",
            "01",
            "-",
            "1.",
            ".5",
            "1.5",
            "1e5",
            "1E-5",
            "1e",
            "+1",
            "\"\"",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\"",
            "\"\\ud834\\udd1e\"",
            "\"\\ud800\\ud800\"",
            "\"a\tb\"",
            "\"\u{7f}ä\u{2028}\"",
            "\"\\u+123\"",
            "[",
            "]",
            "[]",
            "[,]",
            "[1,]",
            "[1,2]",
            "[1 2]",
            "{",
            "{}",
            "{\"a\":1}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\" 1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\"}",
            "",
            " ",
            "\u{feff}{}",
            "{} {}",
            "[1]x",
            "\u{b}1",
            "18446744073709551616",
            "{\"a\":{\"a\":[{}]}}",
            "\u{0}",
        ];
        for text in texts.map(str::to_owned).into_iter().chain([deep(127), deep(128)]) {
            match (Json::read(&text), serde_json::from_str::<serde_json::Value>(&text)) {
                (Ok(json), Ok(expected)) => assert_eq!(shown(json), expected, "{text}"),
                (Err(_), Err(_)) => {}
                (ours, theirs) => panic!("{text}: {ours:?} and {theirs:?}"),
            }
        }
    }
}
