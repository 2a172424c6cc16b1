//! What the domain needs from the world, and what each part promises.

use std::io;
use std::ops::Range;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use snaphook_shared::key::KeyRecord;
use snaphook_shared::options::model::Options;

use super::artifact::Artifact;
use super::delivery::{
    ClaimedDelivery, DeliveryAttempt, DeliveryState, DeliveryView, EndpointView, NewDelivery, NextStep, Release,
};
use super::failure::Failure;
use super::job::{ClaimedRequest, NewRequest, Outcome, PutBack, RequestState, RequestView, StoredFile};
use super::limits::{Limited, Place, Usage};
use super::upload::Destination;

/// Turns options into a file. No state passes from one render to another.
#[async_trait]
pub trait Renderer: Send + Sync {
    /// Ends before the deadline, and leaves nothing behind.
    async fn render(&self, options: &Options, deadline: Instant) -> Result<Artifact, Failure>;
}

/// Why the durable state could not be read or changed. Nothing was committed, unless the disk did not answer in time: then
/// nobody knows.
#[derive(Debug, thiserror::Error)]
#[error("the queue failed: {0}")]
pub struct QueueError(pub String);

/// The answer to an attempt to accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// Held by stable storage.
    Accepted { id: String, created_ms: u64 },
    /// The idempotency key belongs to another request.
    KeyReused,
    /// The queue holds as much as it may.
    Full,
    /// The key has used what it may use for now.
    Limited(Limited),
}

/// The answer to a caller who wants to wait for a render.
#[derive(Debug)]
pub enum Admission {
    /// Counted, and under way for as long as the place is held.
    Admitted(Place),
    Limited(Limited),
}

/// An answer that is given again to whoever asks the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedAnswer {
    /// The file whose bytes are the answer, unless there is a body.
    pub file: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
    /// Unix milliseconds.
    pub expires_ms: u64,
}

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct RequestFilter {
    /// None: of all keys (the operator).
    pub access_key: Option<String>,
    pub state: Option<RequestState>,
    /// Only those that this task made.
    pub task: Option<u64>,
    /// Only those made since then, and before then (Unix milliseconds).
    pub since_ms: Option<u64>,
    pub until_ms: Option<u64>,
    /// Only those whose target holds this text, in capitals or not (of ASCII letters).
    pub text: Option<String>,
    /// Only ids that sort before this one.
    pub before: Option<String>,
    pub limit: u32,
}

/// Which deliveries to list.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// None: of all keys (the operator).
    pub access_key: Option<String>,
    pub state: Option<DeliveryState>,
    /// Only this one.
    pub id: Option<String>,
    /// Only those to addresses that begin so.
    pub url: Option<String>,
    /// Only those of requests made since then (Unix milliseconds).
    pub since_ms: Option<u64>,
    /// Only ids that sort before this one.
    pub before: Option<String>,
    pub limit: u32,
}

/// Which deliveries to send again.
#[derive(Clone, Debug, Default)]
pub struct ReplayFilter {
    /// None: of all keys (the operator).
    pub access_key: Option<String>,
    /// This one, dead or delivered. None: all dead ones that fit the rest.
    pub id: Option<String>,
    /// Only those to addresses that begin so.
    pub url: Option<String>,
    /// Only those of requests made since then (Unix milliseconds).
    pub since_ms: Option<u64>,
}

/// What has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub queued: u64,
    pub rendering: u64,
    /// When the oldest of those that wait was made.
    pub oldest_queued_ms: Option<u64>,
    /// Since when the first of those has been due that a worker could have at once: more workers would help it. One that is to
    /// be tried again later is not, nor is one whose key has all that it may have under way, callers who wait here counted in.
    pub ready_since_ms: Option<u64>,
    /// Webhooks that are neither delivered nor dead.
    pub webhooks_open: u64,
}

/// Requests, deliveries and keys in stable storage. Each method is one transaction, committed (fsync) before it returns.
#[async_trait]
pub trait JobQueue: Send + Sync {
    /// Keeps a request. Accepting an id twice, or an idempotency key with the same fingerprint, gives the first one again.
    async fn accept(&self, request: NewRequest) -> Result<Acceptance, QueueError>;
    /// As `accept`, for a request that was admitted and whose caller cannot wait any longer. It was checked and counted then, so
    /// no limit of its key is asked; the queue's own is. The place is free once it is kept.
    async fn turn_over(&self, request: NewRequest, place: Place) -> Result<Acceptance, QueueError>;
    /// Counts a request that its caller waits for, if its key has not used up what it may.
    async fn admit(&self, access_key: &str, now_ms: u64) -> Result<Admission, QueueError>;
    /// What a key may use and has used.
    async fn usage(&self, access_key: &str, now_ms: u64) -> Result<Usage, QueueError>;
    /// Leases the next request to `owner` until `lease_until_ms`.
    async fn claim(&self, owner: &str, now_ms: u64, lease_until_ms: u64) -> Result<Option<ClaimedRequest>, QueueError>;
    /// Prolongs a lease; false if it is no longer the owner's.
    async fn extend(&self, id: &str, owner: &str, lease_until_ms: u64) -> Result<bool, QueueError>;
    /// Ends a request and keeps its webhook, both or neither. False if the lease is no longer the owner's.
    async fn finish(
        &self,
        id: &str,
        owner: &str,
        now_ms: u64,
        outcome: Outcome,
        delivery: Option<NewDelivery>,
    ) -> Result<bool, QueueError>;
    /// Gives a request back for another attempt. False if the lease is no longer the owner's.
    async fn put_back(&self, id: &str, owner: &str, back: PutBack) -> Result<bool, QueueError>;
    /// Cancels a request of this key that has not ended; its worker loses the lease. Gives the state it is in then, None if
    /// there is no such request.
    async fn cancel(&self, access_key: &str, id: &str, now_ms: u64) -> Result<Option<RequestState>, QueueError>;
    /// Keeps a request that was answered synchronously, with its webhook.
    async fn record(
        &self,
        request: NewRequest,
        now_ms: u64,
        outcome: Outcome,
        delivery: Option<NewDelivery>,
    ) -> Result<(), QueueError>;
    /// Returns what will not be finished. Where others work on the same queue, what they hold stays theirs until it runs out.
    /// Requests wait again at once; deliveries as [`Release::returns`] says, each with the attempt in its log.
    async fn release(&self, release: Release) -> Result<u64, QueueError>;

    async fn request(&self, id: &str) -> Result<Option<RequestView>, QueueError>;
    /// Newest first.
    async fn requests(&self, filter: RequestFilter) -> Result<Vec<RequestView>, QueueError>;
    async fn file(&self, name: &str) -> Result<Option<StoredFile>, QueueError>;
    /// Names of files whose time was over at `now_ms`, but for those that a webhook has yet to take along, or could be replayed
    /// with: one that died less than [`DEAD_FILE_KEPT`](super::retry::DEAD_FILE_KEPT) ago.
    async fn expired_files(&self, now_ms: u64, limit: u32) -> Result<Vec<String>, QueueError>;
    /// Notes that a file has been removed from the store.
    async fn forget_file(&self, name: &str) -> Result<(), QueueError>;
    /// Those of the names that no request knows of.
    async fn unknown_files(&self, names: Vec<String>) -> Result<Vec<String>, QueueError>;
    /// Removes at most `limit` requests that ended before `ended_before_ms`, whose files are gone and whose webhooks have
    /// ended, with all that belongs to them. Gives their number.
    async fn purge(&self, ended_before_ms: u64, limit: u32) -> Result<u64, QueueError>;

    /// Leases due deliveries: at most `limit`, and at most `per_receiver` under way to one receiver.
    async fn claim_deliveries(
        &self,
        now_ms: u64,
        lease_until_ms: u64,
        limit: u32,
        per_receiver: u32,
    ) -> Result<Vec<ClaimedDelivery>, QueueError>;
    /// Keeps an attempt and moves its delivery on. True if its endpoint was disabled by it: it is gone, or has failed for
    /// too long. What else waits for a disabled endpoint is dead, and so is what comes later. Where much of it waits, it ends in
    /// further transactions; what a crash leaves of it is tried once more, and dead when that fails.
    ///
    /// An attempt whose lease ran out and whose delivery was claimed again, or has ended, is only kept: the later claim
    /// decides.
    async fn finish_attempt(&self, id: &str, attempt: DeliveryAttempt, next: NextStep) -> Result<bool, QueueError>;
    /// Endpoints of a key (None: of all keys) whose last attempt failed.
    async fn endpoints(&self, access_key: Option<&str>) -> Result<Vec<EndpointView>, QueueError>;
    /// Sends to an endpoint again, from the next delivery on. False if it was not disabled.
    async fn enable_endpoint(&self, access_key: &str, url: &str) -> Result<bool, QueueError>;
    /// Forgets some failures of before that time, but for those of disabled endpoints, and says how many.
    async fn forget_failures(&self, before_ms: u64) -> Result<u64, QueueError>;

    /// Forgets some of what was done long ago, as figures go, and says how much of it.
    async fn forget_usage(&self, now_ms: u64) -> Result<u64, QueueError>;

    /// An answer that may be given again.
    async fn cached_answer(&self, key: &str, now_ms: u64) -> Result<Option<CachedAnswer>, QueueError>;
    /// Keeps one, in the place of an earlier one.
    async fn keep_answer(&self, key: &str, answer: CachedAnswer) -> Result<(), QueueError>;
    /// Removes some of those whose time was over at `now_ms`, and says how many.
    async fn forget_answers(&self, now_ms: u64) -> Result<u64, QueueError>;

    /// Newest first.
    async fn deliveries(&self, filter: DeliveryFilter) -> Result<Vec<DeliveryView>, QueueError>;
    /// Makes deliveries that have ended due again, with the schedule from its start. Gives their number.
    async fn replay(&self, filter: ReplayFilter, now_ms: u64) -> Result<u64, QueueError>;

    async fn key(&self, access_key: &str) -> Result<Option<KeyRecord>, QueueError>;
    /// How much there is still to do.
    async fn backlog(&self, now_ms: u64) -> Result<Backlog, QueueError>;
}

/// Buckets of callers.
#[async_trait]
pub trait Uploads: Send + Sync {
    /// Puts a file there, with a few tries; over what is there already.
    async fn upload(&self, to: &Destination, content_type: &str, bytes: Bytes) -> Result<(), Failure>;
}

/// Files. Names are given by us and never come from a caller.
#[async_trait]
pub trait FileStore: Send + Sync {
    /// Keeps a file durably.
    async fn put(&self, name: &str, content_type: &str, bytes: Bytes) -> Result<(), Failure>;
    /// Streams a part of a file (all of it for None). `NotFound` if it is not there.
    async fn get(&self, name: &str, range: Option<Range<u64>>) -> io::Result<BoxStream<'static, io::Result<Bytes>>>;
    /// Names of the files that were put before this time (Unix milliseconds).
    fn names(&self, put_before_ms: u64) -> BoxStream<'_, io::Result<String>>;
    /// Removes a file; one that is not there is removed already.
    async fn delete(&self, name: &str) -> io::Result<()>;
}

/// Who knows whether work can be done.
#[async_trait]
pub trait Readiness: Send + Sync {
    /// What is missing; empty when nothing is. Known without a look, so that it can be asked often.
    fn missing(&self) -> Vec<String>;
    /// What an operator should know although work goes on.
    fn warnings(&self) -> Vec<String>;
    /// Name and version of the browser; None while there is none.
    async fn browser(&self) -> Option<String>;
}
