//! Runs futures by turns. What waits is an asynchronous function of JavaScript (`worker.js`): a future gives it the promise that
//! it waits for, and is resumed with what became of that.
//!
//! Never wakes anything: a future waits for one promise at a time, and for nothing but promises. A module that was made anew
//! after a panic knows none of the tasks of before, and says so to whoever resumes one.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

type Settled = Result<JsValue, JsValue>;
type Task = Pin<Box<dyn Future<Output = Settled>>>;

/// Tasks that wait at the same time: more than an isolate has room for. A caller who goes away may take the promise along that a
/// task waits for; nobody resumes it then, and it ends as the oldest.
const TASKS_MAX: usize = 8192;

thread_local! {
    /// Those that wait, the oldest first.
    static TASKS: RefCell<Vec<(u32, Task)>> = const { RefCell::new(Vec::new()) };
    /// What the task at work waits for from now on.
    static AWAITED: Cell<Option<Promised>> = const { Cell::new(None) };
    /// What became of that which it waited for.
    static SETTLED: Cell<Option<Settled>> = const { Cell::new(None) };
}

#[wasm_bindgen]
extern "C" {
    /// A promise of the platform.
    pub(crate) type Promised;
}

impl IntoFuture for Promised {
    type Output = Settled;
    type IntoFuture = Waiting;

    fn into_future(self) -> Waiting {
        Waiting(Some(self))
    }
}

/// Waits for a promise.
pub(crate) struct Waiting(Option<Promised>);

impl Future for Waiting {
    type Output = Settled;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Settled> {
        match self.0.take() {
            Some(promise) => {
                AWAITED.set(Some(promise));
                Poll::Pending
            }
            None => Poll::Ready(SETTLED.take().unwrap_or(Err(JsValue::UNDEFINED))),
        }
    }
}

/// Begins a task under a number that none had before. Gives the promise that it waits for, or what it came to.
///
/// # Errors
/// The task's own.
pub(crate) fn begin(number: u32, task: impl Future<Output = Settled> + 'static) -> Settled {
    turn(number, Box::pin(task))
}

/// Goes on with a task, now that what it waited for has come to a value or, if `failed`, to an error.
///
/// # Errors
/// The task's own; and for a task that is not known here.
pub(crate) fn resume(number: u32, value: JsValue, failed: bool) -> Settled {
    let waiting = TASKS.with_borrow_mut(|tasks| {
        let index = tasks.iter().position(|(own, _)| *own == number)?;
        Some(tasks.remove(index).1)
    });
    let Some(task) = waiting else { return Err(JsValue::from_str("the module was made anew meanwhile")) };
    SETTLED.set(Some(if failed { Err(value) } else { Ok(value) }));
    turn(number, task)
}

fn turn(number: u32, mut task: Task) -> Settled {
    match task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(end) => end,
        Poll::Pending => {
            let gone = TASKS.with_borrow_mut(|tasks| {
                let gone = (tasks.len() >= TASKS_MAX).then(|| tasks.remove(0));
                tasks.push((number, task));
                gone
            });
            // What a task holds may be anything; it goes when nothing is borrowed.
            drop(gone);
            Ok(AWAITED.take().map_or(JsValue::UNDEFINED, Into::into))
        }
    }
}

/// A branch that few requests take, kept apart from the others: a function is compiled in its whole when it is first called.
pub(crate) fn apart<'a, T>(branch: impl Future<Output = T> + 'a) -> Pin<Box<dyn Future<Output = T> + 'a>> {
    Box::pin(branch)
}
