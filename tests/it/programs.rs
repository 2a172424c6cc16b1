//! Programs in other languages that the tests ask for a second opinion.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value as Json;
use snaphook_tests::repository;

/// Whether each language of a document must be at hand, and not only those that are. The workflow of the repository says so, whose
/// image has them all.
pub(crate) fn every_language() -> bool {
    std::env::var_os("SNAPHOOK_TEST_EVERY_LANGUAGE").is_some()
}

/// The Python in which `tests/sdk/requirements.txt` is installed.
///
/// # Panics
/// If it is not there; the message says what brings it.
pub(crate) fn python() -> PathBuf {
    let python = repository("tests/sdk/.venv/bin/python");
    assert!(python.exists(), "the Python packages are missing: run `sh deploy/setup.sh test` first");
    python
}

/// Runs a script of `tests/sdk` on a JSON text and reads the JSON that it prints last.
///
/// # Panics
/// If the script fails.
pub(crate) fn ask(program: impl AsRef<OsStr>, script: &str, input: &Json) -> Json {
    assert!(
        repository("tests/sdk/node_modules").exists(),
        "the npm packages are missing: run `sh deploy/setup.sh test` first"
    );
    let mut command = Command::new(program);
    // Everything that is called here is on this machine.
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(name);
    }
    let mut child = command
        .arg(script)
        .current_dir(repository("tests/sdk"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{script}: {error}"));
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}: {out}{err}");
    let line = out.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{script}: {error} in {out}{err}"))
}
