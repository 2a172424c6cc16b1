//! The demo that `make run` shows: it does what it says, and ends as it is told.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use snaphook_tests::client::Client;
use snaphook_tests::part::Part;
use snaphook_tests::picture::Picture;
use snaphook_tests::stack::KeyPair;
use snaphook_tests::wait::{self, s};
use snaphook_tests::{descendants, run};

fn demo(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.env("DEMO_DIR", folder).env("SNAPHOOK_BACKEND_PORT", "0").env("SNAPHOOK_EDGE_PORT", "0");
    command.env_remove("DEMO_EXIT").env_remove("URL");
    command
}

/// A variable of the file that the demo leaves for scripts.
fn variable(folder: &Path, name: &str) -> String {
    let text = std::fs::read_to_string(folder.join("dev.env")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("export {name}='"))).unwrap();
    line.trim_end_matches('\'').to_owned()
}

#[test]
fn it_does_the_main_job_before_your_eyes() {
    let folder = tempfile::tempdir().unwrap();
    let mut keys = Vec::new();
    for _ in 0..2 {
        let output = demo(folder.path()).env("DEMO_EXIT", "1").output().unwrap();
        let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{said}{errors}");
        let steps =
            ["1. POST ", "2. 202 Accepted", "3. GET ", "done", "4. The webhook", "5. verified by the wasm", "6. GET "];
        let places: Vec<usize> =
            steps.iter().map(|step| said.find(step).unwrap_or_else(|| panic!("{step}: {said}"))).collect();
        assert!(places.is_sorted(), "{said}");
        let bytes = std::fs::read(folder.path().join("demo.png")).unwrap();
        let picture = Picture::decode(&bytes);
        assert!(
            said.contains(&format!("{} x {} pixels, {} bytes", picture.width, picture.height, bytes.len())),
            "{said}"
        );
        assert!(picture.width == 1280 && picture.height > 600 && picture.colours() >= 500, "a page and not a blank");
        let mode = std::fs::metadata(folder.path().join("dev.env")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        keys.push(variable(folder.path(), "SNAPHOOK_ACCESS_KEY"));
    }
    assert_eq!(keys[0], keys[1], "the second run finds the key of the first");
}

#[test]
fn it_stays_up_until_it_is_told_to_end() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let mut part = Part::start("demo", &mut demo(folder.path())).unwrap();
        wait::for_it("the demo to be up", s(60), || {
            assert!(part.status().is_none(), "{}", part.log());
            part.log().contains("Try:").then_some(())
        })
        .await;
        let key = KeyPair {
            access_key: variable(folder.path(), "SNAPHOOK_ACCESS_KEY"),
            secret_key: variable(folder.path(), "SNAPHOOK_SECRET_KEY"),
        };
        for name in ["SNAPHOOK_EDGE_URL", "SNAPHOOK_BACKEND_URL"] {
            let client = Client::new(&variable(folder.path(), name), &key);
            client.take(&json!({ "html": "<p>x" })).await.expect(200);
            client.get(&client.signed("/take", "html=x")).await.expect(200);
        }
        let children = descendants::of(part.pid());
        assert!(children.len() > 3, "backend, browser, edge, receiver: {children:?}");
        let status = part.stop();
        assert!(status.is_some_and(|status| status.success()), "{status:?}\n{}", part.log());
        wait::for_it("the end of all that it started", s(10), || {
            descendants::still_running(&children).is_empty().then_some(())
        })
        .await;
    });
}

#[test]
fn it_fails_with_a_reason_when_the_page_cannot_be_taken() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path()).env("DEMO_EXIT", "1").env("URL", "file:///etc/passwd").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("refused with 400") && errors.contains("must be a valid URI"), "{errors}");
}
