//! What every [`Tasks`] must do, whatever it is built on. When tasks are fired is the scheduler's to test.

use std::sync::Arc;

use snaphook_shared::limits::TASKS_MAX;
use snaphook_shared::request::Endpoint;
use snaphook_shared::task::{Frequency, Plan};

use super::secrets::RootKey;
use super::sqlite::SqliteQueue;
use crate::domain::operator::{NewKey, Operator};
use crate::domain::task::{NextTime, Task, Tasks};

const NOW: u64 = 1_700_000_000_000;

async fn sqlite() -> (tempfile::TempDir, Arc<dyn Tasks>) {
    let folder = tempfile::tempdir().unwrap();
    let root_key = RootKey::load("", folder.path()).unwrap();
    let queue = SqliteQueue::open(&folder.path().join("test.db"), root_key, 10).unwrap();
    assert!(queue.add_key(NewKey::unlimited("alice", "secret"), NOW).await.unwrap());
    (folder, Arc::new(queue))
}

fn task(id: u64) -> Task {
    let plan = Plan {
        name: format!("task {id}"),
        endpoint: Endpoint::Pdf,
        query: "url=https%3A%2F%2Fexample.com".to_owned(),
        frequency: Frequency::Custom,
        crontab: "0 9 * * 1-5".to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
        enabled: true,
    };
    Task {
        id,
        access_key: "alice".to_owned(),
        plan,
        created_ms: NOW + id,
        due_ms: Some(NOW + 1000 - id),
        runs: 0,
        last_run: None,
        revision: 0,
    }
}

#[tokio::test]
async fn a_task_is_kept_as_it_is_and_is_its_owners_alone() {
    let (_folder, tasks) = sqlite().await;
    for id in [2, 1] {
        assert!(tasks.add_task(task(id)).await.unwrap());
    }
    assert_eq!(tasks.task("alice", 1).await.unwrap(), Some(task(1)));
    assert_eq!(tasks.tasks("alice").await.unwrap(), [task(1), task(2)], "oldest first");
    assert_eq!(tasks.task("bob", 1).await.unwrap(), None);
    assert!(tasks.tasks("bob").await.unwrap().is_empty());
    assert!(!tasks.change_task("bob", 1, 0, task(1).plan, NextTime::Kept).await.unwrap());
    assert!(!tasks.remove_task("bob", 1).await.unwrap());
    assert!(tasks.remove_task("alice", 1).await.unwrap());
    assert!(!tasks.remove_task("alice", 1).await.unwrap());
}

#[tokio::test]
async fn a_change_counts_once_and_moves_the_time() {
    let (_folder, tasks) = sqlite().await;
    assert!(tasks.add_task(task(1)).await.unwrap());
    let plan = Plan { query: "html=x".to_owned(), enabled: false, ..task(1).plan };
    let change = |revision, next| tasks.change_task("alice", 1, revision, plan.clone(), next);
    assert!(change(0, NextTime::Set(None)).await.unwrap());
    assert!(!change(0, NextTime::Set(Some(NOW))).await.unwrap(), "it was made for another one");
    let kept = tasks.task("alice", 1).await.unwrap().unwrap();
    assert_eq!((&kept.plan, kept.due_ms, kept.revision), (&plan, None, 1));
    assert!(change(1, NextTime::Set(Some(NOW))).await.unwrap());
    assert!(change(2, NextTime::Kept).await.unwrap());
    assert_eq!(tasks.task("alice", 1).await.unwrap().unwrap().due_ms, Some(NOW));
}

#[tokio::test]
async fn what_is_due_comes_longest_due_first() {
    let (_folder, tasks) = sqlite().await;
    for id in 1..=3 {
        assert!(tasks.add_task(task(id)).await.unwrap());
    }
    let due = async |now_ms, limit| {
        let due = tasks.due_tasks(now_ms, limit).await.unwrap();
        due.into_iter().map(|task| task.id).collect::<Vec<_>>()
    };
    assert!(due(NOW + 996, 9).await.is_empty());
    assert_eq!(due(NOW + 998, 9).await, [3, 2]);
    assert_eq!(due(NOW + 5000, 2).await, [3, 2]);
}

#[tokio::test]
async fn a_key_may_have_so_many() {
    let (_folder, tasks) = sqlite().await;
    let added = futures::future::join_all((1..=u64::from(TASKS_MAX)).map(|id| tasks.add_task(task(id)))).await;
    assert!(added.into_iter().all(|added| added.unwrap()));
    let more = task(u64::from(TASKS_MAX) + 1);
    assert!(!tasks.add_task(more.clone()).await.unwrap());
    assert!(tasks.remove_task("alice", 1).await.unwrap());
    assert!(tasks.add_task(more).await.unwrap());
}
