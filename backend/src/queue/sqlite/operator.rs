//! What the operator asks of the queue: keys, one request or delivery with all that is known, figures.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};
use snaphook_shared::key::KeyLimits;
use snaphook_shared::secret::Secret;

use super::requests::not_json;
use super::{SqliteQueue, deliveries, keys, requests, usage_hours};
use crate::domain::delivery::DeliveryBody;
use crate::domain::operator::{
    COUNT_MAX, DeliveryDetail, ExpiringFile, Holdings, Kept, KeyHoldings, KeySummary, KeyUsage, NewKey, Operator,
    RequestDetail, Rotation, UsageSpan,
};
use crate::domain::ports::{DeliveryFilter, QueueError};
use crate::queue::key_row::KeyRow;

#[async_trait]
impl Operator for SqliteQueue {
    async fn keys(&self) -> Result<Vec<KeySummary>, QueueError> {
        let rows = self.database.read(keys::list).await?;
        Ok(rows.into_iter().map(KeyRow::into_summary).collect())
    }

    async fn add_key(&self, key: NewKey, now_ms: u64) -> Result<bool, QueueError> {
        let row = KeyRow::new(key, &self.root_key, now_ms)?;
        self.database.write(move |connection| keys::insert(connection, &row)).await
    }

    async fn rotate(
        &self,
        access_key: &str,
        secret: &Secret,
        previous_until_ms: u64,
        now_ms: u64,
    ) -> Result<Rotation, QueueError> {
        let (sealed, access_key) = (self.root_key.seal_for(access_key, secret)?, access_key.to_owned());
        let work =
            move |connection: &Connection| keys::rotate(connection, &access_key, &sealed, previous_until_ms, now_ms);
        self.database.write(work).await
    }

    async fn revoke(&self, access_key: &str, now_ms: u64) -> Result<bool, QueueError> {
        let access_key = access_key.to_owned();
        self.database.write(move |connection| keys::revoke(connection, &access_key, now_ms)).await
    }

    async fn set_limits(&self, access_key: &str, limits: KeyLimits) -> Result<bool, QueueError> {
        let access_key = access_key.to_owned();
        self.database.write(move |connection| keys::set_limits(connection, &access_key, limits)).await
    }

    async fn set_require_signed(&self, access_key: &str, required: bool) -> Result<bool, QueueError> {
        let access_key = access_key.to_owned();
        self.database.write(move |connection| keys::require_signed(connection, &access_key, required)).await
    }

    async fn request_detail(&self, id: &str) -> Result<Option<RequestDetail>, QueueError> {
        let id = id.to_owned();
        let found = self.database.read(move |connection| requests::detail(connection, &id)).await?;
        Ok(found.map(|mut detail| {
            // Rows of old versions had them among the options.
            detail.request.options.take_secrets();
            detail
        }))
    }

    async fn delivery_detail(&self, id: &str) -> Result<Option<DeliveryDetail>, QueueError> {
        let id = id.to_owned();
        self.database.read(move |connection| delivery_detail(connection, &id)).await
    }

    async fn usage_over_time(
        &self,
        access_key: Option<&str>,
        from_ms: u64,
        to_ms: u64,
        span_hours: u64,
    ) -> Result<Vec<UsageSpan>, QueueError> {
        let access_key = access_key.map(str::to_owned);
        let query = move |connection: &Connection| {
            usage_hours::over_time(connection, access_key.as_deref(), from_ms, to_ms, span_hours)
        };
        self.database.read(query).await
    }

    async fn usage_by_key(&self, from_ms: u64, to_ms: u64) -> Result<Vec<KeyUsage>, QueueError> {
        self.database.read(move |connection| usage_hours::by_key(connection, from_ms, to_ms)).await
    }

    async fn holdings(&self) -> Result<Holdings, QueueError> {
        self.database.read(holdings).await
    }

    async fn kept(&self, counted: u64, expiring: u32) -> Result<Kept, QueueError> {
        self.database.read(move |connection| kept(connection, counted, expiring)).await
    }
}

fn delivery_detail(connection: &Connection, id: &str) -> rusqlite::Result<Option<DeliveryDetail>> {
    let filter = DeliveryFilter { id: Some(id.to_owned()), limit: 1, ..DeliveryFilter::default() };
    let Some(view) = deliveries::list(connection, &filter)?.pop() else { return Ok(None) };
    connection
        .prepare_cached("SELECT access_key, sign, headers, body, body_file FROM deliveries WHERE id = ?")?
        .query_row([id], |row| {
            let headers: String = row.get(2)?;
            Ok(DeliveryDetail {
                view,
                access_key: row.get(0)?,
                sign: row.get(1)?,
                headers: serde_json::from_str(&headers).map_err(not_json)?,
                body: match row.get::<_, Option<String>>(4)? {
                    Some(name) => DeliveryBody::File(name),
                    None => DeliveryBody::Inline(row.get::<_, Option<Vec<u8>>>(3)?.unwrap_or_default()),
                },
            })
        })
        .optional()
}

fn holdings(connection: &Connection) -> rusqlite::Result<Holdings> {
    let number = |sql: &str| connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, Option<u64>>(0));
    let counted = |what: &str| {
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {what} LIMIT {COUNT_MAX})");
        number(&sql).map(Option::unwrap_or_default)
    };
    let pages = number("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")?;
    Ok(Holdings {
        queued: counted("requests WHERE state = 'queued'")?,
        oldest_queued_ms: number(
            "SELECT created_ms FROM requests WHERE id = (SELECT min(id) FROM requests WHERE state = 'queued')",
        )
        .optional()?
        .flatten(),
        rendering: counted("requests WHERE state = 'rendering'")?,
        deliveries_waiting: counted("deliveries WHERE state = 'pending'")?,
        deliveries_dead: counted("deliveries WHERE state = 'dead'")?,
        oldest_due_ms: number("SELECT min(due_ms) FROM deliveries WHERE state = 'pending'")?,
        files: number("SELECT files FROM holdings")?.unwrap_or_default(),
        file_bytes: number("SELECT bytes FROM holdings")?.unwrap_or_default(),
        database_bytes: pages.unwrap_or_default(),
    })
}

fn kept(connection: &Connection, counted: u64, expiring: u32) -> rusqlite::Result<Kept> {
    let by_key = connection
        .prepare_cached(
            "SELECT r.access_key, count(*), sum(f.bytes) AS bytes
             FROM (SELECT request_id, bytes FROM files WHERE removed = 0 ORDER BY expires_ms DESC LIMIT ?) f
             JOIN requests r ON r.id = f.request_id
             GROUP BY r.access_key ORDER BY bytes DESC, r.access_key",
        )?
        .query_map([counted], |row| {
            Ok(KeyHoldings { access_key: row.get(0)?, files: row.get(1)?, bytes: row.get(2)? })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let expiring = connection
        .prepare_cached(
            "SELECT request_id, bytes, expires_ms FROM files WHERE removed = 0 ORDER BY expires_ms, name LIMIT ?",
        )?
        .query_map([expiring], |row| {
            Ok(ExpiringFile { request_id: row.get(0)?, bytes: row.get(1)?, expires_ms: row.get(2)? })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Kept { by_key, expiring })
}
