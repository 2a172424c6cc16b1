//! A webhook as it is kept: its states, its attempts, and what one attempt means for it and for its endpoint.

use super::job::first_request_id;
use super::retry::{LOST_ATTEMPTS_MAX, lost_attempt_delay};

/// `pending → sending → delivered | dead`, and back to `pending` until the schedule ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    Pending,
    Sending,
    Delivered,
    Dead,
}

impl DeliveryState {
    pub const ALL: [DeliveryState; 4] =
        [DeliveryState::Pending, DeliveryState::Sending, DeliveryState::Delivered, DeliveryState::Dead];

    pub const fn name(self) -> &'static str {
        match self {
            DeliveryState::Pending => "pending",
            DeliveryState::Sending => "sending",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Dead => "dead",
        }
    }

    pub fn from_name(name: &str) -> Option<DeliveryState> {
        DeliveryState::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A webhook to be posted, kept in the transaction that ends its request.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDelivery {
    /// The `webhook-id`, the same on every attempt.
    pub id: String,
    pub url: String,
    pub sign: bool,
    /// Everything but the signatures, which each attempt makes anew.
    pub headers: Vec<(String, String)>,
    pub body: DeliveryBody,
}

impl NewDelivery {
    /// Host and port: whom a failure is counted against.
    pub fn receiver(&self) -> &str {
        let after_scheme = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        after_scheme.split(['/', '?', '#']).next().unwrap_or(after_scheme)
    }

    /// The address without its query: what is disabled when it fails for too long.
    pub fn endpoint(&self) -> &str {
        self.url.split(['?', '#']).next().unwrap_or(&self.url)
    }
}

/// A delivery as its owner sees it.
#[derive(Clone, Debug)]
pub struct DeliveryView {
    pub id: String,
    pub request_id: String,
    pub url: String,
    pub state: DeliveryState,
    pub attempts: u32,
    pub next_attempt_ms: Option<u64>,
    pub finished_ms: Option<u64>,
    /// Why it is dead.
    pub end_reason: Option<String>,
    /// The last attempts of those that are kept, oldest first; at most [`ATTEMPTS_SHOWN`].
    pub log: Vec<DeliveryAttempt>,
}

/// Attempts of one delivery that are shown.
pub const ATTEMPTS_SHOWN: u32 = 100;

/// Of a delivery that is postponed again and again, so many attempts are kept from the first on, and as many up to the last.
/// Of those between only such stay that the receiver answered.
pub const ATTEMPTS_KEPT: u32 = 20;

/// An endpoint whose last attempt failed, as its owner sees it.
#[derive(Clone, Debug)]
pub struct EndpointView {
    pub access_key: String,
    pub url: String,
    /// In a row.
    pub failures: u32,
    pub failing_since_ms: u64,
    pub last_failure_ms: u64,
    pub last_error: String,
    pub disabled_ms: Option<u64>,
}

/// The bytes to post.
#[derive(Clone, Debug, PartialEq)]
pub enum DeliveryBody {
    Inline(Vec<u8>),
    /// The file of this name, for callers who want the picture itself.
    File(String),
}

/// A delivery that the sender holds the lease of.
#[derive(Clone, Debug)]
pub struct ClaimedDelivery {
    pub delivery: NewDelivery,
    pub access_key: String,
    /// Which attempt it is of all there were, replays included: no other claim of this delivery has the same.
    pub number: u32,
    /// The same, counted from the last replay: where it is in the schedule.
    pub attempt: u32,
    /// How many of the earlier ones failed by a fault of this installation.
    pub postponed: u32,
    /// That of its request.
    pub traceparent: Option<String>,
}

/// What one attempt came to.
#[derive(Clone, Debug)]
pub struct DeliveryAttempt {
    /// That of its claim.
    pub number: u32,
    pub at_ms: u64,
    pub took_ms: u64,
    /// None if there was no answer.
    pub status: Option<u16>,
    pub error: Option<String>,
    /// The first bytes of the answer.
    pub answer: String,
    /// What this attempt alone had beside the delivery's headers: its signatures with their time, and its place in a trace.
    pub headers: Vec<(String, String)>,
}

/// What happens to a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    Delivered,
    RetryAt {
        ms: u64,
    },
    /// This installation is to blame: neither the delivery nor its receiver is charged with the attempt.
    PostponedTo {
        ms: u64,
    },
    /// The schedule is over.
    Dead,
    /// The receiver says that it is gone for good, and nothing more is sent to it.
    Gone,
    /// What was to be sent, or the key to sign it with, has been removed. The receiver has nothing to do with it.
    NothingToSend,
}

/// Why a delivery to a disabled endpoint is dead.
pub const DISABLED: &str = "the endpoint is disabled";

/// Whether an endpoint is sent to, after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Enabled,
    /// By this very attempt.
    DisabledNow,
    DisabledBefore,
}

impl Standing {
    /// From whether the endpoint was disabled before the attempt and is after it.
    pub fn of(before: bool, after: bool) -> Standing {
        match (before, after) {
            (true, _) => Standing::DisabledBefore,
            (false, true) => Standing::DisabledNow,
            (false, false) => Standing::Enabled,
        }
    }
}

/// What an attempt leaves in the row of its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    pub state: DeliveryState,
    /// When it is due again; None if it has ended.
    pub due_ms: Option<u64>,
    /// Why it is dead.
    pub end_reason: Option<&'static str>,
    /// Whether the schedule leaves the attempt out.
    pub postponed: bool,
}

impl NextStep {
    /// Whether the receiver is to blame for it.
    pub fn is_failure(self) -> bool {
        matches!(self, NextStep::RetryAt { .. } | NextStep::Dead | NextStep::Gone)
    }

    pub fn moves(self, standing: Standing) -> Moved {
        let again =
            |ms, postponed| Moved { state: DeliveryState::Pending, due_ms: Some(ms), end_reason: None, postponed };
        let ended = |state, end_reason| Moved { state, due_ms: None, end_reason, postponed: false };
        match (self, standing) {
            (NextStep::Delivered, _) => ended(DeliveryState::Delivered, None),
            (NextStep::PostponedTo { ms }, _) => again(ms, true),
            (NextStep::RetryAt { ms }, Standing::Enabled) => again(ms, false),
            (NextStep::RetryAt { .. }, _) => ended(DeliveryState::Dead, Some(DISABLED)),
            (NextStep::Gone, _) => ended(DeliveryState::Dead, Some("the receiver said that it is gone")),
            (NextStep::Dead, _) => ended(DeliveryState::Dead, Some("the schedule is over")),
            (NextStep::NothingToSend, _) => ended(DeliveryState::Dead, Some("there is nothing to send any more")),
        }
    }
}

/// Leases that are given back without an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Those that have run out, whoever held them.
    Expired { now_ms: u64 },
    /// All that a service finds of its own at its start: it ended without a word.
    Found { now_ms: u64 },
    /// All that a service holds at its end, if that is an orderly one.
    Stopping { now_ms: u64 },
}

/// What becomes of a delivery whose lease is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// When it is due again; None for at once.
    pub due_ms: Option<u64>,
    /// Whether the schedule leaves the attempt out.
    pub uncounted: bool,
    /// Whether it is one of those that are left out only so often.
    pub postponed: bool,
}

impl Release {
    pub fn now_ms(self) -> u64 {
        match self {
            Release::Expired { now_ms } | Release::Found { now_ms } | Release::Stopping { now_ms } => now_ms,
        }
    }

    /// By when a lease must have run out; None if it need not have.
    pub fn expired_at_ms(self) -> Option<u64> {
        matches!(self, Release::Expired { .. }).then_some(self.now_ms())
    }

    pub fn reason(self) -> &'static str {
        match self {
            Release::Expired { .. } => "the lease ran out",
            Release::Found { .. } | Release::Stopping { .. } => "the service ended",
        }
    }

    /// Nobody is to blame for an orderly end. Else it may be the delivery itself that took its service down. `postponed` counts
    /// what was left out before, `place` is its place among those that are given back together.
    pub fn returns(self, postponed: u32, place: usize) -> Returned {
        let (Release::Expired { now_ms } | Release::Found { now_ms }) = self else {
            return Returned { due_ms: None, uncounted: true, postponed: false };
        };
        let due_ms = now_ms + lost_attempt_delay(postponed, place).as_millis() as u64;
        let left_out = postponed < LOST_ATTEMPTS_MAX;
        Returned { due_ms: Some(due_ms), uncounted: left_out, postponed: left_out }
    }
}

impl DeliveryAttempt {
    /// One that was under way when its lease was given back. Nobody knows what came of it, nor for how long it went on.
    pub fn lost(number: u32, release: Release) -> DeliveryAttempt {
        DeliveryAttempt {
            number,
            at_ms: release.now_ms(),
            took_ms: 0,
            status: None,
            error: Some(release.reason().to_owned()),
            answer: String::new(),
            headers: Vec::new(),
        }
    }

    /// What the owner of a failing endpoint is told.
    pub fn failure(&self) -> String {
        let status = || self.status.map_or_else(String::new, |status| format!("status {status}"));
        self.error.clone().unwrap_or_else(status)
    }
}

/// What became of a request's webhook.
#[derive(Clone, Debug)]
pub struct WebhookView {
    pub id: String,
    pub url: String,
    pub state: DeliveryState,
    pub attempts: u32,
    pub next_attempt_ms: Option<u64>,
    pub last_status: Option<u16>,
    pub last_error: Option<String>,
    /// Why it is dead.
    pub end_reason: Option<String>,
}

/// The lowest id that a delivery can have whose request was made at this time: it shares the request's.
pub fn first_delivery_id(made_ms: u64) -> String {
    first_request_id(made_ms).replacen("req_", "msg_", 1)
}
