//! The queue on SQLite: the embedded default, one process.

mod backlog;
mod backup;
mod cache;
mod database;
mod deliveries;
mod endpoints;
mod inspect;
mod keys;
mod operator;
mod requests;
mod schema;
mod sessions;
mod tasks;
mod usage;
mod usage_hours;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use snaphook_shared::key::KeyRecord;

use super::secrets::RootKey;
use super::{Bells, Queue};
use crate::domain::capacity::Capacity;
use crate::domain::delivery::{
    ClaimedDelivery, DeliveryAttempt, DeliveryView, EndpointView, NewDelivery, NextStep, Release,
};
use crate::domain::job::{ClaimedRequest, NewRequest, Outcome, PutBack, RequestState, RequestView, StoredFile};
use crate::domain::limits::{Place, UnderWay, Usage};
use crate::domain::ports::{
    Acceptance, Admission, Backlog, CachedAnswer, DeliveryFilter, JobQueue, QueueError, ReplayFilter, RequestFilter,
};
pub use backup::{back_up, restore};
use database::Database;
pub use inspect::{Inspection, inspect};

/// Rows removed or changed in one transaction; others wait behind it.
const BATCH: u32 = 1000;
/// How long a caller waits until the disk has their request. A disk that takes longer has stalled, and what waits for it takes
/// up memory.
const CALLER_WAITS_MAX: Duration = Duration::from_secs(10);
/// Endpoints that are listed at the most.
const ENDPOINTS_MAX: u32 = 1000;

/// Opens a file to read all of it.
pub(super) fn open_to_read(path: &Path) -> Result<rusqlite::Connection, QueueError> {
    database::open_reader(path).map_err(database::failed)
}

#[derive(Clone)]
pub struct SqliteQueue {
    database: Database,
    root_key: Arc<RootKey>,
    /// The most requests that may wait.
    capacity: Capacity,
    under_way: UnderWay,
}

impl SqliteQueue {
    pub fn open(path: &Path, root_key: RootKey, capacity: u64) -> Result<SqliteQueue, QueueError> {
        Ok(SqliteQueue {
            database: Database::open(path, &root_key)?,
            root_key: Arc::new(root_key),
            capacity: Capacity::new(capacity),
            under_way: UnderWay::default(),
        })
    }
}

impl SqliteQueue {
    async fn keep(&self, mut request: NewRequest, counted: bool) -> Result<Acceptance, QueueError> {
        let capacity = self.capacity;
        let secrets = self.root_key.seal_secrets(&request.id, request.options.take_secrets())?;
        let work = move |connection: &rusqlite::Connection| {
            requests::accept(connection, &request, secrets.as_deref(), capacity, counted)
        };
        self.database.write_within(CALLER_WAITS_MAX, work).await
    }
}

#[async_trait]
impl Queue for SqliteQueue {
    /// One process has the file, so there is nobody to tell.
    async fn relay(&self, _bells: Bells) {}
}

#[async_trait]
impl JobQueue for SqliteQueue {
    async fn accept(&self, request: NewRequest) -> Result<Acceptance, QueueError> {
        self.keep(request, false).await
    }

    async fn turn_over(&self, request: NewRequest, place: Place) -> Result<Acceptance, QueueError> {
        let kept = self.keep(request, true).await;
        drop(place);
        kept
    }

    async fn admit(&self, access_key: &str, now_ms: u64) -> Result<Admission, QueueError> {
        let (access_key, under_way) = (access_key.to_owned(), self.under_way.clone());
        let work = move |connection: &rusqlite::Connection| {
            let waiting = under_way.count(&access_key);
            let mut usage = usage::get(connection, &access_key, now_ms)?;
            usage.unfinished += waiting;
            usage.under_way = usage::rendering(connection, &access_key)? + waiting;
            if let Err(limited) = usage.check(true, now_ms) {
                return Ok(Admission::Limited(limited));
            }
            usage::start(connection, &access_key, now_ms)?;
            Ok(Admission::Admitted(under_way.enter(&access_key)))
        };
        self.database.write_within(CALLER_WAITS_MAX, work).await
    }

    async fn usage(&self, access_key: &str, now_ms: u64) -> Result<Usage, QueueError> {
        let (access_key, under_way) = (access_key.to_owned(), self.under_way.clone());
        let query = move |connection: &rusqlite::Connection| {
            let waiting = under_way.count(&access_key);
            let usage = usage::get(connection, &access_key, now_ms)?;
            let under_way = usage::rendering(connection, &access_key)? + waiting;
            Ok(Usage { under_way, ..usage })
        };
        self.database.read(query).await
    }

    async fn claim(&self, owner: &str, now_ms: u64, lease_until_ms: u64) -> Result<Option<ClaimedRequest>, QueueError> {
        let (owner, under_way) = (owner.to_owned(), self.under_way.clone());
        let work = move |connection: &rusqlite::Connection| {
            let busy = usage::busy(connection, |access_key| under_way.count(access_key))?;
            requests::claim(connection, &owner, now_ms, lease_until_ms, &busy)
        };
        let Some((mut claimed, sealed)) = self.database.write(work).await? else { return Ok(None) };
        if let Some(sealed) = sealed {
            claimed.request.options.put_secrets(self.root_key.open_secrets(&claimed.request.id, &sealed)?);
        }
        Ok(Some(claimed))
    }

    async fn extend(&self, id: &str, owner: &str, lease_until_ms: u64) -> Result<bool, QueueError> {
        let (id, owner) = (id.to_owned(), owner.to_owned());
        self.database.write(move |connection| requests::extend(connection, &id, &owner, lease_until_ms)).await
    }

    async fn finish(
        &self,
        id: &str,
        owner: &str,
        now_ms: u64,
        outcome: Outcome,
        delivery: Option<NewDelivery>,
    ) -> Result<bool, QueueError> {
        let (id, owner) = (id.to_owned(), owner.to_owned());
        let work = move |connection: &rusqlite::Connection| {
            let ended = requests::finish(connection, &id, Some(&owner), now_ms, &outcome)?;
            if ended && let Some(delivery) = &delivery {
                let access_key: String =
                    connection.query_row("SELECT access_key FROM requests WHERE id = ?", [&id], |row| row.get(0))?;
                deliveries::insert(connection, &id, &access_key, now_ms, delivery)?;
            }
            Ok(ended)
        };
        self.database.write(work).await
    }

    async fn put_back(&self, id: &str, owner: &str, back: PutBack) -> Result<bool, QueueError> {
        let (id, owner) = (id.to_owned(), owner.to_owned());
        self.database.write(move |connection| requests::put_back(connection, &id, &owner, &back)).await
    }

    async fn cancel(&self, access_key: &str, id: &str, now_ms: u64) -> Result<Option<RequestState>, QueueError> {
        let (access_key, id) = (access_key.to_owned(), id.to_owned());
        self.database.write(move |connection| requests::cancel(connection, &access_key, &id, now_ms)).await
    }

    async fn record(
        &self,
        mut request: NewRequest,
        now_ms: u64,
        outcome: Outcome,
        delivery: Option<NewDelivery>,
    ) -> Result<(), QueueError> {
        // It is over, so nobody needs them any more.
        request.options.take_secrets();
        let work = move |connection: &rusqlite::Connection| {
            requests::insert(connection, &request, None, RequestState::Rendering)?;
            requests::finish(connection, &request.id, None, now_ms, &outcome)?;
            match &delivery {
                Some(delivery) => deliveries::insert(connection, &request.id, &request.access_key, now_ms, delivery),
                None => Ok(()),
            }
        };
        self.database.write(work).await
    }

    async fn release(&self, release: Release) -> Result<u64, QueueError> {
        let work = move |connection: &rusqlite::Connection| {
            Ok(requests::release(connection, release)? + deliveries::release(connection, release)?)
        };
        self.database.write(work).await
    }

    async fn request(&self, id: &str) -> Result<Option<RequestView>, QueueError> {
        let id = id.to_owned();
        self.database.read(move |connection| requests::request(connection, &id)).await
    }

    async fn requests(&self, filter: RequestFilter) -> Result<Vec<RequestView>, QueueError> {
        self.database.read(move |connection| requests::requests(connection, &filter)).await
    }

    async fn file(&self, name: &str) -> Result<Option<StoredFile>, QueueError> {
        let name = name.to_owned();
        self.database.read(move |connection| requests::file(connection, &name)).await
    }

    async fn expired_files(&self, now_ms: u64, limit: u32) -> Result<Vec<String>, QueueError> {
        self.database.read(move |connection| requests::expired_files(connection, now_ms, limit)).await
    }

    async fn forget_file(&self, name: &str) -> Result<(), QueueError> {
        let name = name.to_owned();
        self.database.write(move |connection| requests::forget_file(connection, &name)).await
    }

    async fn unknown_files(&self, names: Vec<String>) -> Result<Vec<String>, QueueError> {
        self.database.read(move |connection| requests::unknown_files(connection, names)).await
    }

    async fn purge(&self, ended_before_ms: u64, limit: u32) -> Result<u64, QueueError> {
        self.database.write(move |connection| requests::purge(connection, ended_before_ms, limit)).await
    }

    async fn claim_deliveries(
        &self,
        now_ms: u64,
        lease_until_ms: u64,
        limit: u32,
        per_receiver: u32,
    ) -> Result<Vec<ClaimedDelivery>, QueueError> {
        let work = move |connection: &rusqlite::Connection| {
            deliveries::claim(connection, now_ms, lease_until_ms, limit, per_receiver)
        };
        self.database.write(work).await
    }

    async fn finish_attempt(&self, id: &str, attempt: DeliveryAttempt, next: NextStep) -> Result<bool, QueueError> {
        let (id, at_ms) = (id.to_owned(), attempt.at_ms);
        let work = move |connection: &rusqlite::Connection| {
            let disabled = deliveries::finish_attempt(connection, &id, &attempt, next)?;
            match disabled {
                Some(to) => Ok(Some((endpoints::end_waiting(connection, &to, at_ms, BATCH)?, to))),
                None => Ok(None),
            }
        };
        let Some((mut ended, to)) = self.database.write(work).await? else { return Ok(false) };
        while ended == u64::from(BATCH) {
            let to = to.clone();
            let work = move |connection: &rusqlite::Connection| endpoints::end_waiting(connection, &to, at_ms, BATCH);
            ended = self.database.write(work).await?;
        }
        Ok(true)
    }

    async fn endpoints(&self, access_key: Option<&str>) -> Result<Vec<EndpointView>, QueueError> {
        let access_key = access_key.map(str::to_owned);
        self.database.read(move |connection| endpoints::list(connection, access_key.as_deref(), ENDPOINTS_MAX)).await
    }

    async fn enable_endpoint(&self, access_key: &str, url: &str) -> Result<bool, QueueError> {
        let (access_key, url) = (access_key.to_owned(), url.to_owned());
        let work = move |connection: &rusqlite::Connection| {
            Ok(endpoints::is_disabled(connection, &access_key, &url)?
                && endpoints::enable(connection, &access_key, &url)?)
        };
        self.database.write(work).await
    }

    async fn forget_failures(&self, before_ms: u64) -> Result<u64, QueueError> {
        self.database.write(move |connection| endpoints::forget(connection, before_ms, BATCH)).await
    }

    async fn forget_usage(&self, now_ms: u64) -> Result<u64, QueueError> {
        self.database.write(move |connection| usage_hours::forget(connection, now_ms, BATCH)).await
    }

    async fn cached_answer(&self, key: &str, now_ms: u64) -> Result<Option<CachedAnswer>, QueueError> {
        let key = key.to_owned();
        self.database.read(move |connection| cache::get(connection, &key, now_ms)).await
    }

    async fn keep_answer(&self, key: &str, answer: CachedAnswer) -> Result<(), QueueError> {
        let key = key.to_owned();
        self.database.write(move |connection| cache::put(connection, &key, &answer)).await
    }

    async fn forget_answers(&self, now_ms: u64) -> Result<u64, QueueError> {
        self.database.write(move |connection| cache::forget(connection, now_ms, BATCH)).await
    }

    async fn deliveries(&self, filter: DeliveryFilter) -> Result<Vec<DeliveryView>, QueueError> {
        self.database.read(move |connection| deliveries::list(connection, &filter)).await
    }

    async fn replay(&self, filter: ReplayFilter, now_ms: u64) -> Result<u64, QueueError> {
        let mut replayed = 0;
        loop {
            let filter = filter.clone();
            let work = move |connection: &rusqlite::Connection| deliveries::replay(connection, &filter, now_ms, BATCH);
            let batch = self.database.write(work).await?;
            replayed += batch;
            if batch < u64::from(BATCH) {
                return Ok(replayed);
            }
        }
    }

    async fn key(&self, access_key: &str) -> Result<Option<KeyRecord>, QueueError> {
        let wanted = access_key.to_owned();
        let row = self.database.read(move |connection| keys::get(connection, &wanted)).await?;
        row.map(|row| row.into_record(&self.root_key)).transpose()
    }

    async fn backlog(&self, now_ms: u64) -> Result<Backlog, QueueError> {
        let under_way = self.under_way.clone();
        let look = move |connection: &rusqlite::Connection| {
            let busy = usage::busy(connection, |access_key| under_way.count(access_key))?;
            backlog::backlog(connection, now_ms, &busy)
        };
        self.database.read(look).await
    }
}

#[cfg(test)]
mod tests {
    use snaphook_shared::options::model::Options;
    use snaphook_shared::priority::Urgency;
    use snaphook_shared::request::Endpoint;

    use snaphook_shared::key::KeyLimits;
    use snaphook_shared::secret::Secret;

    use super::*;
    use crate::domain::operator::{NewKey, Operator};

    /// 2026-11-21T12:00:30Z
    const NOW: u64 = 1_795_262_430_000;

    async fn queue(limits: KeyLimits) -> (tempfile::TempDir, SqliteQueue) {
        let folder = tempfile::tempdir().unwrap();
        let root_key = RootKey::load("", folder.path()).unwrap();
        let queue = SqliteQueue::open(&folder.path().join("test.db"), root_key, 100).unwrap();
        assert!(queue.add_key(NewKey { limits, ..NewKey::unlimited("AK", "SK") }, NOW).await.unwrap());
        (folder, queue)
    }

    fn request(number: u32) -> NewRequest {
        NewRequest {
            id: format!("req_{number:032x}"),
            access_key: "AK".to_owned(),
            endpoint: Endpoint::Take,
            options: Options::default(),
            idempotency_key: None,
            urgency: Urgency::default(),
            fingerprint: String::new(),
            created_ms: NOW,
            traceparent: None,
        }
    }

    fn done() -> Outcome {
        Outcome::Done { file: None, parts: Vec::new(), render_ms: 1, refused: Vec::new() }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn secrets_of_a_request_are_sealed_at_rest_and_gone_at_its_end() {
        let (folder, queue) = queue(KeyLimits::default()).await;
        let mut secret = request(1);
        secret.options.delivery.store.secret_access_key = Some(Secret::new("open-sesame-1"));
        secret.options.network.authorization = Some(Secret::new("open-sesame-2"));
        secret.options.network.cookies = vec![Secret::new("a=open-sesame-3")];
        let options = secret.options.clone();
        queue.accept(secret.clone()).await.unwrap();
        queue.record(NewRequest { id: "req_2".to_owned(), ..secret }, NOW, done(), None).await.unwrap();
        let claimed = queue.claim("w", NOW, NOW + 1000).await.unwrap().unwrap();
        assert_eq!(claimed.request.options, options);
        let id = claimed.request.id.clone();
        let kept = |id: String| {
            queue.database.read(move |connection| {
                connection.query_row("SELECT secrets FROM requests WHERE id = ?", [id], |row| {
                    row.get::<_, Option<Vec<u8>>>(0)
                })
            })
        };
        assert!(kept(id.clone()).await.unwrap().is_some());
        queue.finish(&id, "w", NOW, done(), None).await.unwrap();
        assert!(kept(id).await.unwrap().is_none());
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(11).any(|window| window == b"open-sesame"), "a secret is in the clear");
        }
    }
}
