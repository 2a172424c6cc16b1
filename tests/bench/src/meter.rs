//! What a process and everything it has started take: processor time, and memory.
//!
//! Processor time is that of a control group, if this user may make one (root may): it holds every process that the first
//! one starts, also those that have ended, and costs nothing to read. Without one it is summed over /proc, where a process
//! carries the time of the children that it has waited for; what was never waited for is missing then.

use std::path::{Path, PathBuf};
use std::time::Duration;

use snaphook_tests::descendants;

/// In which /proc counts, whatever the kernel counts in.
const TICKS_PER_SECOND: u64 = 100;

/// Where a contender's processes are.
pub(super) enum Meter {
    Group { folder: PathBuf, first_version: bool },
    Tree { root: u32 },
}

impl Meter {
    /// A control group, if there can be one.
    pub(super) fn group(name: &str) -> Option<Meter> {
        let name = format!("snaphook-bench-{}-{name}", std::process::id());
        for (parent, file, first_version) in
            [("/sys/fs/cgroup", "cpu.stat", false), ("/sys/fs/cgroup/cpuacct", "cpuacct.usage", true)]
        {
            let folder = Path::new(parent).join(&name);
            if std::fs::create_dir(&folder).is_ok() {
                let meter = Meter::Group { folder, first_version };
                let Meter::Group { folder, .. } = &meter else { continue };
                if std::fs::read(folder.join(file)).is_ok() {
                    return Some(meter);
                }
            }
        }
        None
    }

    pub(super) fn method(&self) -> &'static str {
        match self {
            Meter::Group { .. } => "a control group for each contender",
            Meter::Tree { .. } => "the sum over /proc of each contender's processes",
        }
    }

    /// What a command must be started by to be in the group: a shell that enters it and then becomes the command.
    pub(super) fn entrance(&self) -> Vec<String> {
        match self {
            Meter::Group { folder, .. } => {
                let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", folder.display());
                ["sh", "-c", &enter, "sh"].map(str::to_owned).to_vec()
            }
            Meter::Tree { .. } => Vec::new(),
        }
    }

    /// Processor time since the beginning, user and system together.
    pub(super) fn cpu(&self) -> Duration {
        match self {
            Meter::Group { folder, first_version: true } => {
                let text = std::fs::read_to_string(folder.join("cpuacct.usage")).unwrap_or_default();
                Duration::from_nanos(text.trim().parse().unwrap_or(0))
            }
            Meter::Group { folder, first_version: false } => {
                let text = std::fs::read_to_string(folder.join("cpu.stat")).unwrap_or_default();
                let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap_or_default();
                Duration::from_micros(usage.parse().unwrap_or(0))
            }
            Meter::Tree { .. } => self.processes().into_iter().map(ticks).sum(),
        }
    }

    /// Memory of all its processes, in bytes; a page that several share is counted once.
    pub(super) fn memory(&self) -> u64 {
        self.processes().into_iter().map(proportional).sum()
    }

    fn processes(&self) -> Vec<u32> {
        match self {
            Meter::Group { folder, .. } => {
                let text = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
                text.lines().filter_map(|line| line.parse().ok()).collect()
            }
            Meter::Tree { root } => {
                let below = descendants::of(*root).into_iter().map(|process| process.pid);
                std::iter::once(*root).chain(below).collect()
            }
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Meter::Group { folder, .. } = self {
            // Only an empty one goes; its last processes may still be ending.
            for _ in 0..20 {
                if std::fs::remove_dir(&mut *folder).is_ok() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// Its own time and that of the children it has waited for.
fn ticks(process: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // After the name, which may hold anything: state is the first field, the four times are the 12th to the 15th.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u64 = fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

/// Processor time of this process alone.
pub(super) fn own_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

fn proportional(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

/// Resident memory of one process alone, in bytes.
pub(super) fn resident(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}
