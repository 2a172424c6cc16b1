//! A PostgreSQL server for tests: fresh, on a socket in a folder of its own, and gone with the process that started it.
//!
//! The server refuses to run as root, so then it runs as nobody.

#![expect(clippy::expect_used, reason = "a test that cannot have its server should fail loudly")]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

const SUPERVISOR: &str = include_str!("supervisor.sh");
/// User and group of those who own nothing.
const NOBODY: u32 = 65534;

/// A running server. What it has is gone when this is dropped, or when the process ends.
pub struct Server {
    folder: PathBuf,
    programs: PathBuf,
    port: u16,
    /// None when it is to end.
    line: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
    supervisor: Mutex<Child>,
}

impl Server {
    /// One server for all tests of this process; each takes a database of its own.
    pub fn shared() -> &'static Server {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(Server::start)
    }

    /// A server of its own, for tests that stop it.
    ///
    /// # Panics
    /// If PostgreSQL is not installed, or does not start.
    pub fn start() -> Server {
        Server::start_with(5432, &[], &[])
    }

    /// One with settings of its own, each `name=value`.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn start_with_settings(settings: &[&str]) -> Server {
        Server::start_with(5432, &[], settings)
    }

    /// The process that leads to all of the server's.
    pub fn pid(&self) -> u32 {
        self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    /// One that listens on a port of 127.0.0.1 too, with TLS for who wants it.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn start_with_tls(port: u16, certificate: &str, key: &str) -> Server {
        let files = [("server.crt", certificate), ("server.key", key)];
        let settings =
            ["listen_addresses=127.0.0.1", "ssl=on", "ssl_cert_file=../server.crt", "ssl_key_file=../server.key"];
        Server::start_with(port, &files, &settings)
    }

    /// The URL of a database that leads over TCP, and takes more parameters.
    pub fn over_tcp(url: &str) -> String {
        url.split('?').next().unwrap_or_default().replace("localhost", "127.0.0.1")
    }

    fn start_with(port: u16, files: &[(&str, &str)], settings: &[&str]) -> Server {
        let programs = programs().expect("there is no PostgreSQL here: run `sh deploy/setup.sh test`");
        // The supervisor removes it: this process may be killed.
        let folder = tempfile::Builder::new().prefix("snaphook-pg-").tempdir().expect("a folder").keep();
        for (name, text) in files {
            let path = folder.join(name);
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path).expect("a file");
            file.write_all(text.as_bytes()).expect("room on the disk");
        }
        let mut command = if rustix::process::geteuid().is_root() {
            for path in files.iter().map(|(name, _)| folder.join(name)).chain([folder.clone()]) {
                chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give files away");
            }
            let mut command = Command::new("setpriv");
            let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
            command.args(ids).args(["--clear-groups", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        command.args(["-c", SUPERVISOR, "supervisor"]).args([&programs, &folder]).current_dir(&folder);
        command.args(settings.iter().flat_map(|setting| ["-c", setting])).env("PGPORT", port.to_string());
        let mut supervisor =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell that starts the server");
        let input = supervisor.stdin.take().expect("piped");
        let output = BufReader::new(supervisor.stdout.take().expect("piped"));
        let server = Server {
            folder,
            programs,
            port,
            line: Mutex::new(Some((input, output))),
            supervisor: Mutex::new(supervisor),
        };
        server.expect("ready");
        server
    }

    /// Makes a database and gives its URL.
    ///
    /// # Panics
    /// If the server does not make one.
    pub fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.query(&self.url("postgres"), &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://snaphook@localhost:{}/{database}?host={}", self.port, self.folder.display())
    }

    /// Runs SQL in a database and gives what it says: a line for each row, with `|` between columns.
    ///
    /// # Panics
    /// If it fails.
    pub fn query(&self, url: &str, sql: &str) -> String {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-X", "-At", "-v", "ON_ERROR_STOP=1", "-c", sql, url]);
        let output = command.output().expect("psql comes with the server");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Ends the server as a crash would: what was committed is found in its log at the next start.
    pub fn crash(&self) {
        self.order("crash");
    }

    /// Starts it again.
    pub fn start_again(&self) {
        self.order("start");
    }

    fn order(&self, order: &str) {
        if let Some((input, _)) = &mut *self.line.lock().unwrap_or_else(PoisonError::into_inner) {
            writeln!(input, "{order}").expect("the supervisor is there");
        }
        self.expect(order);
    }

    /// Waits for the supervisor's word.
    fn expect(&self, word: &str) {
        let mut said = String::new();
        if let Some((_, output)) = &mut *self.line.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = output.read_line(&mut said);
        }
        let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        assert_eq!(said.trim_end(), word, "{}", log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its input is the order to end.
        drop(self.line.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        let _ = self.supervisor.get_mut().unwrap_or_else(PoisonError::into_inner).wait();
    }
}

/// The folder with the server's programs; of several versions the newest.
fn programs() -> Option<PathBuf> {
    let has_all = |folder: &Path| ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).exists());
    // Debian keeps them out of the PATH.
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut of_debian: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| Some((version.file_name().to_str()?.parse().ok()?, version.path().join("bin"))))
        .filter(|(_, folder)| has_all(folder))
        .collect();
    of_debian.sort();
    let in_path = || std::env::split_paths(&std::env::var_os("PATH")?).find(|folder| has_all(folder));
    of_debian.pop().map(|(_, folder)| folder).or_else(in_path)
}
