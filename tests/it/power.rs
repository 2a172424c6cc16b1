//! The power is cut: what was answered with 202 is there when it is back, and so is each file that a row calls done.
//!
//! A file system of its own, in an image, is shut down without its log (`FS_IOC_SHUTDOWN` of Linux, by which file systems are
//! tested themselves): from then on nothing reaches the image, and what was only in memory is gone. Mounted anew, it is what its
//! journal makes of what was synced.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use serde_json::{Value as Json, json};
use snaphook_tests::run;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::{self, s};
use tempfile::TempDir;

use crate::programs::python;

const ACCEPTED: usize = 1_000;
const CALLERS: usize = 16;

/// `_IOR('X', 125, __u32)`, and "do not write the log".
const SHUT_DOWN: &str = "import fcntl, os, struct, sys
folder = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(folder, 0x8004587d, struct.pack('I', 2))";

struct Disk {
    folder: TempDir,
}

impl Disk {
    /// None where this user may not mount.
    fn new() -> Option<Disk> {
        let disk = Disk { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(disk.mounted()).unwrap();
        std::fs::File::create(disk.image()).unwrap().set_len(1 << 30).unwrap();
        let is_root = rustix::process::geteuid().is_root();
        (is_root && ran(Command::new("mkfs.ext4").arg("-q").arg(disk.image())) && disk.mount()).then_some(disk)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn mounted(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    fn mount(&self) -> bool {
        ran(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(self.mounted()))
    }

    fn cut(&self) {
        assert!(
            ran(Command::new(python()).args(["-c", SHUT_DOWN]).arg(self.mounted())),
            "the file system is shut down"
        );
        assert!(std::fs::write(self.mounted().join("more"), "x").is_err(), "nothing can be written any more");
    }

    /// When nobody has anything open there.
    async fn mount_again(&self) {
        let unmounted = || ran(Command::new("umount").arg(self.mounted())).then_some(());
        wait::for_it("the browser's end", s(20), unmounted).await;
        assert!(self.mount());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whatever a test that failed has left there.
        ran(Command::new("umount").arg("-l").arg(self.mounted()));
    }
}

fn ran(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

#[test]
fn what_is_only_in_memory_does_not_outlive_a_cut() {
    run(async {
        let Some(disk) = Disk::new() else { return };
        let (synced, written) = (disk.mounted().join("synced"), disk.mounted().join("written"));
        std::fs::write(&synced, [b'x'; 5_000]).unwrap();
        std::fs::File::open(&synced).unwrap().sync_all().unwrap();
        std::fs::write(&written, [b'x'; 5_000]).unwrap();
        disk.cut();
        disk.mount_again().await;
        assert_eq!((size(&synced), size(&written)), (5_000, 0));
    });
}

#[test]
fn a_power_cut_loses_nothing_that_was_accepted() {
    run(async {
        let Some(disk) = Disk::new() else { return };
        let data = disk.mounted().join("data");
        std::fs::create_dir(&data).unwrap();
        let mut stack = Stack::builder().data_dir(&data).start();
        let client = stack.client();
        let (accepted, is_cut) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        let options = json!({ "html": "<p>x", "async": true, "viewport_width": 60, "viewport_height": 40 });
        let caller = async || {
            while !is_cut.load(Ordering::Relaxed) {
                // One that gets no answer was promised nothing.
                if let Some(answer) =
                    client.try_post("/v1/screenshot", &options).await.filter(|answer| answer.status == 202)
                {
                    accepted.lock().unwrap().push(answer.json()["id"].as_str().unwrap().to_owned());
                }
            }
        };
        let callers = async { futures::future::join_all((0..CALLERS).map(|_| caller())).await };
        let cut = async {
            wait::for_it("a thousand 202s", s(60), || (accepted.lock().unwrap().len() >= ACCEPTED).then_some(())).await;
            // In the midst of all that the callers are at.
            tokio::task::block_in_place(|| disk.cut());
            is_cut.store(true, Ordering::Relaxed);
        };
        tokio::join!(callers, cut);
        stack.kill9();
        disk.mount_again().await;
        stack.restart();

        let (client, accepted) = (stack.client(), accepted.into_inner().unwrap());
        let views: Vec<Json> = futures::stream::iter(&accepted)
            .map(async |id| client.get_with_key(&format!("/v1/requests/{id}")).await)
            .buffer_unordered(CALLERS)
            .map(|answer| if answer.status == 200 { answer.json() } else { json!({ "state": "lost" }) })
            .collect()
            .await;
        let lost = views.iter().filter(|view| view["state"] == "lost").count();
        let done: Vec<&Json> = views.iter().filter(|view| view["state"] == "done").collect();
        println!("power cut: accepted={} done={} lost={lost}", accepted.len(), done.len());
        assert_eq!(lost, 0, "of {}", accepted.len());
        assert!(!done.is_empty(), "some were rendered by then");
        for view in done {
            let url = view["file"]["url"].as_str().unwrap();
            let body = client.get(url).await.expect(200).body;
            assert_eq!((body.len() as u64, &body[..2]), (view["file"]["bytes"].as_u64().unwrap(), &b"\xff\xd8"[..]));
        }
    });
}
