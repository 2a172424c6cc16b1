//! The schema and its versions.

use std::time::Duration;

use sqlx::{Connection, PgConnection, Row};

use super::database::{Numbers, PostgresSettings, failed, may_go_well, reach};
use crate::domain::ports::QueueError;
use crate::queue::migration::{Migration, Versions, contract, expand, needed};
use crate::queue::secrets::RootKey;

/// Each entry brings the schema from its index to the next. The first two need a program that knows them, since those of before
/// there was such a promise refuse what they do not know.
pub(super) const MIGRATIONS: &[Migration] = &[
    contract(include_str!("schema_1.sql"), 1),
    contract(include_str!("schema_2.sql"), 2),
    expand(include_str!("schema_3.sql")),
    // Programs of before claim by the function as it is then.
    expand(include_str!("schema_4.sql")),
];

/// The version of a database that has had them all.
pub(super) const KNOWN_VERSION: i64 = MIGRATIONS.len() as i64;

/// Held while the schema is looked at and changed, so that backends that start together do it one after the other.
pub(super) const LOCK: i64 = 0x736e_6170_686f_6f6b;

/// Whoever waits for a table to change it is waited for by all who come later, so it is not for long, and again later.
const TABLE_LOCK_LIMIT: &str = "SET LOCAL lock_timeout = '2s'";
const TRIES_MAX: u32 = 30;
const TRIES_APART: Duration = Duration::from_secs(1);

/// Brings the schema up to date, all of it or nothing. Services of versions before may be at work on it.
///
/// # Errors
/// When a newer program has changed it too much, or it was sealed with another root key; then nothing was changed.
pub(super) async fn migrate(connection: &mut PgConnection, root_key: &RootKey) -> Result<(), QueueError> {
    if is_ready(connection, root_key).await.map_err(failed)? {
        return Ok(());
    }
    for _ in 1..TRIES_MAX {
        match try_to_migrate(connection, root_key).await {
            Err(error) if is_busy(&error) => tokio::time::sleep(TRIES_APART).await,
            result => return result.map_err(failed)?,
        }
    }
    try_to_migrate(connection, root_key).await.map_err(failed)?
}

/// Whether there is nothing to be done, as at most starts: then no start has to wait for another one.
async fn is_ready(connection: &mut PgConnection, root_key: &RootKey) -> sqlx::Result<bool> {
    let there: bool =
        sqlx::query_scalar("SELECT to_regclass('snaphook_schema') IS NOT NULL AND to_regclass('root_key') IS NOT NULL")
            .fetch_one(&mut *connection)
            .await?;
    if !there {
        return Ok(false);
    }
    let versions = versions(connection).await?;
    if versions.newest < KNOWN_VERSION || versions.check().is_err() {
        return Ok(false);
    }
    let proof: Option<Vec<u8>> = sqlx::query_scalar("SELECT proof FROM root_key").fetch_optional(connection).await?;
    Ok(proof.is_some_and(|proof| root_key.made(&proof)))
}

/// Whether a table was in use, so that later may be a better time.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.as_deref() == Some("55P03") || may_go_well(error, true)
}

async fn try_to_migrate(connection: &mut PgConnection, root_key: &RootKey) -> sqlx::Result<Result<(), QueueError>> {
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
    // `version` is what a program must know, since that is what those of before there was `newest` compare.
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS snaphook_schema (version BIGINT NOT NULL)")
        .execute(&mut *transaction)
        .await?;
    let versions = versions(&mut transaction).await?;
    if let Err(refused) = versions.check() {
        return Ok(Err(refused));
    }
    if versions.newest < KNOWN_VERSION {
        sqlx::raw_sql(TABLE_LOCK_LIMIT).execute(&mut *transaction).await?;
        for migration in MIGRATIONS.iter().skip(usize::try_from(versions.newest).unwrap_or_default()) {
            sqlx::raw_sql(migration.sql).execute(&mut *transaction).await?;
        }
        sqlx::raw_sql(
            "ALTER TABLE snaphook_schema ADD COLUMN IF NOT EXISTS newest BIGINT; DELETE FROM snaphook_schema",
        )
        .execute(&mut *transaction)
        .await?;
        sqlx::query("INSERT INTO snaphook_schema (version, newest) VALUES ($1, $2)")
            .bind(needed(MIGRATIONS))
            .bind(KNOWN_VERSION)
            .execute(&mut *transaction)
            .await?;
    }
    if let Err(refused) = prove(&mut transaction, root_key).await? {
        return Ok(Err(refused));
    }
    transaction.commit().await.map(Ok)
}

/// Keeps the proof of the root key, or compares it with the one that is kept.
async fn prove(connection: &mut PgConnection, root_key: &RootKey) -> sqlx::Result<Result<(), QueueError>> {
    if is_sealed_with(connection, root_key).await? == Some(false) {
        return Ok(Err(RootKey::another()));
    }
    let proof = match root_key.proof() {
        Ok(proof) => proof,
        Err(error) => return Ok(Err(error)),
    };
    sqlx::query("INSERT INTO root_key (id, proof) VALUES (1, $1) ON CONFLICT DO NOTHING")
        .bind(proof)
        .execute(connection)
        .await?;
    Ok(Ok(()))
}

/// Whether the secrets in the database are this key's. Before a proof was kept, the newest access key's secret tells; None where
/// there is neither.
async fn is_sealed_with(connection: &mut PgConnection, root_key: &RootKey) -> sqlx::Result<Option<bool>> {
    let there: bool =
        sqlx::query_scalar("SELECT to_regclass('root_key') IS NOT NULL").fetch_one(&mut *connection).await?;
    if there {
        let proof: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT proof FROM root_key").fetch_optional(&mut *connection).await?;
        if let Some(proof) = proof {
            return Ok(Some(root_key.made(&proof)));
        }
    }
    let key = sqlx::query("SELECT access_key, secret FROM keys ORDER BY created_ms DESC LIMIT 1");
    let Some(row) = key.fetch_optional(connection).await? else { return Ok(None) };
    Ok(Some(root_key.open(row.try_get("access_key")?, row.try_get("secret")?).is_some()))
}

async fn versions(connection: &mut PgConnection) -> sqlx::Result<Versions> {
    // The second column may not be there yet.
    let row = sqlx::query(
        "SELECT version, coalesce((to_jsonb(s) ->> 'newest')::bigint, version) AS newest FROM snaphook_schema s",
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(Versions { newest: 0, needed: 0, known: KNOWN_VERSION }) };
    Ok(Versions { newest: row.number("newest")?, needed: row.number("version")?, known: KNOWN_VERSION })
}

/// What a database is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// What the server calls itself: `15.14 (Debian …)`.
    pub server: String,
    pub versions: Versions,
    /// Whether its secrets were sealed with the root key; None where nobody can say.
    pub root_key_fits: Option<bool>,
    /// What its clock said (Unix milliseconds).
    pub time_ms: u64,
}

/// Looks at a database without changing it.
///
/// # Errors
/// When it cannot be reached.
pub async fn inspect(settings: &PostgresSettings, root_key: Option<&RootKey>) -> Result<Inspection, QueueError> {
    let mut connection = reach(settings).await?;
    let look = async {
        let server = sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await?;
        let exists: bool =
            sqlx::query_scalar("SELECT to_regclass('snaphook_schema') IS NOT NULL").fetch_one(&mut connection).await?;
        let versions = match exists {
            true => versions(&mut connection).await?,
            false => Versions { newest: 0, needed: 0, known: KNOWN_VERSION },
        };
        let root_key_fits = match root_key {
            Some(root_key) if versions.newest > 0 => is_sealed_with(&mut connection, root_key).await?,
            _ => None,
        };
        let time_ms: i64 = sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
            .fetch_one(&mut connection)
            .await?;
        Ok(Inspection { server, versions, root_key_fits, time_ms: time_ms.unsigned_abs() })
    };
    look.await.map_err(failed)
}
