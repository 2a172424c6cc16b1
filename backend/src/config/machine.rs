//! What this process may use of its machine, and how much rendering that allows when the settings leave it open.

use std::path::Path;

use super::RenderConfig;

/// Taken before any page is counted: the service, the system, and a browser without a page.
const BASE_MB: u64 = 512;
/// What a page usually holds, its frames from other sites included.
const PAGE_MB: u64 = 384;
/// The most that limits left open come to.
const PAGE_MAX_MB: u64 = 1536;
const BROWSER_MAX_MB: u64 = 3072;

/// Cores and memory, by what the machine has and what control groups leave of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    pub cores: usize,
    pub memory_mb: u64,
}

/// How much is rendered at once, and what it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizing {
    /// Pages open at once.
    pub concurrency: usize,
    /// Megabytes of one page, and of a browser with all its processes.
    pub page_mb: u64,
    pub browser_mb: u64,
}

impl Machine {
    /// The one we are on. Where nothing can be read, the memory counts as plenty.
    pub fn here() -> Machine {
        let root = Path::new("/");
        let memory = [total_memory(root), group_memory(root)].into_iter().flatten().min();
        Machine {
            // Knows of affinity and of quotas of control groups.
            cores: std::thread::available_parallelism().map_or(2, usize::from),
            memory_mb: memory.unwrap_or(u64::MAX) >> 20,
        }
    }
}

impl Sizing {
    /// What the settings say, and where they say 0, what the machine allows.
    pub(super) fn of(render: &RenderConfig, machine: Machine) -> Sizing {
        let or = |set: u64, chosen: u64| if set == 0 { chosen } else { set };
        // One page mostly waits for the network, so a single core takes two; not where they have no room.
        let by_memory = machine.memory_mb.saturating_sub(BASE_MB) / PAGE_MB;
        let chosen = machine.cores.max(2).min(usize::try_from(by_memory).unwrap_or(usize::MAX)).max(1);
        Sizing {
            concurrency: if render.concurrency == 0 { chosen } else { render.concurrency },
            page_mb: or(render.page_memory_max_mb, PAGE_MAX_MB.min(machine.memory_mb / 2).max(1)),
            browser_mb: or(render.browser_memory_max_mb, BROWSER_MAX_MB.min(machine.memory_mb / 4 * 3).max(1)),
        }
    }
}

/// Bytes.
fn total_memory(root: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// The least that the group of this process and those above it may hold, in bytes; None without a limit. Of both versions
/// (kernel documentation, cgroup-v2 "memory.max", cgroup-v1 "memory.limit_in_bytes").
fn group_memory(root: &Path) -> Option<u64> {
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let limits = groups.lines().filter_map(|line| {
        // hierarchy, controllers, path; the second version has no controllers.
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        let (mount, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // In a container the path may be that outside of it; the mount is then its own group.
        let above = Path::new(path).ancestors().map(|group| root.join(mount).join(group).join(file));
        above.filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()).min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_narrowest_group_counts() {
        let second = machine(&[
            ("proc/self/cgroup", "0::/system.slice/snaphook.service\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "2147483648\n"),
            ("sys/fs/cgroup/system.slice/snaphook.service/memory.max", "max\n"),
        ]);
        assert_eq!(group_memory(second.path()), Some(2 << 30));
        let first = machine(&[
            ("proc/self/cgroup", "5:devices:/\n4:cpu,memory:/docker/abc\n0::/\n"),
            ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "1073741824\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(group_memory(first.path()), Some(1 << 30));
        let container =
            machine(&[("proc/self/cgroup", "0::/../outside\n"), ("sys/fs/cgroup/memory.max", "536870912\n")]);
        assert_eq!(group_memory(container.path()), Some(512 << 20));
        let free = machine(&[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "max\n")]);
        assert_eq!(group_memory(free.path()), None);
        assert_eq!(group_memory(machine(&[]).path()), None);
    }

    #[test]
    fn all_memory_is_read() {
        let root = machine(&[("proc/meminfo", "MemTotal:       24689016 kB\nMemFree:  1 kB\n")]);
        assert_eq!(total_memory(root.path()), Some(24_689_016 * 1024));
        let here = Machine::here();
        assert!(here.cores >= 1 && (64..1 << 30).contains(&here.memory_mb), "{here:?}");
    }

    #[test]
    fn little_memory_means_few_pages() {
        let render = super::super::Config::load(None, &|_| None).unwrap().render;
        let of = |cores, memory_mb| {
            let Sizing { concurrency, page_mb, browser_mb } = Sizing::of(&render, Machine { cores, memory_mb });
            (concurrency, page_mb, browser_mb)
        };
        assert_eq!(of(16, 64 << 10), (16, 1536, 3072));
        assert_eq!(of(16, 4 << 10), (9, 1536, 3072));
        assert_eq!(of(1, 2 << 10), (2, 1024, 1536));
        assert_eq!(of(4, 512), (1, 256, 384));
    }
}
