//! The crash campaign: under load, the backend is killed at random moments and at every named fault point, and so are
//! Chromium and its pages, the receiver, the store and the database server. Whatever was answered 202 ends once, with a webhook
//! and one file, or none where the page fails; what is repeated under an idempotency key is one request.
//!
//! `SNAPHOOK_CAMPAIGN_ROUNDS` and `SNAPHOOK_CAMPAIGN_SEED` repeat or lengthen it (`make soak`).

mod load;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value as Json;
use snaphook_test_postgres::Server;
use snaphook_tests::client::Client;
use snaphook_tests::receiver::{Behaviour, Receiver};
use snaphook_tests::s3::{ACCESS_KEY_ID, S3, SECRET_ACCESS_KEY};
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::{self, s};
use snaphook_tests::{descendants, run};

use load::{Figures, Load};

/// The same as in the backend's `fault` module; `tidy` holds the two together.
pub(crate) const FAULT_POINTS: [&str; 7] = [
    "before-commit",
    "after-commit",
    "during-render",
    "before-store-put",
    "after-store-put",
    "during-post",
    "after-post",
];

/// SplitMix64: small, seeded, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn tell(line: &str) {
    // Past the test runner's capture: a long campaign should be seen to go on, and its summary is wanted when it passes.
    let _ = writeln!(std::io::stderr(), "campaign: {line}");
}

/// In which everything that was accepted has ended, and been told, once nothing is killed any more: a render that failed three
/// times waits for half a minute.
const SETTLED_WITHIN: Duration = s(120);
/// With so many waiting, a round adds none: on a machine that is slow or busy they would only pile up.
const BACKLOG_MAX: usize = 30;

/// All requests that are listed. An Err as long as one of them has not ended, or not been told of: that one.
async fn ended_rows(client: &Client) -> Result<Vec<Json>, Json> {
    let (mut rows, mut before) = (Vec::new(), String::new());
    loop {
        let mut page = client.get_with_key(&format!("/v1/requests?limit=100{before}")).await.expect(200).json();
        for row in page["requests"].as_array_mut().unwrap() {
            if row["webhook"]["state"] != "delivered" {
                return Err(row.take());
            }
            rows.push(row.take());
        }
        match page["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => return Ok(rows),
        }
    }
}

/// What a round ends with.
#[derive(Clone, Copy)]
enum Victim {
    Backend,
    Chromium,
    /// The processes of its pages alone.
    Pages,
    /// Goes away, and comes back after so many milliseconds.
    Receiver(u64),
    Store(u64),
}

impl Victim {
    fn of(dice: &mut Dice) -> Victim {
        match dice.below(9) {
            0 => Victim::Chromium,
            1 => Victim::Receiver(dice.below(1_000)),
            2 => Victim::Store(dice.below(1_000)),
            3 => Victim::Pages,
            _ => Victim::Backend,
        }
    }
}

/// Everything that is there to be killed.
struct Parts {
    stack: Stack,
    receiver: Receiver,
    /// None: local files, which end with the backend.
    bucket: Option<S3>,
    /// None: SQLite, which ends with the backend too.
    database: Option<Server>,
}

impl Parts {
    async fn strike(&mut self, victim: Victim) {
        match (victim, &mut self.bucket, &self.database) {
            // Chromium alone: the backend must notice and go on.
            (Victim::Chromium | Victim::Pages, ..) => {
                let whole = matches!(victim, Victim::Chromium);
                for process in descendants::of(self.stack.backend_pid()) {
                    if whole || process.command_line().contains("--type=renderer") {
                        process.kill9();
                    }
                }
            }
            (Victim::Receiver(ms), ..) => {
                self.receiver.stop().await;
                tokio::time::sleep(Duration::from_millis(ms)).await;
                self.receiver.restart();
            }
            (Victim::Store(ms), Some(bucket), _) => {
                bucket.stop().await;
                tokio::time::sleep(Duration::from_millis(ms)).await;
                bucket.restart();
            }
            (Victim::Store(ms), None, Some(database)) => {
                database.crash();
                tokio::time::sleep(Duration::from_millis(ms)).await;
                database.start_again();
            }
            (Victim::Backend | Victim::Store(_), ..) => self.stack.kill9(),
        }
    }

    /// Where the files are.
    fn folder(&self) -> PathBuf {
        self.bucket.as_ref().map_or_else(|| self.stack.data_dir().join("files"), |bucket| bucket.path("files"))
    }

    /// A bucket's server keeps notes of its own beside the objects, in files whose names begin with a dot.
    fn stored(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder()).unwrap().flatten();
        entries
            .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
            .map(|entry| entry.path())
            .collect()
    }
}

struct Campaign {
    parts: Parts,
    load: Load,
    dice: Dice,
    /// How often the service died at each fault point.
    deaths: BTreeMap<&'static str, u32>,
    /// Rounds in which it was to.
    faulty: usize,
    /// The requests that a round left to the next one.
    waiting: usize,
    /// The most that they ever were.
    backlog: usize,
}

impl Campaign {
    fn start(seed: u64, bucket: Option<S3>, database: Option<Server>) -> Campaign {
        // What the receiver's absences cost should not end a delivery, and the next attempt must come soon. Attempts that end
        // with a crash are not counted, or there would be too few of these.
        let schedule = format!("0{}", ",1".repeat(14));
        let mut stack = Stack::builder().set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", schedule);
        if let Some(bucket) = &bucket {
            stack = stack
                .set("SNAPHOOK_STORE_URL", "s3://files")
                .set("SNAPHOOK_STORE_ENDPOINT", &bucket.url)
                .set("SNAPHOOK_STORE_ACCESS_KEY_ID", ACCESS_KEY_ID)
                .set("SNAPHOOK_STORE_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY);
        }
        if let Some(database) = &database {
            // Nobody else knows when a killed backend ended: what it held is waited for.
            stack =
                stack.set("SNAPHOOK_QUEUE_DATABASE_URL", database.database()).set("SNAPHOOK_QUEUE_LEASE_SECONDS", 5);
        }
        let receiver = Receiver::start();
        let load = Load::new(receiver.url());
        let deaths = FAULT_POINTS.map(|point| (point, 0)).into();
        let parts = Parts { stack: stack.start(), receiver, bucket, database };
        Campaign { parts, load, dice: Dice(seed), deaths, faulty: 0, waiting: 0, backlog: 0 }
    }

    async fn round(&mut self) {
        let status = if self.dice.below(8) == 0 { 500 } else { 204 };
        self.parts.receiver.behave(Behaviour::Status(status));
        if self.dice.below(3) == 0 {
            self.die_at_a_point().await;
        }
        let Campaign { parts, load, dice, waiting, backlog, .. } = self;
        let (count, moment, victim) = (2 + dice.below(6), Duration::from_millis(dice.below(400)), Victim::of(dice));
        let count = if *waiting < BACKLOG_MAX { count } else { 0 };
        let client = parts.stack.client();
        // Some of the posts are still under way then.
        futures::join!(load.post(&client, dice, count), async {
            tokio::time::sleep(moment).await;
            parts.strike(victim).await;
        });
        if parts.stack.ended_part().is_some() {
            parts.stack.restart();
        }
        let queued = client.get_with_key("/v1/requests?state=queued&limit=100").await;
        if queued.status == 200 {
            *waiting = queued.json()["requests"].as_array().unwrap().len();
            *backlog = (*backlog).max(*waiting);
        }
    }

    /// The service dies by itself, some way on.
    async fn die_at_a_point(&mut self) {
        let Campaign { parts: Parts { stack, .. }, load, dice, .. } = self;
        // Each in its turn.
        let point = FAULT_POINTS[self.faulty % FAULT_POINTS.len()];
        self.faulty += 1;
        stack.kill9();
        let mut tries = 0;
        while let Err(error) = stack.try_restart_with(&[("SNAPHOOK_FAULT", &format!("{point}:{}", 2 + dice.below(6)))])
        {
            tries += 1;
            assert!(tries < 50, "{point}: {error}");
        }
        let client = stack.client();
        for turn in 0..300 {
            if stack.ended_part().is_some() {
                *self.deaths.entry(point).or_default() += 1;
                break;
            }
            // Usually it is there after the first few; a slow machine needs time and not more of them.
            load.post(&client, dice, u64::from(turn < 15 || turn % 10 == 0)).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        stack.kill9();
        stack.restart();
    }

    /// Lets everything come to its end, and holds it to what was promised. Gives a line of figures.
    async fn settle(&mut self) -> String {
        let Campaign { parts, load, dice, .. } = self;
        parts.receiver.behave(Behaviour::Status(204));
        parts.stack.kill9();
        parts.stack.restart();
        let client = parts.stack.client();
        wait::until("an answer for every key", s(20), async || load.ask_again(&client, dice).await.then_some(())).await;
        let (mut left, began) = (Json::Null, Instant::now());
        let rows = tokio::time::timeout(
            SETTLED_WITHIN,
            wait::until("the end of all", SETTLED_WITHIN * 2, async || {
                ended_rows(&client).await.map_err(|row| left = row).ok()
            }),
        )
        .await;
        let rows = rows.unwrap_or_else(|_| panic!("not ended and delivered after {SETTLED_WITHIN:?}: {left:#}"));
        let settled_s = began.elapsed().as_secs();
        let figures = load.judge(&client, &rows, &parts.receiver.all()).await;
        // What a crash left between its file and its row belongs to nobody, and is swept when it is old enough.
        let stored = parts.stored();
        let orphans = stored.len().checked_sub(figures.done).expect("each has its file");
        for path in &stored {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(3 * 3600)).unwrap();
        }
        parts.stack.kill9();
        parts.stack.restart();
        let swept = || (parts.stored().len() == figures.done).then_some(());
        wait::for_it("one file each, and no other", s(60), swept).await;
        load.judge(&parts.stack.client(), &rows, &parts.receiver.all()).await;
        let deaths: Vec<String> = self.deaths.iter().map(|(point, deaths)| format!("{point}:{deaths}")).collect();
        for (point, deaths) in &self.deaths {
            assert!(*deaths > 0 || self.faulty < FAULT_POINTS.len(), "nothing died at {point}");
        }
        let Figures { accepted, unheard, done, sent, failed, repeated, again, duplicates } = figures;
        // None of it was left out, unless there were too few rounds for it.
        assert!(rows.len() < 100 || [sent, failed, repeated].iter().all(|count| *count > 0));
        format!(
            "accepted={accepted} unheard={unheard} done={done} sent={sent} failed={failed} repeated={repeated} \
             again={again} backlog={} orphans={orphans} webhooks={} duplicates={duplicates} settled_s={settled_s} \
             deaths={}",
            self.backlog,
            rows.len(),
            deaths.join(","),
        )
    }
}

/// A part of the rounds, on this store and this database.
fn survive(store: &str, bucket: Option<S3>, database: Option<Server>) {
    run(async {
        let seed = setting("SNAPHOOK_CAMPAIGN_SEED", std::process::id().into());
        let rounds = setting("SNAPHOOK_CAMPAIGN_ROUNDS", 200).div_ceil(if database.is_some() { 4 } else { 2 });
        tell(&format!("store={store} seed={seed}, {rounds} rounds"));
        let mut campaign = Campaign::start(seed, bucket, database);
        for round in 1..=rounds {
            campaign.round().await;
            if round % 50 == 0 {
                tell(&format!("store={store} round {round}, {} posted", campaign.load.count()));
            }
        }
        let figures = campaign.settle().await;
        tell(&format!("store={store} seed={seed} rounds={rounds} {figures}"));
    });
}

#[test]
fn what_was_accepted_survives_every_crash_with_local_files() {
    survive("local", None, None);
}

#[test]
fn what_was_accepted_survives_every_crash_with_a_bucket() {
    survive("bucket", Some(S3::start("files")), None);
}

#[test]
fn what_was_accepted_survives_every_crash_with_postgresql() {
    survive("postgresql", None, Some(Server::start()));
}
