//! A server of the tests as a program of its own, for those that kill it.
//!
//!     server receiver ADDRESS FILE      writes each webhook into the file before it answers; a status on standard input is
//!                                       what it answers from then on
//!     server s3 ADDRESS FOLDER          an S3 server whose buckets are in the folder
//!
//! It prints a line of JSON when it listens and after each line of input, and ends when its input does: no test leaves one
//! behind.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use snaphook_tests::serve::Port;
use snaphook_tests::{receiver, s3};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let told = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["receiver", address, file] => listen(address).and_then(|port| receive(port, Path::new(file))),
        ["s3", address, folder] => listen(address).map(|port| {
            let _task = s3::serve(Path::new(folder), port, &Arc::default());
            obey(|_| {});
        }),
        _ => Err("what is wanted is a server, an address and where it keeps things".to_owned()),
    };
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn listen(address: &str) -> Result<Port, String> {
    let address: SocketAddr = address.parse().map_err(|_| format!("{address} is no address"))?;
    Ok(Port::at(address))
}

fn receive(port: Port, file: &Path) -> Result<(), String> {
    let diary = receiver::Diary::open(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let server = diary.serve(port);
    obey(|line| server.answer_with(line.parse().unwrap_or(500)));
    Ok(())
}

/// Says that it listens, and then does what each line of input says until there are no more.
fn obey(mut each: impl FnMut(&str)) {
    let mut said = std::io::stdout();
    let _ = writeln!(said, "{{}}");
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        each(&line);
        let _ = writeln!(said, "{{}}");
    }
}
