//! A program under test: started, listened to, stopped. Only processes started here are ever signalled, by their handle.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;

use crate::wait;

/// A running program and all that it has said.
pub struct Part {
    name: &'static str,
    child: Child,
    /// Behind a lock only because parts are shared between threads.
    lines: Mutex<Receiver<String>>,
    log: Arc<Mutex<String>>,
    stop_limit: Duration,
}

impl Part {
    /// Starts a program. Its standard input stays open for as long as this lives; some parts end when it closes.
    pub fn start(name: &'static str, command: &mut Command) -> Result<Part, String> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|error| {
                format!("{name} could not be started ({}): {error}", command.get_program().display())
            })?;
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, lines) = channel();
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        read_lines(stdout, log.clone(), move |line| drop(sender.send(line.to_owned())));
        read_lines(stderr, log.clone(), |_| {});
        Ok(Part { name, child, lines: Mutex::new(lines), log, stop_limit: Duration::from_secs(15) })
    }

    /// The next line of standard output, read as JSON.
    pub fn json_line(&mut self, limit: Duration) -> Result<Json, String> {
        let line = self.lines.get_mut().unwrap_or_else(PoisonError::into_inner).recv_timeout(limit);
        let line = line.map_err(|_| {
            // Its last words may still be on their way here.
            std::thread::sleep(Duration::from_millis(300));
            let ended = self.status().map_or_else(|| "said nothing".to_owned(), |status| format!("ended ({status})"));
            format!("{} {ended} within {limit:?}; its log:\n{}", self.name, self.log())
        })?;
        serde_json::from_str(&line).map_err(|error| format!("{}: {line}: {error}", self.name))
    }

    /// Writes a line to its standard input.
    pub fn tell(&mut self, line: &str) -> Result<(), String> {
        let input = self.child.stdin.as_mut().ok_or_else(|| format!("{} has no standard input", self.name))?;
        writeln!(input, "{line}").map_err(|error| format!("{}: {error}", self.name))
    }

    /// A line of standard output, if there is one that was not read yet.
    pub fn try_line(&mut self) -> Option<String> {
        self.lines.get_mut().unwrap_or_else(PoisonError::into_inner).try_recv().ok()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Everything it has written so far.
    pub fn log(&self) -> String {
        self.log.lock().map(|log| log.clone()).unwrap_or_default()
    }

    /// Ends it as a crash would.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and says whether it did within its limit; one that does not is killed.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        self.terminate();
        let mut status = None;
        let ended = wait::blocking(self.stop_limit, || {
            status = self.status();
            status.is_some()
        });
        if !ended {
            eprintln!("{} did not end within {:?} and is killed", self.name, self.stop_limit);
            self.kill9();
        }
        status
    }

    /// Sends SIGTERM and does not wait.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    fn signal(&mut self, signal: Signal) {
        if self.status().is_none()
            && let Some(pid) = Pid::from_raw(self.child.id().cast_signed())
        {
            let _ = kill_process(pid, signal);
        }
    }

    /// Whether it stands still, as after SIGSTOP.
    pub fn is_suspended(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    }

    /// Lets it go on.
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Shows its log.
    pub fn print_log(&self) {
        eprintln!("--- {} ---\n{}--- end of {} ---", self.name, self.log(), self.name);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.status().is_none() {
            self.stop();
        }
    }
}

fn read_lines(
    stream: Option<impl Read + Send + 'static>,
    log: Arc<Mutex<String>>,
    mut each: impl FnMut(&str) + Send + 'static,
) {
    let Some(stream) = stream else { return };
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if let Ok(mut log) = log.lock() {
                log.push_str(&line);
                log.push('\n');
            }
            each(&line);
        }
    });
}
