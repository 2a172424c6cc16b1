//! Waiting with a deadline: the only place where a test sleeps.

use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(25);

/// Asks again and again until there is an answer.
///
/// # Panics
/// When the limit has passed; the message says what was awaited.
pub async fn until<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain for {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// [`until`] for what is asked without awaiting.
pub async fn for_it<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    until(what, limit, async || ask()).await
}

/// Whether it holds in time.
pub async fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
    true
}

/// As [`for_it`] on a thread that is no runtime's, and without a panic: for destructors. False when the limit has passed.
pub fn blocking(limit: Duration, mut ask: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !ask() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

/// Seconds, for limits.
pub const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
