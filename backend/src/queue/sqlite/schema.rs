//! The schema and its versions.

use rusqlite::{Connection, OptionalExtension};

use super::database::failed;
use crate::domain::ports::QueueError;
use crate::queue::migration::{Migration, Versions, contract, expand, needed};
use crate::queue::secrets::RootKey;

/// Each entry brings the schema from its index to the next.
pub(super) const MIGRATIONS: &[Migration] = &[
    contract(include_str!("schema.sql"), 1),
    contract(include_str!("schema_2.sql"), 2),
    contract(include_str!("schema_tasks.sql"), 3),
    contract(include_str!("schema_refused.sql"), 4),
    contract(include_str!("schema_outbox.sql"), 5),
    contract(include_str!("schema_urgency.sql"), 6),
    contract(include_str!("schema_dashboard.sql"), 7),
    contract(include_str!("schema_trace.sql"), 8),
    contract(include_str!("schema_attempt_headers.sql"), 9),
    expand(include_str!("schema_root_key.sql")),
];

/// The version of a file that has had them all.
pub(super) const KNOWN_VERSION: i64 = MIGRATIONS.len() as i64;

/// Brings the schema up to date, all of it or nothing.
///
/// # Errors
/// When a newer program has changed it too much, or it was sealed with another root key; then nothing was changed.
pub(super) fn migrate(connection: &Connection, root_key: &RootKey) -> Result<(), QueueError> {
    connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    let migrated = migrate_within(connection, root_key);
    let end = if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" };
    connection.execute_batch(end).map_err(failed)?;
    migrated
}

fn migrate_within(connection: &Connection, root_key: &RootKey) -> Result<(), QueueError> {
    let versions = versions(connection).map_err(failed)?;
    versions.check()?;
    if versions.newest < KNOWN_VERSION {
        for migration in MIGRATIONS.iter().skip(usize::try_from(versions.newest).unwrap_or_default()) {
            connection.execute_batch(migration.sql).map_err(failed)?;
        }
        connection.execute("DELETE FROM snaphook_schema", []).map_err(failed)?;
        connection.execute("INSERT INTO snaphook_schema (version) VALUES (?)", [needed(MIGRATIONS)]).map_err(failed)?;
        connection.pragma_update(None, "user_version", KNOWN_VERSION).map_err(failed)?;
    }
    if is_sealed_with(connection, root_key).map_err(failed)? == Some(false) {
        return Err(RootKey::another());
    }
    connection
        .execute("INSERT INTO root_key (id, proof) VALUES (1, ?) ON CONFLICT DO NOTHING", [root_key.proof()?])
        .map(|_| ())
        .map_err(failed)
}

pub(super) fn versions(connection: &Connection) -> rusqlite::Result<Versions> {
    let newest: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let needed = match has(connection, "snaphook_schema")? {
        true => connection.query_row("SELECT version FROM snaphook_schema", [], |row| row.get(0)).optional()?,
        // Of before there was such a promise: whoever knows it all.
        false => None,
    };
    Ok(Versions { newest, needed: needed.unwrap_or(newest), known: KNOWN_VERSION })
}

/// Whether the secrets in the file are this key's. Before a proof was kept, the newest access key's secret tells; None where
/// there is neither.
pub(super) fn is_sealed_with(connection: &Connection, root_key: &RootKey) -> rusqlite::Result<Option<bool>> {
    if has(connection, "root_key")? {
        let proof: Option<Vec<u8>> =
            connection.query_row("SELECT proof FROM root_key", [], |row| row.get(0)).optional()?;
        if let Some(proof) = proof {
            return Ok(Some(root_key.made(&proof)));
        }
    }
    if !has(connection, "keys")? {
        return Ok(None);
    }
    let newest = connection
        .query_row("SELECT access_key, secret FROM keys ORDER BY created_ms DESC LIMIT 1", [], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))
        })
        .optional()?;
    Ok(newest.map(|(access_key, sealed)| root_key.open(&access_key, &sealed).is_some()))
}

fn has(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?)",
        [table],
        |row| row.get(0),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use snaphook_shared::secret::Secret;

    use super::*;

    fn key(digits: &str) -> RootKey {
        RootKey::load(&digits.repeat(32), Path::new("")).unwrap()
    }

    fn of_version(version: usize) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        for migration in &MIGRATIONS[..version] {
            connection.execute_batch(migration.sql).unwrap();
        }
        connection.pragma_update(None, "user_version", version).unwrap();
        connection
    }

    #[test]
    fn attempts_of_an_older_version_stay_and_have_no_headers() {
        let own = MIGRATIONS.iter().position(|one| one.sql.contains("attempts ADD COLUMN headers")).unwrap();
        let connection = of_version(own);
        let row = "INSERT INTO attempts (delivery_id, number, at_ms, took_ms, status, answer)
                   VALUES ('msg_1', 1, 2, 3, 500, 'oops')";
        connection.execute_batch(row).unwrap();
        migrate(&connection, &key("0f")).unwrap();
        let kept = connection.query_row("SELECT status, answer, headers FROM attempts", [], |row| {
            Ok((row.get::<_, u16>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        });
        assert_eq!(kept.unwrap(), (500, "oops".to_owned(), "[]".to_owned()));
    }

    #[test]
    fn a_newer_version_that_only_adds_is_worked_with_and_another_is_left_alone() {
        let connection = of_version(0);
        migrate(&connection, &key("0f")).unwrap();
        let as_known = versions(&connection).unwrap();
        assert_eq!(as_known, Versions { newest: KNOWN_VERSION, needed: needed(MIGRATIONS), known: KNOWN_VERSION });
        connection.execute_batch("PRAGMA user_version = 1000; CREATE TABLE novelties (a TEXT)").unwrap();
        migrate(&connection, &key("0f")).unwrap();
        assert_eq!(versions(&connection).unwrap(), Versions { newest: 1000, ..as_known });
        connection.execute_batch("UPDATE snaphook_schema SET version = 1000").unwrap();
        let refused = migrate(&connection, &key("0f")).unwrap_err().to_string();
        assert!(refused.contains("version 1000") && refused.contains("newer snaphook"), "{refused}");
        assert!(connection.is_autocommit(), "nothing is left open");
    }

    #[test]
    fn another_root_key_changes_nothing() {
        // One of before there was a proof, with an access key in it; and one with a proof.
        let older = of_version(9);
        let secret = key("0f").seal("alice", &Secret::new("s3cret")).unwrap();
        let row = "INSERT INTO keys (access_key, name, secret, created_ms) VALUES ('alice', '', ?, 1)";
        older.execute(row, [secret]).unwrap();
        let newer = of_version(0);
        migrate(&newer, &key("0f")).unwrap();
        for (connection, version) in [(older, 9), (newer, KNOWN_VERSION)] {
            let refused = migrate(&connection, &key("0e")).unwrap_err().to_string();
            assert!(refused.contains("another root key") && refused.contains("SNAPHOOK_ROOT_KEY"), "{refused}");
            assert_eq!(versions(&connection).unwrap().newest, version);
            migrate(&connection, &key("0f")).unwrap();
            migrate(&connection, &key("0e")).unwrap_err();
        }
    }
}
