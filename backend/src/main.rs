//! The `snaphook` command: parse, call, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    snaphook::cli::main()
}
