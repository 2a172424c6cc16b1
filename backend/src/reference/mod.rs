//! What the parameter tables say, as documents: OpenAPI for programs, `docs/compat.md` for people. Nothing about a
//! parameter is written here.

mod answers;

use std::fmt::Write;

use serde_json::{Map, Value as Json, json};
use snaphook_shared::code::Code;
use snaphook_shared::dialect::Dialect;
use snaphook_shared::limits::QUERY_BYTES_MAX;
use snaphook_shared::options::{Kind, Parameter, Support};
use snaphook_shared::request::Endpoint;
use snaphook_shared::task;

/// The OpenAPI 3.1 description of the whole public surface.
pub fn openapi(public_url: &str) -> Json {
    let mut paths = Map::new();
    let mut schemas = common_schemas();
    for endpoint in Endpoint::ALL {
        schemas.insert(schema_name(endpoint), options_schema(endpoint));
        paths.insert(endpoint.path().to_owned(), render_path(endpoint));
    }
    paths.extend(other_paths());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "snaphook",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Screenshots of web pages. The routes of ScreenshotOne and ScreenshotMAX, and a few of our own.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": public_url }],
        "security": [{ "header": [] }, { "query": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "header": { "type": "apiKey", "in": "header", "name": "X-Access-Key" },
                "query": {
                    "type": "apiKey", "in": "query", "name": "access_key",
                    "description": "GET requests may be signed: append `signature`, the lower-case hexadecimal HMAC-SHA256 \
                                    of the raw query string under the secret key. `expires` (Unix seconds) ends a link.",
                },
            },
        },
    })
}

fn common_schemas() -> Map<String, Json> {
    let names = Code::ALL.map(|code| code.entry().name).to_vec();
    let described: Vec<String> =
        Code::ALL.iter().map(|code| format!("- `{}`: {}", code.entry().name, code.entry().text)).collect();
    let detail = json!({
        "type": "object",
        "required": ["message"],
        "properties": {
            "message": { "type": "string" },
            "path": { "type": "array", "items": { "type": "string" } },
        },
    });
    let details = json!({ "type": "array", "items": { "$ref": "#/components/schemas/ErrorDetail" } });
    let code = json!({ "$ref": "#/components/schemas/ErrorCode" });
    let one = json!({
        "type": "object",
        "description": "An error of the ScreenshotOne routes.",
        "required": ["is_successful", "error_code", "error_message", "documentation_url"],
        "properties": {
            "is_successful": { "const": false },
            "error_code": code,
            "error_message": { "type": "string" },
            "documentation_url": { "type": "string", "format": "uri" },
            "returned_status_code": { "type": "integer" },
            "error_details": details,
        },
    });
    let plain = json!({
        "type": "object",
        "description": "An error of all other routes.",
        "required": ["statusCode", "error", "message", "code", "documentation_url"],
        "properties": {
            "statusCode": { "type": "integer" },
            "error": { "type": "string" },
            "message": { "type": "string" },
            "code": code,
            "documentation_url": { "type": "string", "format": "uri" },
            "returned_status_code": { "type": "integer" },
            "details": details,
        },
    });
    let accepted = json!({
        "type": "object",
        "required": ["status", "message", "created", "id", "status_url"],
        "properties": {
            "status": { "const": "Accepted" },
            "message": { "type": "string" },
            "created": { "type": "integer", "description": "Unix seconds." },
            "id": { "type": "string" },
            "status_url": { "type": "string", "format": "uri" },
        },
    });
    let mut schemas = Map::from_iter([
        ("ErrorCode".to_owned(), json!({ "type": "string", "enum": names, "description": described.join("\n") })),
        ("ErrorDetail".to_owned(), detail),
        ("ScreenshotOneError".to_owned(), one),
        ("Error".to_owned(), plain),
        ("Accepted".to_owned(), accepted),
        ("Task".to_owned(), task_schema()),
    ]);
    schemas.extend(answers::schemas().map(|(name, schema)| (name.to_owned(), schema)));
    schemas
}

/// `/v1/screenshot` → `V1ScreenshotOptions`
fn schema_name(endpoint: Endpoint) -> String {
    let mut name: String = words(endpoint.path()).collect();
    name.push_str("Options");
    name
}

fn words(path: &str) -> impl Iterator<Item = String> {
    path.split(['/', '{', '}', '.', '_']).filter(|part| !part.is_empty()).map(|part| {
        let (first, rest) = part.split_at(part.chars().next().map_or(0, char::len_utf8));
        format!("{}{rest}", first.to_uppercase())
    })
}

fn options_schema(endpoint: Endpoint) -> Json {
    let properties: Map<String, Json> =
        endpoint.table().iter().map(|parameter| (parameter.name.to_owned(), schema(parameter))).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn schema(parameter: &Parameter) -> Json {
    let mut schema = kind_schema(&parameter.kind);
    schema["description"] = describe(parameter).into();
    if let Support::Refused(_) | Support::RefusedBut(..) = parameter.support {
        schema["deprecated"] = true.into();
    }
    schema["x-snaphook-support"] = support(parameter).0.into();
    schema
}

/// What a parameter may be, as JSON Schema.
pub(crate) fn kind_schema(kind: &Kind) -> Json {
    match kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Number { min, max } => json!({ "type": "number", "minimum": min, "maximum": max }),
        Kind::AlphaNumeric { characters_max } => {
            json!({ "type": "string", "pattern": "^[0-9A-Za-z]+$", "maxLength": characters_max })
        }
        Kind::Url => json!({ "type": "string", "format": "uri" }),
        Kind::Enum { of, .. } => json!({ "type": "string", "enum": of }),
        Kind::List => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::EnumList { of } => json!({ "type": "array", "items": { "type": "string", "enum": of } }),
        _ => json!({ "type": "string" }),
    }
}

/// How a parameter is treated, and why where there is something to say.
fn support(parameter: &Parameter) -> (&'static str, &'static str) {
    match parameter.support {
        Support::Effect(_) => ("supported", ""),
        Support::Ignored(why) => ("ignored", why),
        Support::Refused(why) | Support::RefusedBut(_, why) => ("refused", why),
    }
}

fn describe(parameter: &Parameter) -> String {
    let reason = match support(parameter) {
        ("supported", _) => String::new(),
        (how, why) => format!("{}: {why}.", how[..1].to_uppercase() + &how[1..]),
    };
    [parameter.about, &reason].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
}

fn render_path(endpoint: Endpoint) -> Json {
    let parameters: Vec<Json> = endpoint
        .table()
        .iter()
        .map(|parameter| json!({ "name": parameter.name, "in": "query", "schema": schema(parameter) }))
        .collect();
    let body = json!({
        "content": { "application/json": { "schema": { "$ref": format!("#/components/schemas/{}", schema_name(endpoint)) } } },
    });
    let mut get =
        operation(endpoint.path(), "get", endpoint.dialect(), "Render, options in the query", render_answers());
    get["parameters"] = parameters.into();
    get["description"] =
        format!("The query may have {QUERY_BYTES_MAX} bytes; longer ones go into the body of a POST.").into();
    let mut head = operation(endpoint.path(), "head", endpoint.dialect(), "As GET, without the body", render_answers());
    head["parameters"] = get["parameters"].clone();
    let mut post = operation(endpoint.path(), "post", endpoint.dialect(), "Render, options as JSON", render_answers());
    post["requestBody"] = body;
    post["parameters"] = json!([{
        "name": "Idempotency-Key", "in": "header", "schema": { "type": "string", "maxLength": 255 },
        "description": "Repeating an asynchronous request under the same key gives the first one again.",
    }, {
        "name": "Priority", "in": "header", "schema": { "type": "string", "example": "u=1" },
        "description": "RFC 9218: of the asynchronous requests of one access key that wait, those with the lowest u (0 to 7, 3 \
                        if not said) are rendered first.",
    }]);
    json!({ "get": get, "head": head, "post": post })
}

fn render_answers() -> Json {
    json!({
        "200": { "description": "The result, in the format that was asked for; with `response_type=json` its links.",
                 "content": { "*/*": {}, "application/json": { "schema": { "type": "object" } } } },
        "202": { "description": "Accepted (`async=true`): it will be rendered, whatever happens to this process.",
                 "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Accepted" } } } },
    })
}

fn operation(path: &str, method: &str, dialect: Dialect, summary: &str, answers: Json) -> Json {
    let error = match dialect {
        Dialect::ScreenshotOne => "ScreenshotOneError",
        Dialect::ScreenshotMax | Dialect::Native => "Error",
    };
    let mut answers = answers;
    answers["default"] = json!({
        "description": "An error.",
        "content": { "application/json": { "schema": { "$ref": format!("#/components/schemas/{error}") } } },
    });
    for answer in answers.as_object_mut().into_iter().flat_map(Map::values_mut) {
        answer["headers"] = answers::headers();
    }
    let name: String = words(path).collect();
    json!({ "operationId": format!("{method}{name}"), "tags": [dialect.name()], "summary": summary, "responses": answers })
}

/// Everything that is no render: path, method, dialect, summary, parameters in path and query.
const OTHERS: &[(&str, &str, Dialect, &str, &[&str])] = &[
    ("/bulk", "post", Dialect::ScreenshotOne, "Up to twenty renders, now or as links", &[]),
    ("/usage", "get", Dialect::ScreenshotOne, "Quota and concurrency of the key", &[]),
    ("/v1/usage", "get", Dialect::ScreenshotMax, "Quota and concurrency of the key", &[]),
    ("/v1/devices", "get", Dialect::ScreenshotMax, "What viewport_device can be", &[]),
    ("/v1/tasks", "get", Dialect::ScreenshotMax, "The key's scheduled tasks", &[]),
    ("/v1/tasks", "post", Dialect::ScreenshotMax, "Schedule a render", &[]),
    ("/v1/tasks/{id}", "get", Dialect::ScreenshotMax, "A scheduled task", &[]),
    ("/v1/tasks/{id}", "patch", Dialect::ScreenshotMax, "Change, pause or resume a task", &[]),
    ("/v1/tasks/{id}", "delete", Dialect::ScreenshotMax, "End a task; what it has made stays", &[]),
    ("/v1/requests", "get", Dialect::Native, "The key's requests, newest first", &["state", "task", "limit", "before"]),
    ("/v1/requests/{id}", "get", Dialect::Native, "What became of a request", &[]),
    ("/v1/requests/{id}/cancel", "post", Dialect::Native, "End a request that has not ended", &[]),
    (
        "/v1/deliveries",
        "get",
        Dialect::Native,
        "The key's webhooks with every attempt",
        &["state", "url", "since", "limit", "before"],
    ),
    ("/v1/deliveries/{id}/replay", "post", Dialect::Native, "Send a webhook again", &[]),
    ("/v1/deliveries/replay", "post", Dialect::Native, "Send dead webhooks again", &["url", "since"]),
    ("/v1/deliveries/endpoints", "get", Dialect::Native, "Webhook addresses that fail or are disabled", &[]),
    ("/v1/deliveries/endpoints/enable", "post", Dialect::Native, "Send to a disabled address again", &["url"]),
    ("/files/{name}", "get", Dialect::Native, "A rendered file, until its time is over", &[]),
    ("/docs", "get", Dialect::Native, "This document for people", &[]),
    ("/docs/errors/{slug}", "get", Dialect::Native, "What an error means and how to mend it", &[]),
    ("/openapi.json", "get", Dialect::Native, "This document", &[]),
];

fn other_paths() -> Map<String, Json> {
    let mut paths = Map::new();
    for (path, method, dialect, summary, in_query) in OTHERS {
        let content = match path.starts_with("/v1/tasks") {
            true => task_answers(path, method),
            false => match answers::of(path, method) {
                Some(schema) => json!({ "200": {
                    "description": "Done.",
                    "content": { "application/json": { "schema": schema } },
                } }),
                None => json!({ "200": { "description": "Done.", "content": { "*/*": {} } } }),
            },
        };
        let mut operation = operation(path, method, *dialect, summary, content);
        let text = json!({ "type": "string" });
        let in_path = path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name);
        let parameters = in_path
            .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": text }))
            .chain(in_query.iter().map(|name| json!({ "name": name, "in": "query", "schema": text })));
        operation["parameters"] = parameters.collect();
        if *path == "/bulk" {
            operation["requestBody"] = bulk_body();
        }
        if matches!(*method, "post" | "patch") && path.starts_with("/v1/tasks") {
            operation["requestBody"] = task_body(*method == "post");
        }
        if path.starts_with("/files") || path.starts_with("/docs") || path.starts_with("/openapi") {
            operation["security"] = json!([]);
        }
        let item = paths.entry(*path).or_insert_with(|| json!({}));
        item[*method] = operation;
    }
    paths
}

fn task_answers(path: &str, method: &str) -> Json {
    let task = json!({ "$ref": "#/components/schemas/Task" });
    let with =
        |schema: Json| json!({ "description": "Done.", "content": { "application/json": { "schema": schema } } });
    match (path, method) {
        ("/v1/tasks", "get") => {
            json!({ "200": with(json!({ "type": "object", "properties": { "tasks": { "type": "array", "items": task } } })) })
        }
        ("/v1/tasks", _) => json!({ "201": with(task) }),
        (_, "delete") => json!({ "204": { "description": "It is gone." } }),
        _ => json!({ "200": with(task) }),
    }
}

fn task_body(is_new: bool) -> Json {
    let required =
        task::PROPERTIES.iter().filter(|property| is_new && property.required && property.name != "frequency");
    let required: Vec<&str> = required.map(|property| property.name).collect();
    let mut schema = json!({ "type": "object", "additionalProperties": false, "properties": task_properties() });
    schema["properties"]["access_key"] = json!({ "type": "string" });
    if is_new {
        schema["required"] = required.into();
    }
    json!({ "required": true, "content": { "application/json": { "schema": schema } } })
}

fn task_properties() -> Json {
    let described = |property: &task::Property| {
        let mut schema = kind_schema(&property.kind);
        schema["description"] = property.about.into();
        (property.name.to_owned(), schema)
    };
    task::PROPERTIES.iter().map(described).collect::<Map<_, _>>().into()
}

fn task_schema() -> Json {
    let mut properties = task_properties();
    let integer = |about: &str| json!({ "type": "integer", "description": about });
    let or_null = |kind: &str, about: &str| json!({ "type": [kind, "null"], "description": about });
    for (name, schema) in [
        ("id", integer("")),
        ("created", integer("Unix seconds.")),
        ("last_run", or_null("integer", "Unix seconds.")),
        ("runs", integer("Requests that it has made.")),
        ("next_run", or_null("integer", "Unix seconds; null while it is paused.")),
        ("last_status", or_null("string", "The state of the last run's request, or `refused` if there could be none.")),
        ("last_request_id", or_null("string", "The last run's request.")),
        (
            "last_error",
            json!({
                "type": ["object", "null"],
                "description": "Why the last run failed.",
                "properties": {
                    "code": { "$ref": "#/components/schemas/ErrorCode" },
                    "message": { "type": "string" },
                },
            }),
        ),
    ] {
        properties[name] = schema;
    }
    json!({ "type": "object", "properties": properties })
}

fn bulk_body() -> Json {
    let options = json!({ "$ref": format!("#/components/schemas/{}", schema_name(Endpoint::Take)) });
    json!({ "required": true, "content": { "application/json": { "schema": {
        "type": "object",
        "required": ["requests"],
        "additionalProperties": false,
        "properties": {
            "access_key": { "type": "string" },
            "execute": { "type": "boolean", "description": "Render now; else the answer holds links that do." },
            "optimize": { "type": "boolean", "description": "Ignored." },
            "options": options,
            "requests": { "type": "array", "minItems": 1, "maxItems": 20, "items": options },
        },
    } } } })
}

/// `docs/compat.md`: each parameter of each route, and what becomes of it.
pub fn compat() -> String {
    let mut text = String::from(
        "# What of the vendors' APIs is supported\n\n\
         Made from the parameter tables by `cargo run -p snaphook -- compat > docs/compat.md`; a test keeps it up to date.\n\n\
         *Supported*: it does what the vendor's does. *Ignored*: it is accepted and changes nothing, for the reason given.\n\
         *Refused*: the request is answered with `request_not_valid` and the reason, unless the value asks for nothing\n\
         (`false`, an empty list). A parameter that is not listed is refused as unknown, as the vendors do.\n",
    );
    for endpoint in Endpoint::ALL {
        let count = |wanted: &str| endpoint.table().iter().filter(|parameter| support(parameter).0 == wanted).count();
        let (path, table) = (endpoint.path(), endpoint.table());
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n## `{path}` ({})\n\n{} parameters: {} supported, {} ignored, {} refused.\n\n\
             | parameter | what it takes | support | |\n|---|---|---|---|\n",
            endpoint.dialect().name(),
            table.len(),
            count("supported"),
            count("ignored"),
            count("refused")
        );
        for parameter in table {
            let (how, why) = support(parameter);
            let note = if why.is_empty() { parameter.about } else { why };
            let kind = takes(&parameter.kind);
            let _ = writeln!(text, "| `{}` | {kind} | {how} | {} |", parameter.name, note.replace('|', "\\|"));
        }
    }
    let _ = write!(
        text,
        "\n## `/v1/tasks` (screenshotmax)\n\n{} properties of a task: all supported.\n\n| property | what it takes | |\n|---|---|---|\n",
        task::PROPERTIES.len()
    );
    for property in task::PROPERTIES {
        let _ = writeln!(text, "| `{}` | {} | {} |", property.name, takes(&property.kind), property.about);
    }
    text
}

/// The same for programs: what a parameter takes is JSON Schema.
pub fn compat_json() -> Json {
    let of_endpoint = |endpoint: Endpoint| {
        let one = |parameter: &&Parameter| {
            let (how, why) = support(parameter);
            json!({
                "name": parameter.name, "takes": kind_schema(&parameter.kind), "support": how, "reason": why,
                "about": parameter.about,
            })
        };
        let parameters: Vec<Json> = endpoint.table().iter().map(one).collect();
        json!({ "path": endpoint.path(), "dialect": endpoint.dialect().name(), "parameters": parameters })
    };
    let of_tasks: Vec<Json> = task::PROPERTIES
        .iter()
        .map(|property| {
            json!({
                "name": property.name, "takes": kind_schema(&property.kind), "support": "supported", "reason": "",
                "about": property.about,
            })
        })
        .collect();
    let mut routes: Vec<Json> = Endpoint::ALL.into_iter().map(of_endpoint).collect();
    routes.push(json!({ "path": "/v1/tasks", "dialect": Dialect::ScreenshotMax.name(), "parameters": of_tasks }));
    routes.into()
}

fn takes(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "true, false".to_owned(),
        Kind::Int { min, max } => format!("whole number {min}..{max}"),
        Kind::Number { min, max } => format!("number {min}..{max}"),
        Kind::AlphaNumeric { characters_max } => format!("letters and digits, up to {characters_max}"),
        Kind::Url => "http(s) URL".to_owned(),
        Kind::Enum { of, .. } if of.len() <= 12 => quoted(of),
        Kind::Enum { of, .. } => format!("one of {} names", of.len()),
        Kind::List => "list of texts".to_owned(),
        Kind::EnumList { of } => format!("list of {}", quoted(of)),
        _ => "text".to_owned(),
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ").replace("``", "(empty)")
}

#[cfg(test)]
mod tests {
    use snaphook_shared::route;

    use super::*;

    #[test]
    fn every_parameter_of_every_table_is_described() {
        let document = openapi("https://s.example");
        for endpoint in Endpoint::ALL {
            let path = &document["paths"][endpoint.path()];
            let in_query = path["get"]["parameters"].as_array().unwrap();
            let in_body = &document["components"]["schemas"][schema_name(endpoint)]["properties"];
            for parameter in endpoint.table() {
                let described = in_query.iter().find(|entry| entry["name"] == parameter.name).unwrap();
                assert_eq!(described["schema"], in_body[parameter.name], "{}", parameter.name);
                assert!(!described["schema"]["description"].as_str().unwrap().is_empty(), "{}", parameter.name);
            }
            assert_eq!(in_query.len(), endpoint.table().len());
        }
    }

    #[test]
    fn the_document_is_whole() {
        let document = openapi("https://s.example");
        let text = document.to_string();
        for code in Code::ALL {
            assert!(text.contains(code.entry().name));
        }
        let mut ids = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for operation in item.as_object().unwrap().values() {
                ids.push(operation["operationId"].as_str().unwrap().to_owned());
                assert!(operation["responses"]["default"].is_object(), "{path}");
            }
        }
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count, "operation ids are unique");
        for reference in text.split("\"$ref\":\"#/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document.pointer(&format!("/{reference}")).is_some(), "{reference} leads nowhere");
        }
    }

    #[test]
    fn the_document_tells_of_what_is_served_and_of_nothing_else() {
        let document = openapi("https://s.example");
        let paths = document["paths"].as_object().unwrap();
        for (path, item) in paths {
            let sample: String = path
                .split('/')
                .map(|part| if part.starts_with('{') { "x" } else { part })
                .collect::<Vec<_>>()
                .join("/");
            let served = route::methods(&sample).unwrap_or_else(|| panic!("{path} is described and not served"));
            let described: Vec<String> = item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
            for method in &described {
                assert!(served.contains(&method.as_str()), "{method} {path} is described and not served: {served:?}");
            }
            for method in served {
                // HEAD goes without saying wherever there is a GET.
                let is_told =
                    described.iter().any(|one| one == method) || (*method == "HEAD" && item.get("get").is_some());
                assert!(is_told, "{method} {path} is served and not described: {described:?}");
            }
        }
        for served in route::TREES.iter().chain(&route::POSTED).chain(&route::PAGES) {
            let is_told = |path: &String| path == served || path.starts_with(&format!("{served}/"));
            assert!(paths.keys().any(is_told), "{served} is served and not described");
        }
    }

    #[test]
    fn the_compatibility_list_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compat.md");
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(kept == compat(), "run: cargo run -p snaphook -- compat > docs/compat.md");
    }
}
