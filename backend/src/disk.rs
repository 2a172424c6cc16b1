//! How much room there is where something is kept.

use std::io;
use std::path::Path;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_no_more_free_than_in_all() {
        let folder = tempfile::tempdir().unwrap();
        let Room { free, total } = room(folder.path()).unwrap();
        assert!(total > 0 && free <= total, "{free} of {total}");
        assert!(room(&folder.path().join("nothing")).is_err());
    }
}
