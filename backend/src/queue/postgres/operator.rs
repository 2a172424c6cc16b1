//! What the operator asks of the queue: keys, one request or delivery with all that is known, figures.

use async_trait::async_trait;
use snaphook_shared::key::KeyLimits;
use snaphook_shared::secret::Secret;

use super::database::transaction;
use super::{PostgresQueue, figures, keys, views};
use crate::domain::operator::{
    DeliveryDetail, Holdings, Kept, KeySummary, KeyUsage, NewKey, Operator, RequestDetail, Rotation, UsageSpan,
};
use crate::domain::ports::QueueError;
use crate::queue::key_row::KeyRow;

#[async_trait]
impl Operator for PostgresQueue {
    async fn keys(&self) -> Result<Vec<KeySummary>, QueueError> {
        let rows = self.database.ask(keys::list(&self.database.pool)).await?;
        Ok(rows.into_iter().map(KeyRow::into_summary).collect())
    }

    async fn add_key(&self, key: NewKey, now_ms: u64) -> Result<bool, QueueError> {
        let row = KeyRow::new(key, &self.root_key, now_ms)?;
        self.database.ask(keys::insert(&self.database.pool, &row)).await
    }

    async fn rotate(
        &self,
        access_key: &str,
        secret: &Secret,
        previous_until_ms: u64,
        now_ms: u64,
    ) -> Result<Rotation, QueueError> {
        let sealed = self.root_key.seal_for(access_key, secret)?;
        transaction!(self.database, connection => keys::rotate(connection, access_key, &sealed, previous_until_ms, now_ms))
    }

    async fn revoke(&self, access_key: &str, now_ms: u64) -> Result<bool, QueueError> {
        self.database.ask(keys::revoke(&self.database.pool, access_key, now_ms)).await
    }

    async fn set_limits(&self, access_key: &str, limits: KeyLimits) -> Result<bool, QueueError> {
        self.database.ask(keys::set_limits(&self.database.pool, access_key, limits)).await
    }

    async fn set_require_signed(&self, access_key: &str, required: bool) -> Result<bool, QueueError> {
        self.database.ask(keys::require_signed(&self.database.pool, access_key, required)).await
    }

    async fn request_detail(&self, id: &str) -> Result<Option<RequestDetail>, QueueError> {
        self.database.ask(views::request_detail(&self.database.pool, id)).await
    }

    async fn delivery_detail(&self, id: &str) -> Result<Option<DeliveryDetail>, QueueError> {
        self.database.ask(views::delivery_detail(&self.database.pool, id)).await
    }

    async fn usage_over_time(
        &self,
        access_key: Option<&str>,
        from_ms: u64,
        to_ms: u64,
        span_hours: u64,
    ) -> Result<Vec<UsageSpan>, QueueError> {
        self.database.ask(figures::over_time(&self.database.pool, access_key, from_ms, to_ms, span_hours)).await
    }

    async fn usage_by_key(&self, from_ms: u64, to_ms: u64) -> Result<Vec<KeyUsage>, QueueError> {
        self.database.ask(figures::by_key(&self.database.pool, from_ms, to_ms)).await
    }

    async fn holdings(&self) -> Result<Holdings, QueueError> {
        self.database.ask(figures::holdings(&self.database.pool)).await
    }

    async fn kept(&self, counted: u64, expiring: u32) -> Result<Kept, QueueError> {
        self.database.ask(figures::kept(&self.database.pool, counted, expiring)).await
    }
}
