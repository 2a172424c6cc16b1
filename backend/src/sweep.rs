//! Housekeeping: what is past its time goes, in small batches, and what no row knows of goes too.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::delivery::Release;
use crate::domain::ports::{FileStore, JobQueue};

const INTERVAL: Duration = Duration::from_secs(30);
/// A request whose service fell silent should not wait for much longer than its lease.
const LEASES_INTERVAL: Duration = Duration::from_secs(2);
const ORPHANS_INTERVAL: Duration = Duration::from_secs(3600);
const BATCH: u32 = 100;
/// Files removed from the store at the same time: a bucket takes some tens of milliseconds for each.
const TOGETHER: usize = 32;
/// A file without a row may be one whose row is about to be written; one as old as this is not.
const ORPHAN_AGE_MS: u64 = 2 * 3600 * 1000;

/// How long it is remembered that an address failed that was never tried again. Longer than any pause of the schedule, and
/// than the days after which it would be disabled.
const FAILURES_KEPT_MS: u64 = 7 * 24 * 3600 * 1000;

/// What housekeeping works on.
pub struct Sweeper {
    pub queue: Arc<dyn JobQueue>,
    pub store: Arc<dyn FileStore>,
    pub clock: Clock,
    /// How long ended requests stay listed.
    pub request_lifetime: Duration,
}

impl Sweeper {
    /// Sweeps now and then until it is told to stop. What fails is logged and tried again next time.
    pub async fn run(self, stop: CancellationToken) {
        // Whatever it is at can be broken off: the next sweep goes on with it.
        stop.run_until_cancelled(async {
            tokio::join!(self.keep_returning_leases(), self.keep_removing(), self.keep_searching())
        })
        .await;
    }

    async fn keep_returning_leases(&self) {
        loop {
            self.log("leases", self.return_leases().await);
            tokio::time::sleep(LEASES_INTERVAL).await;
        }
    }

    async fn keep_removing(&self) {
        loop {
            self.log("expired files", self.remove_expired_files().await);
            self.log("kept answers", self.forget_answers().await);
            self.log("old requests", self.purge_requests().await);
            self.log("old failures", self.forget_failures().await);
            self.log("old figures", self.forget_usage().await);
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Apart from the rest: it lists all of the store, which takes hours where there are millions of files.
    async fn keep_searching(&self) {
        loop {
            self.log("orphaned files", self.remove_orphans().await);
            tokio::time::sleep(ORPHANS_INTERVAL).await;
        }
    }

    fn log(&self, what: &str, result: Result<u64, String>) {
        match result {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, what, "swept"),
            Err(error) => tracing::error!(error, what, "sweeping failed"),
        }
    }

    async fn return_leases(&self) -> Result<u64, String> {
        self.queue.release(Release::Expired { now_ms: self.clock.now_ms() }).await.map_err(|error| error.to_string())
    }

    async fn forget_answers(&self) -> Result<u64, String> {
        let (now_ms, mut forgotten) = (self.clock.now_ms(), 0);
        loop {
            match self.queue.forget_answers(now_ms).await.map_err(|error| error.to_string())? {
                0 => return Ok(forgotten),
                some => forgotten += some,
            }
        }
    }

    async fn forget_failures(&self) -> Result<u64, String> {
        let before_ms = self.clock.now_ms().saturating_sub(FAILURES_KEPT_MS);
        let mut forgotten = 0;
        loop {
            match self.queue.forget_failures(before_ms).await.map_err(|error| error.to_string())? {
                0 => return Ok(forgotten),
                some => forgotten += some,
            }
        }
    }

    async fn forget_usage(&self) -> Result<u64, String> {
        let (now_ms, mut forgotten) = (self.clock.now_ms(), 0);
        loop {
            match self.queue.forget_usage(now_ms).await.map_err(|error| error.to_string())? {
                0 => return Ok(forgotten),
                some => forgotten += some,
            }
        }
    }

    async fn remove_expired_files(&self) -> Result<u64, String> {
        let mut removed = 0;
        loop {
            let names =
                self.queue.expired_files(self.clock.now_ms(), BATCH).await.map_err(|error| error.to_string())?;
            let count = names.len();
            let removals = names.into_iter().map(|name| async move {
                match self.removed(&name).await {
                    true => self.queue.forget_file(&name).await.map(|()| 1),
                    false => Ok(0),
                }
            });
            let gone: Vec<_> = futures::stream::iter(removals).buffer_unordered(TOGETHER).collect().await;
            let gone: u64 = gone.into_iter().sum::<Result<u64, _>>().map_err(|error| error.to_string())?;
            removed += gone;
            // What withstands is first in the next batch too, and waits for the next sweep.
            if count < BATCH as usize || gone == 0 {
                return Ok(removed);
            }
        }
    }

    /// One that cannot be removed must not keep the others there.
    async fn removed(&self, name: &str) -> bool {
        let removed = self.store.delete(name).await;
        removed.inspect_err(|error| tracing::error!(%error, file = name, "a file could not be removed")).is_ok()
    }

    async fn purge_requests(&self) -> Result<u64, String> {
        let ended_before_ms = self.clock.now_ms().saturating_sub(self.request_lifetime.as_millis() as u64);
        let mut purged = 0;
        loop {
            let batch = self.queue.purge(ended_before_ms, BATCH).await.map_err(|error| error.to_string())?;
            purged += batch;
            if batch < u64::from(BATCH) {
                return Ok(purged);
            }
        }
    }

    /// A service that was killed between storing a file and writing its row leaves such files.
    async fn remove_orphans(&self) -> Result<u64, String> {
        let put_before_ms = self.clock.now_ms().saturating_sub(ORPHAN_AGE_MS);
        let mut batches = self.store.names(put_before_ms).try_chunks(BATCH as usize);
        let mut removed = 0;
        while let Some(names) = batches.try_next().await.map_err(|error| error.to_string())? {
            for name in self.queue.unknown_files(names).await.map_err(|error| error.to_string())? {
                removed += u64::from(self.removed(&name).await);
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use snaphook_shared::options::model::Options;
    use snaphook_shared::priority::Urgency;
    use snaphook_shared::request::Endpoint;

    use super::*;
    use crate::config::Config;
    use crate::domain::artifact::Size;
    use crate::domain::job::{NewRequest, Outcome, StoredFile};
    use crate::queue::secrets::RootKey;
    use crate::queue::sqlite::SqliteQueue;
    use crate::store::Store;

    async fn parts(folder: &std::path::Path) -> Sweeper {
        let data_dir = folder.display().to_string();
        let config = Config::load(None, &|name| (name == "SNAPHOOK_DATA_DIR").then(|| data_dir.clone())).unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let root_key = RootKey::load("", folder).unwrap();
        Sweeper {
            queue: Arc::new(SqliteQueue::open(&folder.join("test.db"), root_key, 10).unwrap()),
            store: Arc::new(Store::open(&config, reqwest::Client::new()).unwrap()),
            clock: Clock::default(),
            request_lifetime: Duration::from_secs(30 * 24 * 3600),
        }
    }

    async fn finished(sweeper: &Sweeper, name: &str) -> String {
        let now_ms = sweeper.clock.now_ms();
        let id = crate::domain::job::new_request_id(now_ms);
        let request = NewRequest {
            id: id.clone(),
            access_key: "alice".to_owned(),
            endpoint: Endpoint::Take,
            options: Options::default(),
            idempotency_key: None,
            urgency: Urgency::default(),
            fingerprint: String::new(),
            created_ms: now_ms,
            traceparent: None,
        };
        let file = StoredFile {
            name: name.to_owned(),
            content_type: "image/png".to_owned(),
            bytes: 1,
            size: Some(Size { width: 1, height: 1 }),
            expires_ms: now_ms + 24 * 3600 * 1000,
            attachment: None,
        };
        sweeper
            .queue
            .record(
                request,
                now_ms,
                Outcome::Done { file: Some(file), parts: Vec::new(), render_ms: 1, refused: Vec::new() },
                None,
            )
            .await
            .unwrap();
        id
    }

    /// A name as files have here.
    fn file(letter: char) -> String {
        format!("{}.png", letter.to_string().repeat(48))
    }

    #[tokio::test]
    async fn files_orphans_and_old_rows_go_when_their_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let sweeper = parts(folder.path()).await;
        let (kept, orphan) = (file('a'), file('b'));
        for name in [kept.as_str(), orphan.as_str(), "of-somebody-else.png"] {
            sweeper.store.put(name, "image/png", Bytes::from_static(b"x")).await.unwrap();
        }
        let id = finished(&sweeper, &kept).await;
        assert_eq!(sweeper.remove_orphans().await, Ok(0), "it may still get its row");
        sweeper.clock.advance(Duration::from_secs(3 * 3600));
        assert_eq!(sweeper.remove_orphans().await, Ok(1));
        assert!(sweeper.store.get(&orphan, None).await.is_err());
        for name in [kept.as_str(), "of-somebody-else.png"] {
            assert!(sweeper.store.get(name, None).await.is_ok(), "{name}");
        }

        sweeper.clock.advance(Duration::from_secs(24 * 3600));
        assert_eq!(sweeper.remove_expired_files().await, Ok(1));
        assert!(sweeper.store.get(&kept, None).await.is_err());
        assert_eq!(sweeper.purge_requests().await, Ok(0));
        assert!(sweeper.queue.request(&id).await.unwrap().is_some());
        sweeper.clock.advance(Duration::from_secs(31 * 24 * 3600));
        assert_eq!(sweeper.purge_requests().await, Ok(1));
        assert!(sweeper.queue.request(&id).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_removed_keeps_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let sweeper = parts(folder.path()).await;
        // More than a batch, and the first of all withstands: where it was there is a folder that is not empty.
        let names: Vec<String> = (0..250).map(|number| format!("{number:048x}.png")).collect();
        for name in &names[1..] {
            sweeper.store.put(name, "image/png", Bytes::from_static(b"x")).await.unwrap();
        }
        std::fs::create_dir_all(folder.path().join("files").join(&names[0]).join("inside")).unwrap();
        for name in &names {
            finished(&sweeper, name).await;
        }
        sweeper.clock.advance(Duration::from_secs(2 * 24 * 3600));
        assert_eq!(sweeper.remove_expired_files().await, Ok(249));
        assert_eq!(sweeper.queue.expired_files(sweeper.clock.now_ms(), 9).await.unwrap(), [names[0].as_str()]);
    }

    #[tokio::test]
    async fn a_sweep_under_way_holds_up_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let sweeper = parts(folder.path()).await;
        let stop = CancellationToken::new();
        let running = tokio::spawn(sweeper.run(stop.clone()));
        tokio::task::yield_now().await;
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), running).await.unwrap().unwrap();
    }
}
