//! Connections to the server, what holds in each of them, and transactions.

use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use snaphook_shared::secret::Secret;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, Row};

use super::schema;
use crate::domain::ports::QueueError;
use crate::queue::secrets::RootKey;

/// Transactions that ran into each other are tried again so often.
pub(super) const TRIES_MAX: u32 = 5;

/// A connection that was idle for longer is asked whether it is still there before it is used.
const IDLE_TRUSTED: Duration = Duration::from_secs(1);
const PING_LIMIT: Duration = Duration::from_secs(2);
const IDLE_MAX: Duration = Duration::from_secs(600);

/// Where the server is, and how much is asked of it.
#[derive(Clone, Debug)]
pub struct PostgresSettings {
    pub url: Secret,
    pub connections_max: u32,
    /// For one statement, for a lock, and for a free connection.
    pub timeout: Duration,
}

/// One connection, to a schema that is up to date and whose secrets are this key's.
pub(in crate::queue) async fn connect(
    settings: &PostgresSettings,
    root_key: &RootKey,
) -> Result<PgConnection, QueueError> {
    let mut connection = reach(settings).await?;
    schema::migrate(&mut connection, root_key).await?;
    Ok(connection)
}

/// The server ends a session whose other end takes nothing more for so long, as none of its other limits does while it writes an
/// answer. Not every system can do that, and that is no error.
const NOTICE_THE_LOST: &str = "DO $$ BEGIN PERFORM set_config('tcp_user_timeout', '60000', FALSE);
                               EXCEPTION WHEN OTHERS THEN NULL; END $$";

/// One connection, to whatever is there.
pub(super) async fn reach(settings: &PostgresSettings) -> Result<PgConnection, QueueError> {
    let timeout_ms = settings.timeout.as_millis();
    let options = options(&settings.url)?;
    let connecting = tokio::time::timeout(settings.timeout, async {
        let mut connection = options.connect().await?;
        // What it asks may take its time, for a migration does. But it neither waits for a lock nor keeps one without end: one that
        // loses its network while it holds the lock of the schema would keep every other service from starting.
        let sets = format!(
            "SET lock_timeout = {timeout_ms}; SET idle_in_transaction_session_timeout = {timeout_ms}; {NOTICE_THE_LOST}",
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(sets)).execute(&mut connection).await?;
        Ok(connection)
    });
    let too_long = |_| QueueError("PostgreSQL does not answer".to_owned());
    connecting.await.map_err(too_long)?.map_err(failed)
}

/// The server, as all of this backend ask it.
pub(super) struct Database {
    pub(super) pool: PgPool,
    /// For whatever is asked. The server keeps to its own limits, but nobody hears of that where it cannot be reached any
    /// more: a connection whose other end is gone gives no error for a quarter of an hour.
    pub(super) limit: Duration,
}

impl Database {
    /// Opens the pool, and brings the schema up to date.
    pub(super) async fn open(settings: &PostgresSettings, root_key: &RootKey) -> Result<Database, QueueError> {
        Ok(Database { pool: open(settings, root_key).await?, limit: settings.timeout * 3 })
    }

    /// The answer, or an error within the limit.
    pub(super) async fn ask<T>(&self, question: impl Future<Output = sqlx::Result<T>>) -> Result<T, QueueError> {
        bounded(self.limit, question).await.map_err(failed)
    }
}

/// As its work, but no longer than the limit.
pub(super) async fn bounded<T>(limit: Duration, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

async fn open(settings: &PostgresSettings, root_key: &RootKey) -> Result<PgPool, QueueError> {
    let _ = connect(settings, root_key).await?.close().await;
    let options = options(&settings.url)?;
    let timeout_ms = settings.timeout.as_millis();
    let pool = PgPoolOptions::new()
        .max_connections(settings.connections_max)
        .acquire_timeout(settings.timeout)
        .idle_timeout(IDLE_MAX)
        .test_before_acquire(false)
        .before_acquire(|connection, known| {
            Box::pin(async move {
                let is_there = tokio::time::timeout(PING_LIMIT, connection.ping());
                Ok(known.idle_for < IDLE_TRUSTED || is_there.await.is_ok_and(|answer| answer.is_ok()))
            })
        })
        .after_connect(move |connection, _| {
            Box::pin(async move {
                // By SET and not among the parameters of the start, which poolers refuse.
                let sets = format!(
                    "SET synchronous_commit = on; SET statement_timeout = {timeout_ms}; SET lock_timeout = {timeout_ms};
                     SET idle_in_transaction_session_timeout = {timeout_ms}; {NOTICE_THE_LOST}"
                );
                sqlx::raw_sql(sqlx::AssertSqlSafe(sets)).execute(connection).await.map(|_| ())
            })
        });
    Ok(pool.connect_lazy_with(options))
}

/// Parameters of the URL that sqlx takes. What it does not take it would write into the log, value and all.
const PARAMETERS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

fn refuse_unknown_parameters(url: &str) -> Result<(), QueueError> {
    let (url, _) = url.split_once('#').unwrap_or((url, ""));
    let (_, query) = url.split_once('?').unwrap_or((url, ""));
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, _) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent_decode_str(name).decode_utf8_lossy();
        if PARAMETERS.contains(&&*name) || (name.starts_with("options[") && name.ends_with(']')) {
            continue;
        }
        // A password with a question mark in it ends up here too, and is nobody's to read.
        let is_word = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let named = if is_word(&name) { &*name } else { "(no name)" };
        return Err(QueueError(format!(
            "[queue] database_url has a parameter {named}, which is not one of {}",
            PARAMETERS.join(", ")
        )));
    }
    Ok(())
}

fn options(url: &Secret) -> Result<PgConnectOptions, QueueError> {
    refuse_unknown_parameters(url.expose())?;
    let options = PgConnectOptions::from_str(url.expose())
        .map_err(|error| QueueError(format!("[queue] database_url cannot be read: {error}")))?;
    // Statements are ours and their values are callers'.
    Ok(options.application_name("snaphook").disable_statement_logging())
}

pub(super) fn failed(error: sqlx::Error) -> QueueError {
    QueueError(error.to_string())
}

/// What a transaction was decided on did not hold any more when it could be changed.
#[derive(Debug, thiserror::Error)]
#[error("others came first, again and again")]
struct Overtaken;

/// The error that has a transaction undone and tried again.
pub(super) fn overtaken() -> sqlx::Error {
    sqlx::Error::Decode(Box::new(Overtaken))
}

/// Whether the transaction was given up for the sake of another one (deadlock, serialisation), or found a connection that
/// was dead before it began. Nothing was done, and the next try may go well.
pub(super) fn may_go_well(error: &sqlx::Error, begun: bool) -> bool {
    match error {
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("40P01" | "40001")),
        sqlx::Error::Decode(error) => error.is::<Overtaken>(),
        sqlx::Error::Io(_) => !begun,
        _ => false,
    }
}

/// Says of which type the errors of a piece of work are.
pub(super) async fn work<T>(work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    work.await
}

/// Runs work in a transaction and returns once it is on the disk. The work is a future that borrows the connection; it is
/// made anew for each try.
macro_rules! transaction {
    ($database:expr, $connection:ident => $work:expr) => {
        $crate::queue::postgres::database::tried!(begun => $crate::queue::postgres::database::bounded(
            $database.limit,
            async {
                let mut transaction = $database.pool.begin().await?;
                begun = true;
                let $connection = &mut *transaction;
                let value = $crate::queue::postgres::database::work($work).await?;
                $crate::fault::point("before-commit");
                transaction.commit().await?;
                $crate::fault::point("after-commit");
                Ok(value)
            }
        ))
    };
}
pub(super) use transaction;

/// The same for work that is a single statement, which is a transaction by itself: one way to the server and back, not three.
/// Where its connection turns out to be dead nobody knows whether it was done, so it must do no harm to do it again.
macro_rules! statement {
    ($database:expr, $connection:ident => $work:expr) => {
        $crate::queue::postgres::database::tried!(begun => $crate::queue::postgres::database::bounded(
            $database.limit,
            async {
                let mut connection = $database.pool.acquire().await?;
                $crate::fault::point("before-commit");
                let $connection = &mut *connection;
                let value = $crate::queue::postgres::database::work($work).await?;
                $crate::fault::point("after-commit");
                Ok(value)
            }
        ))
    };
}
pub(super) use statement;

/// Tries again what was given up for the sake of another transaction.
macro_rules! tried {
    ($begun:ident => $work:expr) => {{
        let mut tries = 0;
        loop {
            #[allow(unused_mut, reason = "a single statement never says that it has begun")]
            let mut $begun = false;
            let result: sqlx::Result<_> = $work.await;
            match result {
                Err(error)
                    if tries < $crate::queue::postgres::database::TRIES_MAX
                        && $crate::queue::postgres::database::may_go_well(&error, $begun) =>
                {
                    tries += 1
                }
                result => break result.map_err($crate::queue::postgres::database::failed),
            }
        }
    }};
}
pub(super) use tried;

/// What a lock is for; its number is half of the lock's name.
#[derive(Clone, Copy)]
pub(super) enum Lock {
    /// What a key with limits has used is read and changed by one transaction at a time.
    Usage = 1,
    /// A key's tasks are counted and added to.
    Tasks = 2,
    /// Deliveries are claimed.
    Deliveries = 3,
    /// Renders of a key with a concurrency are begun, by a caller who waits or by a worker.
    UnderWay = 4,
}

/// Holds a lock until the end of the transaction.
pub(super) async fn lock(connection: &mut PgConnection, lock: Lock, of: &str) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock($1, hashtext($2))")
        .bind(lock as i32)
        .bind(of)
        .execute(connection)
        .await
        .map(|_| ())
}

/// As the database has it, which has no unsigned numbers.
pub(super) fn int(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// A text that somebody else wrote, as it can be kept: PostgreSQL takes no NUL.
pub(super) fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Numbers out of a row.
pub(super) trait Numbers {
    fn number<T: TryFrom<i64>>(&self, column: &str) -> sqlx::Result<T>;
    fn number_if_any<T: TryFrom<i64>>(&self, column: &str) -> sqlx::Result<Option<T>>;
}

impl Numbers for PgRow {
    fn number<T: TryFrom<i64>>(&self, column: &str) -> sqlx::Result<T> {
        narrow(column, self.try_get(column)?)
    }

    fn number_if_any<T: TryFrom<i64>>(&self, column: &str) -> sqlx::Result<Option<T>> {
        self.try_get::<Option<i64>, _>(column)?.map(|value| narrow(column, value)).transpose()
    }
}

fn narrow<T: TryFrom<i64>>(column: &str, value: i64) -> sqlx::Result<T> {
    T::try_from(value).map_err(|_| unreadable(format!("{column} is {value}")))
}

/// A row that this program does not understand.
pub(super) fn unreadable(what: impl Into<String>) -> sqlx::Error {
    sqlx::Error::Decode(what.into().into())
}

pub(super) fn not_json(error: serde_json::Error) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
