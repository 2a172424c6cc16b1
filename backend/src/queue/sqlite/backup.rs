//! A copy of the database while it is in use, and its way back.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::database::{failed, open_reader};
use super::inspect;
use crate::domain::ports::QueueError;
use crate::queue::secrets::RootKey;

/// Writes the database as it is at one moment into a new file, whoever works on it meanwhile. Root key and files of pictures
/// are not in it.
///
/// # Errors
/// When there is no database, or the new file is there already, or cannot be written.
pub fn back_up(database: &Path, copy: &Path) -> Result<(), QueueError> {
    let text = |error: &dyn std::fmt::Display| QueueError(format!("{}: {error}", copy.display()));
    let name = copy.to_str().ok_or_else(|| text(&"is no name for a database"))?;
    let connection = open_reader(database).map_err(failed)?;
    // SQLite would make it readable for everybody; it takes an empty file too. One that is there is nobody's to overwrite.
    let file = File::options().write(true).create_new(true).mode(0o600).open(copy).map_err(|error| text(&error))?;
    if let Err(error) = connection.execute("VACUUM INTO ?", [name]) {
        let _ = std::fs::remove_file(copy);
        return Err(failed(error));
    }
    // Nor does SQLite sync it.
    file.sync_all().and_then(|()| sync_folder_of(copy)).map_err(|error| text(&error))
}

/// Puts a copy in the place of a database that nobody uses, and gives where the one before is now, if there was one.
///
/// # Errors
/// When the copy is damaged, or a newer program has changed it too much, or it was sealed with another root key than the one
/// that is given; then nothing was changed.
pub fn restore(copy: &Path, database: &Path, root_key: Option<&RootKey>) -> Result<Option<PathBuf>, QueueError> {
    let inspection = inspect(copy, root_key)?;
    if let Some(problem) = inspection.problems.first() {
        return Err(QueueError(format!("{} is damaged: {problem}", copy.display())));
    }
    if inspection.versions.newest == 0 {
        return Err(QueueError(format!("{} is no database of snaphook", copy.display())));
    }
    inspection.versions.check()?;
    if inspection.root_key_fits == Some(false) {
        return Err(RootKey::another());
    }
    let text = |error: io::Error| QueueError(format!("{}: {error}", database.display()));
    let fresh = beside(database, "restoring");
    std::fs::copy(copy, &fresh).map_err(text)?;
    File::open(&fresh).and_then(|file| file.sync_all()).map_err(text)?;
    let earlier = match database.exists() {
        true => Some(set_aside(database).map_err(text)?),
        false => None,
    };
    std::fs::rename(&fresh, database).map_err(text)?;
    sync_folder_of(database).map_err(text)?;
    Ok(earlier)
}

/// Gives a database a second name, and its log that name alone, which holds what is not in it yet. Until it is replaced it can be
/// found by its own name too: at no moment is there none.
fn set_aside(database: &Path) -> io::Result<PathBuf> {
    // First what is in the log goes into the database, so that a crash between the two renames loses nothing. One that is
    // broken, which may be why there is a restore, is set aside as it is.
    let checkpoint = |connection: Connection| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    if let Err(error) = Connection::open(database).and_then(checkpoint) {
        tracing::warn!(%error, "the log of the database that is replaced could not be worked in");
    }
    let free = |number: &u32| !beside(database, &format!("replaced-{number}")).exists();
    let number = (1..).find(free).unwrap_or(1);
    let name = beside(database, &format!("replaced-{number}"));
    for end in ["-wal", "-shm"] {
        match std::fs::rename(with_end(database, end), with_end(&name, end)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    // Not every file system has links.
    std::fs::hard_link(database, &name).or_else(|_| std::fs::rename(database, &name))?;
    Ok(name)
}

fn beside(database: &Path, end: &str) -> PathBuf {
    with_end(database, &format!(".{end}"))
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::database::Database;
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_copy_made_under_load_is_whole_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("test.db"), folder.path().join("copy.db"));
        let root_key = RootKey::load("", folder.path()).unwrap();
        let database = Database::open(&path, &root_key).unwrap();
        database.write(|connection| connection.execute_batch("CREATE TABLE t (a INTEGER, b INTEGER)")).await.unwrap();
        let (first, begun) = tokio::sync::oneshot::channel();
        let writer = tokio::spawn(async move {
            let mut first = Some(first);
            // Two rows each time, so that half of a transaction would be seen.
            for number in 0.. {
                let insert = move |connection: &rusqlite::Connection| {
                    connection.execute("INSERT INTO t VALUES (?, 1)", [number])?;
                    connection.execute("INSERT INTO t VALUES (?, 2)", [number])
                };
                database.write(insert).await.unwrap();
                first.take().map(|first| first.send(()));
            }
        });
        begun.await.unwrap();
        tokio::task::block_in_place(|| back_up(&path, &copy)).unwrap();
        assert!(back_up(&path, &copy).is_err(), "it is there already");
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&copy).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        writer.abort();
        let _ = writer.await;
        // The writing thread removes its log when it ends.
        while with_end(&path, "-wal").exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let counts = |path: &Path| {
            let connection = open_reader(path).unwrap();
            let halves: u64 = connection
                .query_row("SELECT count(*) FROM (SELECT 1 FROM t GROUP BY a HAVING count(*) <> 2)", [], |row| {
                    row.get(0)
                })
                .unwrap();
            let all: u64 = connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
            (all, halves)
        };
        let (copied, halves) = counts(&copy);
        assert!(copied > 0 && halves == 0, "{copied} rows, {halves} halves");
        let other = RootKey::load(&"0f".repeat(32), folder.path()).unwrap();
        assert!(restore(&copy, &path, Some(&other)).unwrap_err().to_string().contains("another root key"));
        let earlier = restore(&copy, &path, Some(&root_key)).unwrap().unwrap();
        assert_eq!(counts(&path).0, copied);
        assert!(counts(&earlier).0 >= copied, "what was replaced is kept, its log too");
        std::fs::write(&copy, "no database").unwrap();
        assert!(restore(&copy, &path, Some(&root_key)).is_err());
        assert_eq!(counts(&path).0, copied, "and nothing was changed");
    }
}
