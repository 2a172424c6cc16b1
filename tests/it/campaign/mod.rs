//! The crash campaign: under load, each part is killed at random moments and at every named fault point: the backend, Chromium
//! and its pages, the receiver, the store and the database server, each a program of its own. Whatever was answered 202 ends
//! once, with a webhook and one file, or none where the page fails; what is repeated under an idempotency key is one request.
//!
//! A point is a place in the backend: it dies there by itself, or stands still while another is killed, and then goes on.
//!
//! `SNAPHOOK_CAMPAIGN_ROUNDS` and `SNAPHOOK_CAMPAIGN_SEED` repeat or lengthen it (`make soak`).

mod load;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value as Json;
use snaphook_test_postgres::Server;
use snaphook_tests::client::Client;
use snaphook_tests::faults::{Faults, POINTS};
use snaphook_tests::receiver::MortalReceiver;
use snaphook_tests::s3::{ACCESS_KEY_ID, MortalS3, SECRET_ACCESS_KEY};
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::{self, s};
use snaphook_tests::{descendants, run};

use load::{Figures, Load};

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

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn tell(line: &str) {
    // Past the test runner's capture: a long campaign should be seen to go on, and its summary is wanted when it passes.
    let _ = writeln!(std::io::stderr(), "campaign: {line}");
}

/// In which everything that was accepted has ended, and been told, once nothing is killed any more: a render that failed three
/// times waits for half a minute.
const SETTLED_WITHIN: Duration = s(120);
/// In which the backend comes by any place.
const POINT_LIMIT: Duration = s(30);
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

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Backend,
    Chromium,
    /// The processes of its pages alone.
    Pages,
    Receiver,
    /// A store that is a program: the bucket's server.
    Store,
    /// A database that is a program: PostgreSQL.
    Database,
}

/// Everything that is there to be killed.
struct Parts {
    stack: Stack,
    faults: Faults,
    receiver: MortalReceiver,
    /// None: local files, which end with the backend.
    bucket: Option<MortalS3>,
    /// None: SQLite, which ends with the backend too.
    database: Option<Server>,
}

impl Parts {
    /// The programs that are there.
    fn victims(&self) -> Vec<Victim> {
        let mut victims = vec![Victim::Backend, Victim::Chromium, Victim::Receiver];
        victims.extend(self.bucket.is_some().then_some(Victim::Store));
        victims.extend(self.database.is_some().then_some(Victim::Database));
        victims
    }

    /// Whose turn it is at a random moment: half of the time the backend's.
    fn choose(&self, dice: &mut Dice) -> Victim {
        let mut victims = self.victims();
        victims.push(Victim::Pages);
        victims.extend(vec![Victim::Backend; victims.len() - 2]);
        victims[dice.below(victims.len() as u64) as usize]
    }

    fn kill(&mut self, victim: Victim) {
        match victim {
            Victim::Backend => self.stack.kill9(),
            // The backend must notice and go on.
            Victim::Chromium | Victim::Pages => {
                for process in descendants::of(self.stack.backend_pid()) {
                    if victim == Victim::Chromium || process.command_line().contains("--type=renderer") {
                        process.kill9();
                    }
                }
            }
            Victim::Receiver => self.receiver.kill9(),
            Victim::Store => self.bucket.as_mut().unwrap().kill9(),
            Victim::Database => self.database.as_ref().unwrap().crash(),
        }
    }

    /// Starts it again after some time, if it does not come back by itself.
    async fn revive(&mut self, victim: Victim, away: Duration) {
        match victim {
            Victim::Backend | Victim::Chromium | Victim::Pages => {}
            Victim::Receiver | Victim::Store | Victim::Database => tokio::time::sleep(away).await,
        }
        match victim {
            Victim::Backend | Victim::Chromium | Victim::Pages => {}
            Victim::Receiver => self.receiver.start_again(),
            Victim::Store => self.bucket.as_mut().unwrap().start_again(),
            Victim::Database => self.database.as_ref().unwrap().start_again(),
        }
        if self.stack.ended_part().is_some() {
            self.stack.restart();
        }
    }

    /// Kills it when the backend comes by a place for the n-th time; then it may come back. False if the backend did not.
    async fn kill_at(&mut self, point: &str, nth: u64, victim: Victim, away: Duration) -> bool {
        match victim {
            Victim::Backend => self.faults.kill_at(point, nth),
            _ => self.faults.suspend_at(point, nth),
        }
        let there = wait::within(POINT_LIMIT, || match victim {
            Victim::Backend => self.stack.ended_part().is_some(),
            _ => self.stack.is_suspended(),
        });
        let there = there.await;
        self.faults.forget(point);
        if self.stack.is_suspended() {
            self.kill(victim);
            self.stack.resume();
            self.revive(victim, away).await;
        } else if self.stack.ended_part().is_some() {
            self.stack.restart();
        }
        there
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
    /// How often each part was killed at each fault point.
    deaths: BTreeMap<(&'static str, Victim), u32>,
    /// Rounds in which one was to be.
    faulty: usize,
    /// The requests that a round left to the next one.
    waiting: usize,
    /// The most that they ever were.
    backlog: usize,
}

impl Campaign {
    fn start(seed: u64, bucket: Option<MortalS3>, database: Option<Server>) -> Campaign {
        // What the receiver's absences cost should not end a delivery, and the next attempt must come soon. Attempts that end
        // with a crash are not counted, or there would be too few of these.
        let schedule = format!("0{}", ",1".repeat(14));
        let faults = Faults::new();
        let mut stack = Stack::builder().faults(&faults).set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", schedule);
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
        let receiver = MortalReceiver::start();
        let load = Load::new(receiver.url());
        let parts = Parts { stack: stack.start(), faults, receiver, bucket, database };
        let deaths = POINTS.iter().flat_map(|point| parts.victims().into_iter().map(move |one| ((*point, one), 0)));
        let deaths = deaths.collect();
        Campaign { parts, load, dice: Dice(seed), deaths, faulty: 0, waiting: 0, backlog: 0 }
    }

    async fn round(&mut self, number: u64) {
        let status = if self.dice.below(8) == 0 { 500 } else { 204 };
        self.parts.receiver.answer_with(status);
        if number.is_multiple_of(2) {
            self.kill_at_a_point().await;
        }
        let Campaign { parts, load, dice, waiting, backlog, .. } = self;
        let (count, moment, victim) = (2 + dice.below(6), ms(dice.below(400)), parts.choose(dice));
        let (count, away) = (if *waiting < BACKLOG_MAX { count } else { 0 }, ms(dice.below(1_000)));
        let client = parts.stack.client();
        // Some of the posts are still under way then.
        futures::join!(load.post(&client, dice, count), async {
            tokio::time::sleep(moment).await;
            parts.kill(victim);
            parts.revive(victim, away).await;
        });
        let queued = client.get_with_key("/v1/requests?state=queued&limit=100").await;
        if queued.status == 200 {
            *waiting = queued.json()["requests"].as_array().unwrap().len();
            *backlog = (*backlog).max(*waiting);
        }
    }

    /// Each part at each place in its turn; what was missed comes again.
    async fn kill_at_a_point(&mut self) {
        let Campaign { parts, load, dice, deaths, .. } = self;
        self.faulty += 1;
        let ((point, victim), count) = deaths.iter_mut().min_by_key(|(_, count)| **count).expect("some");
        let (nth, away, client) = (1 + dice.below(3), ms(dice.below(1_000)), parts.stack.client());
        let is_over = Cell::new(false);
        futures::join!(
            async {
                for turn in 0.. {
                    // Usually it is there after the first few; a slow machine needs time and not more of them.
                    load.post(&client, dice, u64::from(turn < 15 || turn % 10 == 0)).await;
                    tokio::time::sleep(ms(100)).await;
                    if is_over.get() {
                        break;
                    }
                }
            },
            async {
                *count += u32::from(parts.kill_at(point, nth, *victim, away).await);
                is_over.set(true);
            }
        );
    }

    /// Lets everything come to its end, and holds it to what was promised. Gives a line of figures.
    async fn settle(&mut self) -> String {
        let Campaign { parts, load, dice, .. } = self;
        parts.receiver.answer_with(204);
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
        let missed: Vec<_> = self.deaths.iter().filter(|(_, count)| **count == 0).map(|(place, _)| place).collect();
        assert!(missed.is_empty() || self.faulty < self.deaths.len(), "not killed: {missed:?}");
        let mut by_victim: BTreeMap<Victim, u32> = BTreeMap::new();
        for ((_, victim), count) in &self.deaths {
            *by_victim.entry(*victim).or_default() += count;
        }
        let deaths: Vec<String> = by_victim.iter().map(|(victim, count)| format!("{victim:?}:{count}")).collect();
        let Figures { accepted, unheard, done, sent, failed, repeated, again, duplicates, lost } = figures;
        // None of it was left out, unless there were too few rounds for it.
        assert!(rows.len() < 100 || [sent, failed, repeated].iter().all(|count| *count > 0));
        format!(
            "accepted={accepted} unheard={unheard} done={done} sent={sent} failed={failed} repeated={repeated} \
             again={again} backlog={} orphans={orphans} webhooks={} duplicates={duplicates} lost={lost} \
             settled_s={settled_s} at_points={}",
            self.backlog,
            rows.len(),
            deaths.join(","),
        )
    }
}

/// A part of the rounds, on this store and this database.
fn survive(store: &str, bucket: Option<MortalS3>, database: Option<Server>) {
    run(async {
        let seed = setting("SNAPHOOK_CAMPAIGN_SEED", std::process::id().into());
        let rounds = setting("SNAPHOOK_CAMPAIGN_ROUNDS", 200).div_ceil(if database.is_some() { 3 } else { 2 });
        tell(&format!("store={store} seed={seed}, {rounds} rounds"));
        let mut campaign = Campaign::start(seed, bucket, database);
        for round in 1..=rounds {
            campaign.round(round).await;
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
    survive("bucket", Some(MortalS3::start("files")), None);
}

#[test]
fn what_was_accepted_survives_every_crash_with_postgresql() {
    survive("postgresql", None, Some(Server::start()));
}
