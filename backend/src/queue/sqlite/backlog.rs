//! How much there is still to do, in a few numbers: for metrics, read in one look at the indexes.

use rusqlite::Connection;

use crate::domain::ports::Backlog;

pub(super) fn backlog(connection: &Connection) -> rusqlite::Result<Backlog> {
    connection.query_row(
        "SELECT (SELECT count(*) FROM requests WHERE state = 'queued'),
                (SELECT count(*) FROM requests WHERE state = 'rendering'),
                (SELECT created_ms FROM requests WHERE id = (SELECT min(id) FROM requests WHERE state = 'queued')),
                (SELECT count(*) FROM deliveries WHERE state = 'pending')
                  + (SELECT count(*) FROM deliveries WHERE state = 'sending')",
        [],
        |row| {
            Ok(Backlog {
                queued: row.get(0)?,
                rendering: row.get(1)?,
                oldest_queued_ms: row.get(2)?,
                webhooks_open: row.get(3)?,
            })
        },
    )
}
