//! What the operator asks of the queue: keys, one request or delivery with all that is known, figures.

use async_trait::async_trait;
use snaphook_shared::key::KeyLimits;
use snaphook_shared::signing::SecretKey;

use super::database::{failed, transaction};
use super::{PostgresQueue, figures, keys, views};
use crate::domain::operator::{
    DeliveryDetail, Holdings, Kept, KeySummary, KeyUsage, NewKey, Operator, RequestDetail, Rotation, UsageSpan,
};
use crate::domain::ports::QueueError;
use crate::queue::key_row::KeyRow;

#[async_trait]
impl Operator for PostgresQueue {
    async fn keys(&self) -> Result<Vec<KeySummary>, QueueError> {
        let rows = keys::list(&self.pool).await.map_err(failed)?;
        Ok(rows.into_iter().map(KeyRow::into_summary).collect())
    }

    async fn add_key(&self, key: NewKey, now_ms: u64) -> Result<bool, QueueError> {
        let row = KeyRow::new(key, &self.root_key, now_ms)?;
        keys::insert(&self.pool, &row).await.map_err(failed)
    }

    async fn rotate(
        &self,
        access_key: &str,
        secret: &SecretKey,
        previous_until_ms: u64,
        now_ms: u64,
    ) -> Result<Rotation, QueueError> {
        let sealed = self.root_key.seal_for(access_key, secret)?;
        transaction!(self.pool, connection => keys::rotate(connection, access_key, &sealed, previous_until_ms, now_ms))
    }

    async fn revoke(&self, access_key: &str, now_ms: u64) -> Result<bool, QueueError> {
        keys::revoke(&self.pool, access_key, now_ms).await.map_err(failed)
    }

    async fn set_limits(&self, access_key: &str, limits: KeyLimits) -> Result<bool, QueueError> {
        keys::set_limits(&self.pool, access_key, limits).await.map_err(failed)
    }

    async fn set_require_signed(&self, access_key: &str, required: bool) -> Result<bool, QueueError> {
        keys::require_signed(&self.pool, access_key, required).await.map_err(failed)
    }

    async fn request_detail(&self, id: &str) -> Result<Option<RequestDetail>, QueueError> {
        views::request_detail(&self.pool, id).await.map_err(failed)
    }

    async fn delivery_detail(&self, id: &str) -> Result<Option<DeliveryDetail>, QueueError> {
        views::delivery_detail(&self.pool, id).await.map_err(failed)
    }

    async fn usage_over_time(
        &self,
        access_key: Option<&str>,
        from_ms: u64,
        to_ms: u64,
        span_hours: u64,
    ) -> Result<Vec<UsageSpan>, QueueError> {
        figures::over_time(&self.pool, access_key, from_ms, to_ms, span_hours).await.map_err(failed)
    }

    async fn usage_by_key(&self, from_ms: u64, to_ms: u64) -> Result<Vec<KeyUsage>, QueueError> {
        figures::by_key(&self.pool, from_ms, to_ms).await.map_err(failed)
    }

    async fn holdings(&self) -> Result<Holdings, QueueError> {
        figures::holdings(&self.pool).await.map_err(failed)
    }

    async fn kept(&self, expiring: u32) -> Result<Kept, QueueError> {
        figures::kept(&self.pool, expiring).await.map_err(failed)
    }
}
