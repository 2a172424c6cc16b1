//! What the queue and the webhooks take. The parts are the real ones, as the service puts them together; only the renders
//! are left out.

mod accepts;
mod deliveries;
mod lists;
mod postgres;
mod rig;

use std::path::PathBuf;

pub(crate) use rig::now_ms;

pub(crate) fn measure(parts: &[&str]) {
    // The disk that is measured is the one with this folder.
    let disk = std::env::var_os("SNAPHOOK_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(disk).expect("a folder on the disk to measure");
    let more: Vec<u64> = parts.iter().filter_map(|part| part.strip_prefix("--rows=")?.parse().ok()).collect();
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.starts_with("--")).collect();
    let wanted = |name: &str| parts.is_empty() || parts.contains(&name);
    crate::figures::head();
    snaphook_tests::run(async {
        if wanted("deliveries") {
            deliveries::measure(folder.path()).await;
        }
        if wanted("accepts") {
            accepts::measure(folder.path()).await;
        }
        if wanted("postgres") {
            postgres::measure(folder.path()).await;
        }
        if wanted("jobs") {
            postgres::jobs::measure(folder.path()).await;
        }
        if wanted("rows") {
            postgres::rows::measure(folder.path(), &more).await;
        }
        if wanted("lists") {
            lists::measure(folder.path()).await;
        }
    });
}
