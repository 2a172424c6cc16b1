//! `GET /docs`: the description of this API for people, made of the very document that `/openapi.json` is.

use bytes::Bytes;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Map, Value as Json};
use warp::Filter;
use warp::filters::BoxedFilter;

use super::{Api, Response, reply};
use crate::dashboard::prose;
use crate::reference;

const STYLE: &str = ":root{color-scheme:light dark;background:Canvas}body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;overflow-wrap:break-word}\
table{border-collapse:collapse;width:100%;margin:.5rem 0}td,th{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #8884}\
code{font-size:.9em;overflow-wrap:anywhere}pre{white-space:pre-wrap}section{margin:2.5rem 0}nav ul{columns:18rem;list-style:none;padding:0}\
.method{font-weight:bold;text-transform:uppercase}.refused{opacity:.65}\
@media (max-width:46rem){table,tbody,tr,td{display:block}thead{display:none}tr{padding:.5rem 0;border-bottom:1px solid #8884}\
td{padding:0;border:0}td:first-child{font-weight:bold}}";

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

pub(super) fn routes(api: &Api) -> BoxedFilter<(Response,)> {
    // Made once: whoever comes may ask for it, and it does not change.
    let page = Bytes::from(page(&reference::openapi(&api.links.public_url)).into_string());
    warp::path!("docs")
        .and(warp::get().or(warp::head()).unify())
        .map(move || {
            let mut response = Response::new(page.clone().into());
            reply::set(&mut response, "content-type", "text/html; charset=utf-8");
            reply::set(&mut response, "cache-control", "public, max-age=300");
            let policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox";
            reply::set(&mut response, "content-security-policy", policy);
            response
        })
        .boxed()
}

fn page(document: &Json) -> Markup {
    let empty = Map::new();
    let paths = document["paths"].as_object().unwrap_or(&empty);
    let origin = text(&document["servers"][0]["url"]);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { (text(&document["info"]["title"])) " API" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (text(&document["info"]["title"])) " API" }
                p { (text(&document["info"]["description"])) }
                p {
                    "For programs: " a href="/openapi.json" { "openapi.json" } ". Errors, one by one: "
                    a href="/docs/errors" { "docs/errors" } "."
                }
                h2 { "Who calls" }
                p {
                    "The access key goes into the header " code { "X-Access-Key" } ", into the query as "
                    code { "access_key" } ", or into the JSON of a body. "
                    (prose(text(&document["components"]["securitySchemes"]["query"]["description"])))
                }
                pre { code { "curl -o page.png \"" (origin) "/take?access_key=$SNAPHOOK_ACCESS_KEY&url=https://example.com&format=png\"" } }
                nav aria-label="Routes" {
                    ul { @for path in paths.keys() { li { a href={ "#" (anchor(path)) } { code { (path) } } } } }
                }
                main { @for (path, item) in paths { (route(document, path, item)) } }
            }
        }
    }
}

/// A path with its methods; what a render takes is told once, since the query of GET takes what the JSON of POST does.
fn route(document: &Json, path: &str, item: &Json) -> Markup {
    let operations: Vec<(&str, &Json)> =
        METHODS.iter().filter_map(|method| Some((*method, item.get(method)?))).collect();
    let is_render = operations.iter().any(|(method, operation)| {
        *method == "get" && operation["parameters"].as_array().is_some_and(|all| all.len() > 20)
    });
    html! {
        section id=(anchor(path)) {
            h2 { code { (path) } }
            @for (method, operation) in &operations {
                p { span .method { (method) } " " (prose(text(&operation["summary"]))) ". " (prose(text(&operation["description"]))) }
                @if !(is_render && *method == "post") {
                    (parameters(operation["parameters"].as_array().map_or(&[], Vec::as_slice)))
                    (properties(document, &operation["requestBody"]["content"]["application/json"]["schema"]))
                }
                (answers(&operation["responses"]))
            }
        }
    }
}

fn parameters(parameters: &[Json]) -> Markup {
    let rows = parameters.iter().map(|parameter| (text(&parameter["name"]), &parameter["schema"]));
    table(rows.collect())
}

/// The fields of a body's object.
fn properties(document: &Json, schema: &Json) -> Markup {
    let schema = match schema["$ref"].as_str().and_then(|reference| document.pointer(reference.trim_start_matches('#')))
    {
        Some(found) => found,
        None => schema,
    };
    let fields = schema["properties"].as_object();
    table(fields.into_iter().flatten().map(|(name, schema)| (name.as_str(), schema)).collect())
}

fn table(rows: Vec<(&str, &Json)>) -> Markup {
    html! {
        @if !rows.is_empty() {
            table {
                thead { tr { th { "Parameter" } th { "Takes" } th { "Meaning" } } }
                tbody {
                    @for (name, schema) in rows {
                        tr .refused[schema["deprecated"] == true] {
                            td { code { (name) } }
                            td { (takes(schema)) }
                            td { (prose(text(&schema["description"]))) }
                        }
                    }
                }
            }
        }
    }
}

fn answers(responses: &Json) -> Markup {
    let empty = Map::new();
    html! {
        p {
            "Answers: "
            @for (at, (status, response)) in responses.as_object().unwrap_or(&empty).iter().enumerate() {
                @if at > 0 { "; " }
                code { (status) } " " (prose(text(&response["description"]).trim_end_matches('.')))
            }
            "."
        }
    }
}

/// What a schema takes, in words.
fn takes(schema: &Json) -> String {
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(text).collect::<Vec<_>>().join(", ");
    }
    if let Some((_, name)) = text(&schema["$ref"]).rsplit_once('/') {
        return format!("object, {name}");
    }
    let kind = text(&schema["type"]);
    match (kind, schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
        ("array", ..) => match takes(&schema["items"]).as_str() {
            "" | "string" => "list".to_owned(),
            items => format!("list of {items}"),
        },
        (_, Some(least), Some(most)) => format!("{kind}, {least} to {most}"),
        _ if schema["format"] == "uri" => "URL".to_owned(),
        _ => kind.to_owned(),
    }
}

fn text(value: &Json) -> &str {
    value.as_str().unwrap_or_default()
}

fn anchor(path: &str) -> String {
    path.chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_and_parameter_of_the_document_is_there() {
        let document = reference::openapi("https://shots.example.com");
        let page = page(&document).into_string();
        for (path, item) in document["paths"].as_object().unwrap() {
            assert!(page.contains(&format!("<h2><code>{path}</code></h2>")), "{path}");
            for parameter in item["get"]["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap();
                assert!(page.contains(&format!("<td><code>{name}</code></td>")), "{path}: {name}");
            }
        }
        assert!(page.contains("https://shots.example.com/take?access_key=") && !page.contains("<td></td><td></td>"));
        assert!(page.contains("<code>signature</code>") && !page.contains('`'), "names are marked as such");
    }

    #[test]
    fn what_a_parameter_takes_is_said_in_words() {
        let schema = |text: &str| takes(&serde_json::from_str(text).unwrap());
        assert_eq!(schema(r#"{"type":"integer","minimum":1,"maximum":9}"#), "integer, 1 to 9");
        assert_eq!(schema(r#"{"type":"string","enum":["a","b"]}"#), "a, b");
        assert_eq!(schema(r#"{"type":"array","items":{"type":"string"}}"#), "list");
        assert_eq!(schema(r#"{"type":"array","items":{"type":"string","enum":["x"]}}"#), "list of x");
        assert_eq!(schema(r#"{"type":"string","format":"uri"}"#), "URL");
        assert_eq!(schema(r##"{"$ref":"#/components/schemas/TakeOptions"}"##), "object, TakeOptions");
    }
}
