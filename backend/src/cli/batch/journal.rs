//! What a batch has done already: a line of JSON for each picture that ended, beside the pictures. It outlives the process, and
//! one process at a time has it.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// In the folder of the outputs.
const NAME: &str = ".snaphook-batch.jsonl";

/// How a picture ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// What was asked for; the same question has the same one.
    pub(super) fingerprint: String,
    /// None: it failed.
    pub(super) file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

pub(super) struct Journal {
    file: File,
    folder: PathBuf,
    ended: HashMap<String, Entry>,
}

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    #[error("another batch is writing to {0}")]
    InUse(String),
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
}

impl Journal {
    /// Opens or begins the journal of a folder. A last line that was cut off by a crash counts for nothing.
    pub(super) fn open(folder: &Path) -> Result<Journal, JournalError> {
        let path = folder.join(NAME);
        let failed = |source| JournalError::File { path: path.display().to_string(), source };
        let mut file = File::options().create(true).read(true).append(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::InUse(folder.display().to_string())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        if !text.is_empty() && !text.ends_with(b"\n") {
            // What comes next must not be glued to it.
            file.write_all(b"\n").map_err(failed)?;
        }
        let entries = text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Entry>(line).ok());
        let ended = entries.map(|entry| (entry.fingerprint.clone(), entry)).collect();
        Ok(Journal { file, folder: folder.to_owned(), ended })
    }

    /// How it ended, if it did: done means that the file is still there.
    pub(super) fn find(&self, fingerprint: &str) -> Option<&Entry> {
        let entry = self.ended.get(fingerprint)?;
        let is_there = entry.file.as_ref().is_none_or(|name| self.folder.join(name).is_file());
        is_there.then_some(entry)
    }

    /// Keeps an end; it is on the disk when this returns.
    pub(super) fn note(&mut self, entry: Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(&entry).map_err(io::Error::other)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()?;
        self.ended.insert(entry.fingerprint.clone(), entry);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fingerprint: &str, file: Option<&str>) -> Entry {
        let error = file.is_none().then(|| "timeout_error".to_owned());
        Entry { fingerprint: fingerprint.to_owned(), file: file.map(str::to_owned), error }
    }

    #[test]
    fn what_ended_is_found_again_also_after_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.png"), "x").unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        assert!(matches!(Journal::open(folder.path()), Err(JournalError::InUse(_))));
        journal.note(entry("a", Some("a.png"))).unwrap();
        journal.note(entry("b", None)).unwrap();
        journal.note(entry("c", Some("gone.png"))).unwrap();
        drop(journal);
        let path = folder.path().join(NAME);
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"fingerprint\":\"d\",\"fi");
        std::fs::write(&path, text).unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.find("a"), Some(&entry("a", Some("a.png"))));
        assert_eq!(journal.find("b").and_then(|entry| entry.error.as_deref()), Some("timeout_error"));
        assert_eq!((journal.find("c"), journal.find("d")), (None, None));
        journal.note(entry("d", None)).unwrap();
        drop(journal);
        assert!(Journal::open(folder.path()).unwrap().find("d").is_some());
    }
}
