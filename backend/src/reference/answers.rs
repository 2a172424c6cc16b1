//! What answers other than renders look like, as JSON Schema. Objects are closed and all of their members are required, so that
//! `tests/it/openapi.rs` finds a member that was added, renamed or left out.

use serde_json::{Map, Value as Json, json};
use snaphook_shared::dialect::REQUEST_ID;

use crate::domain::delivery::DeliveryState;
use crate::domain::job::RequestState;

/// The schemas that answers refer to, by their names.
pub(super) fn schemas() -> [(&'static str, Json); 6] {
    [
        ("Request", request()),
        ("RequestDetail", request_detail()),
        ("Delivery", delivery()),
        ("WebhookEndpoint", endpoint()),
        ("Concurrency", closed([("limit", integer()), ("remaining", integer()), ("reset", integer())])),
        ("Device", device()),
    ]
}

/// What a route of those that render nothing answers when all is well; None where it is no JSON, or has no fixed members.
pub(super) fn of(path: &str, method: &str) -> Option<Json> {
    let id_and_state = |states: Json| closed([("id", text()), ("state", states)]);
    let list = |name: &str, of: &str| closed([(name, array(reference(of))), ("next", or_null("string"))]);
    let schema = match (path, method) {
        ("/bulk", _) => closed([("responses", array(json!({ "type": "object" })))]),
        ("/usage", _) => closed([
            ("total", integer()),
            ("available", integer()),
            ("used", integer()),
            ("concurrency", reference("Concurrency")),
        ]),
        ("/v1/usage", _) => {
            let hits = closed([("quota", integer()), ("used", integer()), ("remaining", integer())]);
            closed([("hits", hits), ("concurrency", reference("Concurrency"))])
        }
        ("/v1/devices", _) => closed([("devices", array(reference("Device")))]),
        ("/v1/requests", _) => list("requests", "Request"),
        ("/v1/requests/{id}", _) => reference("RequestDetail"),
        ("/v1/requests/{id}/cancel", _) => id_and_state(request_states()),
        ("/v1/deliveries", _) => list("deliveries", "Delivery"),
        ("/v1/deliveries/{id}/replay" | "/v1/deliveries/replay", _) => closed([("replayed", integer())]),
        ("/v1/deliveries/endpoints", _) => closed([("endpoints", array(reference("WebhookEndpoint")))]),
        ("/v1/deliveries/endpoints/enable", _) => closed([("url", text()), ("state", json!({ "const": "enabled" }))]),
        _ => return None,
    };
    Some(schema)
}

/// What every answer has in its head.
pub(super) fn headers() -> Json {
    json!({ REQUEST_ID: {
        "description": "Of the request in /v1/requests and in the log; for what renders nothing, of the log alone.",
        "required": true,
        "schema": { "type": "string", "pattern": "^req_[0-9a-f]{32}$" },
    } })
}

/// An object with these members and no others.
fn closed<const N: usize>(members: [(&str, Json); N]) -> Json {
    let required: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Json> =
        members.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
}

fn or_nothing(schema: Json) -> Json {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn reference(name: &str) -> Json {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn array(items: Json) -> Json {
    json!({ "type": "array", "items": items })
}

fn text() -> Json {
    json!({ "type": "string" })
}

fn integer() -> Json {
    json!({ "type": "integer" })
}

fn boolean() -> Json {
    json!({ "type": "boolean" })
}

fn or_null(kind: &str) -> Json {
    json!({ "type": [kind, "null"] })
}

fn time() -> Json {
    json!({ "type": "string", "format": "date-time" })
}

fn time_or_null() -> Json {
    json!({ "type": ["string", "null"], "format": "date-time" })
}

fn request_states() -> Json {
    json!({ "type": "string", "enum": RequestState::ALL.map(RequestState::name) })
}

fn delivery_states() -> Json {
    json!({ "type": "string", "enum": DeliveryState::ALL.map(DeliveryState::name) })
}

fn request() -> Json {
    let file = closed([
        ("url", text()),
        ("content_type", text()),
        ("bytes", integer()),
        ("width", or_null("integer")),
        ("height", or_null("integer")),
        ("expires_at", time()),
        ("expired", boolean()),
    ]);
    let error = closed([
        ("code", reference("ErrorCode")),
        ("message", or_null("string")),
        ("documentation_url", or_null("string")),
    ]);
    let webhook = closed([
        ("id", text()),
        ("url", text()),
        ("state", delivery_states()),
        ("attempts", integer()),
        ("next_attempt_at", time_or_null()),
        ("last_status", or_null("integer")),
        ("last_error", or_null("string")),
        ("end_reason", or_null("string")),
    ]);
    let refused = closed([
        ("host", text()),
        ("port", integer()),
        ("class", or_null("string")),
        ("reason", json!({ "type": "string", "enum": ["target", "limit"] })),
        ("count", integer()),
    ]);
    closed([
        ("id", text()),
        ("state", request_states()),
        ("endpoint", text()),
        ("async", boolean()),
        ("target", text()),
        ("attempts", integer()),
        ("created_at", time()),
        ("started_at", time_or_null()),
        ("finished_at", time_or_null()),
        ("error", or_nothing(error)),
        ("file", or_nothing(file)),
        ("webhook", or_nothing(webhook)),
        ("task_id", or_null("integer")),
        ("refused", array(refused)),
        ("status_url", text()),
    ])
}

/// A request by itself has its attempts beside.
fn request_detail() -> Json {
    let mut detail = request();
    let attempt = closed([
        ("number", integer()),
        ("started_at", time()),
        ("ended_at", time_or_null()),
        ("reason", or_null("string")),
    ]);
    detail["properties"]["attempt_log"] = array(attempt);
    if let Some(required) = detail["required"].as_array_mut() {
        required.push("attempt_log".into());
    }
    detail
}

fn delivery() -> Json {
    let attempt = closed([
        ("at", time()),
        ("took_ms", integer()),
        ("status", or_null("integer")),
        ("error", or_null("string")),
        ("answer", text()),
        (
            "headers",
            json!({
                "type": "object",
                "description": "What this attempt alone was sent with: its signatures with their time, and its place in a trace.",
                "additionalProperties": { "type": "string" },
            }),
        ),
    ]);
    closed([
        ("id", text()),
        ("request_id", text()),
        ("url", text()),
        ("state", delivery_states()),
        ("next_attempt_at", time_or_null()),
        ("finished_at", time_or_null()),
        ("end_reason", or_null("string")),
        ("attempts", array(attempt)),
    ])
}

fn endpoint() -> Json {
    closed([
        ("url", text()),
        ("state", json!({ "type": "string", "enum": ["failing", "disabled"] })),
        ("failures", integer()),
        ("failing_since", time()),
        ("last_failure_at", time()),
        ("last_error", text()),
        ("disabled_at", time_or_null()),
    ])
}

fn device() -> Json {
    let viewport = closed([
        ("width", integer()),
        ("height", integer()),
        ("deviceScaleFactor", json!({ "type": "number" })),
        ("isMobile", boolean()),
        ("hasTouch", boolean()),
        ("isLandscape", boolean()),
    ]);
    closed([("id", text()), ("name", text()), ("userAgent", text()), ("viewport", viewport)])
}
