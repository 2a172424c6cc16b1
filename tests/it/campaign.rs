//! The crash campaign: under load, the backend is killed at random moments and at every named fault point, and so are
//! Chromium, the receiver, the store and the database server; whatever was answered 202 ends once, with one file and a webhook.
//!
//! `SNAPHOOK_CAMPAIGN_ROUNDS` and `SNAPHOOK_CAMPAIGN_SEED` repeat or lengthen it (`make soak`).

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::time::{Duration, SystemTime};

use serde_json::json;
use snaphook_test_postgres::Server;
use snaphook_tests::client::Client;
use snaphook_tests::receiver::{Behaviour, Receiver};
use snaphook_tests::s3::{ACCESS_KEY_ID, S3, SECRET_ACCESS_KEY};
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::{self, s};
use snaphook_tests::{descendants, run};

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

/// Posts some requests at once; gives the ids of those that were answered 202.
async fn load(client: &Client, url: &str, count: u64) -> Vec<String> {
    let options = json!({
        "html": "<body style='margin:0;background:#123456'>", "format": "png", "viewport_width": 60, "viewport_height": 40,
        "async": true, "webhook_url": url, "block_annoyance": "none",
    });
    let mut accepted = Vec::new();
    let posts = (0..count).map(|_| client.try_post("/v1/screenshot", &options));
    for answer in futures::future::join_all(posts).await.into_iter().flatten() {
        if answer.status == 202 {
            accepted.push(answer.json()["id"].as_str().unwrap().to_owned());
        }
    }
    accepted
}

/// The files of all requests that are listed; None as long as one of them has not ended.
async fn files_of_all(client: &Client) -> Option<HashSet<String>> {
    let (mut files, mut before) = (HashSet::new(), String::new());
    loop {
        let page = client.get_with_key(&format!("/v1/requests?limit=100{before}")).await.expect(200).json();
        for request in page["requests"].as_array().unwrap() {
            if request["state"] != "done" {
                return None;
            }
            assert!(files.insert(request["file"]["url"].to_string()), "{request:#}");
        }
        match page["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => return Some(files),
        }
    }
}

/// What a round ends with.
#[derive(Clone, Copy)]
enum Victim {
    Backend,
    Chromium,
    /// Goes away, and comes back after so many milliseconds.
    Receiver(u64),
    Store(u64),
}

impl Victim {
    fn of(dice: &mut Dice) -> Victim {
        match dice.below(8) {
            0 => Victim::Chromium,
            1 => Victim::Receiver(dice.below(1_000)),
            2 => Victim::Store(dice.below(1_000)),
            _ => Victim::Backend,
        }
    }
}

/// Everything that is there to be killed.
struct Campaign {
    stack: Stack,
    receiver: Receiver,
    /// None: local files, which end with the backend.
    bucket: Option<S3>,
    /// None: SQLite, which ends with the backend too.
    database: Option<Server>,
    dice: Dice,
    accepted: Vec<String>,
    /// How often the service died at each fault point.
    deaths: BTreeMap<&'static str, u32>,
    /// Rounds in which it was to.
    faulty: usize,
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
        let deaths = FAULT_POINTS.map(|point| (point, 0)).into();
        let (stack, dice) = (stack.start(), Dice(seed));
        Campaign { stack, receiver, bucket, database, dice, accepted: Vec::new(), deaths, faulty: 0 }
    }

    async fn round(&mut self) {
        let dice = &mut self.dice;
        self.receiver.behave(Behaviour::Status(if dice.below(8) == 0 { 500 } else { 204 }));
        let (client, url, count) = (self.stack.client(), self.receiver.url(), 1 + dice.below(4));
        if dice.below(3) == 0 {
            // Each in its turn.
            let point = FAULT_POINTS[self.faulty % FAULT_POINTS.len()];
            self.faulty += 1;
            self.stack.kill9();
            let mut tries = 0;
            while let Err(error) =
                self.stack.try_restart_with(&[("SNAPHOOK_FAULT", &format!("{point}:{}", 2 + dice.below(6)))])
            {
                tries += 1;
                assert!(tries < 50, "{point}: {error}");
            }
            // The service dies by itself, some way on.
            for _ in 0..300 {
                if self.stack.ended_part().is_some() {
                    *self.deaths.entry(point).or_default() += 1;
                    break;
                }
                self.accepted.extend(load(&client, &url, 1).await);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            self.stack.kill9();
            self.stack.restart();
        }
        let moment = Duration::from_millis(dice.below(400));
        let (ids, ()) = futures::join!(load(&client, &url, count), tokio::time::sleep(moment));
        self.accepted.extend(ids);
        match (Victim::of(dice), &mut self.bucket) {
            (Victim::Chromium, _) => {
                // Chromium alone: the backend must notice and go on.
                for process in descendants::of(self.stack.backend_pid()) {
                    process.kill9();
                }
            }
            (Victim::Receiver(ms), _) => {
                self.receiver.stop().await;
                tokio::time::sleep(Duration::from_millis(ms)).await;
                self.receiver.restart();
            }
            (Victim::Store(ms), Some(bucket)) => {
                bucket.stop().await;
                tokio::time::sleep(Duration::from_millis(ms)).await;
                bucket.restart();
            }
            (Victim::Store(ms), None) if self.database.is_some() => {
                let Some(database) = &self.database else { return };
                database.crash();
                tokio::time::sleep(Duration::from_millis(ms)).await;
                database.start_again();
            }
            (Victim::Backend | Victim::Store(_), _) => {
                self.stack.kill9();
                self.stack.restart();
            }
        }
        if self.stack.ended_part().is_some() {
            self.stack.restart();
        }
    }

    /// Lets everything come to its end, and holds it to what was promised. Gives a line of figures.
    async fn settle(&mut self) -> String {
        self.receiver.behave(Behaviour::Status(204));
        self.stack.kill9();
        self.stack.restart();
        let (client, accepted) = (self.stack.client(), &self.accepted);
        let mut files = HashSet::new();
        for id in accepted {
            let view = client
                .request_when(id, "ended and delivered", s(180), |view| view["webhook"]["state"] == "delivered")
                .await;
            assert_eq!(view["state"], "done", "{view:#}");
            let file = client.get(view["file"]["url"].as_str().unwrap()).await.expect(200);
            assert_eq!(Some(file.body.len() as u64), view["file"]["bytes"].as_u64(), "{view:#}");
            assert!(files.insert(view["file"]["url"].to_string()), "a file of its own: {view:#}");
        }
        // What a crash left between its file and its row belongs to nobody, and is swept when it is old enough.
        let folder = self.stack.data_dir().join("files");
        let stored = || match &self.bucket {
            Some(bucket) => bucket.count("files"),
            None => std::fs::read_dir(&folder).unwrap().count(),
        };
        // With the files of those whose 202 was lost on its way: they are kept all the same.
        let files_of_all =
            wait::until("the end of all that is listed", s(60), async || files_of_all(&client).await).await;
        assert!(files.is_subset(&files_of_all));
        let orphans = stored().checked_sub(files_of_all.len()).expect("each has its file");
        if self.bucket.is_none() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let file = std::fs::File::options().write(true).open(entry.unwrap().path()).unwrap();
                file.set_modified(SystemTime::now() - Duration::from_secs(3 * 3600)).unwrap();
            }
            self.stack.kill9();
            self.stack.restart();
            wait::for_it("one file each, and no other", s(60), || (stored() == files_of_all.len()).then_some(())).await;
        }
        let deaths: Vec<String> = self.deaths.iter().map(|(point, deaths)| format!("{point}:{deaths}")).collect();
        for (point, deaths) in &self.deaths {
            assert!(*deaths > 0 || self.faulty < FAULT_POINTS.len(), "nothing died at {point}");
        }
        let webhooks = self.receiver.all();
        let told: HashSet<&str> = webhooks.iter().map(|webhook| webhook.header("webhook-id")).collect();
        let lost: Vec<&String> =
            accepted.iter().filter(|id| !told.contains(id.replace("req_", "msg_").as_str())).collect();
        assert!(lost.is_empty(), "no webhook for {lost:?}");
        let mut bodies: BTreeMap<&str, &[u8]> = BTreeMap::new();
        for webhook in &webhooks {
            let body = bodies.entry(webhook.header("webhook-id")).or_insert(&webhook.body);
            assert_eq!(*body, &webhook.body[..], "the same bytes on every attempt");
        }
        format!(
            "accepted={} done={} failed={} orphans={orphans} webhooks={} duplicates={} lost={} deaths={}",
            accepted.len(),
            files.len(),
            accepted.len() - files.len(),
            told.len(),
            webhooks.len() - told.len(),
            lost.len(),
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
                tell(&format!("store={store} round {round}, {} accepted", campaign.accepted.len()));
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
