//! The processes that a process has started, so that a test can say whether one of them was left behind.

use std::path::Path;

/// A process, and not a later one that was given the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub name: String,
    started: String,
}

impl Process {
    /// What it was started with, blanks between the words; empty if it is gone.
    pub fn command_line(&self) -> String {
        let line = std::fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ")
    }

    /// Ends it, if it is still there.
    pub fn kill9(&self) {
        self.signal(rustix::process::Signal::KILL);
    }

    /// Lets it stand still, as one that hangs does.
    pub fn suspend(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        if still_running(std::slice::from_ref(self)).is_empty() {
            return;
        }
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// All descendants of a process that are alive now.
pub fn of(ancestor: u32) -> Vec<Process> {
    let all = all();
    let mut found: Vec<(u32, Process)> = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        for (_, process) in all.iter().filter(|(its_parent, _)| *its_parent == parent) {
            parents.push(process.pid);
            found.push((parent, process.clone()));
        }
    }
    found.into_iter().map(|(_, process)| process).collect()
}

/// Those of them that still run.
pub fn still_running(processes: &[Process]) -> Vec<Process> {
    let all = all();
    processes.iter().filter(|process| all.iter().any(|(_, now)| now == *process)).cloned().collect()
}

/// Every process that is no zombie, with its parent.
fn all() -> Vec<(u32, Process)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| read(&entry.path())).collect()
}

/// `/proc/<pid>/stat`: the name is in parentheses and may hold anything; state, parent and so on come after it.
fn read(folder: &Path) -> Option<(u32, Process)> {
    let pid = folder.file_name()?.to_str()?.parse().ok()?;
    let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let (state, parent, started) = (fields.first()?, fields.get(1)?.parse().ok()?, (*fields.get(19)?).to_owned());
    (*state != "Z").then(|| (parent, Process { pid, name: name.to_owned(), started }))
}
