//! How much room there is where something is kept.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::statvfs;

const GIGABYTE: u64 = 1 << 30;
/// Free bytes below which something should be done.
pub const ROOM_WANTED: u64 = 2 * GIGABYTE;
/// And below which nothing can be done: a browser's scratch alone takes so much.
pub const ROOM_NEEDED: u64 = GIGABYTE / 4;

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// For whom we run as; some of the rest may be kept for root.
    pub free: u64,
    pub total: u64,
}

/// The file system that a path is on.
///
/// # Errors
/// If there is nothing at the path.
pub fn room(path: &Path) -> io::Result<Room> {
    let disk = statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Ok(Room { free: bytes(disk.f_bavail), total: bytes(disk.f_blocks) })
}

/// Whether there was room for new work when somebody last looked. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct LastLook {
    short: Arc<AtomicBool>,
}

impl LastLook {
    pub fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// Looks at the file system of a path. One that cannot be looked at is not known to be short of room.
    pub fn look(&self, path: &Path, free_min: u64) {
        let short = room(path).is_ok_and(|room| room.free < free_min);
        if short != self.short.swap(short, Ordering::Relaxed) {
            match short {
                true => tracing::error!("the disk is nearly full: nothing new is accepted"),
                false => tracing::info!("there is room on the disk again"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_no_more_free_than_in_all() {
        let folder = tempfile::tempdir().unwrap();
        let Room { free, total } = room(folder.path()).unwrap();
        assert!(total > 0 && free <= total, "{free} of {total}");
        assert!(room(&folder.path().join("nothing")).is_err());
        let last = LastLook::default();
        for (path, free_min, short) in
            [("", 0, false), ("", u64::MAX, true), ("", 1, false), ("nothing", u64::MAX, false)]
        {
            last.look(&folder.path().join(path), free_min);
            assert_eq!(last.is_short(), short, "{path} {free_min}");
        }
    }
}
