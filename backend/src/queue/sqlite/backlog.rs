//! How much there is still to do, in a few numbers: for metrics, read in one look at the indexes.

use rusqlite::{Connection, named_params};
use snaphook_shared::priority::Urgency;

use super::requests::not_json;
use crate::domain::ports::Backlog;

/// Of each key that waits and may have one more under way, the first that is due at each level of urgency: so many rows are
/// looked at, however many wait.
const BACKLOG: &str = "
    WITH RECURSIVE waiting (access_key) AS (
        SELECT min(access_key) FROM requests WHERE state = 'queued'
        UNION ALL
        SELECT (SELECT min(r.access_key) FROM requests r WHERE r.state = 'queued' AND r.access_key > waiting.access_key)
        FROM waiting WHERE waiting.access_key IS NOT NULL
    ),
    levels (urgency) AS (VALUES (0) UNION ALL SELECT urgency + 1 FROM levels WHERE urgency < :last_urgency)
    SELECT (SELECT count(*) FROM requests WHERE state = 'queued'),
           (SELECT count(*) FROM requests WHERE state = 'rendering'),
           (SELECT created_ms FROM requests WHERE id = (SELECT min(id) FROM requests WHERE state = 'queued')),
           (SELECT min((SELECT min(r.due_ms) FROM requests r
                        WHERE r.state = 'queued' AND r.access_key = waiting.access_key AND r.urgency = levels.urgency
                          AND r.due_ms <= :now))
            FROM waiting CROSS JOIN levels
            WHERE waiting.access_key NOT IN (SELECT value FROM json_each(:busy))),
           (SELECT count(*) FROM deliveries WHERE state = 'pending')
             + (SELECT count(*) FROM deliveries WHERE state = 'sending')";

/// `busy`: keys that have all that they may have under way.
pub(super) fn backlog(connection: &Connection, now_ms: u64, busy: &[String]) -> rusqlite::Result<Backlog> {
    let busy = serde_json::to_string(busy).map_err(not_json)?;
    let parameters = named_params! { ":now": now_ms, ":last_urgency": Urgency::LAST.level(), ":busy": busy };
    connection.query_row(BACKLOG, parameters, |row| {
        Ok(Backlog {
            queued: row.get(0)?,
            rendering: row.get(1)?,
            oldest_queued_ms: row.get(2)?,
            ready_since_ms: row.get(3)?,
            webhooks_open: row.get(4)?,
        })
    })
}
