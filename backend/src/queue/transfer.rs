//! A whole installation's state from SQLite into PostgreSQL: row by row, in one transaction, sealed as it is.
//!
//! What columns there are is asked of both sides. A column of SQLite that PostgreSQL does not have ends the transfer, so that
//! nothing is left behind without a word.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection as Sqlite, Rows};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use super::postgres::{self, PostgresSettings};
use super::secrets::RootKey;
use super::sqlite;
use crate::domain::ports::QueueError;

/// Rows sent at once, and their bytes: whichever is reached first. One row alone may have more.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 4 << 20;

/// What is moved, and in which order rows are read.
struct Table {
    name: &'static str,
    order: &'static str,
    /// Columns of SQLite that mean nothing elsewhere.
    left_out: &'static [&'static str],
    /// Whether PostgreSQL counts it in shards: then all of it goes to the first.
    sharded: bool,
}

const fn table(name: &'static str, order: &'static str) -> Table {
    Table { name, order, left_out: &[], sharded: false }
}

const fn counters(name: &'static str, order: &'static str) -> Table {
    Table { name, order, left_out: &[], sharded: true }
}

const TABLES: &[Table] = &[
    // Whose turn it is begins anew.
    Table { left_out: &["last_claimed_ms"], ..table("keys", "access_key") },
    table("previous_secrets", "access_key, number"),
    table("requests", "id"),
    table("request_attempts", "request_id, number"),
    table("files", "name"),
    table("deliveries", "id"),
    table("attempts", "delivery_id, number"),
    table("receivers", "receiver"),
    table("endpoints", "access_key, url"),
    table("cache", "key"),
    table("tasks", "id"),
    table("admin", "id"),
    table("sessions", "token_hash"),
    counters("key_counters", "access_key"),
    counters("key_months", "access_key, month"),
    counters("usage_hours", "hour, access_key"),
    counters("render_hours", "hour, access_key, class_ms"),
    Table { left_out: &["id"], ..counters("holdings", "id") },
];

/// Tables of SQLite that are not moved: they hold what the schema of each database brings along.
const OWN: &[&str] = &["render_classes", "snaphook_schema", "root_key"];

/// How many rows of a table were moved.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Moved {
    pub table: &'static str,
    pub rows: u64,
}

/// Copies everything, or nothing. The SQLite file stays as it is; nobody else may be using it.
///
/// # Errors
/// When the PostgreSQL database holds anything already or is another root key's, or one of them fails, or what arrived is not what was sent.
pub async fn to_postgres(
    file: &Path,
    settings: &PostgresSettings,
    root_key: &RootKey,
) -> Result<Vec<Moved>, QueueError> {
    let mut target = postgres::connect(settings, root_key).await?;
    let source = sqlite::open_to_read(file)?;
    // All tables as they are at one moment.
    source.execute_batch("BEGIN").map_err(broken)?;
    let mut transaction = target.begin().await.map_err(failed)?;
    refuse_unknown_tables(&source).map_err(broken)??;
    let mut moved = Vec::new();
    for table in TABLES {
        let held: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {}", table.name)))
            .fetch_one(&mut *transaction)
            .await
            .map_err(failed)?;
        if held > 0 {
            let message = format!("the PostgreSQL database is in use already: there are {held} rows in {}", table.name);
            return Err(QueueError(message));
        }
    }
    // What is counted is moved too, and not counted again.
    triggers(&mut transaction, "DISABLE").await?;
    for table in TABLES {
        moved.push(Moved { table: table.name, rows: copy(&source, &mut transaction, table).await? });
    }
    triggers(&mut transaction, "ENABLE").await?;
    for derived in [
        "INSERT INTO queue_sizes (shard, queued) SELECT 0, count(*) FROM requests WHERE state = 'queued'",
        "INSERT INTO turns (access_key) SELECT DISTINCT access_key FROM requests WHERE state IN ('queued', 'rendering')",
    ] {
        sqlx::query(derived).execute(&mut *transaction).await.map_err(failed)?;
    }
    for Moved { table, rows } in &moved {
        let held: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&mut *transaction)
            .await
            .map_err(failed)?;
        if u64::try_from(held) != Ok(*rows) {
            return Err(QueueError(format!("{rows} rows of {table} were sent and {held} arrived")));
        }
    }
    transaction.commit().await.map_err(failed)?;
    Ok(moved)
}

fn failed(error: sqlx::Error) -> QueueError {
    QueueError(error.to_string())
}

fn broken(error: rusqlite::Error) -> QueueError {
    QueueError(error.to_string())
}

/// A table that a newer version has made, and this list does not know.
fn refuse_unknown_tables(source: &Sqlite) -> rusqlite::Result<Result<(), QueueError>> {
    let mut statement =
        source.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")?;
    for name in statement.query_map([], |row| row.get::<_, String>(0))? {
        let name = name?;
        if !OWN.contains(&name.as_str()) && !TABLES.iter().any(|table| table.name == name) {
            return Ok(Err(QueueError(format!("nobody has said where {name} goes"))));
        }
    }
    Ok(Ok(()))
}

async fn triggers(connection: &mut PgConnection, what: &str) -> Result<(), QueueError> {
    for table in ["requests", "files"] {
        let sql = format!("ALTER TABLE {table} {what} TRIGGER USER");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}

/// A column as PostgreSQL has it.
struct Column {
    name: String,
    kind: String,
}

/// The columns that a table has on both sides.
async fn columns(source: &Sqlite, target: &mut PgConnection, table: &Table) -> Result<Vec<Column>, QueueError> {
    let rows = sqlx::query(
        "SELECT column_name::text AS name, data_type::text AS kind FROM information_schema.columns
         WHERE table_schema = current_schema() AND table_name = $1",
    )
    .bind(table.name)
    .fetch_all(target)
    .await
    .map_err(failed)?;
    let mut columns = Vec::new();
    for row in &rows {
        columns.push(Column { name: row.try_get("name").map_err(failed)?, kind: row.try_get("kind").map_err(failed)? });
    }
    let names: Vec<String> = source
        .prepare("SELECT name FROM pragma_table_info(?)")
        .and_then(|mut statement| statement.query_map([table.name], |row| row.get(0))?.collect())
        .map_err(broken)?;
    let mut both = Vec::new();
    for name in names.into_iter().filter(|name| !table.left_out.contains(&name.as_str())) {
        let at = columns.iter().position(|column| column.name == name);
        let at = at.ok_or_else(|| QueueError(format!("PostgreSQL has no column {name} in {}", table.name)))?;
        both.push(columns.swap_remove(at));
    }
    Ok(both)
}

async fn copy(source: &Sqlite, target: &mut PgConnection, table: &Table) -> Result<u64, QueueError> {
    let columns = columns(source, target, table).await?;
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let names = names.join(", ");
    let arrays: Vec<String> =
        columns.iter().enumerate().map(|(number, column)| format!("${}::{}[]", number + 1, column.kind)).collect();
    let (shard, of_shard) = if table.sharded { (", shard", ", 0") } else { ("", "") };
    let insert = format!(
        "INSERT INTO {} ({names}{shard}) SELECT given.*{of_shard} FROM unnest({}) AS given",
        table.name,
        arrays.join(", ")
    );
    let mut statement =
        source.prepare(&format!("SELECT {names} FROM {} ORDER BY {}", table.name, table.order)).map_err(broken)?;
    let mut rows = statement.query([]).map_err(broken)?;
    let mut sent = 0;
    loop {
        let batch = read(&mut rows, columns.len()).map_err(broken)?;
        if batch.is_empty() {
            return Ok(sent);
        }
        sent += batch.len() as u64;
        send(target, &insert, &columns, &batch).await?;
    }
}

fn read(rows: &mut Rows<'_>, width: usize) -> rusqlite::Result<Vec<Vec<Value>>> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < BATCH && bytes < BATCH_BYTES {
        let Some(row) = rows.next()? else { break };
        let values = (0..width).map(|index| row.get(index)).collect::<rusqlite::Result<Vec<_>>>()?;
        bytes += values.iter().map(size).sum::<usize>();
        batch.push(values);
    }
    Ok(batch)
}

fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
        Value::Null | Value::Integer(_) | Value::Real(_) => size_of::<i64>(),
    }
}

/// Each column is one array; a row is what stands at one place in all of them.
async fn send(
    target: &mut PgConnection,
    insert: &str,
    columns: &[Column],
    rows: &[Vec<Value>],
) -> Result<(), QueueError> {
    let mut query = sqlx::query(AssertSqlSafe(insert.to_owned()));
    for (number, column) in columns.iter().enumerate() {
        let values = rows.iter().map(|row| row.get(number).unwrap_or(&Value::Null));
        let odd = |value: &Value| {
            QueueError(format!("{} is {:?} where a {} belongs", column.name, value.data_type(), column.kind))
        };
        query = match column.kind.as_str() {
            "text" => query.bind(each(
                values,
                |value| match value {
                    Value::Text(text) => Some(text.replace('\0', "\u{fffd}")),
                    _ => None,
                },
                odd,
            )?),
            "bytea" => query.bind(each(
                values,
                |value| match value {
                    Value::Blob(bytes) => Some(bytes.clone()),
                    _ => None,
                },
                odd,
            )?),
            "bigint" => query.bind(each(
                values,
                |value| match value {
                    Value::Integer(number) => Some(*number),
                    _ => None,
                },
                odd,
            )?),
            "boolean" => query.bind(each(
                values,
                |value| match value {
                    Value::Integer(number) => Some(*number != 0),
                    _ => None,
                },
                odd,
            )?),
            kind => return Err(QueueError(format!("{} is a {kind}, which is not expected", column.name))),
        };
    }
    query.execute(target).await.map(|_| ()).map_err(failed)
}

/// NULL stays NULL; what is of another type is an error.
fn each<'a, T>(
    values: impl Iterator<Item = &'a Value>,
    read: impl Fn(&Value) -> Option<T>,
    odd: impl Fn(&Value) -> QueueError,
) -> Result<Vec<Option<T>>, QueueError> {
    values
        .map(|value| match value {
            Value::Null => Ok(None),
            value => read(value).map(Some).ok_or_else(|| odd(value)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use snaphook_shared::key::KeyLimits;
    use snaphook_shared::options::model::Options;
    use snaphook_shared::priority::Urgency;
    use snaphook_shared::request::Endpoint;
    use snaphook_shared::secret::Secret;
    use snaphook_shared::task::{Frequency, Plan};
    use snaphook_test_postgres::Server;

    use super::*;
    use crate::domain::admin::NewSession;
    use crate::domain::delivery::{DeliveryAttempt, DeliveryBody, NewDelivery, NextStep, Release};
    use crate::domain::job::{NewRequest, Outcome, StoredFile};
    use crate::domain::operator::NewKey;
    use crate::domain::ports::{CachedAnswer, DeliveryFilter, RequestFilter};
    use crate::domain::task::{Run, Task};
    use crate::queue::Queue;
    use crate::queue::postgres::PostgresQueue;
    use crate::queue::sqlite::SqliteQueue;
    use crate::queue::testing::{CAPACITY, NOW, settings};

    fn request(number: u64) -> NewRequest {
        let mut options = Options::default();
        options.source.html = Some("<p>a\0b".to_owned());
        options.network.authorization = Some(Secret::new(format!("open-sesame-{number}")));
        NewRequest {
            id: snaphook_shared::id::request_id(NOW + number, [0; 10]),
            access_key: "alice".to_owned(),
            endpoint: Endpoint::Screenshot,
            options,
            idempotency_key: Some(format!("once-{number}")),
            urgency: Urgency::new(1).unwrap(),
            fingerprint: "f".to_owned(),
            created_ms: NOW + number,
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        }
    }

    fn webhook(number: u64, body: DeliveryBody) -> NewDelivery {
        NewDelivery {
            id: request(number).id.replacen("req_", "msg_", 1),
            url: format!("https://example.com/hook/{number}"),
            sign: true,
            headers: vec![("x-one".to_owned(), "1".to_owned())],
            body,
        }
    }

    /// Something of everything: a request in each state, a webhook in each.
    async fn fill(queue: &Arc<dyn Queue>) {
        let limits = KeyLimits { monthly_quota: Some(50), requests_per_minute: None, concurrency: None };
        queue.add_key(NewKey { limits, ..NewKey::unlimited("alice", "first") }, NOW).await.unwrap();
        queue.rotate("alice", &Secret::new("second"), NOW * 2, NOW).await.unwrap();
        queue.set_first_password("hash", NOW).await.unwrap();
        let session = NewSession {
            token_hash: "token".to_owned(),
            password_hash: "hash".to_owned(),
            now_ms: NOW,
            idle_until_ms: NOW * 2,
            ends_ms: NOW * 2,
        };
        assert!(queue.begin_session(session).await.unwrap());
        for number in 0..6 {
            queue.accept(request(number)).await.unwrap();
        }
        let file = StoredFile {
            name: "a.png".to_owned(),
            content_type: "image/png".to_owned(),
            bytes: 10,
            size: None,
            expires_ms: NOW * 2,
            attachment: None,
        };
        let (code, message, cause, refused) = ("timeout_error".to_owned(), "m\0".to_owned(), String::new(), Vec::new());
        let ends = [
            (
                Outcome::Done { file: Some(file), parts: Vec::new(), render_ms: 70, refused: Vec::new() },
                DeliveryBody::File("a.png".to_owned()),
            ),
            (Outcome::Failed { code, message, cause, refused }, DeliveryBody::Inline(vec![0, 255, 1])),
        ];
        for (number, (outcome, body)) in (0..).zip(ends) {
            let claimed = queue.claim("w", NOW + 99, NOW + 999).await.unwrap().unwrap();
            assert_eq!(claimed.request.id, request(number).id);
            let webhook = Some(webhook(number, body));
            assert!(queue.finish(&claimed.request.id, "w", NOW + 100, outcome, webhook).await.unwrap());
        }
        queue.claim("w", NOW + 99, NOW + 999).await.unwrap().unwrap();
        queue.cancel("alice", &request(3).id, NOW + 100).await.unwrap();
        let attempt = |number, status| DeliveryAttempt {
            number,
            at_ms: NOW + 100,
            took_ms: 3,
            status: Some(status),
            error: None,
            answer: "no\0".to_owned(),
            headers: vec![("webhook-signature".to_owned(), "v1,c2ln".to_owned())],
        };
        for claimed in queue.claim_deliveries(NOW + 100, NOW + 999, 9, 8).await.unwrap() {
            let next = NextStep::RetryAt { ms: NOW + 500 };
            queue.finish_attempt(&claimed.delivery.id, attempt(claimed.number, 503), next).await.unwrap();
        }
        let answer =
            CachedAnswer { file: String::new(), headers: Vec::new(), body: Some("{}".into()), expires_ms: NOW * 2 };
        queue.keep_answer("answer", answer).await.unwrap();
        let plan = Plan {
            name: "each day".to_owned(),
            endpoint: Endpoint::Screenshot,
            query: "html=x&cookies=open-sesame".to_owned().into(),
            frequency: Frequency::Custom,
            crontab: "0 9 * * *".to_owned(),
            time_zone: "UTC".to_owned(),
            enabled: true,
        };
        let (access_key, due_ms) = ("alice".to_owned(), Some(NOW));
        let task = Task { id: 7, access_key, plan, created_ms: NOW, due_ms, runs: 0, last_run: None, revision: 0 };
        assert!(queue.add_task(task).await.unwrap());
        let run = Run {
            task_id: 7,
            due_ms: NOW,
            revision: 0,
            now_ms: NOW + 50,
            next_ms: Some(NOW + 1000),
            request: Ok(NewRequest { idempotency_key: None, ..request(50) }),
        };
        queue.fire(run).await.unwrap();
    }

    /// All that the ports tell, in words.
    async fn told(queue: &Arc<dyn Queue>) -> Vec<String> {
        let requests = queue.requests(RequestFilter { limit: 99, ..RequestFilter::default() }).await.unwrap();
        let mut told = vec![
            format!("{:?}", queue.keys().await.unwrap()),
            format!("{:?}", queue.password_hash().await.unwrap()),
            format!("{:?}", queue.session("token", NOW).await.unwrap()),
            format!("{:?}", queue.tasks("alice").await.unwrap()),
            format!("{:?}", queue.backlog(NOW).await.unwrap()),
            format!("{:?}", queue.usage("alice", NOW).await.unwrap()),
            format!("{:?}", queue.usage_over_time(None, 0, NOW * 2, 1).await.unwrap()),
            format!("{:?}", queue.endpoints(None).await.unwrap()),
            format!("{:?}", queue.cached_answer("answer", NOW).await.unwrap()),
            format!("{:?}", queue.file("a.png").await.unwrap()),
        ];
        let deliveries = DeliveryFilter { limit: 99, ..DeliveryFilter::default() };
        for delivery in queue.deliveries(deliveries).await.unwrap() {
            told.push(format!("{:?}", queue.delivery_detail(&delivery.id).await.unwrap()));
        }
        for request in requests {
            told.push(format!("{:?}", queue.request(&request.id).await.unwrap()));
            told.push(format!("{:?}", queue.request_detail(&request.id).await.unwrap()));
        }
        let key = queue.key("alice").await.unwrap().unwrap();
        told.push(format!("{} {}", key.secret_key.expose(), key.previous_secrets[0].secret_key.expose()));
        told.into_iter().map(|text| text.replace("\\0", "\u{fffd}")).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn everything_arrives_and_goes_on_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("test.db");
        let root_key = || RootKey::load(&"0f".repeat(32), folder.path()).unwrap();
        let embedded: Arc<dyn Queue> = Arc::new(SqliteQueue::open(&file, root_key(), CAPACITY).unwrap());
        fill(&embedded).await;
        let url = Server::shared().database();
        let moved = to_postgres(&file, &settings(&url), &root_key()).await.unwrap();
        let rows = |table: &str| moved.iter().find(|moved| moved.table == table).unwrap().rows;
        assert_eq!(
            (rows("keys"), rows("requests"), rows("deliveries"), rows("attempts"), rows("tasks")),
            (1, 7, 2, 2, 1)
        );
        assert!(moved.iter().all(|moved| moved.rows > 0), "a table was not tried: {moved:?}");

        let queue = PostgresQueue::open(&settings(&url), root_key(), CAPACITY).await.unwrap();
        let queue: Arc<dyn Queue> = Arc::new(queue);
        for (before, after) in told(&embedded).await.iter().zip(told(&queue).await) {
            assert_eq!(*before, after);
        }
        // Secrets of requests open, and leases run out as they would have.
        assert_eq!(queue.release(Release::Expired { now_ms: NOW + 999 }).await.unwrap(), 1);
        let mut ids = Vec::new();
        while let Some(claimed) = queue.claim("w", NOW + 999, NOW + 9999).await.unwrap() {
            let number = claimed.request.created_ms - NOW;
            assert_eq!(claimed.request.options, request(number).options);
            ids.push(number);
        }
        assert_eq!(ids, [2, 4, 5, 50]);
        assert_eq!(queue.claim_deliveries(NOW + 500, NOW + 999, 9, 8).await.unwrap().len(), 2);
        assert_eq!(queue.backlog(NOW).await.unwrap().queued, 0);

        let again = to_postgres(&file, &settings(&url), &root_key()).await.unwrap_err().to_string();
        assert!(again.contains("in use already"), "{again}");
    }

    #[test]
    fn a_batch_is_bounded_by_its_bytes_and_by_its_rows() {
        let source = Sqlite::open_in_memory().unwrap();
        source.execute_batch("CREATE TABLE t (n INTEGER, body BLOB)").unwrap();
        for (number, bytes) in [1 << 20, 1 << 20, 3 << 20, 9 << 20].into_iter().chain([1; BATCH + 1]).enumerate() {
            source.execute("INSERT INTO t VALUES (?, zeroblob(?))", [number, bytes]).unwrap();
        }
        let mut statement = source.prepare("SELECT n, body FROM t ORDER BY n").unwrap();
        let mut rows = statement.query([]).unwrap();
        let batches: Vec<usize> =
            std::iter::from_fn(|| Some(read(&mut rows, 2).unwrap().len()).filter(|rows| *rows > 0)).collect();
        assert_eq!(batches, [3, 1, BATCH, 1]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_nobody_has_a_place_for_is_not_left_behind_in_silence() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("test.db");
        let root_key = || RootKey::load("", folder.path()).unwrap();
        let embedded: Arc<dyn Queue> = Arc::new(SqliteQueue::open(&file, root_key(), CAPACITY).unwrap());
        fill(&embedded).await;
        let change = |sql: &str| Sqlite::open(&file).unwrap().execute_batch(sql).unwrap();
        let url = Server::shared().database();
        for (doing, undoing, complaint) in [
            ("ALTER TABLE requests ADD COLUMN novelty TEXT", "ALTER TABLE requests DROP COLUMN novelty", "novelty"),
            ("CREATE TABLE novelties (a TEXT)", "DROP TABLE novelties", "novelties"),
        ] {
            change(doing);
            let error = to_postgres(&file, &settings(&url), &root_key()).await.unwrap_err().to_string();
            assert!(error.contains(complaint), "{error}");
            change(undoing);
        }
        assert_eq!(Server::shared().query(&url, "SELECT count(*) FROM keys"), "0", "all or nothing");
        to_postgres(&file, &settings(&url), &root_key()).await.unwrap();
    }
}
