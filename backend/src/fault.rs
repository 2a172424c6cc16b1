//! Places where a test may let the process die, as if by `kill -9`. They exist in debug builds only.
//!
//! `SNAPHOOK_FAULT=after-store-put:3` kills the process the third time that it comes by that place.

//!
//! And safeguards that a test may take away, to see that it is noticed: `SNAPHOOK_WITHOUT=--disable-quic`.

/// Every place, in the order in which a request passes them.
pub const POINTS: [&str; 7] = [
    "before-commit",
    "after-commit",
    "during-render",
    "before-store-put",
    "after-store-put",
    "during-post",
    "after-post",
];

/// Marks a place.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static FAULT: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();
    let fault = FAULT.get_or_init(|| {
        let text = std::env::var("SNAPHOOK_FAULT").ok()?;
        let (name, count) = text.split_once(':')?;
        Some((name.to_owned(), AtomicU32::new(count.parse().ok()?)))
    });
    if let Some((fatal, left)) = fault
        && fatal == name
        && left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Marks a place; here, in a release build, nothing is there.
#[cfg(not(debug_assertions))]
pub(crate) fn point(_name: &str) {}

/// Whether a test has taken this safeguard away.
#[cfg(debug_assertions)]
pub(crate) fn is_removed(safeguard: &str) -> bool {
    std::env::var("SNAPHOOK_WITHOUT").is_ok_and(|removed| removed.split(' ').any(|name| name == safeguard))
}

/// In a release build nothing can be taken away.
#[cfg(not(debug_assertions))]
pub(crate) fn is_removed(_safeguard: &str) -> bool {
    false
}
