//! What the end-to-end tests and the demo have in common: the real parts, started and stopped, and things to point them at.
//!
//! Nothing here knows how snaphook works inside: it starts programs, speaks HTTP to them and looks at pictures.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a harness may fail loudly")]

pub mod azure;
pub mod calls;
pub mod canary;
pub mod client;
pub mod collector;
pub mod descendants;
pub mod faults;
pub mod operator;
pub mod part;
pub mod picture;
pub mod program;
pub mod receiver;
pub mod rogue;
pub mod s3;
pub mod serve;
pub mod site;
pub mod stack;
pub mod video;
pub mod wait;
pub mod wire;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The one runtime of all tests and of the servers in this harness. Shared parts outlive the test that started them, and so
/// must what they run on.
pub fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        // Without a choice the first TLS use would panic.
        let _ = rustls::crypto::ring::default_provider().install_default();
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    })
}

/// Runs a test's body on [`runtime`].
pub fn run<T>(body: impl Future<Output = T>) -> T {
    runtime().block_on(body)
}

/// A path in this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// So many random bytes as hexadecimal digits.
pub fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).expect("the system has randomness");
    hex::encode(random)
}
