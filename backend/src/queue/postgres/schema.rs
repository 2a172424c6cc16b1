//! The schema and its versions.

use sqlx::{Connection, PgConnection};

use super::database::{PostgresSettings, failed, reach};
use crate::domain::ports::QueueError;

/// Each entry brings the schema from its index to the next.
const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql"), include_str!("schema_2.sql"), include_str!("schema_3.sql")];

/// The version of a database that has had them all.
pub(super) const KNOWN_VERSION: i64 = MIGRATIONS.len() as i64;

/// Held while the schema is looked at and changed, so that backends that start together do it one after the other.
const LOCK: i64 = 0x736e_6170_686f_6f6b;

/// Brings the schema up to date, all of it or nothing.
pub(super) async fn migrate(connection: &mut PgConnection) -> Result<(), QueueError> {
    let mut transaction = connection.begin().await.map_err(failed)?;
    let version = async {
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
        sqlx::raw_sql("CREATE TABLE IF NOT EXISTS snaphook_schema (version BIGINT NOT NULL)")
            .execute(&mut *transaction)
            .await?;
        version(&mut transaction).await
    };
    let version = version.await.map_err(failed)?;
    if version > KNOWN_VERSION {
        let message = format!("the database is of version {version}, and this program knows {KNOWN_VERSION}");
        return Err(QueueError(message));
    }
    if version == KNOWN_VERSION {
        return transaction.commit().await.map_err(failed);
    }
    let migrate = async {
        for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or_default()) {
            sqlx::raw_sql(*migration).execute(&mut *transaction).await?;
        }
        sqlx::raw_sql("DELETE FROM snaphook_schema").execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO snaphook_schema (version) VALUES ($1)")
            .bind(KNOWN_VERSION)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    };
    migrate.await.map_err(failed)
}

/// 0 if there is nothing yet.
async fn version(connection: &mut PgConnection) -> sqlx::Result<i64> {
    let version = sqlx::query_scalar("SELECT version FROM snaphook_schema").fetch_optional(connection).await?;
    Ok(version.unwrap_or_default())
}

/// What a database is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// What the server calls itself: `15.14 (Debian …)`.
    pub server: String,
    /// 0 if there is nothing yet.
    pub version: i64,
    /// The newest version that this program knows.
    pub known: i64,
    /// What its clock said (Unix milliseconds).
    pub time_ms: u64,
}

/// Looks at a database without changing it.
///
/// # Errors
/// When it cannot be reached.
pub async fn inspect(settings: &PostgresSettings) -> Result<Inspection, QueueError> {
    let mut connection = reach(settings).await?;
    let look = async {
        let server = sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await?;
        let exists: bool =
            sqlx::query_scalar("SELECT to_regclass('snaphook_schema') IS NOT NULL").fetch_one(&mut connection).await?;
        let version = if exists { version(&mut connection).await? } else { 0 };
        let time_ms: i64 = sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
            .fetch_one(&mut connection)
            .await?;
        Ok(Inspection { server, version, known: KNOWN_VERSION, time_ms: time_ms.unsigned_abs() })
    };
    look.await.map_err(failed)
}
