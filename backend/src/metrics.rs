//! What is counted and measured, for Prometheus. One registry for the process, as there is one process to look at: whoever
//! counts says so here, and only the operations listener reads.
//!
//! Labels take their values from lists in the code. Nothing that a caller or a page wrote becomes one.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub use prometheus_text::CONTENT_TYPE;
use snaphook_shared::code::Code;

use crate::trace;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: &'static str,
    dialect: &'static str,
    status: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
    dialect: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    medium: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    by: &'static str,
    reason: &'static str,
}

/// One label, for families that need no more.
macro_rules! one_label {
    ($name:ident, $label:ident) => {
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        struct $name {
            $label: &'static str,
        }
    };
}
one_label!(Phase, phase);
one_label!(Reason, reason);
one_label!(Outcome, outcome);
one_label!(Told, code);
one_label!(State, state);
one_label!(Process, process);
one_label!(Build, version);

/// From a cached answer to the longest render.
const SECONDS: [f64; 13] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0];

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    request_seconds: Histograms<Route>,
    errors: Family<Told, Counter>,
    renders: Family<Ended, Counter>,
    phases: Histograms<Phase>,
    browser_starts: Family<Reason, Counter>,
    webhooks: Family<Outcome, Counter>,
    webhook_seconds: Histogram,
    egress: Family<Refused, Counter>,
    queue: Family<State, Gauge>,
    oldest_queued_seconds: Gauge,
    oldest_ready_seconds: Gauge,
    webhooks_open: Gauge,
    memory: Family<Process, Gauge>,
    ready: Gauge,
}

/// What is looked up at the moment of a scrape.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// None where the database does not say: then what it said last is told again, since nothing waiting would be a good word.
    pub queue: Option<QueueSnapshot>,
    pub backend_bytes: u64,
    pub browser_bytes: u64,
    pub ready: bool,
}

/// What waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueSnapshot {
    pub queued: u64,
    pub rendering: u64,
    /// How long the oldest queued request has waited.
    pub oldest_queued: Duration,
    /// How long the one has been due that a free worker could have had at once.
    pub oldest_ready: Duration,
    pub webhooks_open: u64,
}

/// The registry of this process.
pub fn get() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);
    &METRICS
}

impl Metrics {
    fn new() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("snaphook"),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            errors: Family::default(),
            renders: Family::default(),
            phases: Family::new_with_constructor(seconds),
            browser_starts: Family::default(),
            webhooks: Family::default(),
            webhook_seconds: seconds(),
            egress: Family::default(),
            queue: Family::default(),
            oldest_queued_seconds: Gauge::default(),
            oldest_ready_seconds: Gauge::default(),
            webhooks_open: Gauge::default(),
            memory: Family::default(),
            ready: Gauge::default(),
        };
        let build = Family::<Build, Gauge>::default();
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        let all = &mut metrics.registry;
        all.register("build_info", "The version that runs, always 1", build);
        all.register("http_requests", "Requests answered, by route, dialect and status", metrics.requests.clone());
        all.register_with_unit(
            "http_request_duration",
            "From a request's head to the head of its answer",
            Unit::Seconds,
            metrics.request_seconds.clone(),
        );
        all.register("http_errors", "Errors that callers were told, by their code", metrics.errors.clone());
        all.register(
            "renders",
            "Renders ended, by medium and by outcome: done or an error code",
            metrics.renders.clone(),
        );
        let help = "Parts of a render: wait for a page, open one, load, prepare, capture";
        all.register_with_unit("render_phase_duration", help, Unit::Seconds, metrics.phases.clone());
        all.register(
            "browser_starts",
            "Browsers started, and what became of the one before",
            metrics.browser_starts.clone(),
        );
        all.register(
            "webhook_attempts",
            "Attempts to deliver a webhook, by what came of them",
            metrics.webhooks.clone(),
        );
        let help = "Attempts to deliver a webhook, the answer included";
        all.register_with_unit("webhook_attempt_duration", help, Unit::Seconds, metrics.webhook_seconds.clone());
        all.register(
            "egress_refused",
            "Connections that pages and webhooks did not get, by reason",
            metrics.egress.clone(),
        );
        all.register("queue_requests", "Requests that have not ended, by state", metrics.queue.clone());
        let help = "How long the oldest queued request has waited";
        all.register_with_unit("queue_oldest", help, Unit::Seconds, metrics.oldest_queued_seconds.clone());
        let help =
            "How long the oldest request has been due that a free worker could begin: not held back by its key's limit";
        all.register_with_unit("queue_oldest_ready", help, Unit::Seconds, metrics.oldest_ready_seconds.clone());
        all.register("webhooks_open", "Webhooks that are neither delivered nor dead", metrics.webhooks_open.clone());
        let help = "Resident memory of the backend, and what all processes of the browser hold";
        all.register_with_unit("memory", help, Unit::Bytes, metrics.memory.clone());
        all.register("ready", "1 when work can be done, as /readyz has it", metrics.ready.clone());
        metrics.begin();
        metrics
    }

    /// A counter that appears with its first count has no rate until the second: what can be listed is there from the start.
    fn begin(&self) {
        for code in [Code::InternalApplicationError, Code::TemporaryUnavailable] {
            drop(self.errors.get_or_create(&Told { code: code.entry().name }));
        }
        for outcome in ["delivered", "retried", "postponed", "dead", "gone"] {
            drop(self.webhooks.get_or_create(&Outcome { outcome }));
        }
        for reason in ["first", "died", "contexts", "age", "memory", "leftovers"] {
            drop(self.browser_starts.get_or_create(&Reason { reason }));
        }
        for by in ["page", "webhook"] {
            for reason in ["refused", "name-not-resolved"] {
                drop(self.egress.get_or_create(&Refused { by, reason }));
            }
        }
        drop(self.egress.get_or_create(&Refused { by: "page", reason: "over-limit" }));
    }

    /// An answer's head has left.
    pub fn answered(&self, route: &'static str, dialect: &'static str, status: u16, took: Duration) {
        self.requests.get_or_create(&Answered { route, dialect, status: status.into() }).inc();
        self.request_seconds.get_or_create(&Route { route, dialect }).observe(took.as_secs_f64());
    }

    /// A render has ended: `done`, or with the name of an error code.
    pub fn rendered(&self, medium: &'static str, outcome: &'static str) {
        self.renders.get_or_create(&Ended { medium, outcome }).inc();
    }

    /// A caller was told an error.
    pub fn told(&self, code: Code) {
        self.errors.get_or_create(&Told { code: code.entry().name }).inc();
    }

    /// A browser was started, because of this.
    pub fn browser_started(&self, reason: &'static str) {
        self.browser_starts.get_or_create(&Reason { reason }).inc();
    }

    /// An attempt of a webhook has ended.
    pub fn webhook_attempted(&self, outcome: &'static str, took: Duration) {
        self.webhooks.get_or_create(&Outcome { outcome }).inc();
        self.webhook_seconds.observe(took.as_secs_f64());
    }

    /// A connection was not made, for a page or a webhook.
    pub fn egress_refused(&self, by: &'static str, reason: &'static str, count: u32) {
        self.egress.get_or_create(&Refused { by, reason }).inc_by(u64::from(count));
    }

    /// All of it as Prometheus reads it.
    pub fn scrape(&self, now: &Snapshot) -> String {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        if let Some(queue) = now.queue {
            for (state, count) in [("queued", queue.queued), ("rendering", queue.rendering)] {
                self.queue.get_or_create(&State { state }).set(number(count));
            }
            self.oldest_queued_seconds.set(number(queue.oldest_queued.as_secs()));
            self.oldest_ready_seconds.set(number(queue.oldest_ready.as_secs()));
            self.webhooks_open.set(number(queue.webhooks_open));
        }
        for (process, bytes) in [("backend", now.backend_bytes), ("browser", now.browser_bytes)] {
            self.memory.get_or_create(&Process { process }).set(number(bytes));
        }
        self.ready.set(now.ready.into());
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = prometheus_text::encode(&mut text, &self.registry);
        text
    }
}

/// Measures the parts of a render, one after the other.
pub struct Laps(Instant);

impl Laps {
    pub fn start() -> Laps {
        Laps(Instant::now())
    }

    /// Ends a part, and begins the next.
    pub fn end(&mut self, phase: &'static str) {
        let now = Instant::now();
        let took = now.duration_since(std::mem::replace(&mut self.0, now));
        get().phases.get_or_create(&Phase { phase }).observe(took.as_secs_f64());
        trace::ended(phase, took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_scraped() {
        let metrics = Metrics::new();
        metrics.answered("/take", "screenshotone", 200, Duration::from_millis(300));
        metrics.told(Code::TimeoutError);
        metrics.rendered("image", "done");
        metrics.browser_started("died");
        metrics.webhook_attempted("delivered", Duration::from_millis(10));
        let text = metrics.scrape(&Snapshot {
            queue: Some(QueueSnapshot { queued: 3, ..QueueSnapshot::default() }),
            ready: true,
            ..Snapshot::default()
        });
        for line in [
            "snaphook_http_requests_total{route=\"/take\",dialect=\"screenshotone\",status=\"200\"} 1",
            "snaphook_http_request_duration_seconds_count{route=\"/take\",dialect=\"screenshotone\"} 1",
            "snaphook_http_errors_total{code=\"timeout_error\"} 1",
            "snaphook_http_errors_total{code=\"internal_application_error\"} 0",
            "snaphook_renders_total{medium=\"image\",outcome=\"done\"} 1",
            "snaphook_browser_starts_total{reason=\"died\"} 1",
            "snaphook_browser_starts_total{reason=\"memory\"} 0",
            "snaphook_webhook_attempt_duration_seconds_count 1",
            "snaphook_queue_requests{state=\"queued\"} 3",
            "snaphook_ready 1",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
        let unknown = metrics.scrape(&Snapshot::default());
        assert!(
            unknown.contains("snaphook_queue_requests{state=\"queued\"} 3"),
            "nobody said that it is empty: {unknown}"
        );
    }
}
