//! A collector of traces: takes spans as OpenTelemetry's exporters send them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;

use crate::serve::{Body, Port, Server, full};
use crate::wait;

/// One span as it came.
#[derive(Clone, Debug)]
pub struct Span {
    pub name: String,
    /// Hexadecimal digits, as in a `traceparent`; empty for no parent.
    pub trace: String,
    pub id: String,
    pub parent: String,
    /// Unix nanoseconds.
    pub began: u64,
    pub ended: u64,
    pub attributes: Vec<(String, String)>,
    pub failed: bool,
}

impl Span {
    /// An attribute's text; empty if it is not there.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// A running collector.
pub struct Collector {
    server: Server,
    received: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    pub fn start() -> Collector {
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = received.clone();
        let server = Server::start(Port::reserve(), move |request| take(request, kept.clone()));
        Collector { server, received }
    }

    pub fn url(&self) -> String {
        format!("{}/v1/traces", self.server.url())
    }

    /// All spans so far.
    pub fn all(&self) -> Vec<Span> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many of this name have come, and gives them all.
    pub async fn wait_for(&self, name: &str, count: usize, limit: Duration) -> Vec<Span> {
        let named = || self.all().into_iter().filter(|span| span.name == name).collect::<Vec<_>>();
        wait::for_it(&format!("{count} spans {name}"), limit, || Some(named()).filter(|all| all.len() >= count)).await
    }
}

async fn take(request: Request<Incoming>, received: Arc<Mutex<Vec<Span>>>) -> Response<Body> {
    let is_protobuf = request.headers().get("content-type").is_some_and(|value| value == "application/x-protobuf");
    assert!(request.uri().path() == "/v1/traces" && is_protobuf, "{request:?}");
    let body: Bytes = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let export = ExportTraceServiceRequest::decode(body).expect("spans in protobuf");
    let spans = export.resource_spans.into_iter().flat_map(|of| of.scope_spans).flat_map(|of| of.spans);
    let spans = spans.map(|span| Span {
        name: span.name,
        trace: hex::encode(span.trace_id),
        id: hex::encode(span.span_id),
        parent: hex::encode(span.parent_span_id),
        began: span.start_time_unix_nano,
        ended: span.end_time_unix_nano,
        attributes: span
            .attributes
            .into_iter()
            .map(|pair| (pair.key, text(pair.value.and_then(|v| v.value))))
            .collect(),
        failed: span.status.is_some_and(|status| status.code == 2),
    });
    received.lock().unwrap_or_else(PoisonError::into_inner).extend(spans);
    Response::new(full(""))
}

fn text(value: Option<Value>) -> String {
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}
