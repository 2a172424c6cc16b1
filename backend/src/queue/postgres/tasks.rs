//! SQL over `tasks`, and the one place where a task becomes a request.

use async_trait::async_trait;
use snaphook_shared::limits::TASKS_MAX;
use snaphook_shared::request::Endpoint;
use snaphook_shared::task::{Frequency, Plan};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::database::{Lock, Numbers, failed, int, lock, text, transaction, unreadable};
use super::{PostgresQueue, requests};
use crate::domain::capacity::Capacity;
use crate::domain::job::RequestState;
use crate::domain::limits::Limited;
use crate::domain::ports::{Acceptance, QueueError};
use crate::domain::task::{Fired, LastRun, NextTime, REFUSED, Run, Task, Tasks};

/// Each column by its name: a newer program may have added others.
macro_rules! select_tasks {
    ($rest:literal) => {
        concat!(
            "SELECT id, access_key, name, endpoint, query, frequency, crontab, time_zone, enabled, created_ms, due_ms, revision,
                    runs, last_run_ms, last_status, last_request_id, last_error_code, last_error_message
             FROM tasks ",
            $rest
        )
    };
}

impl PostgresQueue {
    fn open_tasks(&self, rows: &[PgRow]) -> Result<Vec<Task>, QueueError> {
        rows.iter().map(|row| self.root_key.open_query(read(row).map_err(failed)?)).collect()
    }
}

#[async_trait]
impl Tasks for PostgresQueue {
    async fn add_task(&self, task: Task) -> Result<bool, QueueError> {
        let query = self.root_key.seal_query(task.id, &task.plan.query)?;
        transaction!(self.database, connection => insert(connection, &task, &query))
    }

    async fn task(&self, access_key: &str, id: u64) -> Result<Option<Task>, QueueError> {
        let rows = sqlx::query(select_tasks!("WHERE id = $1 AND access_key = $2"))
            .bind(int(id))
            .bind(access_key)
            .fetch_all(&self.database.pool);
        let rows = self.database.ask(rows).await?;
        Ok(self.open_tasks(&rows)?.pop())
    }

    async fn tasks(&self, access_key: &str) -> Result<Vec<Task>, QueueError> {
        let rows = sqlx::query(select_tasks!("WHERE access_key = $1 ORDER BY created_ms, id"))
            .bind(access_key)
            .fetch_all(&self.database.pool);
        let rows = self.database.ask(rows).await?;
        self.open_tasks(&rows)
    }

    async fn change_task(
        &self,
        access_key: &str,
        id: u64,
        revision: u64,
        plan: Plan,
        next: NextTime,
    ) -> Result<bool, QueueError> {
        let query = self.root_key.seal_query(id, &plan.query)?;
        let changed = sqlx::query(
            "UPDATE tasks
             SET name = $4, endpoint = $5, query = $6, frequency = $7, crontab = $8, time_zone = $9, enabled = $10,
                 due_ms = CASE WHEN $11 THEN due_ms ELSE $12 END, revision = revision + 1
             WHERE id = $1 AND access_key = $2 AND revision = $3",
        )
        .bind(int(id))
        .bind(access_key)
        .bind(int(revision))
        .bind(text(&plan.name))
        .bind(plan.endpoint.path())
        .bind(query)
        .bind(plan.frequency.name())
        .bind(&plan.crontab)
        .bind(&plan.time_zone)
        .bind(plan.enabled)
        .bind(next == NextTime::Kept)
        .bind(if let NextTime::Set(due_ms) = next { due_ms.map(int) } else { None })
        .execute(&self.database.pool);
        self.database.ask(changed).await.map(|done| done.rows_affected() == 1)
    }

    async fn remove_task(&self, access_key: &str, id: u64) -> Result<bool, QueueError> {
        let removed = sqlx::query("DELETE FROM tasks WHERE id = $1 AND access_key = $2").bind(int(id)).bind(access_key);
        self.database.ask(removed.execute(&self.database.pool)).await.map(|done| done.rows_affected() == 1)
    }

    async fn due_tasks(&self, now_ms: u64, limit: u32) -> Result<Vec<Task>, QueueError> {
        let rows = sqlx::query(select_tasks!("WHERE due_ms <= $1 ORDER BY due_ms LIMIT $2"))
            .bind(int(now_ms))
            .bind(int(limit))
            .fetch_all(&self.database.pool);
        let rows = self.database.ask(rows).await?;
        self.open_tasks(&rows)
    }

    async fn fire(&self, mut run: Run) -> Result<Fired, QueueError> {
        let secrets = match &mut run.request {
            Ok(request) => self.root_key.seal_secrets(&request.id, request.options.take_secrets())?,
            Err(_) => None,
        };
        let fired =
            transaction!(self.database, connection => fire(connection, &run, secrets.as_deref(), self.capacity))?;
        if fired == Fired::Accepted {
            self.relay.tell_of_requests();
        }
        Ok(fired)
    }
}

/// A task without its query, and that, sealed.
fn read(row: &PgRow) -> sqlx::Result<(Task, Vec<u8>)> {
    let (endpoint, frequency): (&str, &str) = (row.try_get("endpoint")?, row.try_get("frequency")?);
    let last_run = match row.number_if_any("last_run_ms")? {
        Some(at_ms) => Some(LastRun {
            at_ms,
            status: row.try_get("last_status")?,
            request_id: row.try_get("last_request_id")?,
            error_code: row.try_get("last_error_code")?,
            error_message: row.try_get("last_error_message")?,
        }),
        None => None,
    };
    let task = Task {
        id: row.number("id")?,
        access_key: row.try_get("access_key")?,
        plan: Plan {
            name: row.try_get("name")?,
            endpoint: Endpoint::from_path(endpoint).ok_or_else(|| unreadable(format!("no endpoint {endpoint}")))?,
            query: String::new().into(),
            frequency: Frequency::from_name(frequency)
                .ok_or_else(|| unreadable(format!("no frequency {frequency}")))?,
            crontab: row.try_get("crontab")?,
            time_zone: row.try_get("time_zone")?,
            enabled: row.try_get("enabled")?,
        },
        created_ms: row.number("created_ms")?,
        due_ms: row.number_if_any("due_ms")?,
        revision: row.number("revision")?,
        runs: row.number("runs")?,
        last_run,
    };
    Ok((task, row.try_get("query")?))
}

/// False if the key has as many as it may.
async fn insert(connection: &mut PgConnection, task: &Task, query: &[u8]) -> sqlx::Result<bool> {
    lock(connection, Lock::Tasks, &task.access_key).await?;
    sqlx::query(
        "INSERT INTO tasks (id, access_key, name, endpoint, query, frequency, crontab, time_zone, enabled, created_ms, due_ms)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
         WHERE (SELECT count(*) FROM tasks WHERE access_key = $2) < $12",
    )
    .bind(int(task.id))
    .bind(&task.access_key)
    .bind(text(&task.plan.name))
    .bind(task.plan.endpoint.path())
    .bind(query)
    .bind(task.plan.frequency.name())
    .bind(&task.plan.crontab)
    .bind(&task.plan.time_zone)
    .bind(task.plan.enabled)
    .bind(int(task.created_ms))
    .bind(task.due_ms.map(int))
    .bind(int(TASKS_MAX))
    .execute(connection)
    .await
    .map(|done| done.rows_affected() == 1)
}

async fn fire(
    connection: &mut PgConnection,
    run: &Run,
    secrets: Option<&[u8]>,
    capacity: Capacity,
) -> sqlx::Result<Fired> {
    let live: Option<bool> = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM keys WHERE keys.access_key = tasks.access_key AND revoked_ms IS NULL)
         FROM tasks WHERE id = $1 AND due_ms = $2 AND revision = $3 FOR UPDATE OF tasks",
    )
    .bind(int(run.task_id))
    .bind(int(run.due_ms))
    .bind(int(run.revision))
    .fetch_optional(&mut *connection)
    .await?;
    match live {
        Some(true) => {}
        Some(false) => {
            sqlx::query("UPDATE tasks SET due_ms = NULL WHERE id = $1")
                .bind(int(run.task_id))
                .execute(connection)
                .await?;
            return Ok(Fired::Superseded);
        }
        None => return Ok(Fired::Superseded),
    }
    let accepted = match &run.request {
        Err(problem) => Err(problem.clone()),
        Ok(request) => match requests::accept(connection, request, secrets, capacity, false).await? {
            Acceptance::Accepted { id, .. } => Ok(id),
            Acceptance::Limited(limited) => Err(Limited::problem(limited)),
            // Its id is new and it has no idempotency key, so it is no repetition.
            Acceptance::Full | Acceptance::KeyReused => return Ok(Fired::Later),
        },
    };
    let (status, id, problem) = match &accepted {
        Ok(id) => (RequestState::Queued.name(), Some(id), None),
        Err(problem) => (REFUSED, None, Some(problem)),
    };
    sqlx::query(
        "UPDATE tasks
         SET due_ms = $2, runs = runs + $3, last_run_ms = $4, last_status = $5, last_request_id = $6, last_error_code = $7,
             last_error_message = $8
         WHERE id = $1",
    )
    .bind(int(run.task_id))
    .bind(run.next_ms.map(int))
    .bind(i64::from(id.is_some()))
    .bind(int(run.now_ms))
    .bind(status)
    .bind(id)
    .bind(problem.map(|problem| problem.code.entry().name))
    .bind(problem.map(|problem| text(&problem.message())))
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE requests SET task_id = $2 WHERE id = $1")
        .bind(id)
        .bind(int(run.task_id))
        .execute(connection)
        .await?;
    Ok(if id.is_some() { Fired::Accepted } else { Fired::Refused })
}
