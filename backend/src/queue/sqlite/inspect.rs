//! A look at a database file without changing it: is it whole, and whose version is it?

use std::path::Path;

use super::database::{failed, open_reader};
use super::schema::{is_sealed_with, versions};
use crate::domain::ports::QueueError;
use crate::queue::migration::Versions;
use crate::queue::secrets::RootKey;

/// What a database file is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    pub versions: Versions,
    /// Whether its secrets were sealed with the root key; None where nobody can say.
    pub root_key_fits: Option<bool>,
    /// What SQLite's integrity check complains about, a few at the most.
    pub problems: Vec<String>,
}

/// Reads all of it.
///
/// # Errors
/// When it cannot be opened, or is no database.
pub fn inspect(path: &Path, root_key: Option<&RootKey>) -> Result<Inspection, QueueError> {
    let connection = open_reader(path).map_err(failed)?;
    let versions = versions(&connection).map_err(failed)?;
    let root_key_fits = match root_key {
        // Where it is damaged, that is the news.
        Some(root_key) => is_sealed_with(&connection, root_key).unwrap_or_default(),
        None => None,
    };
    let mut statement = connection.prepare("PRAGMA integrity_check(3)").map_err(failed)?;
    let said = statement.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
    let said: Vec<String> = said.collect::<Result<_, _>>().map_err(failed)?;
    let problems = said.into_iter().filter(|line| line != "ok").collect();
    Ok(Inspection { versions, root_key_fits, problems })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_and_a_damaged_one_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let root_key = RootKey::load("", folder.path()).unwrap();
        drop(super::super::database::Database::open(&path, &root_key).unwrap());
        let inspection = inspect(&path, Some(&root_key)).unwrap();
        assert_eq!(inspection.versions.newest, inspection.versions.known);
        assert_eq!((inspection.root_key_fits, inspection.problems), (Some(true), Vec::new()));
        let text = folder.path().join("text.db");
        std::fs::write(&text, "this is no database, whatever it is called; it is only a text of some length").unwrap();
        assert!(inspect(&text, None).is_err());
        assert!(inspect(&folder.path().join("none.db"), None).is_err());
    }
}
