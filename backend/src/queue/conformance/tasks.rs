//! Tasks as they are kept. When they are fired is the scheduler's to test.

use std::sync::Arc;

use snaphook_shared::limits::TASKS_MAX;
use snaphook_shared::request::Endpoint;
use snaphook_shared::task::{Frequency, Plan};

use crate::domain::task::{Fired, NextTime, Run, Task};
use crate::queue::Queue;
use crate::queue::testing::{NOW, on_each_queue, request};

on_each_queue! {
    a_task_is_kept_as_it_is_and_is_its_owners_alone
    a_change_counts_once_and_moves_the_time
    what_is_due_comes_longest_due_first
    a_run_is_fired_once_however_many_schedulers_there_are
    a_key_may_have_so_many
}

fn task(id: u64) -> Task {
    let plan = Plan {
        name: format!("task {id}"),
        endpoint: Endpoint::Pdf,
        query: "url=https%3A%2F%2Fexample.com".to_owned().into(),
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

async fn a_task_is_kept_as_it_is_and_is_its_owners_alone(queue: &Arc<dyn Queue>) {
    for id in [2, 1] {
        assert!(queue.add_task(task(id)).await.unwrap());
    }
    assert_eq!(queue.task("alice", 1).await.unwrap(), Some(task(1)));
    assert_eq!(queue.tasks("alice").await.unwrap(), [task(1), task(2)], "oldest first");
    assert_eq!(queue.task("bob", 1).await.unwrap(), None);
    assert!(queue.tasks("bob").await.unwrap().is_empty());
    assert!(!queue.change_task("bob", 1, 0, task(1).plan, NextTime::Kept).await.unwrap());
    assert!(!queue.remove_task("bob", 1).await.unwrap());
    assert!(queue.remove_task("alice", 1).await.unwrap());
    assert!(!queue.remove_task("alice", 1).await.unwrap());
}

async fn a_change_counts_once_and_moves_the_time(queue: &Arc<dyn Queue>) {
    assert!(queue.add_task(task(1)).await.unwrap());
    let plan = Plan { query: "html=x".to_owned().into(), enabled: false, ..task(1).plan };
    let change = |revision, next| queue.change_task("alice", 1, revision, plan.clone(), next);
    assert!(change(0, NextTime::Set(None)).await.unwrap());
    assert!(!change(0, NextTime::Set(Some(NOW))).await.unwrap(), "it was made for another one");
    let kept = queue.task("alice", 1).await.unwrap().unwrap();
    assert_eq!((&kept.plan, kept.due_ms, kept.revision), (&plan, None, 1));
    assert!(change(1, NextTime::Set(Some(NOW))).await.unwrap());
    assert!(change(2, NextTime::Kept).await.unwrap());
    assert_eq!(queue.task("alice", 1).await.unwrap().unwrap().due_ms, Some(NOW));
}

async fn what_is_due_comes_longest_due_first(queue: &Arc<dyn Queue>) {
    for id in 1..=3 {
        assert!(queue.add_task(task(id)).await.unwrap());
    }
    let due = async |now_ms, limit| {
        let due = queue.due_tasks(now_ms, limit).await.unwrap();
        due.into_iter().map(|task| task.id).collect::<Vec<_>>()
    };
    assert!(due(NOW + 996, 9).await.is_empty());
    assert_eq!(due(NOW + 998, 9).await, [3, 2]);
    assert_eq!(due(NOW + 5000, 2).await, [3, 2]);
}

async fn a_run_is_fired_once_however_many_schedulers_there_are(queue: &Arc<dyn Queue>) {
    assert!(queue.add_task(task(1)).await.unwrap());
    for run in 0..5 {
        let due_ms = NOW + 999 + run;
        let fire = |scheduler: u64| {
            let run = Run {
                task_id: 1,
                due_ms,
                revision: 0,
                now_ms: due_ms,
                next_ms: Some(due_ms + 1),
                request: Ok(request(run * 10 + scheduler, "alice")),
            };
            queue.fire(run)
        };
        let fired = futures::future::join_all((0..10).map(fire)).await;
        let made = fired.into_iter().filter(|fired| matches!(fired, Ok(Fired::Accepted))).count();
        assert_eq!((made, queue.task("alice", 1).await.unwrap().unwrap().runs), (1, run + 1));
    }
}

async fn a_key_may_have_so_many(queue: &Arc<dyn Queue>) {
    let added = futures::future::join_all((1..=u64::from(TASKS_MAX)).map(|id| queue.add_task(task(id)))).await;
    assert!(added.into_iter().all(|added| added.unwrap()));
    let more = task(u64::from(TASKS_MAX) + 1);
    assert!(!queue.add_task(more.clone()).await.unwrap());
    assert!(queue.remove_task("alice", 1).await.unwrap());
    assert!(queue.add_task(more).await.unwrap());
}
