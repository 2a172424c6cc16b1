//! How much memory a browser takes, and what happens to a page that takes too much.
//!
//! A renderer that grows beyond a page's share is killed: its page has crashed, as far as anybody can tell, and the others
//! go on. A browser that has grown beyond its own share is replaced as one that is worn out is (see the module above); if it
//! grows on all the same, by many frames that each stay within theirs, its largest renderer goes.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Memory can grow by some hundred megabytes in this time, and reading the numbers takes about a millisecond.
pub(super) const INTERVAL: Duration = Duration::from_millis(250);

const MEGABYTE_KB: u64 = 1024;

/// Ceilings in megabytes.
#[derive(Clone, Copy, Debug)]
pub struct MemoryLimits {
    /// Of one renderer process, which is a page or a frame of it from another site.
    pub page_mb: u64,
    /// Of a browser with all its processes; above it, no new page is opened in it.
    pub browser_mb: u64,
}

/// One process of a browser.
struct Process {
    pid: Pid,
    is_renderer: bool,
    kb: u64,
}

/// Ends the renderers that hold more than they may, and gives what all processes of the group hold for themselves, in
/// megabytes. One look serves both: it reads what every process of the machine is.
pub(super) fn end_overgrown(group: Pid, limits: MemoryLimits) -> u64 {
    let all = members(group);
    let overgrown = |process: &Process| process.is_renderer && process.kb > limits.page_mb * MEGABYTE_KB;
    let ended = |process: &Process| {
        tracing::warn!(pid = process.pid.as_raw_nonzero(), kb = process.kb, "a page took too much memory and is ended");
        kill_process(process.pid, Signal::KILL).is_ok()
    };
    let mut kept: Vec<&Process> = all.iter().filter(|process| !(overgrown(process) && ended(process))).collect();
    let total_mb = |kept: &[&Process]| kept.iter().map(|process| process.kb).sum::<u64>() / MEGABYTE_KB;
    // One at a look: what it leaves comes free in a moment, and may be enough.
    let bearable_mb = limits.browser_mb.max(limits.page_mb);
    if total_mb(&kept) > bearable_mb.saturating_add(bearable_mb / 4)
        && let Some(largest) = kept.iter().filter(|process| process.is_renderer).map(|process| process.kb).max()
    {
        kept.retain(|process| !(process.is_renderer && process.kb == largest && ended(process)));
    }
    total_mb(&kept)
}

/// The browser's processes: they all stay in the group that the first one leads.
fn members(group: Pid) -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| member(&entry.path(), group)).collect()
}

fn member(folder: &Path, group: Pid) -> Option<Process> {
    let pid = Pid::from_raw(folder.file_name()?.to_str()?.parse().ok()?)?;
    let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
    // The name is in parentheses and may hold anything; state, parent and group come after it.
    let its_group: i32 = stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()?;
    if its_group != group.as_raw_nonzero().get() {
        return None;
    }
    let status = std::fs::read_to_string(folder.join("status")).ok()?;
    let command = std::fs::read(folder.join("cmdline")).ok()?;
    let is_renderer = command.windows(15).any(|text| text == b"--type=renderer");
    // What is mapped from files is shared by all of them, and costs nothing more.
    let kb = ["RssAnon:", "RssShmem:"].iter().filter_map(|name| kilobytes(&status, name)).sum();
    Some(Process { pid, is_renderer, kb })
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::*;

    /// Something that looks like a renderer and holds so many megabytes.
    fn renderer(mb: u32, group: i32) -> std::process::Child {
        // A number that is not known beforehand, or perl would make two of the texts.
        let script =
            format!("my $n = int({mb} + rand(0.5)); my $x = 'x' x ($n << 20); $| = 1; print 'there'; sleep 60");
        let mut command = std::process::Command::new("perl");
        command.args(["-e", &script, "--", "--type=renderer"]).process_group(group);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 5]).unwrap();
        child
    }

    #[test]
    fn the_largest_goes_where_many_within_their_limits_are_too_much_together() {
        let mut small = renderer(60, 0);
        let group = Pid::from_child(&small);
        let mut large = renderer(80, group.as_raw_nonzero().get());
        let limits = |page_mb| MemoryLimits { page_mb, browser_mb: 50 };
        assert!(end_overgrown(group, limits(150)) >= 140);
        assert!(large.try_wait().unwrap().is_none(), "one page may have so much");
        let left_mb = end_overgrown(group, limits(100));
        assert!((60..100).contains(&left_mb), "{left_mb} MB");
        assert!(!large.wait().unwrap().success());
        assert!(small.try_wait().unwrap().is_none());
        small.kill().unwrap();
        small.wait().unwrap();
    }

    #[test]
    fn a_group_is_measured_by_what_its_processes_hold() {
        let held = vec![1_u8; 64 * 1024 * 1024];
        let group = rustix::process::getpgrp();
        let limits = MemoryLimits { page_mb: u64::MAX / MEGABYTE_KB, browser_mb: u64::MAX };
        let (mb, processes) = (end_overgrown(group, limits), members(group));
        assert!(mb >= 64, "{mb} MB, of {} processes", processes.len());
        assert!(processes.iter().any(|process| process.pid == rustix::process::getpid() && !process.is_renderer));
        drop(held);
        assert_eq!(kilobytes("VmRSS:\t 9 kB\nRssAnon:\t     712 kB\n", "RssAnon:"), Some(712));
    }
}
