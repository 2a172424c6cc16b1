//! Tasks on a moved clock, with the real queue.

use std::path::Path;

use snaphook_shared::code::{Code, Problem};
use snaphook_shared::key::KeyLimits;
use snaphook_shared::options::fields::Fields;
use snaphook_shared::secret::Secret;
use snaphook_shared::task::{Checks, plan};

use super::*;
use crate::domain::job::{Outcome, RequestState, RequestView};
use crate::domain::operator::{NewKey, Operator};
use crate::domain::ports::{JobQueue, RequestFilter};
use crate::domain::task::NextTime;
use crate::queue::secrets::RootKey;
use crate::queue::sqlite::SqliteQueue;

const CAPACITY: u64 = 5;

struct Bench {
    queue: Arc<SqliteQueue>,
    scheduler: Scheduler,
    folder: tempfile::TempDir,
}

fn open(folder: &Path) -> Arc<SqliteQueue> {
    let root_key = RootKey::load("", folder).unwrap();
    Arc::new(SqliteQueue::open(&folder.join("test.db"), root_key, CAPACITY).unwrap())
}

fn scheduler(queue: &Arc<SqliteQueue>, clock: Clock) -> Scheduler {
    let policies = Policies::default();
    Scheduler { tasks: queue.clone(), clock, policies, requests: Arc::default(), disk: LastLook::default() }
}

impl Bench {
    /// With the clock at this time.
    async fn at(time: &str) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let queue = open(folder.path());
        let bench = Bench { scheduler: scheduler(&queue, Clock::default()), queue, folder };
        bench.move_to(time);
        assert!(bench.queue.add_key(NewKey::unlimited("AK", "SK"), 0).await.unwrap());
        bench
    }

    /// Moves the clock, which goes on from there.
    fn move_to(&self, time: &str) {
        let ms = time.parse::<jiff::Timestamp>().unwrap().as_millisecond().unsigned_abs();
        self.scheduler.clock.set(ms);
    }

    async fn add(&self, id: u64, crontab: &str, time_zone: &str) {
        let now_ms = self.scheduler.clock.now_ms();
        let body = serde_json::json!({
            "name": "n", "api": "screenshot", "query": "html=%3Cp%3Ex&cookies=a%3Dopen-sesame", "crontab": crontab,
            "timezone": time_zone,
        });
        let checks = Checks {
            access_key: "AK",
            urls: &NativeUrlParser,
            policies: &Policies::default(),
            calendar: &Calendar { now_ms },
        };
        let plan = plan(None, &Fields::from_json(body.to_string().as_bytes()).unwrap(), &checks).unwrap();
        let due_ms = Calendar { now_ms }.next(&plan.crontab, &plan.time_zone);
        let access_key = "AK".to_owned();
        let task = Task { id, access_key, plan, created_ms: now_ms, due_ms, runs: 0, last_run: None, revision: 0 };
        assert!(self.queue.add_task(task).await.unwrap());
    }

    async fn task(&self, id: u64) -> Task {
        self.queue.task("AK", id).await.unwrap().unwrap()
    }

    /// Moves the clock and gives the number of runs made then.
    async fn fired_at(&self, time: &str) -> u64 {
        self.move_to(time);
        self.scheduler.fire_due().await.unwrap()
    }

    async fn requests(&self, task: u64) -> Vec<RequestView> {
        let filter = RequestFilter { task: Some(task), limit: 100, ..RequestFilter::default() };
        self.queue.requests(filter).await.unwrap()
    }

    /// Ends the request that is next in the queue.
    async fn end(&self, outcome: Outcome) {
        let now_ms = self.scheduler.clock.now_ms();
        let claimed = self.queue.claim("w", now_ms, now_ms + 1000).await.unwrap().unwrap();
        assert!(self.queue.finish(&claimed.request.id, "w", now_ms, outcome, None).await.unwrap());
    }
}

fn done() -> Outcome {
    Outcome::Done { file: None, parts: Vec::new(), render_ms: 1, refused: Vec::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_at_its_time_in_its_zone_and_what_it_made_is_known() {
    let bench = Bench::at("2026-11-20T07:00:00Z").await;
    bench.add(1, "30 9 * * *", "Europe/Berlin").await;
    assert_eq!(bench.fired_at("2026-11-20T08:29:00Z").await, 0);
    assert_eq!(bench.fired_at("2026-11-20T08:30:00Z").await, 1);
    assert_eq!(bench.fired_at("2026-11-20T08:30:30Z").await, 0, "once");
    let task = bench.task(1).await;
    let (runs, last_run) = (task.runs, task.last_run.unwrap());
    assert_eq!((runs, last_run.status.as_str(), last_run.error_code), (1, "queued", None));
    let made = bench.requests(1).await;
    assert_eq!((made.len(), made[0].task_id, made[0].asynchronous), (1, Some(1), true));
    assert_eq!(Some(&made[0].id), last_run.request_id.as_ref());
    // A worker gets all of its options, the sealed ones too.
    let now_ms = bench.scheduler.clock.now_ms();
    let claimed = bench.queue.claim("w", now_ms, now_ms + 1000).await.unwrap().unwrap();
    assert_eq!(claimed.request.options.network.cookies, [Secret::new("a=open-sesame")]);
    assert_eq!(bench.task(1).await.last_run.unwrap().status, "rendering");
    bench.queue.finish(&claimed.request.id, "w", now_ms, done(), None).await.unwrap();
    assert_eq!(bench.task(1).await.last_run.unwrap().status, "done");
    assert_eq!(bench.fired_at("2026-11-21T08:30:00Z").await, 1);
    let failed = Outcome::Failed {
        code: "timeout_error".to_owned(),
        message: "late".to_owned(),
        cause: String::new(),
        refused: Vec::new(),
    };
    bench.end(failed).await;
    let last_run = bench.task(1).await.last_run.unwrap();
    assert_eq!((last_run.status.as_str(), last_run.error_message.as_deref()), ("failed", Some("late")));
    // What it has made outlives it.
    assert!(bench.queue.remove_task("AK", 1).await.unwrap());
    assert_eq!(bench.fired_at("2026-11-22T08:30:00Z").await, 0);
    let states: Vec<RequestState> = bench.requests(1).await.iter().map(|view| view.state).collect();
    assert_eq!(states, [RequestState::Failed, RequestState::Done]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_on_which_the_clock_is_changed_has_one_run() {
    let bench = Bench::at("2026-03-28T12:00:00Z").await;
    bench.add(1, "30 2 * * *", "Europe/Berlin").await;
    for (time, runs) in [
        ("2026-03-29T00:59:00Z", 0),
        ("2026-03-29T01:00:00Z", 1), // 03:00, since there is no 02:30
        ("2026-03-29T01:30:00Z", 0),
        ("2026-03-30T00:30:00Z", 1),
        ("2026-10-25T00:29:00Z", 1), // all that was missed in summer
        ("2026-10-25T00:30:00Z", 1), // 02:30, the first
        ("2026-10-25T01:30:00Z", 0), // 02:30 again
        ("2026-10-26T01:30:00Z", 1),
    ] {
        assert_eq!(bench.fired_at(time).await, runs, "{time}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_runs_are_made_up_by_one_and_a_restart_changes_nothing() {
    let bench = Bench::at("2026-11-20T07:00:10Z").await;
    bench.add(1, "* * * * *", "Etc/UTC").await;
    let clock = bench.scheduler.clock.clone();
    let Bench { queue, scheduler: stopped, folder } = bench;
    drop((queue, stopped));
    clock.advance(Duration::from_secs(5 * 3600));
    let queue = open(folder.path());
    let bench = Bench { scheduler: scheduler(&queue, clock), queue, folder };
    assert_eq!(bench.scheduler.fire_due().await.unwrap(), 1);
    assert_eq!(bench.scheduler.fire_due().await.unwrap(), 0);
    let due_ms = bench.task(1).await.due_ms.unwrap();
    assert!((due_ms - bench.scheduler.clock.now_ms()) <= 60_000, "and then it goes on as it was");
    assert_eq!(bench.requests(1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_fire_the_same_run_make_one_request() {
    let bench = Bench::at("2026-11-20T07:00:00Z").await;
    bench.add(1, "* * * * *", "Etc/UTC").await;
    bench.move_to("2026-11-20T07:01:00Z");
    let task = bench.task(1).await;
    let fired = futures::future::join_all((0..10).map(|_| bench.scheduler.fire(&task))).await;
    let accepted = fired.into_iter().filter(|fired| *fired.as_ref().unwrap() == Fired::Accepted).count();
    assert_eq!((accepted, bench.requests(1).await.len()), (1, 1));
    // Nor does an old plan run once it has been changed.
    bench.move_to("2026-11-20T07:02:00Z");
    let old = bench.task(1).await;
    let change = || bench.queue.change_task("AK", 1, old.revision, old.plan.clone(), NextTime::Kept);
    assert!(change().await.unwrap());
    assert!(!change().await.unwrap());
    assert_eq!(bench.scheduler.fire(&old).await.unwrap(), Fired::Superseded);
    assert_eq!(bench.scheduler.fire_due().await.unwrap(), 1);
    // And a change that came between looking and firing brings no time back that has been.
    let ran = bench.task(1).await;
    assert!(bench.queue.change_task("AK", 1, ran.revision, ran.plan, NextTime::Kept).await.unwrap());
    assert_eq!(bench.scheduler.fire_due().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_for_tasks_and_a_refusal_is_seen_in_the_task() {
    let bench = Bench::at("2026-11-20T07:00:00Z").await;
    let quota = KeyLimits { monthly_quota: Some(1), ..KeyLimits::default() };
    assert!(bench.queue.set_limits("AK", quota).await.unwrap());
    bench.add(1, "* * * * *", "Etc/UTC").await;
    assert_eq!(bench.fired_at("2026-11-20T07:01:00Z").await, 1);
    bench.end(done()).await;
    assert_eq!(bench.fired_at("2026-11-20T07:02:00Z").await, 0);
    let task = bench.task(1).await;
    let last_run = task.last_run.unwrap();
    assert_eq!((task.runs, last_run.status.as_str(), last_run.request_id), (1, "refused", None));
    assert_eq!(last_run.error_code.as_deref(), Some("screenshots_limit_reached"));
    // A new month, and it goes on.
    assert_eq!(bench.fired_at("2026-12-01T00:00:00Z").await, 1);
    let last_run = bench.task(1).await.last_run.unwrap();
    assert_eq!((last_run.status.as_str(), last_run.error_code), ("queued", None));

    // What has become invalid since is refused as a direct call would be.
    let task = bench.task(1).await;
    let run = Run {
        task_id: 1,
        due_ms: task.due_ms.unwrap(),
        revision: task.revision,
        now_ms: bench.scheduler.clock.now_ms(),
        next_ms: task.due_ms.map(|due_ms| due_ms + 60_000),
        request: Err(Problem::with_detail(Code::TargetNotAllowed, "url", "\"url\": not there")),
    };
    assert_eq!(bench.queue.fire(run).await.unwrap(), Fired::Refused);
    let last_run = bench.task(1).await.last_run.unwrap();
    assert_eq!(last_run.error_code.as_deref(), Some("target_not_allowed"));
    assert_eq!(last_run.error_message.as_deref(), Some("\"url\": not there"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_puts_a_run_off_and_a_revoked_key_ends_it() {
    let bench = Bench::at("2026-11-20T07:00:00Z").await;
    for id in 1..=CAPACITY + 2 {
        bench.add(id, "0 8 * * *", "Etc/UTC").await;
    }
    assert_eq!(bench.fired_at("2026-11-20T08:00:00Z").await, CAPACITY);
    assert_eq!(bench.scheduler.fire_due().await.unwrap(), 0, "they wait");
    bench.end(done()).await;
    assert_eq!(bench.scheduler.fire_due().await.unwrap(), 1, "and run when there is room");
    assert!(bench.queue.revoke("AK", 0).await.unwrap());
    bench.end(done()).await;
    assert_eq!(bench.scheduler.fire_due().await.unwrap(), 0);
    assert_eq!(bench.fired_at("2026-11-21T08:00:00Z").await, 0);
    let tasks = bench.queue.tasks("AK").await.unwrap();
    assert!(tasks.iter().all(|task| task.due_ms.is_none()), "nobody looks at them any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_lies_in_the_database_sealed() {
    let bench = Bench::at("2026-11-20T07:00:00Z").await;
    bench.add(1, "* * * * *", "Etc/UTC").await;
    assert_eq!(bench.fired_at("2026-11-20T07:01:00Z").await, 1);
    assert!(bench.task(1).await.plan.query.contains("open-sesame"));
    let mut read = 0;
    for file in std::fs::read_dir(bench.folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(11).any(|window| window == b"open-sesame"), "it is in the clear");
        read += bytes.len();
    }
    assert!(read > 10_000, "something was looked at");
}
