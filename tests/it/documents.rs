//! Every command of README.md, of the documents and of docs/cli.md is run as it stands there. Only what is an example in it
//! (a host, a key, an id) is replaced; what cannot run here is named, with its reason.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use snaphook_shared::secret::Secret;
use snaphook_shared::signing::webhook_headers;
use snaphook_tests::part::Part;
use snaphook_tests::receiver::{Behaviour, Receiver};
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::{self, s};
use snaphook_tests::{random_hex, repository, run};

/// Why commands are not run by this test.
enum Why {
    /// This file runs what they run.
    RunBy(&'static str),
    Here(&'static str),
}

use Why::{Here, RunBy};

/// Commands that are not run by this test, each in full, and why.
const ELSEWHERE: &[(Why, &[&str])] = &[
    (RunBy("tests/it/demo.rs"), &["make run"]),
    (
        RunBy("tests/it/postgres.rs"),
        &[
            "snaphook migrate --to 'postgres://snaphook:…@db.example.com/snaphook?sslmode=verify-full'",
            "SNAPHOOK_QUEUE_DATABASE_URL='postgres://…' snaphook migrate",
            "SNAPHOOK_QUEUE_DATABASE_URL='postgres://snaphook:…@db.example.com/snaphook?sslmode=verify-full' snaphook doctor",
            "SNAPHOOK_QUEUE_DATABASE_URL='postgres://snaphook:…@db.example.com/snaphook?sslmode=verify-full' snaphook serve",
            "snaphook restore /var/backups/snaphook-2026-11-21.db",
        ],
    ),
    (RunBy("tests/it/upgrade.rs"), &["psql \"$SNAPHOOK_QUEUE_DATABASE_URL\" -c 'TABLE snaphook_schema'"]),
    (RunBy("edge/test/provision.test.mjs"), &["node provision.mjs"]),
    (RunBy("edge/test/deploy.test.mjs"), &["npx wrangler deploy --dry-run -c wrangler.full.toml"]),
    (RunBy("edge/verify/test/tarball.test.mjs"), &["npm install @snaphook/verify"]),
    (RunBy("backend/src/cli/manual.rs"), &["snaphook manual | less"]),
    (RunBy("tests/it/walls.rs"), &["nft -f deploy/network.nft"]),
    (
        Here("is what runs this test"),
        &[
            "make test",
            "make test-it",
            "sh deploy/setup.sh test",
            "deploy/setup.sh run",
            "cargo build --workspace --bins",
            "cargo test --workspace --test it -- render::",
            "cargo test --workspace --test it -- a_page_becomes",
            "cargo test --workspace --test it -- --skip campaign",
            "RUST_TEST_THREADS=1 cargo test --workspace --test it",
        ],
    ),
    (Here("builds for many minutes"), &["cargo build --release -p snaphook"]),
    (
        Here("takes many minutes and measures"),
        &[
            "make bench",
            "make bench-quick",
            "make bench-queue",
            "make bench-service",
            "make bench-simulate",
            "make bench-simulate ONLY=plan",
            "make bench-simulate ONLY=\"plan --page_wait=3 --usd_core=10\"",
            "make bench-simulate ONLY=real",
            "make bench-queue ONLY=jobs",
            "make bench-queue ONLY=rows",
            "make bench-service ONLY=pinned",
        ],
    ),
    (
        Here("changes the machine"),
        &[
            "sudo apt-get install chromium-headless-shell ffmpeg fonts-liberation fonts-noto-cjk fonts-noto-color-emoji",
            "sudo install -m 755 target/release/snaphook /usr/local/bin/",
            "sudo install -d /etc/snaphook",
            "sudo sh -c 'echo \"public_url = \\\"https://shots.example.com\\\"\" > /etc/snaphook/snaphook.toml'",
            "sudo install -m 644 deploy/snaphook.service /etc/systemd/system/",
            "sudo systemctl daemon-reload",
            "sudo systemctl enable --now snaphook",
            "sudo journalctl -u snaphook",
            "systemctl daemon-reload",
            "systemctl enable --now snaphook-network snaphook",
            "systemctl stop snaphook",
            "systemctl start snaphook",
            "echo 'nameserver 9.9.9.9' > /etc/snaphook/resolv.conf",
        ],
    ),
    (
        Here("needs a container engine"),
        &[
            "docker compose -f deploy/compose.yaml up -d --build",
            "docker compose -f deploy/compose.yaml logs snaphook",
            "docker compose -f deploy/compose.yaml exec snaphook snaphook keys create",
            "docker network create --opt com.docker.network.bridge.name=snaphook0 snaphook",
            "docker run --network snaphook --user 10001 --security-opt seccomp=deploy/chromium-seccomp.json …",
        ],
    ),
    (
        Here("needs an account, or an edge that is deployed with one"),
        &[
            "cd edge",
            "npx wrangler login",
            "npx wrangler deploy -c wrangler.full.toml --secrets-file edge.secrets && rm edge.secrets",
            "npx wrangler tail",
            "curl -H 'X-Access-Key: …' -o page.png 'https://api.example.com/take?url=https://example.com&format=png'",
        ],
    ),
];

/// Commands that go on until they are ended, and what they say when they have begun.
const ENDLESS: [(&str, &str); 2] = [("snaphook serve", "ready"), ("snaphook webhooks listen", "http://")];

/// Commands that end well only where something is wrong, which it is not here, and what they say then.
const MAY_FAIL: [(&str, &str); 2] =
    [("snaphook doctor", "checks failed"), ("snaphook webhooks enable", "has no disabled endpoint")];

/// Commands of the shell blocks of a document.
fn blocks(document: &str) -> Vec<String> {
    let text = std::fs::read_to_string(repository(document)).unwrap();
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    blocks.flat_map(commands).collect()
}

/// Commands of a text: one a line, or several lines with a backslash at the end; comments are left out.
fn commands(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let bare = joined.lines().map(|line| line.split(" # ").next().unwrap().trim().to_owned());
    bare.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// The examples of every command's help.
fn examples() -> Vec<String> {
    let text = std::fs::read_to_string(repository("docs/cli.md")).unwrap().replace("\\\n", " ");
    let mut found = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let rest = line.strip_prefix("Examples:").or_else(|| line.strip_prefix("Example:"));
        inside = rest.is_some() || (inside && line.starts_with("  "));
        found.extend(commands(rest.unwrap_or(if inside { line } else { "" })));
    }
    found
}

/// What the examples stand for.
struct Scene {
    stack: Stack,
    site: Site,
    receiver: Receiver,
    done: String,
    dead: String,
}

impl Scene {
    async fn set() -> Scene {
        let stack = Stack::builder().set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", "0").start();
        let (site, receiver) = (Site::start(), Receiver::start());
        receiver.behave(Behaviour::Status(500));
        let client = stack.client();
        let webhook = json!({ "html": "<p>x", "webhook_url": receiver.url() });
        let done = client.enqueue("/v1/screenshot", &webhook).await;
        client.done(&done, s(60)).await;
        let dead = wait::until("a dead webhook", s(30), async || {
            let list = client.get_with_key("/v1/deliveries?state=dead").await.expect(200).json();
            list["deliveries"][0]["id"].as_str().map(str::to_owned)
        });
        let dead = dead.await;
        Scene { stack, site, receiver, done, dead }
    }

    /// The command with what there is here in the place of its examples.
    async fn stage(&self, command: &str, folder: &Path) -> String {
        let fresh = command.contains("keys import");
        let key = self.stack.new_key();
        let (access_key, secret) = match fresh {
            true => (random_hex(8), random_hex(16)),
            false => (key.access_key.clone(), key.secret_key.clone()),
        };
        let id = match command.contains("cancel") {
            true => {
                let client = self.stack.client().with_key(&key);
                client.enqueue("/take", &json!({ "url": self.site.url("/never") })).await
            }
            false => self.done.clone(),
        };
        std::fs::write(folder.join("urls.txt"), format!("{}\n", self.site.url("/colors.html"))).unwrap();
        std::fs::write(folder.join("hook.json"), "{}").unwrap();
        std::fs::create_dir_all(folder.join("etc/bash_completion.d")).unwrap();
        std::fs::write(folder.join("etc/snaphook.toml"), "").unwrap();
        let signed = webhook_headers(&[Secret::new(&secret)], "msg_0123", 1_764_110_000, b"{}");
        let signature = signed.iter().find(|(name, _)| *name == "webhook-signature").unwrap().1.clone();
        let api = self.stack.setting("SNAPHOOK_HTTP_LISTEN").unwrap();
        let replacements = [
            ("https://example.com", self.site.url("/colors.html")),
            ("http://127.0.0.1:8400", format!("http://{api}")),
            ("https://your.app/hook", self.receiver.url()),
            ("https://your.app/", self.receiver.url()),
            ("YOUR_ACCESS_KEY", access_key.clone()),
            ("YOUR_SECRET_KEY", secret.clone()),
            ("--access-key AK", format!("--access-key {access_key}")),
            ("--key AK", format!("--key {access_key}")),
            ("limits AK", format!("limits {access_key}")),
            ("rotate AK", format!("rotate {access_key}")),
            ("revoke AK", format!("revoke {access_key}")),
            ("--secret-key SK", format!("--secret-key {secret}")),
            ("--secret SK", format!("--secret {secret}")),
            ("$SNAPHOOK_ACCESS_KEY", access_key),
            ("req_0123…", id),
            ("msg_0123…", self.dead.clone()),
            ("show ID", format!("show {}", self.done)),
            ("webhook-signature: v1,…", format!("webhook-signature: {signature}")),
            (" /etc/", " etc/".to_owned()),
            ("/var/backups/", String::new()),
            ("| less", "| cat".to_owned()),
            ("--port 9000", "--port 0".to_owned()),
            ("0.0.0.0:8400", "127.0.0.1:0".to_owned()),
            // The scene's own service has its data elsewhere, and asks nobody for leave.
            ("sudo SNAPHOOK_DATA_DIR=/var/lib/snaphook ", String::new()),
        ];
        replacements.iter().fold(command.to_owned(), |text, (example, here)| text.replace(example, here))
    }

    /// Runs a command in a shell, in a folder of its own.
    async fn run(&self, command: &str) {
        let folder = tempfile::tempdir().unwrap();
        let staged = self.stage(command, folder.path()).await;
        let shell = |script: &str| {
            let mut shell = self.stack.shell(script);
            shell.current_dir(folder.path());
            shell
        };
        match ENDLESS.iter().find(|(begin, _)| command.contains(begin)) {
            Some((begin, says)) => {
                // The shell makes way, so that the signal reaches the command.
                let shell = shell(&staged.replacen("snaphook", "exec snaphook", 1));
                endless(shell, begin.ends_with("serve"), folder.path(), says).await;
            }
            None => {
                // A command that fails is not hidden by what reads it.
                let mut strict = shell("exec bash -o pipefail -c \"$STAGED\"");
                strict.env("STAGED", &staged);
                let output = tokio::task::block_in_place(|| strict.output()).unwrap();
                let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                if command.starts_with("snaphook doctor") && !command.contains("--json") {
                    let failed: Vec<&str> = said[0].lines().filter(|line| line.starts_with("FAIL")).collect();
                    assert!(failed.is_empty(), "nothing is wrong with what the tests have set: {said:?}");
                }
                let may_fail = MAY_FAIL.iter().any(|(begin, says)| {
                    command.starts_with(begin) && said[1].contains(says) && !said[1].contains("Usage")
                });
                assert!(output.status.success() || may_fail, "{command}\n{staged}\n{}: {said:?}", output.status);
            }
        }
    }
}

/// Starts what does not end, waits until it says so, and ends it.
async fn endless(mut shell: Command, is_service: bool, folder: &Path, says: &str) {
    if is_service {
        // Another one beside that of the scene.
        shell.env("SNAPHOOK_DATA_DIR", folder.join("data")).env("SNAPHOOK_HTTP_OPERATIONS_LISTEN", "127.0.0.1:0");
    }
    let mut part = Part::start("an endless command", &mut shell).unwrap();
    wait::for_it(says, s(60), || part.log().contains(says).then_some(())).await;
    assert!(tokio::task::block_in_place(|| part.stop()).is_some(), "{}", part.log());
}

fn is_elsewhere(command: &str) -> bool {
    ELSEWHERE.iter().any(|(_, commands)| commands.contains(&command))
}

#[test]
fn every_command_of_the_documents_is_run() {
    let mut all = examples();
    for document in ["README.md", "tests/README.md", "edge/verify/npm/README.md"] {
        all.extend(blocks(document));
    }
    for entry in std::fs::read_dir(repository("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") && name != "cli.md" {
            all.extend(blocks(&format!("docs/{name}")));
        }
    }
    assert!(all.len() > 40, "{all:?}");
    for (why, commands) in ELSEWHERE {
        for command in *commands {
            assert!(all.iter().any(|one| one == command), "{command} is in no document");
        }
        match why {
            RunBy(file) => assert!(repository(file).is_file(), "{file} is not there to run {commands:?}"),
            Here(why) => assert!(!why.is_empty()),
        }
    }
    run(async {
        let scene = Scene::set().await;
        for command in all.iter().filter(|command| !is_elsewhere(command)) {
            scene.run(command).await;
        }
    });
}
