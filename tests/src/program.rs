//! A server of the tests as a program of its own (`src/bin/server.rs`): it can be killed at any moment, and come back where it
//! was.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::part::Part;
use crate::serve::Port;

const START_LIMIT: Duration = Duration::from_secs(20);

/// A server that is running, or was killed.
pub struct Program {
    kind: &'static str,
    arguments: Vec<OsString>,
    /// Held for as long as this lives, so that nobody else gets it while the server is away.
    port: Port,
    part: Part,
}

impl Program {
    /// Starts `server <kind> <address> <arguments…>`.
    ///
    /// # Panics
    /// If it is not built, or does not begin to listen.
    pub fn start(kind: &'static str, arguments: &[OsString]) -> Program {
        let port = Port::reserve();
        let part = start(kind, port.address, arguments);
        Program { kind, arguments: arguments.to_vec(), port, part }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.port.address)
    }

    pub fn kill9(&mut self) {
        self.part.kill9();
    }

    /// # Panics
    /// As [`Program::start`].
    pub fn start_again(&mut self) {
        self.part = start(self.kind, self.port.address, &self.arguments);
    }

    /// Writes a line to its standard input and waits until it has been read.
    ///
    /// # Panics
    /// If it is not there.
    pub fn tell(&mut self, line: &str) {
        let told = self.part.tell(line).and_then(|()| self.part.json_line(START_LIMIT));
        told.unwrap_or_else(|error| panic!("{error}"));
    }
}

fn start(kind: &'static str, address: SocketAddr, arguments: &[OsString]) -> Part {
    let mut command = Command::new(binary().unwrap_or_else(|error| panic!("{error}")));
    command.args([kind, &address.to_string()]).args(arguments);
    let mut part = Part::start(kind, &mut command).unwrap_or_else(|error| panic!("{error}"));
    part.json_line(START_LIMIT).unwrap_or_else(|error| panic!("{error}"));
    part
}

fn binary() -> Result<PathBuf, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let found = this.ancestors().skip(1).take(2).map(|folder| folder.join("server")).find(|file| file.is_file());
    found.ok_or_else(|| "there is no `server` next to this: run `cargo build --workspace --bins` first".to_owned())
}
