//! Wakes workers and senders of other backends, by LISTEN and NOTIFY.
//!
//! Not in the transactions that have the news: a transaction with a NOTIFY holds a lock of the whole server until its commit
//! is on the disk, so that all of them would be synced one by one. The news is told after the commit, once for all that came
//! up in a moment. If it gets lost, the scan finds the work a second later.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::Notify;

use crate::queue::Bells;

const REQUESTS: &str = "snaphook_requests";
const DELIVERIES: &str = "snaphook_deliveries";

/// Between two pieces of news: what comes up meanwhile is told with the second.
const MOMENT: Duration = Duration::from_millis(20);
/// A connection may be dead without anybody saying so.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// After a failure, which is one of the server or of the way to it.
const BREATH: Duration = Duration::from_secs(1);

/// What is to be told.
#[derive(Default)]
pub(super) struct Relay {
    requests: Notify,
    deliveries: Notify,
}

impl Relay {
    pub(super) fn tell_of_requests(&self) {
        self.requests.notify_one();
    }

    pub(super) fn tell_of_deliveries(&self) {
        self.deliveries.notify_one();
    }

    /// Tells the others and hears them, until it is dropped. `name` tells this backend from the others.
    pub(super) async fn run(&self, pool: &PgPool, name: &str, bells: &Bells) {
        futures::join!(
            tell(pool, name, REQUESTS, &self.requests),
            tell(pool, name, DELIVERIES, &self.deliveries),
            hear(pool, name, bells),
        );
    }
}

async fn tell(pool: &PgPool, name: &str, channel: &str, news: &Notify) {
    loop {
        news.notified().await;
        let told = sqlx::query("SELECT pg_notify($1, $2)").bind(channel).bind(name).execute(pool).await;
        if let Err(error) = told {
            tracing::debug!(%error, channel, "other backends could not be told");
        }
        tokio::time::sleep(MOMENT).await;
    }
}

async fn hear(pool: &PgPool, name: &str, bells: &Bells) {
    loop {
        if let Err(error) = listen(pool, name, bells).await {
            tracing::warn!(%error, "other backends are not heard: work that they accept is found by the scan");
        }
        tokio::time::sleep(BREATH).await;
    }
}

async fn listen(pool: &PgPool, name: &str, bells: &Bells) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen_all([REQUESTS, DELIVERIES]).await?;
    loop {
        // None: the connection was lost, and news with it, perhaps. So may one be that is silent: it is made anew.
        let Ok(heard) = tokio::time::timeout(SILENCE_MAX, listener.try_recv()).await else { return Ok(()) };
        let heard = heard?;
        let is_own = heard.as_ref().is_some_and(|heard| heard.payload() == name);
        match heard.as_ref().map(|heard| heard.channel()) {
            _ if is_own => {}
            Some(REQUESTS) => bells.requests.notify_one(),
            Some(DELIVERIES) => bells.deliveries.notify_one(),
            _ => {
                bells.requests.notify_one();
                bells.deliveries.notify_one();
            }
        }
    }
}
