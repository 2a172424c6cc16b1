//! `snaphook doctor`, `config`, `completions` and the like: what an operator asks before anything runs.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value as Json;
use snaphook_tests::run;
use snaphook_tests::s3::{ACCESS_KEY_ID, S3, SECRET_ACCESS_KEY};
use snaphook_tests::stack::{Stack, snaphook};

/// A user who owns nothing.
const NOBODY: u32 = 65_534;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What the doctor found, by name: the state, and the mend if there is one.
fn examine(folder: &Path, settings: &[(&str, &str)]) -> (Option<i32>, Vec<(String, String, String)>) {
    let free = [("SNAPHOOK_HTTP_LISTEN", "127.0.0.1:0"), ("SNAPHOOK_HTTP_OPERATIONS_LISTEN", "127.0.0.1:0")];
    let output =
        snaphook(folder).envs(free).envs(settings.iter().copied()).args(["doctor", "--json"]).output().unwrap();
    let told: Json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)));
    let field = |check: &Json, name: &str| check[name].as_str().unwrap_or_default().to_owned();
    let checks = told["checks"].as_array().unwrap().iter();
    let found = checks.map(|check| (field(check, "name"), field(check, "state"), field(check, "mend"))).collect();
    (output.status.code(), found)
}

fn state<'a>(found: &'a [(String, String, String)], name: &str) -> &'a str {
    found.iter().find(|(known, _, _)| known == name).map_or("not looked at", |(_, state, _)| state)
}

#[test]
fn a_healthy_machine_is_told_so() {
    run(async {
        let (folder, s3) = (tempfile::tempdir().unwrap(), S3::start("shots"));
        let bucket = [
            ("SNAPHOOK_STORE_URL", "s3://shots/files"),
            ("SNAPHOOK_STORE_ENDPOINT", s3.url.as_str()),
            ("SNAPHOOK_STORE_ACCESS_KEY_ID", ACCESS_KEY_ID),
            ("SNAPHOOK_STORE_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
        ];
        let (code, found) = examine(folder.path(), &bucket);
        assert_eq!(code, Some(0), "{found:#?}");
        for name in ["chromium", "ways out", "picture", "data", "disk", "database", "bucket", "clock", "port api"] {
            assert_eq!(state(&found, name), "ok", "{name}: {found:#?}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it has changed something");
        assert_eq!(
            std::fs::read_dir(s3.path("shots")).unwrap().flatten().filter(|entry| entry.path().is_file()).count(),
            0
        );
    });
}

/// Answers whatever comes with an error, and says that it is another time.
fn server_with_a_wrong_clock() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 403 Forbidden\r\ndate: Wed, 21 Oct 2015 07:28:00 GMT\r\ncontent-length: 0\r\n";
            let _ = stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes());
        }
    });
    url
}

#[test]
fn a_clock_unlike_that_of_the_bucket_is_found() {
    run(async {
        let (folder, endpoint) = (tempfile::tempdir().unwrap(), server_with_a_wrong_clock());
        let bucket = [
            ("SNAPHOOK_STORE_URL", "s3://shots"),
            ("SNAPHOOK_STORE_ENDPOINT", endpoint.as_str()),
            ("SNAPHOOK_STORE_ACCESS_KEY_ID", "x"),
        ];
        let (code, found) = examine(folder.path(), &bucket);
        assert_eq!((code, state(&found, "clock")), (Some(1), "fail"), "{found:#?}");
    });
}

#[test]
fn the_sandbox_is_seen_to_be_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = snaphook(folder.path());
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.env("SNAPHOOK_RENDER_ALLOW_NO_SANDBOX", "false").args(["doctor", "--json"]).output().unwrap();
    let told: Json = serde_json::from_slice(&output.stdout).unwrap();
    let sandbox = told["checks"].as_array().unwrap().iter().find(|check| check["name"] == "sandbox");
    assert_eq!(sandbox.map(|check| &check["state"]), Some(&"ok".into()), "{told:#}");
}

#[test]
fn what_is_wrong_is_found_and_can_be_mended() {
    run(async {
        let mut stack = Stack::builder().start();
        stack.terminate();
        let data = stack.data_dir().to_owned();
        let data_dir = data.display().to_string();
        std::fs::set_permissions(data.join("root.key"), PermissionsExt::from_mode(0o644)).unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = (taken.local_addr().unwrap().to_string(), taken);
        let folder = tempfile::tempdir().unwrap();
        let settings = [
            ("SNAPHOOK_DATA_DIR", data_dir.as_str()),
            ("SNAPHOOK_RENDER_CHROMIUM", "/nowhere/chromium"),
            ("SNAPHOOK_HTTP_LISTEN", taken.0.as_str()),
            ("SNAPHOOK_STORE_URL", "s3://shots"),
            ("SNAPHOOK_STORE_ENDPOINT", "http://127.0.0.1:9"),
            ("SNAPHOOK_STORE_ACCESS_KEY_ID", "x"),
        ];
        let (code, found) = examine(folder.path(), &settings);
        assert_eq!(code, Some(1));
        for name in ["root key", "chromium", "port api", "bucket"] {
            assert_eq!(state(&found, name), "fail", "{name}: {found:#?}");
        }
        assert!(found.iter().all(|(_, state, mend)| state == "ok" || !mend.is_empty()), "{found:#?}");
        assert_eq!(state(&found, "database"), "ok");
        // The middle of the file is trampled on.
        let database = data.join("snaphook.db");
        let connection = rusqlite::Connection::open(&database).unwrap();
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        drop(connection);
        let mut bytes = std::fs::read(&database).unwrap();
        let half = bytes.len() / 2;
        bytes[4096..half].fill(0x5a);
        std::fs::write(&database, bytes).unwrap();
        let (_, found) = examine(folder.path(), &settings);
        assert_eq!(state(&found, "database"), "fail", "{found:#?}");
    });
}

#[test]
fn the_settings_are_checked_and_shown_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let ask = |settings: &[(&str, &str)], arguments: &[&str]| -> Output {
        snaphook(folder.path()).envs(settings.iter().copied()).args(arguments).output().unwrap()
    };
    assert_eq!(ask(&[], &["config", "check"]).status.code(), Some(0));
    let wrong = ask(&[("SNAPHOOK_QUEUE_CAPACITY", "0")], &["config", "check"]);
    assert_eq!(wrong.status.code(), Some(78));
    assert!(text(&wrong.stderr).contains("capacity"), "{}", text(&wrong.stderr));
    let slip = ask(&[("SNAPHOOK_HTPP_LISTEN", "x")], &["config", "check"]);
    assert_eq!(slip.status.code(), Some(78));
    assert!(text(&slip.stderr).contains("SNAPHOOK_HTPP_LISTEN is no setting"));
    let key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let shown = ask(&[("SNAPHOOK_ROOT_KEY", key), ("SNAPHOOK_LOG_LEVEL", "debug")], &["config", "print", "--json"]);
    let shown = text(&shown.stdout);
    assert!(!shown.contains("00112233"), "{shown}");
    let all: Json = serde_json::from_str(&shown).unwrap();
    let find = |name: &str| all.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone();
    assert_eq!(find("log.level")["origin"], "SNAPHOOK_LOG_LEVEL");
    assert_eq!((&find("root_key")["value"], &find("queue.capacity")["value"]), (&"(secret)".into(), &10_000.into()));
    assert!(text(&ask(&[], &["config", "print"]).stdout).contains("queue.capacity = 10000  # default"));
}

#[test]
fn there_are_completions_and_a_description() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = snaphook(folder.path()).args(["completions", shell]).output().unwrap();
        assert!(output.status.success() && text(&output.stdout).contains("webhooks"), "{shell}");
    }
    let output = snaphook(folder.path()).arg("openapi").output().unwrap();
    let document: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert!(document["paths"]["/take"].is_object());
}
