//! The queue on SQLite: the embedded default, one process.

mod database;
mod deliveries;
mod keys;
mod requests;
mod usage;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use snaphook_shared::key::{KeyLimits, KeyRecord, PreviousSecret};
use snaphook_shared::signing::SecretKey;

use super::secrets::RootKey;
use crate::domain::job::{
    ClaimedDelivery, ClaimedRequest, DeliveryAttempt, NewDelivery, NewRequest, NextStep, Outcome, RequestState,
    RequestView, StoredFile,
};
use crate::domain::limits::{UnderWay, Usage};
use crate::domain::ports::{Acceptance, Admission, JobQueue, QueueError, RequestFilter};
use database::Database;
use keys::KeyRow;

#[derive(Clone)]
pub struct SqliteQueue {
    database: Database,
    root_key: Arc<RootKey>,
    /// The most requests that may wait.
    capacity: u64,
    under_way: UnderWay,
}

/// A key as the operator sees it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct KeySummary {
    pub access_key: String,
    pub name: String,
    pub require_signed: bool,
    #[serde(flatten)]
    pub limits: KeyLimits,
    pub created_ms: u64,
    /// The end of the previous secret's overlap, if there is one.
    pub previous_until_ms: Option<u64>,
    pub revoked_ms: Option<u64>,
}

impl SqliteQueue {
    pub fn open(path: &Path, root_key: RootKey, capacity: u64) -> Result<SqliteQueue, QueueError> {
        Ok(SqliteQueue {
            database: Database::open(path)?,
            root_key: Arc::new(root_key),
            capacity,
            under_way: UnderWay::default(),
        })
    }

    /// Keeps a key pair; false if the access key is taken.
    pub async fn add_key(
        &self,
        access_key: &str,
        secret: &SecretKey,
        name: &str,
        require_signed: bool,
        limits: KeyLimits,
        now_ms: u64,
    ) -> Result<bool, QueueError> {
        let row = KeyRow {
            access_key: access_key.to_owned(),
            name: name.to_owned(),
            secret: self.seal(access_key, secret)?,
            previous_secret: None,
            previous_until_ms: None,
            require_signed,
            limits,
            created_ms: now_ms,
            revoked_ms: None,
        };
        self.database.write(move |connection| keys::insert(connection, &row)).await
    }

    /// Gives a key a new secret; the one before stays good until `previous_until_ms`. False if there is no such live key.
    pub async fn rotate_key(
        &self,
        access_key: &str,
        secret: &SecretKey,
        previous_until_ms: u64,
    ) -> Result<bool, QueueError> {
        let (sealed, access_key) = (self.seal(access_key, secret)?, access_key.to_owned());
        self.database.write(move |connection| keys::rotate(connection, &access_key, &sealed, previous_until_ms)).await
    }

    /// Ends a key; false if there is no such live key.
    pub async fn revoke_key(&self, access_key: &str, now_ms: u64) -> Result<bool, QueueError> {
        let access_key = access_key.to_owned();
        self.database.write(move |connection| keys::revoke(connection, &access_key, now_ms)).await
    }

    /// Sets what a key may use, from the next request on. False if there is no such live key.
    pub async fn set_key_limits(&self, access_key: &str, limits: KeyLimits) -> Result<bool, QueueError> {
        let access_key = access_key.to_owned();
        self.database.write(move |connection| keys::set_limits(connection, &access_key, limits)).await
    }

    pub async fn list_keys(&self) -> Result<Vec<KeySummary>, QueueError> {
        let rows = self.database.read(keys::list).await?;
        let summary = |row: KeyRow| KeySummary {
            access_key: row.access_key,
            name: row.name,
            require_signed: row.require_signed,
            limits: row.limits,
            created_ms: row.created_ms,
            previous_until_ms: row.previous_until_ms,
            revoked_ms: row.revoked_ms,
        };
        Ok(rows.into_iter().map(summary).collect())
    }

    fn seal(&self, access_key: &str, secret: &SecretKey) -> Result<Vec<u8>, QueueError> {
        self.root_key.seal(access_key, secret).map_err(|error| QueueError(error.to_string()))
    }

    fn open_secret(&self, access_key: &str, sealed: &[u8]) -> Result<SecretKey, QueueError> {
        let other = || QueueError(format!("the secret of {access_key} was sealed with another root key"));
        self.root_key.open(access_key, sealed).ok_or_else(other)
    }
}

#[async_trait]
impl JobQueue for SqliteQueue {
    async fn accept(&self, request: NewRequest) -> Result<Acceptance, QueueError> {
        let capacity = self.capacity;
        self.database.write(move |connection| requests::accept(connection, &request, capacity)).await
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
        self.database.write(work).await
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
        self.database.write(work).await
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

    async fn put_back(&self, id: &str, owner: &str, at_ms: u64, reason: &str) -> Result<bool, QueueError> {
        let (id, owner, reason) = (id.to_owned(), owner.to_owned(), reason.to_owned());
        self.database.write(move |connection| requests::put_back(connection, &id, &owner, at_ms, &reason)).await
    }

    async fn record(
        &self,
        request: NewRequest,
        now_ms: u64,
        outcome: Outcome,
        delivery: Option<NewDelivery>,
    ) -> Result<(), QueueError> {
        let work = move |connection: &rusqlite::Connection| {
            requests::insert(connection, &request, RequestState::Rendering)?;
            requests::finish(connection, &request.id, None, now_ms, &outcome)?;
            match &delivery {
                Some(delivery) => deliveries::insert(connection, &request.id, &request.access_key, now_ms, delivery),
                None => Ok(()),
            }
        };
        self.database.write(work).await
    }

    async fn release(&self, expired_at_ms: Option<u64>) -> Result<u64, QueueError> {
        self.database.write(move |connection| requests::release(connection, expired_at_ms)).await
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

    async fn claim_deliveries(
        &self,
        now_ms: u64,
        lease_until_ms: u64,
        limit: u32,
    ) -> Result<Vec<ClaimedDelivery>, QueueError> {
        self.database.write(move |connection| deliveries::claim(connection, now_ms, lease_until_ms, limit)).await
    }

    async fn finish_attempt(&self, id: &str, attempt: DeliveryAttempt, next: NextStep) -> Result<(), QueueError> {
        let id = id.to_owned();
        self.database.write(move |connection| deliveries::finish_attempt(connection, &id, &attempt, next)).await
    }

    async fn key(&self, access_key: &str) -> Result<Option<KeyRecord>, QueueError> {
        let wanted = access_key.to_owned();
        let Some(row) = self.database.read(move |connection| keys::get(connection, &wanted)).await? else {
            return Ok(None);
        };
        let previous_secret = match (&row.previous_secret, row.previous_until_ms) {
            (Some(sealed), Some(until_ms)) => Some(PreviousSecret {
                secret_key: self.open_secret(&row.access_key, sealed)?,
                valid_until: until_ms / 1000,
            }),
            _ => None,
        };
        Ok(Some(KeyRecord {
            secret_key: self.open_secret(&row.access_key, &row.secret)?,
            previous_secret,
            require_signed: row.require_signed,
            limits: row.limits,
            revoked: row.revoked_ms.is_some(),
            access_key: row.access_key,
        }))
    }
}
