//! A 202 is a promise about the disk: it comes after the disk has said yes, and never when the disk says no.

use std::collections::HashSet;
use std::path::Path;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value as Json, json};
use snaphook_tests::faults::Faults;
use snaphook_tests::operator::Operator;
use snaphook_tests::receiver::Receiver;
use snaphook_tests::run;
use snaphook_tests::s3::{ACCESS_KEY_ID, MortalS3, SECRET_ACCESS_KEY};
use snaphook_tests::site::Site;
use snaphook_tests::stack::{Builder, Stack};
use snaphook_tests::wait::{self, s};

/// What `strace` saw, in its order: a write to the log of the database, a sync of it that has ended, a 202 on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Write,
    Synced,
    Accepted,
}

fn seen(trace: &str) -> Vec<Seen> {
    let mut syncing = HashSet::new();
    let mut seen = Vec::new();
    for line in trace.lines() {
        let Some((pid, call)) = line.trim_start().split_once(' ').map(|(pid, call)| (pid, call.trim_start())) else {
            continue;
        };
        let is_sync = call.starts_with("fdatasync(") || call.starts_with("fsync(");
        if call.starts_with("pwrite64(") && call.contains("-wal>") {
            seen.push(Seen::Write);
        } else if is_sync && call.contains("-wal>") {
            if call.ends_with("= 0") {
                seen.push(Seen::Synced);
            } else if call.contains("<unfinished") {
                syncing.insert(pid);
            }
        } else if call.contains("sync resumed>") && syncing.remove(pid) && call.ends_with("= 0") {
            seen.push(Seen::Synced);
        } else if call.contains("HTTP/1.1 202 Accepted") {
            seen.push(Seen::Accepted);
        }
    }
    seen
}

#[test]
fn a_202_is_written_after_its_row_was_synced() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let calls = "trace=pwrite64,fdatasync,fsync,sendto,writev,write";
        // With -D the backend itself is our child, and strace a bystander that ends with it.
        let strace =
            ["strace", "-D", "-f", "-y", "--seccomp-bpf", "-s", "40", "-e", calls, "-o", trace.to_str().unwrap()];
        let mut stack = Stack::builder()
            .under(&strace)
            .set("SNAPHOOK_RENDER_CONCURRENCY", 1)
            // Nothing is written but what is accepted: no heartbeat either.
            .set("SNAPHOOK_QUEUE_LEASE_SECONDS", 600)
            .start();
        let (client, site) = (stack.client(), Site::start());
        let busy = client.enqueue("/take", &json!({ "url": site.url("/never"), "timeout": 60 })).await;
        client.request_when(&busy, "rendering", s(30), |view| view["state"] == "rendering").await;
        const REQUESTS: usize = 20;
        for number in 0..REQUESTS {
            client.enqueue("/v1/screenshot", &json!({ "html": format!("<p>{number}") })).await;
        }
        stack.kill9();
        let text = wait::for_it("the end of the trace", s(15), || {
            let text = std::fs::read_to_string(&trace).unwrap();
            text.contains("+++ killed by SIGKILL +++").then_some(text)
        })
        .await;
        let seen = seen(&text);
        let answers: Vec<usize> = (0..seen.len()).filter(|at| seen[*at] == Seen::Accepted).collect();
        assert_eq!(answers.len(), REQUESTS + 1, "every 202 is in the trace");
        // The first one is that of the request that keeps the worker busy; its lease is written meanwhile.
        for pair in answers.windows(2) {
            let between = &seen[pair[0] + 1..pair[1]];
            let written = between.iter().rposition(|seen| *seen == Seen::Write);
            let synced = between.iter().rposition(|seen| *seen == Seen::Synced);
            assert!(written.is_some() && synced > written, "written, synced, answered; but: {between:?}");
        }
    });
}

#[test]
fn the_reader_of_traces_tells_a_sync_from_none() {
    let row = "7  pwrite64(9</data/snaphook.db-wal>, \"\"..., 4096, 0) = 4096\n";
    let answer = "5  sendto(8<socket:[1]>, \"HTTP/1.1 202 Accepted\\r\\n\"..., 300, 0) = 300\n";
    let begun = "7  fdatasync(9</data/snaphook.db-wal> <unfinished ...>\n";
    let resumed = "7  <... fdatasync resumed>) = 0\n";
    assert_eq!(seen(&[row, begun, answer, resumed].concat()), [Seen::Write, Seen::Accepted, Seen::Synced]);
    let failed = resumed.replace("= 0", "= -1 EIO (Input/output error)");
    assert_eq!(seen(&[row, begun, &failed, answer].concat()), [Seen::Write, Seen::Accepted]);
    let other = "7  fdatasync(3</data/files/x.png>) = 0\n";
    assert_eq!(seen(&[row, other, answer].concat()), [Seen::Write, Seen::Accepted]);
}

/// Posts until the disk is full, relieves it, and holds the service to what it had accepted.
async fn fill_up(stack: &Stack, relieve: impl FnOnce()) {
    let (client, receiver) = (stack.client(), Receiver::start());
    let post = async |number: usize| {
        let html = format!("<p>{number}<!--{}-->", "x".repeat(100_000));
        let options = json!({ "html": html, "viewport_width": 20, "viewport_height": 20, "async": true,
            "block_annoyance": "none", "webhook_url": receiver.url() });
        client.post("/v1/screenshot", &options).await
    };
    let (mut accepted, mut refused) = (Vec::new(), 0);
    for number in 0..400 {
        let answer = post(number).await;
        match answer.status.as_u16() {
            202 => accepted.push(answer.header("x-snaphook-request-id").to_owned()),
            503 => {
                assert_eq!(answer.json()["code"], "temporary_unavailable", "{}", answer.text());
                assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
                refused += 1;
                if refused == 5 {
                    break;
                }
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
    assert!(!accepted.is_empty() && refused == 5, "{} accepted, {refused} refused", accepted.len());
    relieve();
    let after = wait::until("another 202", s(30), async || {
        let answer = post(1000).await;
        (answer.status == 202).then(|| answer.header("x-snaphook-request-id").to_owned())
    })
    .await;
    accepted.push(after);
    for id in &accepted {
        let delivered = |view: &Json| view["webhook"]["state"] == "delivered";
        let view = client.request_when(id, "delivered", s(90), delivered).await;
        assert_eq!(view["state"], "done", "{view:#}");
        let file = client.get(view["file"]["url"].as_str().unwrap()).await.expect(200);
        assert_eq!(Some(file.body.len() as u64), view["file"]["bytes"].as_u64());
    }
    let told: HashSet<String> =
        receiver.all().iter().map(|webhook| webhook.header("webhook-id").replace("msg_", "req_")).collect();
    assert!(accepted.iter().all(|id| told.contains(id)));
}

#[test]
fn a_file_that_may_not_grow_refuses_and_loses_nothing() {
    run(async {
        // A soft limit on the size of files, without the signal that usually comes with it: any user can have that.
        let limited = ["sh", "-c", "trap '' XFSZ; ulimit -S -f 4096; exec \"$@\"", "sh"];
        let stack = Stack::builder().under(&limited).set("SNAPHOOK_QUEUE_LEASE_SECONDS", 5).start();
        let pid = Pid::from_raw(stack.backend_pid().cast_signed());
        fill_up(&stack, || {
            prlimit(pid, Resource::Fsize, Rlimit { current: None, maximum: None }).unwrap();
        })
        .await;
    });
}

/// A file system of its own, small, for who may mount one.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(size: &str) -> Option<Tmpfs> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "snaphook-tests"])
            .arg(folder.path())
            .output();
        mount.is_ok_and(|output| output.status.success()).then(|| Tmpfs(folder))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    run(async {
        // Only root may mount; the test above is for everybody.
        let Some(disk) = Tmpfs::mount("192m") else { return };
        let data = disk.0.path().join("data");
        let ballast = disk.0.path().join("ballast");
        std::fs::create_dir(&data).unwrap();
        let stack = Stack::builder()
            .data_dir(&data)
            .set("SNAPHOOK_QUEUE_DISK_FREE_MIN_MB", 0)
            .set("SNAPHOOK_QUEUE_LEASE_SECONDS", 5)
            .start();
        // The browser writes while it starts; what is left after that is taken but for a little.
        stack.client().take(&json!({ "html": "<p>x" })).await.expect(200);
        fill_but_for(disk.0.path(), &ballast, 3 << 20);
        fill_up(&stack, || std::fs::remove_file(&ballast).unwrap()).await;
        drop(stack);
    });
}

#[test]
fn a_disk_that_is_nearly_full_takes_nothing_new() {
    run(async {
        let mut stack = Stack::builder().start();
        let (client, receiver) = (stack.client(), Receiver::start());
        let options = json!({ "html": "<p>x", "async": true, "webhook_url": receiver.url() });
        let slow = client.enqueue("/take", &json!({ "html": "<p>x", "delay": 3 })).await;
        stack.kill9();
        // More than any disk has.
        stack.try_restart_with(&[("SNAPHOOK_QUEUE_DISK_FREE_MIN_MB", "1000000000000")]).unwrap();
        let client = stack.client();
        let refused = wait::until("a refusal", s(10), async || {
            let answer = client.post("/v1/screenshot", &options).await;
            (answer.status != 202).then_some(answer)
        })
        .await;
        assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (503, &json!("temporary_unavailable")));
        assert!(refused.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
        let ready = client.get(&format!("{}/readyz", stack.operations)).await.expect(503).json();
        assert_eq!(ready["missing"], json!(["disk"]));
        // What was accepted before comes to its end, and who waits for an answer gets it.
        client.done(&slow, s(60)).await;
        client.take(&json!({ "html": "<p>x" })).await.expect(200);
        let operator = Operator::new(&stack).await;
        let again = operator.post(&format!("/dashboard/requests/{slow}/retry"), &[]).await.expect(409).text();
        assert!(again.contains("The disk is nearly full"), "{again}");
        stack.kill9();
        stack.try_restart_with(&[("SNAPHOOK_QUEUE_DISK_FREE_MIN_MB", "1")]).unwrap();
        assert_eq!(stack.client().post("/v1/screenshot", &options).await.status, 202);
    });
}

#[test]
fn a_disk_that_stalls_refuses_in_time() {
    run(async {
        let stack = Stack::builder().start();
        let client = stack.client();
        client.enqueue("/v1/screenshot", &json!({ "html": "<p>before" })).await;
        let wait =
            async || client.get_with_key("/v1/requests").await.expect(200).json()["requests"].as_array().unwrap().len();
        assert_eq!(wait().await, 1);
        // Nothing can be written, as on a disk that does not answer.
        let other = rusqlite::Connection::open(stack.data_dir().join("snaphook.db")).unwrap();
        other.busy_timeout(s(10)).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let options = json!({ "html": "<p>refused", "async": true });
        let post = async || {
            let asked = std::time::Instant::now();
            (client.post("/v1/screenshot", &options).await, asked.elapsed())
        };
        for (answer, after) in futures::future::join_all((0..20).map(|_| post())).await {
            assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (503, &json!("temporary_unavailable")));
            assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
            assert!(after < s(15), "{after:?}");
        }
        let waits = client.post("/take", &json!({ "html": "<p>x" })).await;
        assert_eq!((waits.status.as_u16(), &waits.json()["error_code"]), (503, &json!("temporary_unavailable")));
        other.execute_batch("COMMIT").unwrap();
        let small = json!({ "html": "<p>after" });
        wait::until("a 202", s(30), async || {
            let answer = client.post("/v1/screenshot", &json!({ "async": true, "html": small["html"] })).await;
            (answer.status == 202).then_some(())
        })
        .await;
        assert_eq!(wait().await, 2, "nothing of what was refused is there");
    });
}

fn fill_but_for(disk: &Path, ballast: &Path, left: u64) {
    let stat = rustix::fs::statvfs(disk).unwrap();
    let free = stat.f_bavail * stat.f_frsize;
    std::fs::write(ballast, vec![0; usize::try_from(free - left).unwrap()]).unwrap();
}

fn with_bucket(bucket: &MortalS3) -> Builder {
    Stack::builder()
        .set("SNAPHOOK_STORE_URL", "s3://files/shots")
        .set("SNAPHOOK_STORE_ENDPOINT", &bucket.url)
        .set("SNAPHOOK_STORE_ACCESS_KEY_ID", ACCESS_KEY_ID)
        .set("SNAPHOOK_STORE_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
}

#[test]
fn a_webhook_whose_file_cannot_be_read_for_a_while_is_postponed() {
    run(async {
        let (mut bucket, faults) = (MortalS3::start("files"), Faults::new());
        let mut stack = with_bucket(&bucket).faults(&faults).start();
        let (client, receiver) = (stack.client(), Receiver::start());
        // The file is stored, and before anything is told of it the store is gone.
        faults.suspend_at("after-store-put", 1);
        let options = json!({ "html": "<p>x", "response_type": "by_format", "webhook_url": receiver.url() });
        let id = client.enqueue("/take", &options).await;
        wait::for_it("a backend that stands still", s(30), || stack.is_suspended().then_some(())).await;
        bucket.kill9();
        stack.resume();
        wait::until("an attempt that is postponed", s(60), async || {
            let metrics = client.at(&stack.operations).get("/metrics").await.expect(200).text();
            let line = metrics.lines().find(|line| line.contains("webhook_attempts_total{outcome=\"postponed\"}"));
            line.filter(|line| !line.ends_with(" 0")).map(drop)
        })
        .await;
        assert!(receiver.all().is_empty());
        bucket.start_again();
        let view = client.delivered(&id, s(60)).await;
        let (file, told) = (client.get(view["file"]["url"].as_str().unwrap()).await.expect(200), receiver.all());
        assert_eq!((told.len(), &told[0].body), (1, &file.body), "{view:#}");
    });
}

#[test]
fn a_store_that_is_away_costs_time_and_no_request() {
    run(async {
        let mut bucket = MortalS3::start("files");
        let stack = with_bucket(&bucket).start();
        let (client, receiver) = (stack.client(), Receiver::start());
        let options = json!({ "html": "<p>x", "format": "png", "viewport_width": 20, "viewport_height": 20,
            "block_annoyance": "none", "webhook_url": receiver.url() });
        let mut ids = vec![client.enqueue("/v1/screenshot", &options).await];
        receiver.first(s(30)).await;
        bucket.kill9();
        for _ in 0..4 {
            // It is accepted all the same: the row is on the disk, and the picture can be taken later.
            ids.push(client.enqueue("/v1/screenshot", &options).await);
        }
        // More failures than a page would be forgiven.
        let tried = |view: &Json| view["attempts"].as_u64() >= Some(2);
        let view = client.request_when(&ids[1], "two attempts", s(60), tried).await;
        assert_ne!(view["state"], "failed", "{view:#}");
        let reason = view["attempt_log"][0]["reason"].as_str().unwrap();
        assert!(reason.starts_with("storage_returned_transient_error"), "{reason}");
        // A caller who waits is told, and may come again.
        let answer = client.post("/take", &json!({ "html": "<p>x", "response_type": "json" })).await;
        assert_eq!(answer.json()["error_code"], "storage_returned_transient_error", "{}", answer.text());
        assert_eq!(receiver.all().len(), 1, "nothing is told of what is not stored");
        bucket.start_again();
        for id in &ids {
            let view =
                client.request_when(id, "delivered", s(120), |view| view["webhook"]["state"] == "delivered").await;
            assert_eq!(view["state"], "done", "{view:#}");
            let file = client.get(view["file"]["url"].as_str().unwrap()).await.expect(200);
            assert_eq!(&file.body[1..4], b"PNG");
        }
        assert_eq!(receiver.all().len(), ids.len());
    });
}
