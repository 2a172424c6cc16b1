//! Places where a test may let the process die, as if by `kill -9`, or stand still, as if by `kill -STOP`, so that something
//! else can be killed at that moment. They exist in debug builds only.
//!
//! `SNAPHOOK_FAULTS` is a folder. A file in it that has a place's name holds `kill 3` or `stop 3`: that happens the third time
//! from now that the process comes by there, and the file is taken away.
//!
//! And safeguards that a test may take away, to see that it is noticed: `SNAPHOOK_WITHOUT=--disable-quic`.

/// Marks a place.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &str) {
    use rustix::process::{Signal, getpid, kill_process};

    let Some(folder) = std::env::var_os("SNAPHOOK_FAULTS") else { return };
    if let Some(signal) = take(&std::path::Path::new(&folder).join(name)) {
        let _ = kill_process(getpid(), if signal == "stop" { Signal::STOP } else { Signal::KILL });
        // Another thread may be the first to see the signal; this one goes no further before it stands still.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// What is to happen now, if it is its time.
#[cfg(debug_assertions)]
fn take(file: &std::path::Path) -> Option<String> {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

    let _alone = ONE_AT_A_TIME.lock();
    let text = std::fs::read_to_string(file).ok()?;
    let (signal, passes) = text.split_once(' ')?;
    let passes: u32 = passes.parse().ok()?;
    if passes > 1 {
        std::fs::write(file, format!("{signal} {}", passes - 1)).ok()?;
        return None;
    }
    std::fs::remove_file(file).ok()?;
    Some(signal.to_owned())
}

/// Marks a place; here, in a release build, nothing is there.
#[cfg(not(debug_assertions))]
pub(crate) fn point(_name: &str) {}

/// Marks a place in the midst of a step: it has begun and not ended.
pub(crate) async fn within<T>(name: &str, step: impl Future<Output = T>) -> T {
    let mut step = std::pin::pin!(step);
    match futures::poll!(step.as_mut()) {
        std::task::Poll::Ready(result) => result,
        std::task::Poll::Pending => {
            point(name);
            step.await
        }
    }
}

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
