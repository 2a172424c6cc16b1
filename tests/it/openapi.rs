//! The service against its own description, by Schemathesis: whatever it makes up, no answer is a fault of the service's, and
//! every answer is one that the description knows.
//!
//! `SNAPHOOK_API_PHASES=examples,coverage,fuzzing` tries every bound of every parameter too, which takes minutes (`make soak`).

use std::process::Command;

use snaphook_tests::stack::Stack;
use snaphook_tests::{repository, run};

#[test]
fn the_service_is_as_it_describes_itself() {
    run(async {
        let stack = Stack::builder().without_development().start();
        let program = repository("tests/sdk/.venv/bin/schemathesis");
        assert!(program.exists(), "the Python packages are missing: run `sh deploy/setup.sh test` first");
        let phases = std::env::var("SNAPHOOK_API_PHASES").unwrap_or_else(|_| "examples,fuzzing".to_owned());
        let seed = std::env::var("SNAPHOOK_API_SEED").unwrap_or_else(|_| "1".to_owned());
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new(program)
            .arg("run")
            .arg(format!("{}/openapi.json", stack.api))
            .args(["--header", &format!("X-Access-Key: {}", stack.key.access_key)])
            .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance"])
            .args(["--phases", &phases, "--max-examples", "10", "--workers", "4", "--seed", &seed])
            .args(["--request-timeout", "60", "--no-color"])
            // It keeps notes where it is started.
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "seed {seed}\n{said}{}", String::from_utf8_lossy(&output.stderr));
        let tested = said.lines().find_map(|line| line.trim().strip_prefix("Tested: ")).unwrap_or_default();
        assert!(tested.parse::<usize>().is_ok_and(|tested| tested > 30), "operations tested: {tested:?}\n{said}");
    });
}
