//! SQL over `tasks`, and the one place where a task becomes a request.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use snaphook_shared::limits::TASKS_MAX;
use snaphook_shared::request::Endpoint;
use snaphook_shared::task::{Frequency, Plan};

use super::{SqliteQueue, requests};
use crate::domain::capacity::Capacity;
use crate::domain::job::RequestState;
use crate::domain::limits::Limited;
use crate::domain::ports::{Acceptance, QueueError};
use crate::domain::task::{Fired, LastRun, NextTime, REFUSED, Run, Task, Tasks};

#[async_trait]
impl Tasks for SqliteQueue {
    async fn add_task(&self, task: Task) -> Result<bool, QueueError> {
        let query = self.root_key.seal_query(task.id, &task.plan.query)?;
        self.database.write(move |connection| insert(connection, &task, &query)).await
    }

    async fn task(&self, access_key: &str, id: u64) -> Result<Option<Task>, QueueError> {
        let access_key = access_key.to_owned();
        let kept = self.database.read(move |connection| get(connection, &access_key, id)).await?;
        kept.map(|kept| self.root_key.open_query(kept)).transpose()
    }

    async fn tasks(&self, access_key: &str) -> Result<Vec<Task>, QueueError> {
        let access_key = access_key.to_owned();
        let kept = self.database.read(move |connection| list(connection, &access_key)).await?;
        kept.into_iter().map(|kept| self.root_key.open_query(kept)).collect()
    }

    async fn change_task(
        &self,
        access_key: &str,
        id: u64,
        revision: u64,
        plan: Plan,
        next: NextTime,
    ) -> Result<bool, QueueError> {
        let (access_key, query) = (access_key.to_owned(), self.root_key.seal_query(id, &plan.query)?);
        let work = move |connection: &Connection| change(connection, &access_key, id, revision, &plan, &query, next);
        self.database.write(work).await
    }

    async fn remove_task(&self, access_key: &str, id: u64) -> Result<bool, QueueError> {
        let access_key = access_key.to_owned();
        self.database.write(move |connection| remove(connection, &access_key, id)).await
    }

    async fn due_tasks(&self, now_ms: u64, limit: u32) -> Result<Vec<Task>, QueueError> {
        let kept = self.database.read(move |connection| due(connection, now_ms, limit)).await?;
        kept.into_iter().map(|kept| self.root_key.open_query(kept)).collect()
    }

    async fn fire(&self, mut run: Run) -> Result<Fired, QueueError> {
        let secrets = match &mut run.request {
            Ok(request) => self.root_key.seal_secrets(&request.id, request.options.take_secrets())?,
            Err(_) => None,
        };
        let capacity = self.capacity;
        self.database.write(move |connection| fire(connection, &run, secrets.as_deref(), capacity)).await
    }
}

const COLUMNS: &str =
    "id, access_key, name, endpoint, query, frequency, crontab, time_zone, enabled, created_ms, due_ms,
     revision, runs, last_run_ms, last_status, last_request_id, last_error_code, last_error_message";

/// A task without its query, and that, sealed.
fn row(row: &Row<'_>) -> rusqlite::Result<(Task, Vec<u8>)> {
    let (endpoint, frequency): (String, String) = (row.get(3)?, row.get(5)?);
    let last_run = match row.get(13)? {
        Some(at_ms) => Some(LastRun {
            at_ms,
            status: row.get(14)?,
            request_id: row.get(15)?,
            error_code: row.get(16)?,
            error_message: row.get(17)?,
        }),
        None => None,
    };
    let task = Task {
        id: row.get(0)?,
        access_key: row.get(1)?,
        plan: Plan {
            name: row.get(2)?,
            endpoint: Endpoint::from_path(&endpoint).ok_or(rusqlite::Error::InvalidQuery)?,
            query: String::new().into(),
            frequency: Frequency::from_name(&frequency).ok_or(rusqlite::Error::InvalidQuery)?,
            crontab: row.get(6)?,
            time_zone: row.get(7)?,
            enabled: row.get(8)?,
        },
        created_ms: row.get(9)?,
        due_ms: row.get(10)?,
        revision: row.get(11)?,
        runs: row.get(12)?,
        last_run,
    };
    Ok((task, row.get(4)?))
}

/// False if the key has as many as it may.
fn insert(connection: &Connection, task: &Task, query: &[u8]) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "INSERT INTO tasks (id, access_key, name, endpoint, query, frequency, crontab, time_zone, enabled, created_ms, due_ms)
             SELECT :id, :access_key, :name, :endpoint, :query, :frequency, :crontab, :time_zone, :enabled, :created_ms, :due_ms
             WHERE (SELECT count(*) FROM tasks WHERE access_key = :access_key) < :most",
        )?
        .execute(named_params! {
            ":id": task.id,
            ":access_key": task.access_key,
            ":name": task.plan.name,
            ":endpoint": task.plan.endpoint.path(),
            ":query": query,
            ":frequency": task.plan.frequency.name(),
            ":crontab": task.plan.crontab,
            ":time_zone": task.plan.time_zone,
            ":enabled": task.plan.enabled,
            ":created_ms": task.created_ms,
            ":due_ms": task.due_ms,
            ":most": TASKS_MAX,
        })
        .map(|rows| rows == 1)
}

fn get(connection: &Connection, access_key: &str, id: u64) -> rusqlite::Result<Option<(Task, Vec<u8>)>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM tasks WHERE id = ?1 AND access_key = ?2"))?
        .query_row(params![id, access_key], row)
        .optional()
}

fn list(connection: &Connection, access_key: &str) -> rusqlite::Result<Vec<(Task, Vec<u8>)>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM tasks WHERE access_key = ? ORDER BY created_ms, id"))?
        .query_map([access_key], row)?
        .collect()
}

fn change(
    connection: &Connection,
    access_key: &str,
    id: u64,
    revision: u64,
    plan: &Plan,
    query: &[u8],
    next: NextTime,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "UPDATE tasks
             SET name = :name, endpoint = :endpoint, query = :query, frequency = :frequency, crontab = :crontab,
                 time_zone = :time_zone, enabled = :enabled, due_ms = iif(:kept, due_ms, :due_ms), revision = revision + 1
             WHERE id = :id AND access_key = :access_key AND revision = :revision",
        )?
        .execute(named_params! {
            ":id": id,
            ":access_key": access_key,
            ":revision": revision,
            ":name": plan.name,
            ":endpoint": plan.endpoint.path(),
            ":query": query,
            ":frequency": plan.frequency.name(),
            ":crontab": plan.crontab,
            ":time_zone": plan.time_zone,
            ":enabled": plan.enabled,
            ":kept": next == NextTime::Kept,
            ":due_ms": if let NextTime::Set(due_ms) = next { due_ms } else { None },
        })
        .map(|rows| rows == 1)
}

fn remove(connection: &Connection, access_key: &str, id: u64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("DELETE FROM tasks WHERE id = ?1 AND access_key = ?2")?
        .execute(params![id, access_key])
        .map(|rows| rows == 1)
}

fn due(connection: &Connection, now_ms: u64, limit: u32) -> rusqlite::Result<Vec<(Task, Vec<u8>)>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM tasks WHERE due_ms <= ?1 ORDER BY due_ms LIMIT ?2"))?
        .query_map(params![now_ms, limit], row)?
        .collect()
}

fn fire(connection: &Connection, run: &Run, secrets: Option<&[u8]>, capacity: Capacity) -> rusqlite::Result<Fired> {
    let live: Option<bool> = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM keys WHERE keys.access_key = tasks.access_key AND revoked_ms IS NULL)
             FROM tasks WHERE id = ?1 AND due_ms = ?2 AND revision = ?3",
        )?
        .query_row(params![run.task_id, run.due_ms, run.revision], |row| row.get(0))
        .optional()?;
    match live {
        Some(true) => {}
        Some(false) => {
            connection.prepare_cached("UPDATE tasks SET due_ms = NULL WHERE id = ?")?.execute([run.task_id])?;
            return Ok(Fired::Superseded);
        }
        None => return Ok(Fired::Superseded),
    }
    let accepted = match &run.request {
        Err(problem) => Err(problem.clone()),
        Ok(request) => match requests::accept(connection, request, secrets, capacity, false)? {
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
    connection
        .prepare_cached(
            "UPDATE tasks
             SET due_ms = :next, runs = runs + :accepted, last_run_ms = :now, last_status = :status,
                 last_request_id = :request_id, last_error_code = :code, last_error_message = :message
             WHERE id = :id",
        )?
        .execute(named_params! {
            ":id": run.task_id,
            ":next": run.next_ms,
            ":accepted": id.is_some(),
            ":now": run.now_ms,
            ":status": status,
            ":request_id": id,
            ":code": problem.map(|problem| problem.code.entry().name),
            ":message": problem.map(snaphook_shared::code::Problem::message),
        })?;
    connection.prepare_cached("UPDATE requests SET task_id = ?2 WHERE id = ?1")?.execute(params![id, run.task_id])?;
    Ok(if id.is_some() { Fired::Accepted } else { Fired::Refused })
}
