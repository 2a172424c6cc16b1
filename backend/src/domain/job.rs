//! A request as it is kept: its states, its legal moves, the rows' content.

use std::fmt;

use serde::{Deserialize, Serialize};
use snaphook_shared::dialect::Dialect;
use snaphook_shared::id;
use snaphook_shared::options::model::Options;
use snaphook_shared::priority::Urgency;
use snaphook_shared::request::Endpoint;

use super::artifact::Size;
use super::delivery::WebhookView;
use super::refused::Refused;

/// Where a request is. `queued → rendering → done | failed | cancelled`, and back to `queued` when a lease runs out or a
/// failure may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    Queued,
    Rendering,
    Done,
    Failed,
    Cancelled,
}

impl RequestState {
    pub const ALL: [RequestState; 5] = [
        RequestState::Queued,
        RequestState::Rendering,
        RequestState::Done,
        RequestState::Failed,
        RequestState::Cancelled,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            RequestState::Queued => "queued",
            RequestState::Rendering => "rendering",
            RequestState::Done => "done",
            RequestState::Failed => "failed",
            RequestState::Cancelled => "cancelled",
        }
    }

    pub fn from_name(name: &str) -> Option<RequestState> {
        RequestState::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// What is kept of a request from the moment it is accepted. `Debug` says which it is; what its caller wrote, and who that
/// was, is not for a log.
#[derive(Clone)]
pub struct NewRequest {
    pub id: String,
    pub access_key: String,
    pub endpoint: Endpoint,
    pub options: Options,
    pub idempotency_key: Option<String>,
    pub urgency: Urgency,
    pub fingerprint: String,
    /// Unix milliseconds.
    pub created_ms: u64,
    /// Where it belongs in a trace, as a `traceparent`.
    pub traceparent: Option<String>,
}

impl fmt::Debug for NewRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewRequest")
            .field("id", &self.id)
            .field("endpoint", &self.endpoint)
            .field("urgency", &self.urgency)
            .field("created_ms", &self.created_ms)
            .field("traceparent", &self.traceparent)
            .finish_non_exhaustive()
    }
}

impl NewRequest {
    pub fn dialect(&self) -> Dialect {
        self.endpoint.dialect()
    }
}

/// An id for a request that comes without one.
pub fn new_request_id(now_ms: u64) -> String {
    let mut random = [0; 10];
    // Without randomness ids would still differ by time; that is a poor id, and better than no answer.
    let _ = getrandom::fill(&mut random);
    id::request_id(now_ms, random)
}

/// The lowest id that a request made at this time can have: ids begin with the time.
pub fn first_request_id(made_ms: u64) -> String {
    id::request_id(made_ms, [0; 10])
}

/// A request that a worker holds the lease of.
#[derive(Clone, Debug)]
pub struct ClaimedRequest {
    pub request: NewRequest,
    /// Leases that it has had, this one included.
    pub attempt: u32,
    /// How many of the earlier ones ended by a failure, rather than by a crash of ours.
    pub failures: u32,
    /// How many of the earlier ones ended by a failure of this installation.
    pub postponed: u32,
}

/// What becomes of a request that is given back.
#[derive(Clone, Debug)]
pub struct PutBack {
    pub now_ms: u64,
    /// When it is due again.
    pub at_ms: u64,
    /// Why this attempt came to nothing.
    pub reason: String,
    /// Whether this installation is to blame; then the attempt is not counted.
    pub ours: bool,
}

/// Of a request that this installation puts back again and again for one kind of reason, so many attempts are kept from the first on, and
/// as many up to the last. Of those between only such stay that ended otherwise.
pub const ATTEMPTS_KEPT: u32 = 20;

/// One lease of a request and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestAttempt {
    /// From 1; what is no longer kept leaves a gap.
    pub number: u32,
    pub started_ms: u64,
    /// None if it is under way, or ended with its worker.
    pub ended_ms: Option<u64>,
    /// Why it did not end well.
    pub reason: Option<String>,
}

/// A file in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// `<hash>.<extension>`, unguessable: whoever knows the name may read the file.
    pub name: String,
    pub content_type: String,
    pub bytes: u64,
    /// Of a picture.
    pub size: Option<Size>,
    /// Unix milliseconds; from then on it is gone.
    pub expires_ms: u64,
    /// Name offered for download.
    pub attachment: Option<String>,
}

/// The slices of a tall picture, each a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSlices {
    /// A JSON file that lists them.
    pub manifest: StoredFile,
    pub slices: Vec<StoredSlice>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSlice {
    pub file: StoredFile,
    /// From the top of the whole picture, in its pixels.
    pub offset_y: u32,
}

impl StoredSlices {
    /// All files there are.
    pub fn files(&self) -> impl Iterator<Item = &StoredFile> {
        self.slices.iter().map(|slice| &slice.file).chain([&self.manifest])
    }
}

/// How a request ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// `parts` belong to the file and share its time.
    Done {
        file: Option<StoredFile>,
        parts: Vec<StoredFile>,
        render_ms: u64,
        refused: Vec<Refused>,
    },
    Failed {
        code: String,
        message: String,
        cause: String,
        refused: Vec<Refused>,
    },
}

/// A request as its owner sees it.
#[derive(Clone, Debug)]
pub struct RequestView {
    pub id: String,
    pub access_key: String,
    pub endpoint: String,
    pub asynchronous: bool,
    pub state: RequestState,
    pub target: String,
    pub attempts: u32,
    pub created_ms: u64,
    pub started_ms: Option<u64>,
    pub finished_ms: Option<u64>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub file: Option<StoredFile>,
    pub webhook: Option<WebhookView>,
    /// The task that made it.
    pub task_id: Option<u64>,
    pub refused: Vec<Refused>,
    /// Every attempt, oldest first; only where one request is shown.
    pub log: Vec<RequestAttempt>,
}

#[cfg(test)]
mod tests {
    use snaphook_shared::secret::Secret;

    use super::*;

    #[test]
    fn a_request_shows_which_it_is_and_nothing_in_confidence() {
        let mut options = Options::default();
        options.network.authorization = Some(Secret::new("Bearer hush"));
        options.network.headers = vec![Secret::new("X-Token: hush")];
        options.network.cookies = vec![Secret::new("session=hush")];
        options.network.proxy = Some(Secret::new("http://user:hush@proxy.example/"));
        options.delivery.store.secret_access_key = Some(Secret::new("hush"));
        options.page.scripts = Some("send('hush')".to_owned());
        let request = NewRequest {
            id: new_request_id(1),
            access_key: "AKhush".to_owned(),
            endpoint: Endpoint::Take,
            options,
            idempotency_key: Some("hush".to_owned()),
            urgency: Urgency::default(),
            fingerprint: "hush".to_owned(),
            created_ms: 1,
            traceparent: None,
        };
        let id = request.id.clone();
        let claimed = ClaimedRequest { request, attempt: 1, failures: 0, postponed: 0 };
        let shown = format!("{claimed:?}{claimed:#?}");
        assert!(shown.contains(&id) && !shown.contains("hush"), "{shown}");
    }
}
