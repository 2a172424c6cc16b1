//! A look at a database file without changing it: is it whole, and whose version is it?

use std::path::Path;

use super::database::{KNOWN_VERSION, failed, open_reader};
use crate::domain::ports::QueueError;

/// What a database file is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    pub version: usize,
    /// The newest version that this program knows.
    pub known: usize,
    /// What SQLite's integrity check complains about, a few at the most.
    pub problems: Vec<String>,
}

/// Reads all of it.
///
/// # Errors
/// When it cannot be opened, or is no database.
pub fn inspect(path: &Path) -> Result<Inspection, QueueError> {
    let connection = open_reader(path).map_err(failed)?;
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    let mut statement = connection.prepare("PRAGMA integrity_check(3)").map_err(failed)?;
    let said = statement.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
    let said: Vec<String> = said.collect::<Result<_, _>>().map_err(failed)?;
    let problems = said.into_iter().filter(|line| line != "ok").collect();
    Ok(Inspection { version, known: KNOWN_VERSION, problems })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_and_a_damaged_one_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        drop(super::super::database::Database::open(&path).unwrap());
        let inspection = inspect(&path).unwrap();
        assert_eq!((inspection.version, inspection.problems), (KNOWN_VERSION, Vec::new()));
        let text = folder.path().join("text.db");
        std::fs::write(&text, "this is no database, whatever it is called; it is only a text of some length").unwrap();
        assert!(inspect(&text).is_err());
        assert!(inspect(&folder.path().join("none.db")).is_err());
    }
}
