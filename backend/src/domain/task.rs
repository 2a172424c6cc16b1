//! A scheduled task as it is kept, and what becomes of it when its time has come.

use async_trait::async_trait;
use snaphook_shared::code::Problem;
use snaphook_shared::task::Plan;

use super::job::NewRequest;
use super::ports::QueueError;

/// A task as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub id: u64,
    pub access_key: String,
    pub plan: Plan,
    /// Unix milliseconds, like all times here.
    pub created_ms: u64,
    /// When it runs next. None: it is paused, or its time never comes.
    pub due_ms: Option<u64>,
    /// Requests that it has made.
    pub runs: u64,
    pub last_run: Option<LastRun>,
    /// Counts the changes of the plan, so that nobody acts on an old one.
    pub revision: u64,
}

/// The last time that a task's time came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRun {
    pub at_ms: u64,
    /// The state of its request, or [`REFUSED`].
    pub status: String,
    pub request_id: Option<String>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
}

/// What a run is whose request was not accepted: its key has used what it may, or its query is no longer valid.
pub const REFUSED: &str = "refused";

/// A run of a task whose time has come.
#[derive(Clone, Debug)]
pub struct Run {
    pub task_id: u64,
    /// As they were when the run was made up; another one has taken its place if they are no longer.
    pub due_ms: u64,
    pub revision: u64,
    pub now_ms: u64,
    /// When the one after it is due.
    pub next_ms: Option<u64>,
    /// What is to be accepted, or why nothing can be.
    pub request: Result<NewRequest, Problem>,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fired {
    /// Its request is in the queue.
    Accepted,
    /// There is no request; the task says why.
    Refused,
    /// The queue is full, and the task still due.
    Later,
    /// It is not to run any more: somebody else ran it, or it was changed, paused or removed, or its key has ended.
    Superseded,
}

/// When a task with a new plan runs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextTime {
    /// As it stands when the change is made: it may have run since its owner looked.
    Kept,
    Set(Option<u64>),
}

/// Tasks in stable storage. As for [`super::ports::JobQueue`], each method is one transaction.
#[async_trait]
pub trait Tasks: Send + Sync {
    /// Keeps a new task. False if its key has as many as it may.
    async fn add_task(&self, task: Task) -> Result<bool, QueueError>;
    /// A task of this key.
    async fn task(&self, access_key: &str, id: u64) -> Result<Option<Task>, QueueError>;
    /// All tasks of this key, oldest first.
    async fn tasks(&self, access_key: &str) -> Result<Vec<Task>, QueueError>;
    /// Gives a task another plan and another time. False if it has been changed since `revision`, or is gone.
    async fn change_task(
        &self,
        access_key: &str,
        id: u64,
        revision: u64,
        plan: Plan,
        next: NextTime,
    ) -> Result<bool, QueueError>;
    /// Removes a task; what it has made stays. False if there is none.
    async fn remove_task(&self, access_key: &str, id: u64) -> Result<bool, QueueError>;
    /// At most `limit` tasks whose time has come, the longest due first.
    async fn due_tasks(&self, now_ms: u64, limit: u32) -> Result<Vec<Task>, QueueError>;
    /// Accepts a run's request and moves the task to its next time, both or neither.
    async fn fire(&self, run: Run) -> Result<Fired, QueueError>;
}
