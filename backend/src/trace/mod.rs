//! Traces: what each request spent its time on, from the edge to its webhook. One tracer for the process, like the metrics, and
//! none unless `[telemetry]` says where spans go; then all there is here is a look whether there is one.
//!
//! Attributes are numbers, and texts of lists in the code. Nothing that a caller or a page wrote becomes one, and no address.

mod export;

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use snaphook_shared::trace;

pub use export::ExportError;

/// What is left to be sent at the end gets so long.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// Marks a span that is not to be sent.
const TAKEN_BACK: &str = "taken back";

struct Tracing {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

static TRACING: OnceLock<Tracing> = OnceLock::new();

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// Sends spans to this address from now on, by OTLP over HTTP; an empty one means none. Must be called on the runtime.
///
/// # Errors
/// When there can be no client for it.
pub fn start(endpoint: &str) -> Result<(), ExportError> {
    if endpoint.is_empty() {
        return Ok(());
    }
    let provider = export::provider(endpoint)?;
    let tracer = provider.tracer("snaphook");
    // A second start changes nothing.
    let _ = TRACING.set(Tracing { provider, tracer });
    Ok(())
}

/// Sends what has not been sent yet.
pub async fn stop() {
    let flush = || TRACING.get().map(|tracing| tracing.provider.shutdown_with_timeout(FLUSH_LIMIT));
    if let Ok(Some(Err(error))) = tokio::task::spawn_blocking(flush).await {
        tracing::warn!(%error, "the last spans could not be sent");
    }
}

/// A span in a trace: what follows from it says so.
#[derive(Clone, PartialEq)]
pub struct TraceContext(SpanContext);

impl TraceContext {
    /// From a `traceparent`; None for what is none.
    pub fn read(text: &str) -> Option<TraceContext> {
        let (trace, parent, flags) = trace::parts(text)?;
        let context = SpanContext::new(
            TraceId::from_hex(trace).ok()?,
            SpanId::from_hex(parent).ok()?,
            TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
            true,
            TraceState::NONE,
        );
        Some(TraceContext(context))
    }

    /// As a `traceparent`.
    pub fn traceparent(&self) -> String {
        let TraceContext(context) = self;
        format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8())
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traceparent())
    }
}

/// Where the work that is being done belongs, if it belongs to a trace.
pub fn current() -> Option<TraceContext> {
    CURRENT.try_with(Clone::clone).ok()
}

/// A piece of work; it ends when this is dropped.
pub struct Span {
    /// None where nothing is traced.
    span: Option<opentelemetry_sdk::trace::Span>,
    /// Its own; where nothing is traced, that of what it follows from, which is passed on as it came.
    context: Option<TraceContext>,
}

impl Span {
    /// A piece of our own work.
    pub fn start(name: &'static str, parent: Option<&TraceContext>) -> Span {
        Span::begin(parent, || SpanBuilder::from_name(name).with_kind(SpanKind::Internal))
    }

    /// A request that came in.
    pub fn of_server(method: &'static str, route: &'static str, parent: Option<&TraceContext>) -> Span {
        Span::begin(parent, || {
            let attributes = [KeyValue::new("http.request.method", method), KeyValue::new("http.route", route)];
            SpanBuilder::from_name(format!("{method} {route}")).with_kind(SpanKind::Server).with_attributes(attributes)
        })
    }

    /// A request to somebody else.
    pub fn of_client(name: &'static str, parent: Option<&TraceContext>) -> Span {
        Span::begin(parent, || SpanBuilder::from_name(name).with_kind(SpanKind::Client))
    }

    /// Work that began at this time (Unix milliseconds), by the clock of whoever noted it.
    pub fn since(name: &'static str, parent: Option<&TraceContext>, began_ms: u64) -> Span {
        let began = (UNIX_EPOCH + Duration::from_millis(began_ms)).min(SystemTime::now());
        Span::begin(parent, || SpanBuilder::from_name(name).with_kind(SpanKind::Internal).with_start_time(began))
    }

    fn begin(parent: Option<&TraceContext>, builder: impl FnOnce() -> SpanBuilder) -> Span {
        let Some(tracing) = TRACING.get() else { return Span { span: None, context: parent.cloned() } };
        let context = match parent {
            Some(TraceContext(parent)) => Context::new().with_remote_span_context(parent.clone()),
            None => Context::new(),
        };
        let span = tracing.tracer.build_with_context(builder(), &context);
        let context = TraceContext(span.span_context().clone());
        Span { span: Some(span), context: Some(context) }
    }

    pub fn context(&self) -> Option<&TraceContext> {
        self.context.as_ref()
    }

    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.span {
            span.set_attribute(KeyValue::new(name, value));
        }
    }

    /// It came to nothing, for a reason of a list.
    pub fn fail(&mut self, reason: impl Into<Cow<'static, str>>) {
        if let Some(span) = &mut self.span {
            let reason = reason.into();
            span.set_attribute(KeyValue::new("error.type", reason.clone()));
            span.set_status(Status::error(reason));
        }
    }

    /// It has turned out that there was nothing to do, and nothing has followed from it: it is not sent.
    pub fn take_back(mut self) {
        self.set(TAKEN_BACK, true);
    }

    /// Does work that belongs to it.
    pub async fn scope<T>(&self, work: impl Future<Output = T>) -> T {
        match self.context.clone() {
            Some(context) => CURRENT.scope(context, work).await,
            None => work.await,
        }
    }
}

/// Notes a piece of the current work that has just ended.
pub fn ended(name: &'static str, took: Duration) {
    if let (Some(tracing), Some(TraceContext(parent))) = (TRACING.get(), current()) {
        let now = SystemTime::now();
        let builder = SpanBuilder::from_name(name).with_start_time(now.checked_sub(took).unwrap_or(now));
        let context = Context::new().with_remote_span_context(parent);
        tracing.tracer.build_with_context(builder, &context).end_with_timestamp(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_is_written_as_it_was_read() {
        assert_eq!(TraceContext::read(TRACEPARENT).unwrap().traceparent(), TRACEPARENT);
        assert_eq!(TraceContext::read("00-zz"), None);
    }

    #[tokio::test]
    async fn without_a_tracer_a_callers_context_is_passed_on_as_it_came() {
        let caller = TraceContext::read(TRACEPARENT);
        let mut span = Span::of_server("POST", "/take", caller.as_ref());
        span.set("number", 1);
        span.fail("timeout_error");
        assert_eq!(span.context(), caller.as_ref());
        assert_eq!(span.scope(async { current() }).await, caller);
        assert_eq!((current(), Span::start("x", None).context()), (None, None));
    }
}
