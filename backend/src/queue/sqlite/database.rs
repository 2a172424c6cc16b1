//! The SQLite file: one thread that writes, many that read.
//!
//! The writer takes all that is waiting, runs it in one transaction (each piece in a savepoint of its own) and commits once:
//! one fsync for many callers. Nobody is told of success before that commit.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use super::schema;
use crate::domain::ports::QueueError;
use crate::fault;
use crate::queue::secrets::RootKey;

/// The most pieces of work in one transaction: bounds the time that the first of them waits.
const GROUP_MAX: usize = 256;
const READERS_MAX: usize = 8;

type Reply = Box<dyn FnOnce(Result<(), String>) + Send>;
/// Gets the connection inside a transaction, or None when there could be none.
type Work = Box<dyn FnOnce(Option<&Connection>) -> Reply + Send>;

/// Clones share the file. The writer thread ends when the last of them is dropped.
#[derive(Clone)]
pub(super) struct Database {
    writer: mpsc::Sender<Work>,
    readers: Arc<Mutex<Vec<Connection>>>,
    path: PathBuf,
}

impl Database {
    /// Opens or makes the file, and brings its schema up to date.
    pub(super) fn open(path: &Path, root_key: &RootKey) -> Result<Database, QueueError> {
        let connection = Connection::open(path).map_err(failed)?;
        configure(&connection).map_err(failed)?;
        schema::migrate(&connection, root_key)?;
        let (writer, work) = mpsc::channel();
        std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || write_in_groups(&connection, &work))
            .map_err(|error| QueueError(error.to_string()))?;
        Ok(Database { writer, readers: Arc::default(), path: path.to_owned() })
    }

    /// Runs work in a transaction and returns once it is on the disk.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, QueueError> {
        let (sender, receiver) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            let result = connection.map(|connection| in_savepoint(connection, work));
            Box::new(move |committed: Result<(), String>| {
                let result = committed.and_then(|()| match result {
                    Some(result) => result.map_err(|error| error.to_string()),
                    None => Err("there was no transaction".to_owned()),
                });
                let _ = sender.send(result.map_err(QueueError));
            })
        });
        self.writer.send(work).map_err(|_| QueueError("the writer has ended".to_owned()))?;
        receiver.await.map_err(|_| QueueError("the writer has ended".to_owned()))?
    }

    /// As [`Database::write`], for a caller who waits for so long and no longer. Work whose turn has not come by then is not
    /// done, nor does it take up memory until its turn comes; nor is it if nobody waits any more. What was under way by then
    /// may still be committed.
    pub(super) async fn write_within<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, QueueError> {
        let offer = Offer(Arc::new(Mutex::new(Some(work))));
        let work = offer.0.clone();
        let take_up = move |connection: &Connection| {
            let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
            work.map(|work| work(connection)).transpose()
        };
        let late = || QueueError(format!("the disk did not take it within {} s", limit.as_secs_f32()));
        match tokio::time::timeout(limit, self.write(take_up)).await {
            Ok(done) => done?.ok_or_else(late),
            Err(_) => Err(late()),
        }
    }

    /// Runs a query beside the writer, on what was committed last.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, QueueError> {
        let database = self.clone();
        let run = move || {
            let idle = database.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match idle {
                Some(connection) => connection,
                None => open_reader(&database.path)?,
            };
            let result = query(&connection);
            let mut readers = database.readers.lock().unwrap_or_else(PoisonError::into_inner);
            if readers.len() < READERS_MAX {
                readers.push(connection);
            }
            result
        };
        tokio::task::spawn_blocking(run).await.map_err(|error| QueueError(error.to_string()))?.map_err(failed)
    }
}

/// Work that is taken back when nobody waits for it any more.
struct Offer<W>(Arc<Mutex<Option<W>>>);

impl<W> Drop for Offer<W> {
    fn drop(&mut self) {
        let withdrawn = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(withdrawn);
    }
}

pub(super) fn failed(error: rusqlite::Error) -> QueueError {
    QueueError(error.to_string())
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // NORMAL would lose what was committed since the last checkpoint when the power goes.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn write_in_groups(connection: &Connection, work: &mpsc::Receiver<Work>) {
    while let Ok(first) = work.recv() {
        let mut replies = Vec::new();
        let mut result = connection.execute_batch("BEGIN IMMEDIATE");
        // Some errors (a full disk is one) end the transaction; what comes after it must not be committed by itself.
        let open = || (!connection.is_autocommit()).then_some(connection);
        replies.push(first(open()));
        replies.extend(work.try_iter().take(GROUP_MAX - 1).map(|piece| piece(open())));
        if result.is_ok() {
            fault::point("before-commit");
            result = connection.execute_batch("COMMIT");
            fault::point("after-commit");
        }
        if result.is_err() && !connection.is_autocommit() {
            let _ = connection.execute_batch("ROLLBACK");
        }
        let result = result.map_err(|error| {
            tracing::error!(%error, "a transaction failed");
            error.to_string()
        });
        for reply in replies {
            reply(result.clone());
        }
    }
}

fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.execute_batch("SAVEPOINT piece")?;
    let result = work(connection);
    let end = match &result {
        Ok(_) => "RELEASE piece",
        Err(_) => "ROLLBACK TO piece; RELEASE piece",
    };
    connection.execute_batch(end)?;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_nobody_waits_for_any_more_is_let_go_at_once_and_never_done() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let database = Database::open(&path, &RootKey::load("", folder.path()).unwrap()).unwrap();
        database.write(|connection| connection.execute_batch("CREATE TABLE t (n INTEGER)")).await.unwrap();
        // The disk stalls: somebody else has the file.
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let large = Arc::new(());
        let insert = |limit_ms| {
            let (database, large) = (database.clone(), large.clone());
            let work = move |connection: &Connection| {
                let _large = large;
                connection.execute("INSERT INTO t VALUES (1)", [])
            };
            async move { database.write_within(Duration::from_millis(limit_ms), work).await }
        };
        let (first, second) = tokio::join!(insert(100), insert(100));
        for late in [first, second] {
            assert!(late.unwrap_err().to_string().contains("within 0.1 s"));
        }
        let hung_up = tokio::spawn(insert(60_000));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(Arc::strong_count(&large), 2);
        hung_up.abort();
        assert!(hung_up.await.unwrap_err().is_cancelled());
        assert_eq!(Arc::strong_count(&large), 1, "nothing of it is kept until its turn comes");
        other.execute_batch("COMMIT").unwrap();
        insert(60_000).await.unwrap();
        let count =
            database.read(|connection| connection.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)));
        assert_eq!(count.await.unwrap(), 1, "only what somebody waited for");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_failing_piece_does_not_take_its_group_along() {
        let folder = tempfile::tempdir().unwrap();
        let database =
            Database::open(&folder.path().join("test.db"), &RootKey::load("", folder.path()).unwrap()).unwrap();
        database.write(|connection| connection.execute_batch("CREATE TABLE t (n INTEGER UNIQUE)")).await.unwrap();
        let insert =
            |number: i64| database.write(move |connection| connection.execute("INSERT INTO t VALUES (?)", [number]));
        let results = futures::future::join_all((0..200).map(|index| insert(index % 100))).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 100);
        let count =
            database.read(|connection| connection.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)));
        assert_eq!(count.await.unwrap(), 100);
    }
}
