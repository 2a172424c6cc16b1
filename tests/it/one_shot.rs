//! `snaphook take` and `snaphook batch`: pictures without a service, by the real binary.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;
use snaphook_tests::picture::Picture;
use snaphook_tests::site::Site;
use snaphook_tests::stack::snaphook;
use snaphook_tests::wait::{self, s};
use snaphook_tests::{repository, run};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command in a folder of its own, in development mode, so that pages of this machine may be taken.
fn in_folder(folder: &Path, arguments: &[&str]) -> Output {
    snaphook(folder).args(arguments).output().unwrap()
}

fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let output = in_folder(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

#[test]
fn a_picture_is_taken_without_a_service() {
    run(async {
        let (folder, site) = (tempfile::tempdir().unwrap(), Site::start());
        let url = site.url("/slow?1");
        let arguments =
            ["take", &url, "-o", "page.png", "-p", "viewport_width=320", "-p", "viewport_height=200", "--json"];
        let told: Json = serde_json::from_str(&succeed(folder.path(), &arguments)).unwrap();
        assert_eq!((&told["width"], &told["height"], &told["format"]), (&320.into(), &200.into(), &"png".into()));
        let bytes = std::fs::read(folder.path().join("page.png")).unwrap();
        assert_eq!(told["bytes"], bytes.len());
        let picture = Picture::decode(&bytes);
        assert_eq!((picture.width, picture.height), (320, 200));
        assert_eq!(names(folder.path()), ["page.png"], "nothing else is left, and no data directory is made");
    });
}

#[test]
fn a_picture_can_go_to_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let output = in_folder(
        folder.path(),
        &["take", "-o", "-", "-p", "html=<p>x", "-p", "format=png", "-p", "viewport_width=100"],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(Picture::decode(&output.stdout).width, 100);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn what_is_wrong_is_said_beside_its_name_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str]| {
        let output = in_folder(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
        text(&output.stderr)
    };
    let page = "https://example.com";
    let said = refused(&[
        "take",
        page,
        "-o",
        "a.png",
        "-p",
        "viewport_width=wide",
        "-p",
        "nonsense=1",
        "-p",
        "webhook_url=http://x.example",
    ]);
    for name in ["\n  viewport_width: ", "\n  nonsense: ", "\n  webhook_url: "] {
        assert!(said.contains(name), "{said}");
    }
    assert!(refused(&["take", page, "-o", "a.xyz"]).contains(".png"));
    assert!(refused(&["take", "http://169.254.169.254/", "-o", "a.png"]).contains("target_not_allowed"));
    refused(&["take", page]);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_page_that_cannot_be_had_is_a_failure_and_leaves_the_old_file() {
    run(async {
        let (folder, site) = (tempfile::tempdir().unwrap(), Site::start());
        std::fs::write(folder.path().join("page.png"), "old").unwrap();
        let output = in_folder(folder.path(), &["take", &site.url("/status/404"), "-o", "page.png"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("host_returned_error"), "{}", text(&output.stderr));
        assert_eq!(std::fs::read(folder.path().join("page.png")).unwrap(), b"old");
    });
}

/// Runs a command at a terminal, and gives its code and all that the terminal was sent.
fn at_a_terminal(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let program = repository("target/debug/snaphook").display().to_string();
    let line: Vec<String> = std::iter::once(program.as_str()).chain(arguments.iter().copied()).map(quoted).collect();
    // The settings of the tests, and a terminal that can move its cursor.
    let settings = snaphook(folder);
    let mut script = Command::new("script");
    script.args(["-q", "-e", "-c", &line.join(" "), "/dev/null"]).env("TERM", "xterm").current_dir(folder);
    for (name, value) in settings.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let output = script.stdin(Stdio::null()).output().expect("script, of util-linux");
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn a_terminal_shows_progress_and_a_pipe_does_not() {
    run(async {
        let (folder, site) = (tempfile::tempdir().unwrap(), Site::start());
        let url = site.url("/slow?300");
        let take = ["take", &url, "-o", "page.png"];
        let (code, shown) = at_a_terminal(folder.path(), &take);
        assert_eq!(code, Some(0), "{shown:?}");
        for part in ["starting Chromium", "rendering", "page.png"] {
            assert!(shown.contains(part), "{part}: {shown:?}");
        }
        // The line of the progress is taken back before the result.
        let (progress, result) = shown.rsplit_once("rendering").unwrap();
        assert!(!progress.contains("page.png") && result.contains("\u{1b}["), "{shown:?}");

        std::fs::write(folder.path().join("pages.txt"), format!("{url}\n{}\n", site.url("/slow?301"))).unwrap();
        let batch = ["batch", "pages.txt", "--output-dir", "shots"];
        let (code, shown) = at_a_terminal(folder.path(), &batch);
        assert_eq!(code, Some(0), "{shown:?}");
        assert!(["0/2", "2/2"].iter().any(|count| shown.contains(count)), "how many of how many: {shown:?}");
        assert!(shown.contains('\r') && shown.contains("\u{1b}["), "{shown:?}");

        for arguments in [&take[..], &["batch", "pages.txt", "--output-dir", "others"]] {
            let output = in_folder(folder.path(), arguments);
            let said = text(&output.stdout) + &text(&output.stderr);
            assert!(output.status.success() && !said.contains('\u{1b}') && !said.contains("starting"), "{said:?}");
        }
    });
}

#[test]
fn a_batch_goes_on_where_it_was() {
    run(async {
        let (folder, site) = (tempfile::tempdir().unwrap(), Site::start());
        let (good, bad) = (site.url("/slow?1"), site.url("/status/500"));
        let lines = format!("# pages\n{good}\n\n{bad}\n{{\"url\":\"{good}\",\"format\":\"pdf\"}}\n{good}\n");
        std::fs::write(folder.path().join("pages.txt"), lines).unwrap();
        let batch = |more: &[&str]| {
            let arguments =
                [&["batch", "pages.txt", "--output-dir", "shots", "-p", "format=png", "--json"], more].concat();
            let output = in_folder(folder.path(), &arguments);
            let lines: Vec<Json> =
                text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let summary = lines.last().unwrap_or_else(|| panic!("{}", text(&output.stderr)))["summary"].clone();
            let number = |name: &str| summary[name].as_u64().unwrap();
            let counts = ["done", "failed", "skipped", "failed_before"].map(number);
            (output.status.code(), counts)
        };
        assert_eq!(batch(&["--concurrency", "2"]), (Some(1), [2, 1, 0, 0]));
        let made = names(&folder.path().join("shots"));
        assert!(made.len() == 2 && made.iter().any(|name| name.ends_with(".pdf")), "{made:?}");
        let asked = site.count("/slow");
        assert_eq!(batch(&[]), (Some(1), [0, 0, 2, 1]));
        assert_eq!(site.count("/slow"), asked, "what is done was asked for again");
        std::fs::remove_file(folder.path().join("shots").join(&made[0])).unwrap();
        assert_eq!(batch(&["--retry-failed"]), (Some(1), [1, 1, 1, 0]));
        assert_eq!(names(&folder.path().join("shots")), made);
        let wrong = "https://example.com\nno url\n";
        std::fs::write(folder.path().join("pages.txt"), wrong).unwrap();
        let output = in_folder(folder.path(), &["batch", "pages.txt", "--output-dir", "other"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("line 2"), "{}", text(&output.stderr));
        assert!(!folder.path().join("other").exists());
    });
}

#[test]
fn a_batch_that_is_interrupted_keeps_what_it_has_and_leaves_no_browser() {
    run(async {
        let (folder, site) = (tempfile::tempdir().unwrap(), Site::start());
        let scratch = tempfile::tempdir().unwrap();
        let lines = format!("{}\n{}\n", site.url("/slow?1"), site.url("/never"));
        let mut command = snaphook(folder.path());
        command.args(["batch", "-", "--output-dir", "shots", "-p", "format=png", "--concurrency", "1"]);
        let mut child =
            command.env("TMPDIR", scratch.path()).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        wait::for_it("the second page", s(40), || (site.count("/never") > 0).then_some(())).await;
        let browsers = snaphook_tests::descendants::of(child.id());
        assert!(!browsers.is_empty());
        let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert_eq!(names(&folder.path().join("shots")).len(), 1);
        wait::for_it("the browser's end", s(10), || {
            snaphook_tests::descendants::still_running(&browsers).is_empty().then_some(())
        })
        .await;
        assert!(names(scratch.path()).is_empty(), "{:?}", names(scratch.path()));
    });
}

#[test]
fn a_service_beside_it_is_not_disturbed() {
    run(async {
        let stack = snaphook_tests::stack::Stack::builder().start();
        let client = stack.client();
        let before = snaphook_tests::descendants::of(stack.backend_pid());
        let said = stack.run_command(&["take", "-o", "beside.png", "-p", "html=<p>x"]);
        assert!(said.status.success(), "{}", text(&said.stderr));
        assert_eq!(snaphook_tests::descendants::still_running(&before).len(), before.len());
        client.take(&serde_json::json!({ "html": "<p>y" })).await.expect(200);
    });
}
