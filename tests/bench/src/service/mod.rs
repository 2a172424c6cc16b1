//! The whole service by itself, over HTTP: what it answers in what time, what it takes, and whether that stays so.

mod answers;
mod drift;
mod files;
mod load;
mod memory;
mod pinned;

use crate::figures;

pub(crate) fn measure(parts: &[&str]) {
    let wanted = |name: &str| parts.is_empty() || parts.contains(&name);
    figures::head();
    snaphook_tests::run(async {
        if wanted("answers") {
            answers::measure().await;
        }
        if wanted("files") {
            files::measure().await;
        }
        if wanted("memory") {
            memory::measure().await;
        }
        if wanted("load") {
            load::measure().await;
        }
        // Not by itself: it needs PostgreSQL.
        if parts.contains(&"pinned") {
            pinned::measure().await;
        }
        if wanted("drift") {
            drift::measure().await;
        }
    });
}
