//! The queue on PostgreSQL: a database beside the backends, of which there may be several.
//!
//! Transactions of many callers are under way at once, each on a connection of its own, and the server syncs what ends
//! together in one go. What must not happen twice at a time is kept apart by locks on rows or by name, held until the commit.

mod cache;
mod database;
mod deliveries;
mod endpoints;
mod figures;
mod keys;
mod operator;
mod relay;
mod requests;
mod schema;
mod sessions;
mod tasks;
mod usage;
mod views;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

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
use crate::domain::operator::random_text;
use crate::domain::ports::{
    Acceptance, Admission, Backlog, CachedAnswer, DeliveryFilter, JobQueue, QueueError, ReplayFilter, RequestFilter,
};
pub use database::PostgresSettings;
pub(super) use database::connect;
use database::{Database, statement, transaction};
use relay::Relay;
pub use schema::{Inspection, inspect};

/// Rows removed or changed in one transaction; others wait behind it.
const BATCH: u32 = 1000;
/// Endpoints that are listed at the most.
const ENDPOINTS_MAX: u32 = 1000;

pub struct PostgresQueue {
    database: Database,
    root_key: Arc<RootKey>,
    /// The most requests that may wait.
    capacity: Capacity,
    under_way: UnderWay,
    /// This backend among those that share the database.
    name: String,
    /// Workers of this backend that have claimed requests.
    owners: Mutex<HashSet<String>>,
    relay: Relay,
}

impl PostgresQueue {
    /// Puts the secrets back into what was claimed.
    fn opened(&self, (mut claimed, sealed): requests::Claimed) -> Result<ClaimedRequest, QueueError> {
        if let Some(sealed) = sealed {
            claimed.request.options.put_secrets(self.root_key.open_secrets(&claimed.request.id, &sealed)?);
        }
        Ok(claimed)
    }

    /// Connects, and brings the schema up to date.
    ///
    /// # Errors
    /// When the server cannot be reached, or a newer program has changed the database too much, or it was sealed with another
    /// root key.
    pub async fn open(
        settings: &PostgresSettings,
        root_key: RootKey,
        capacity: u64,
    ) -> Result<PostgresQueue, QueueError> {
        Ok(PostgresQueue {
            database: Database::open(settings, &root_key).await?,
            root_key: Arc::new(root_key),
            capacity: Capacity::new(capacity),
            under_way: UnderWay::default(),
            name: random_text(12).map_err(|error| QueueError(error.to_string()))?,
            owners: Mutex::default(),
            relay: Relay::default(),
        })
    }
}

impl PostgresQueue {
    async fn keep(&self, mut request: NewRequest, place: Option<Place>) -> Result<Acceptance, QueueError> {
        let secrets = self.root_key.seal_secrets(&request.id, request.options.take_secrets())?;
        let at_once = place.is_none()
            && statement!(self.database, connection =>
                requests::accept_unlimited(connection, &request, secrets.as_deref(), self.capacity))?;
        let accepted = match at_once {
            true => Acceptance::Accepted { id: request.id.clone(), created_ms: request.created_ms },
            false => transaction!(self.database, connection =>
                requests::accept(connection, &request, secrets.as_deref(), self.capacity, place.is_some()))?,
        };
        // Whoever hears of the request finds its place free.
        drop(place);
        if matches!(accepted, Acceptance::Accepted { .. }) {
            self.relay.tell_of_requests();
        }
        Ok(accepted)
    }
}

#[async_trait]
impl Queue for PostgresQueue {
    async fn relay(&self, bells: Bells) {
        self.relay.run(&self.database.pool, &self.name, &bells).await;
    }
}

#[async_trait]
impl JobQueue for PostgresQueue {
    async fn accept(&self, request: NewRequest) -> Result<Acceptance, QueueError> {
        self.keep(request, None).await
    }

    async fn turn_over(&self, request: NewRequest, place: Place) -> Result<Acceptance, QueueError> {
        self.keep(request, Some(place)).await
    }

    async fn admit(&self, access_key: &str, now_ms: u64) -> Result<Admission, QueueError> {
        transaction!(self.database, connection => usage::admit(connection, access_key, now_ms, &self.under_way))
    }

    async fn usage(&self, access_key: &str, now_ms: u64) -> Result<Usage, QueueError> {
        let waiting = self.under_way.count(access_key);
        let usage = async {
            let mut connection = self.database.pool.acquire().await?;
            let usage = usage::get(&mut connection, access_key, now_ms).await?;
            let under_way = usage::rendering(&mut connection, access_key).await? + waiting;
            Ok(Usage { under_way, ..usage })
        };
        self.database.ask(usage).await
    }

    async fn claim(&self, owner: &str, now_ms: u64, lease_until_ms: u64) -> Result<Option<ClaimedRequest>, QueueError> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).insert(owner.to_owned());
        let waiting = self.under_way.all();
        if !waiting.is_empty() {
            let claimed = transaction!(self.database, connection =>
                requests::claim_beside_callers(connection, owner, now_ms, lease_until_ms, &waiting, &self.under_way))?;
            return claimed.map(|claimed| self.opened(claimed)).transpose();
        }
        // What was taken by a claim whose answer got lost comes back when its lease runs out.
        let claimed = statement!(self.database, connection =>
            requests::claim(connection, owner, now_ms, lease_until_ms, &waiting))?;
        let Some(claimed) = claimed else { return Ok(None) };
        // A caller of a key with a limit may have come meanwhile: then it is the caller's place.
        let access_key = &claimed.0.request.access_key;
        let callers = self.under_way.count(access_key);
        if callers > 0 {
            let is_over = async {
                let mut connection = self.database.pool.acquire().await?;
                usage::is_over(&mut connection, access_key, callers).await
            };
            if self.database.ask(is_over).await? {
                let reason = "a caller came first".to_owned();
                let back = PutBack { now_ms, at_ms: now_ms, reason, ours: true };
                return self.put_back(&claimed.0.request.id, owner, back).await.map(|_| None);
            }
        }
        self.opened(claimed).map(Some)
    }

    async fn extend(&self, id: &str, owner: &str, lease_until_ms: u64) -> Result<bool, QueueError> {
        self.database.ask(requests::extend(&self.database.pool, id, owner, lease_until_ms)).await
    }

    async fn finish(
        &self,
        id: &str,
        owner: &str,
        now_ms: u64,
        outcome: Outcome,
        delivery: Option<NewDelivery>,
    ) -> Result<bool, QueueError> {
        let ended = transaction!(self.database, connection => async {
            let Some(access_key) = requests::finish(connection, id, Some(owner), now_ms, &outcome).await? else {
                return Ok(false);
            };
            if let Some(delivery) = &delivery {
                deliveries::insert(connection, id, &access_key, now_ms, delivery).await?;
            }
            Ok(true)
        })?;
        if delivery.is_some() && ended {
            self.relay.tell_of_deliveries();
        }
        Ok(ended)
    }

    async fn put_back(&self, id: &str, owner: &str, back: PutBack) -> Result<bool, QueueError> {
        transaction!(self.database, connection => requests::put_back(connection, id, owner, &back))
    }

    async fn cancel(&self, access_key: &str, id: &str, now_ms: u64) -> Result<Option<RequestState>, QueueError> {
        transaction!(self.database, connection => requests::cancel(connection, access_key, id, now_ms))
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
        transaction!(self.database, connection => async {
            if !requests::insert(connection, &request, None, RequestState::Rendering).await? {
                return Err(database::unreadable("there is a request of this id or idempotency key already"));
            }
            requests::finish(connection, &request.id, None, now_ms, &outcome).await?;
            match &delivery {
                Some(delivery) => {
                    deliveries::insert(connection, &request.id, &request.access_key, now_ms, delivery).await
                }
                None => Ok(()),
            }
        })?;
        if delivery.is_some() {
            self.relay.tell_of_deliveries();
        }
        Ok(())
    }

    async fn release(&self, release: Release) -> Result<u64, QueueError> {
        // Other backends may be alive: of theirs, only what ran out is returned. This one's own are known by their owners.
        let owners: Vec<String> = self.owners.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        let released = transaction!(self.database, connection => async {
            match release.expired_at_ms() {
                Some(at_ms) => Ok(requests::release_expired(connection, at_ms).await?
                    + deliveries::release_expired(connection, release).await?),
                None => Ok(requests::release_of(connection, &owners).await?
                    + deliveries::release_of(connection, release, &self.name).await?),
            }
        })?;
        if released > 0 {
            self.relay.tell_of_requests();
            self.relay.tell_of_deliveries();
        }
        Ok(released)
    }

    async fn request(&self, id: &str) -> Result<Option<RequestView>, QueueError> {
        self.database.ask(views::request(&self.database.pool, id)).await
    }

    async fn requests(&self, filter: RequestFilter) -> Result<Vec<RequestView>, QueueError> {
        self.database.ask(views::requests(&self.database.pool, &filter)).await
    }

    async fn file(&self, name: &str) -> Result<Option<StoredFile>, QueueError> {
        self.database.ask(views::file(&self.database.pool, name)).await
    }

    async fn expired_files(&self, now_ms: u64, limit: u32) -> Result<Vec<String>, QueueError> {
        self.database.ask(views::expired_files(&self.database.pool, now_ms, limit)).await
    }

    async fn forget_file(&self, name: &str) -> Result<(), QueueError> {
        self.database.ask(requests::forget_file(&self.database.pool, name)).await
    }

    async fn unknown_files(&self, names: Vec<String>) -> Result<Vec<String>, QueueError> {
        self.database.ask(views::unknown_files(&self.database.pool, &names)).await
    }

    async fn purge(&self, ended_before_ms: u64, limit: u32) -> Result<u64, QueueError> {
        transaction!(self.database, connection => requests::purge(connection, ended_before_ms, limit))
    }

    async fn claim_deliveries(
        &self,
        now_ms: u64,
        lease_until_ms: u64,
        limit: u32,
        per_receiver: u32,
    ) -> Result<Vec<ClaimedDelivery>, QueueError> {
        let claim = deliveries::Claim { owner: &self.name, now_ms, lease_until_ms, limit, per_receiver };
        transaction!(self.database, connection => deliveries::claim(connection, &claim))
    }

    async fn finish_attempt(&self, id: &str, attempt: DeliveryAttempt, next: NextStep) -> Result<bool, QueueError> {
        let at_ms = attempt.at_ms;
        let disabled = transaction!(self.database, connection => async {
            match deliveries::finish_attempt(connection, id, &attempt, next).await? {
                Some(to) => Ok(Some((endpoints::end_waiting(connection, &to, at_ms, BATCH).await?, to))),
                None => Ok(None),
            }
        })?;
        let Some((mut ended, to)) = disabled else { return Ok(false) };
        while ended == u64::from(BATCH) {
            ended = transaction!(self.database, connection =>
                endpoints::end_waiting(connection, &to, at_ms, BATCH))?;
        }
        Ok(true)
    }

    async fn endpoints(&self, access_key: Option<&str>) -> Result<Vec<EndpointView>, QueueError> {
        self.database.ask(endpoints::list(&self.database.pool, access_key, ENDPOINTS_MAX)).await
    }

    async fn enable_endpoint(&self, access_key: &str, url: &str) -> Result<bool, QueueError> {
        self.database.ask(endpoints::enable_disabled(&self.database.pool, access_key, url)).await
    }

    async fn forget_failures(&self, before_ms: u64) -> Result<u64, QueueError> {
        self.database.ask(endpoints::forget(&self.database.pool, before_ms, BATCH)).await
    }

    async fn forget_usage(&self, now_ms: u64) -> Result<u64, QueueError> {
        self.database.ask(figures::forget(&self.database.pool, now_ms, BATCH)).await
    }

    async fn cached_answer(&self, key: &str, now_ms: u64) -> Result<Option<CachedAnswer>, QueueError> {
        self.database.ask(cache::get(&self.database.pool, key, now_ms)).await
    }

    async fn keep_answer(&self, key: &str, answer: CachedAnswer) -> Result<(), QueueError> {
        self.database.ask(cache::put(&self.database.pool, key, &answer)).await
    }

    async fn forget_answers(&self, now_ms: u64) -> Result<u64, QueueError> {
        self.database.ask(cache::forget(&self.database.pool, now_ms, BATCH)).await
    }

    async fn deliveries(&self, filter: DeliveryFilter) -> Result<Vec<DeliveryView>, QueueError> {
        self.database.ask(views::deliveries(&self.database.pool, &filter)).await
    }

    async fn replay(&self, filter: ReplayFilter, now_ms: u64) -> Result<u64, QueueError> {
        let mut replayed = 0;
        loop {
            let batch = self.database.ask(deliveries::replay(&self.database.pool, &filter, now_ms, BATCH)).await?;
            replayed += batch;
            if batch < u64::from(BATCH) {
                self.relay.tell_of_deliveries();
                return Ok(replayed);
            }
        }
    }

    async fn key(&self, access_key: &str) -> Result<Option<KeyRecord>, QueueError> {
        let row = self.database.ask(keys::get(&self.database.pool, access_key)).await?;
        row.map(|row| row.into_record(&self.root_key)).transpose()
    }

    async fn backlog(&self, now_ms: u64) -> Result<Backlog, QueueError> {
        self.database.ask(figures::backlog(&self.database.pool, now_ms, &self.under_way.all())).await
    }
}

#[cfg(test)]
mod tests;
