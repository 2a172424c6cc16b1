//! Places in the backend at which it can be made to die or to stand still (`backend/src/fault.rs`; debug builds only).

use std::path::Path;

use tempfile::TempDir;

/// Every place that the backend marks (`tidy` looks), in the order in which a request passes them.
pub const POINTS: [&str; 7] = [
    "before-commit",
    "after-commit",
    "during-render",
    "before-store-put",
    "after-store-put",
    "during-post",
    "after-post",
];

/// What is to happen, to the backend whose `SNAPHOOK_FAULTS` is this folder.
pub struct Faults(TempDir);

impl Faults {
    #[expect(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Faults {
        Faults(tempfile::tempdir().expect("a folder"))
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// The backend dies when it comes by there for the n-th time from now.
    pub fn kill_at(&self, point: &str, nth: u64) {
        self.set(point, &format!("kill {nth}"));
    }

    /// The backend stands still when it comes by there for the n-th time from now.
    pub fn suspend_at(&self, point: &str, nth: u64) {
        self.set(point, &format!("stop {nth}"));
    }

    fn set(&self, point: &str, what: &str) {
        assert!(POINTS.contains(&point), "{point} is nowhere");
        // In one step: the backend may be about to look.
        let unfinished = self.folder().join("unfinished");
        std::fs::write(&unfinished, what).expect("room on the disk");
        std::fs::rename(unfinished, self.folder().join(point)).expect("the same folder");
    }

    /// Nothing is to happen any more.
    pub fn forget(&self, point: &str) {
        let _ = std::fs::remove_file(self.folder().join(point));
    }
}
