//! Queues for tests: a fresh one of each kind.

use std::sync::Arc;
use std::time::Duration;

use snaphook_shared::options::model::Options;
use snaphook_shared::priority::Urgency;
use snaphook_shared::request::Endpoint;
use snaphook_shared::secret::Secret;
use snaphook_test_postgres::Server;

use super::Queue;
use super::postgres::{PostgresQueue, PostgresSettings};
use super::secrets::RootKey;
use super::sqlite::SqliteQueue;
use crate::domain::job::NewRequest;
use crate::domain::operator::NewKey;

pub(super) const NOW: u64 = 1_700_000_000_000;
pub(super) const CAPACITY: u64 = 2_000;

/// A queue with two keys, as long as this is held.
pub(super) struct Fresh {
    pub(super) queue: Arc<dyn Queue>,
    _folder: tempfile::TempDir,
}

async fn fresh(queue: Arc<dyn Queue>, folder: tempfile::TempDir) -> Fresh {
    for key in ["alice", "bob"] {
        assert!(queue.add_key(NewKey::unlimited(key, "secret"), NOW).await.unwrap());
    }
    Fresh { queue, _folder: folder }
}

pub(super) async fn sqlite() -> Fresh {
    let folder = tempfile::tempdir().unwrap();
    let root_key = RootKey::load("", folder.path()).unwrap();
    let queue = SqliteQueue::open(&folder.path().join("test.db"), root_key, CAPACITY).unwrap();
    fresh(Arc::new(queue), folder).await
}

pub(super) async fn postgres() -> Fresh {
    let folder = tempfile::tempdir().unwrap();
    let queue = backend(&Server::shared().database()).await;
    fresh(Arc::new(queue), folder).await
}

/// One backend of those that share a database.
pub(super) async fn backend(url: &str) -> PostgresQueue {
    backend_of(url, CAPACITY).await
}

/// One with room for so many.
pub(super) async fn backend_of(url: &str, capacity: u64) -> PostgresQueue {
    PostgresQueue::open(&settings(url), RootKey::load(&"0f".repeat(32), "".as_ref()).unwrap(), capacity).await.unwrap()
}

pub(super) fn settings(url: &str) -> PostgresSettings {
    PostgresSettings { url: Secret::new(url), connections_max: 8, timeout: Duration::from_secs(20) }
}

/// A request that was made so many milliseconds after [`NOW`].
pub(super) fn request(number: u64, access_key: &str) -> NewRequest {
    NewRequest {
        id: snaphook_shared::id::request_id(NOW + number, [0; 10]),
        access_key: access_key.to_owned(),
        endpoint: Endpoint::Screenshot,
        options: Options::default(),
        idempotency_key: None,
        urgency: Urgency::default(),
        fingerprint: "f".to_owned(),
        created_ms: NOW + number,
        traceparent: None,
    }
}

/// Runs each test on each kind of queue.
macro_rules! on_each_queue {
    ($($test:ident)*) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::$test(&crate::queue::testing::sqlite().await.queue).await;
                }
            )*
        }
        mod on_postgres {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::$test(&crate::queue::testing::postgres().await.queue).await;
                }
            )*
        }
    };
}
pub(super) use on_each_queue;
