//! The request of the form as a program: curl, JavaScript, Python, Go, PHP, and a signed link. Programs read the access key
//! from their environment, and none holds a secret; a link holds the signature that the secret has made.

use std::fmt::Write;

use snaphook_shared::key::KeyRecord;
use snaphook_shared::limits::QUERY_BYTES_MAX;
use snaphook_shared::link;
use snaphook_shared::options::model::ResponseType;

use super::draft::{Draft, Value};
use super::quote;

/// What programs take the access key from.
pub(super) const VARIABLE: &str = "SNAPHOOK_ACCESS_KEY";

/// The request in one language.
pub(super) struct Snippet {
    /// A word for the form and for the page.
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    /// The code; or why there is none.
    pub(super) code: Result<String, &'static str>,
}

/// What a program needs to know.
struct Program<'a> {
    draft: &'a Draft,
    url: String,
    /// Where the result goes; None: the answer is JSON or empty, and shown.
    file: Option<String>,
}

/// In the order in which they are shown. `record` is the chosen key's, to sign the link with.
pub(super) fn snippets(draft: &Draft, public_url: &str, record: Option<&KeyRecord>) -> [Snippet; 6] {
    let options = draft.options();
    let is_file = !options.delivery.asynchronous && options.delivery.response_type == ResponseType::ByFormat;
    let program = Program {
        draft,
        url: format!("{public_url}{}", draft.endpoint.path()),
        file: is_file.then(|| format!("result.{}", options.output.format.extension())),
    };
    let snippet = |name, label, code| Snippet { name, label, code: Ok(code) };
    [
        snippet("curl", "curl", program.curl()),
        snippet("javascript", "JavaScript", program.javascript()),
        snippet("python", "Python", program.python()),
        snippet("go", "Go", program.go()),
        snippet("php", "PHP", program.php()),
        Snippet { name: "link", label: "Signed link", code: program.link(record) },
    ]
}

impl Program<'_> {
    /// Each parameter on a line of its own, its value written by `literal`.
    fn lines(&self, line: impl Fn(&str, &Value) -> String) -> String {
        self.draft.given.iter().map(|given| line(given.parameter.name, &given.value)).collect()
    }

    fn curl(&self) -> String {
        let mut code = format!("curl --fail-with-body -X POST {} \\\n", quote::shell(&self.url));
        if let Some(file) = &self.file {
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(code, "  -o {file} \\");
        }
        let _ = writeln!(code, "  -H \"X-Access-Key: ${VARIABLE}\" \\\n  -H 'Content-Type: application/json' \\");
        // JSON allows for the indentation; a text cannot be hit by it, since its ends of line are escaped.
        let _ = write!(code, "  --data-raw {}", quote::shell(&self.draft.json().replace('\n', "\n  ")));
        code
    }

    fn javascript(&self) -> String {
        let options = self.lines(|name, value| {
            format!("    {name}: {},\n", literal(value, quote::json, ["true", "false"], ["[", "]"]))
        });
        let (import, use_it) = match &self.file {
            Some(file) => (
                "import { writeFile } from \"node:fs/promises\";\n\n",
                format!("await writeFile(\"{file}\", Buffer.from(await answer.arrayBuffer()));"),
            ),
            None => ("", "console.log(await answer.text());".to_owned()),
        };
        format!(
            "{import}\
             const answer = await fetch({url}, {{\n  \
               method: \"POST\",\n  \
               headers: {{\n    \
                 \"X-Access-Key\": process.env.{VARIABLE},\n    \
                 \"Content-Type\": \"application/json\",\n  \
               }},\n  \
               body: JSON.stringify({{\n{options}  }}),\n\
             }});\n\
             if (!answer.ok) throw new Error(await answer.text());\n\
             {use_it}",
            url = quote::json(&self.url),
        )
    }

    fn python(&self) -> String {
        let options = self.lines(|name, value| {
            format!("    \"{name}\": {},\n", literal(value, quote::json, ["True", "False"], ["[", "]"]))
        });
        let use_it = match &self.file {
            Some(file) => format!(
                "with urllib.request.urlopen(request) as answer, open(\"{file}\", \"wb\") as file:\n    \
                 file.write(answer.read())"
            ),
            None => "with urllib.request.urlopen(request) as answer:\n    print(answer.read().decode())".to_owned(),
        };
        format!(
            "import json\nimport os\nimport urllib.request\n\n\
             options = {{\n{options}}}\n\
             request = urllib.request.Request(\n    \
               {url},\n    \
               data=json.dumps(options).encode(),\n    \
               headers={{\n        \
                 \"X-Access-Key\": os.environ[\"{VARIABLE}\"],\n        \
                 \"Content-Type\": \"application/json\",\n    \
               }},\n\
             )\n\
             {use_it}",
            url = quote::json(&self.url),
        )
    }

    fn go(&self) -> String {
        let options = self.lines(|name, value| {
            format!("\t\t\"{name}\": {},\n", literal(value, quote::json, ["true", "false"], ["[]string{", "}"]))
        });
        let use_it = match &self.file {
            Some(file) => {
                format!("if err := os.WriteFile(\"{file}\", result, 0o644); err != nil {{\n\t\tlog.Fatal(err)\n\t}}")
            }
            None => "os.Stdout.Write(result)".to_owned(),
        };
        format!(
            "package main\n\n\
             import (\n\t\"bytes\"\n\t\"encoding/json\"\n\t\"io\"\n\t\"log\"\n\t\"net/http\"\n\t\"os\"\n)\n\n\
             func main() {{\n\
             \toptions, err := json.Marshal(map[string]any{{\n{options}\t}})\n\
             \tif err != nil {{\n\t\tlog.Fatal(err)\n\t}}\n\
             \trequest, err := http.NewRequest(http.MethodPost, {url}, bytes.NewReader(options))\n\
             \tif err != nil {{\n\t\tlog.Fatal(err)\n\t}}\n\
             \trequest.Header.Set(\"X-Access-Key\", os.Getenv(\"{VARIABLE}\"))\n\
             \trequest.Header.Set(\"Content-Type\", \"application/json\")\n\
             \tanswer, err := http.DefaultClient.Do(request)\n\
             \tif err != nil {{\n\t\tlog.Fatal(err)\n\t}}\n\
             \tdefer answer.Body.Close()\n\
             \tresult, err := io.ReadAll(answer.Body)\n\
             \tif err != nil {{\n\t\tlog.Fatal(err)\n\t}}\n\
             \tif answer.StatusCode >= 300 {{\n\t\tlog.Fatal(string(result))\n\t}}\n\
             \t{use_it}\n\
             }}",
            url = quote::json(&self.url),
        )
    }

    fn php(&self) -> String {
        let options = self.lines(|name, value| {
            format!("    '{name}' => {},\n", literal(value, quote::php, ["true", "false"], ["[", "]"]))
        });
        let use_it = match &self.file {
            Some(file) => format!("file_put_contents('{file}', $result);"),
            None => "echo $result;".to_owned(),
        };
        // An empty array of PHP would become a list.
        format!(
            "<?php\n\n\
             $options = [\n{options}];\n\
             $request = curl_init({url});\n\
             curl_setopt_array($request, [\n    \
               CURLOPT_RETURNTRANSFER => true,\n    \
               CURLOPT_HTTPHEADER => [\n        \
                 'X-Access-Key: ' . getenv('{VARIABLE}'),\n        \
                 'Content-Type: application/json',\n    \
               ],\n    \
               CURLOPT_POSTFIELDS => json_encode((object) $options, JSON_THROW_ON_ERROR),\n\
             ]);\n\
             $result = curl_exec($request);\n\
             if ($result === false || curl_getinfo($request, CURLINFO_RESPONSE_CODE) >= 300) {{\n    \
               throw new RuntimeException($result ?: curl_error($request));\n\
             }}\n\
             {use_it}",
            url = quote::php(&self.url),
        )
    }

    fn link(&self, record: Option<&KeyRecord>) -> Result<String, &'static str> {
        let record = record.ok_or("Choose an access key: its secret signs the link.")?;
        let query = link::sign(&self.draft.query(), &record.secret_key);
        match query.len() <= QUERY_BYTES_MAX {
            true => Ok(format!("{}?{query}", self.url)),
            false => Err("This request is too long for a link. Send it in the body of a POST."),
        }
    }
}

/// A value in a language, by its texts, its two booleans and its brackets.
fn literal(value: &Value, text: fn(&str) -> String, booleans: [&str; 2], brackets: [&str; 2]) -> String {
    let ([yes, no], [open, close]) = (booleans, brackets);
    match value {
        Value::Bool(flag) => if *flag { yes } else { no }.to_owned(),
        Value::Number(digits) => digits.clone(),
        Value::Text(value) => text(value),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| text(item)).collect();
            format!("{open}{}{close}", items.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use snaphook_shared::key::KeyLimits;
    use snaphook_shared::options::fields::Fields;
    use snaphook_shared::secret::Secret;

    use super::*;

    fn record() -> KeyRecord {
        KeyRecord {
            access_key: "AK1".into(),
            secret_key: Secret::new("open-sesame"),
            previous_secrets: Vec::new(),
            require_signed: true,
            limits: KeyLimits::default(),
            revoked: false,
        }
    }

    fn codes(query: &str, record: Option<&KeyRecord>) -> Vec<String> {
        let draft = Draft::read(&mut Fields::from_query(query));
        let text = |snippet: Snippet| snippet.code.unwrap_or_else(str::to_owned);
        snippets(&draft, "https://shots.example", record).into_iter().map(text).collect()
    }

    #[test]
    fn a_link_is_signed_and_nothing_tells_the_secret() {
        let all = codes("key=AK1&url=https://example.com/?a=b%26c&full_page=true", Some(&record()));
        let link = all.last().unwrap();
        let query = link.strip_prefix("https://shots.example/take?").unwrap();
        assert!(
            query.starts_with("access_key=AK1&url=https%3A%2F%2Fexample.com%2F%3Fa%3Db%26c&full_page=true&signature=")
        );
        assert_eq!(link::verify(query, &[Secret::new("open-sesame")], 0), Ok(()));
        assert!(all.iter().all(|code| !code.contains("sesame")));
        assert!(all.iter().take(5).all(|code| code.contains(VARIABLE) && !code.contains("AK1")), "{all:?}");
        let long = codes(&format!("key=AK1&html={}", "x".repeat(20_000)), Some(&record()));
        assert!(long.last().unwrap().contains("too long"));
        assert!(codes("key=AK1", None).last().unwrap().contains("Choose"));
    }

    #[test]
    fn a_program_keeps_a_file_and_shows_anything_else() {
        for (query, file) in [
            ("url=https://e.example", Some("result.jpg")),
            ("url=https://e.example&format=png", Some("result.png")),
            ("endpoint=/v1/pdf&url=https://e.example", Some("result.pdf")),
            ("endpoint=/animate&url=https://e.example", Some("result.mp4")),
            ("url=https://e.example&async=true", None),
            ("url=https://e.example&response_type=json", None),
        ] {
            for code in codes(query, None).iter().take(5) {
                match file {
                    Some(file) => assert!(code.contains(file), "{query}: {code}"),
                    None => assert!(!code.contains("result."), "{query}: {code}"),
                }
            }
        }
    }

    #[test]
    fn values_are_literals() {
        let value = Value::List(vec!["a".into(), "$b".into()]);
        assert_eq!(literal(&value, quote::php, ["true", "false"], ["[", "]"]), r#"["a", "\$b"]"#);
        assert_eq!(literal(&value, quote::json, ["true", "false"], ["[]string{", "}"]), r#"[]string{"a", "$b"}"#);
        assert_eq!(literal(&Value::Bool(false), quote::json, ["True", "False"], ["[", "]"]), "False");
        assert_eq!(literal(&Value::Number("1.5".into()), quote::json, ["", ""], ["", ""]), "1.5");
    }
}
