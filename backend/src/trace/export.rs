//! Sends spans in batches, by OTLP over HTTP in protobuf, with the client that everything else here goes out with.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanProcessor};
use tokio::runtime::Handle;

use super::TAKEN_BACK;

const SEND_LIMIT: Duration = Duration::from_secs(10);

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("[telemetry] otlp_endpoint: {0}")]
    Exporter(#[from] ExporterBuildError),
    #[error("the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

pub(super) fn provider(endpoint: &str) -> Result<SdkTracerProvider, ExportError> {
    // As for the operator's own store: where it is, is the operator's to say.
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(SEND_LIMIT)
        .build()?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client { client, runtime: Handle::current(), is_failing: AtomicBool::new(false) })
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_timeout(SEND_LIMIT)
        .build()?;
    let resource = Resource::builder()
        .with_service_name("snaphook")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let batches = BatchSpanProcessor::builder(exporter).build();
    Ok(SdkTracerProvider::builder().with_span_processor(Kept(batches)).with_resource(resource).build())
}

/// Passes on what was not taken back.
#[derive(Debug)]
struct Kept(BatchSpanProcessor);

impl SpanProcessor for Kept {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if !span.attributes.iter().any(|attribute| attribute.key.as_str() == TAKEN_BACK) {
            self.0.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// The exporter has a thread of its own, which is none of the runtime's; the requests are made here.
struct Client {
    client: reqwest::Client,
    runtime: Handle,
    /// So that a collector that is away is told of once.
    is_failing: AtomicBool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    fn note(&self, error: Option<&HttpError>) {
        let was_failing = self.is_failing.swap(error.is_some(), Ordering::Relaxed);
        match (error, was_failing) {
            (Some(error), false) => tracing::warn!(%error, "spans cannot be sent, and are dropped until they can"),
            (None, true) => tracing::info!("spans can be sent again"),
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, (parts, body)) = (self.client.clone(), request.into_parts());
        let exchange = async move {
            let request = client.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body);
            // An address may hold a secret.
            let response = request.send().await.map_err(reqwest::Error::without_url)?;
            let status = response.status();
            let body = response.bytes().await.map_err(reqwest::Error::without_url)?;
            let mut answer = Response::new(body);
            *answer.status_mut() = status;
            Ok::<_, reqwest::Error>(answer)
        };
        let result = match self.runtime.spawn(exchange).await {
            Ok(Ok(answer)) if answer.status().is_success() => Ok(answer),
            Ok(Ok(answer)) => Err(format!("the collector answered {}", answer.status()).into()),
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        };
        self.note(result.as_ref().err());
        result
    }
}
