//! How the schema goes from one version to the next while programs of several versions work on one database.
//!
//! A database says which migrations it has had, and which version a program must know at least to work with it. Those are two
//! numbers: what only adds raises the first alone, and programs of before go on as if it were not there.

use crate::domain::ports::QueueError;

/// A step from one version to the next.
pub(super) struct Migration {
    pub(super) sql: &'static str,
    /// What a program must know after it; None if whoever knew enough before it still does.
    needs: Option<i64>,
}

/// One that only adds: programs that do not know it go on.
pub(super) const fn expand(sql: &'static str) -> Migration {
    Migration { sql, needs: None }
}

/// One that takes away, or means something else by what was there: programs must know this version at least. Where what is
/// taken away has been unused for a while, that is an earlier version than the one that this step leads to.
pub(super) const fn contract(sql: &'static str, needs: i64) -> Migration {
    Migration { sql, needs: Some(needs) }
}

/// What a program must know to work with a database that has had all of these.
pub(super) fn needed(migrations: &[Migration]) -> i64 {
    migrations.iter().filter_map(|migration| migration.needs).max().unwrap_or_default()
}

/// Which versions a database is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The migrations it has had; 0 if there is nothing yet.
    pub newest: i64,
    /// What a program must know to work with it.
    pub needed: i64,
    /// What this program knows.
    pub known: i64,
}

impl Versions {
    /// Whether this program can work with it, or bring it up to date.
    ///
    /// # Errors
    /// Says what to do where it cannot.
    pub fn check(self) -> Result<(), QueueError> {
        if self.needed <= self.known {
            return Ok(());
        }
        Err(QueueError(format!(
            "a newer snaphook has changed the database in a way that this one cannot work with (it is of version {}, for \
             programs that know {} or more, and this one knows {}): start that newer snaphook, or bring back a backup of before",
            self.newest, self.needed, self.known
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_away_raises_what_a_program_must_know() {
        let all = [contract("", 1), contract("", 2), expand(""), expand(""), contract("", 4), expand("")];
        let after: Vec<i64> = (0..=all.len()).map(|count| needed(&all[..count])).collect();
        assert_eq!(after, [0, 1, 2, 2, 2, 4, 4]);
        let known = |known| Versions { newest: 6, needed: needed(&all), known }.check();
        assert!(known(4).is_ok() && known(9).is_ok());
        let refused = known(3).unwrap_err().to_string();
        assert!(refused.contains("version 6") && refused.contains("know 4 or more") && refused.contains("knows 3"));
    }
}
