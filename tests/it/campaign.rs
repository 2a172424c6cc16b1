//! The crash campaign: under load, the backend is killed at random moments and at every named fault point, and Chromium
//! too; whatever was answered 202 ends once, with one file and a webhook.
//!
//! `SNAPHOOK_CAMPAIGN_ROUNDS` and `SNAPHOOK_CAMPAIGN_SEED` repeat or lengthen it (`make soak`).

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::time::Duration;

use serde_json::json;
use snaphook_tests::client::Client;
use snaphook_tests::receiver::{Behaviour, Receiver};
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::s;
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

/// As many renders as may fail before a request does.
const ATTEMPTS_MAX: usize = 4;

#[test]
fn what_was_accepted_survives_every_crash() {
    run(async {
        let seed = setting("SNAPHOOK_CAMPAIGN_SEED", std::process::id().into());
        let rounds = setting("SNAPHOOK_CAMPAIGN_ROUNDS", 200);
        tell(&format!("seed {seed}, {rounds} rounds"));
        let mut dice = Dice(seed);
        let receiver = Receiver::start();
        // A crash during a POST costs one attempt; the next must come soon for the campaign to end.
        let mut stack = Stack::builder().set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", "0,1,1,1,1,1,1,1,1,1").start();
        let client = stack.client();
        let mut accepted = Vec::new();
        for round in 1..=rounds {
            receiver.behave(Behaviour::Status(if dice.below(8) == 0 { 500 } else { 204 }));
            let fault = match dice.below(3) {
                0 => Some(FAULT_POINTS[dice.below(FAULT_POINTS.len() as u64) as usize]),
                _ => None,
            };
            if let Some(point) = fault {
                // The service dies by itself, some way on.
                stack.kill9();
                while stack.try_restart_with(&[("SNAPHOOK_FAULT", &format!("{point}:{}", 2 + dice.below(6)))]).is_err()
                {
                }
            }
            let moment = Duration::from_millis(dice.below(400));
            let count = 1 + dice.below(4);
            let url = receiver.url();
            let (ids, ()) = futures::join!(load(&client, &url, count), tokio::time::sleep(moment));
            accepted.extend(ids);
            match dice.below(6) {
                0 => {
                    // Chromium alone: the backend must notice and go on.
                    for process in descendants::of(stack.backend_pid()) {
                        process.kill9();
                    }
                }
                _ => {
                    stack.kill9();
                    stack.restart();
                }
            }
            if stack.ended_part().is_some() {
                stack.restart();
            }
            if round % 50 == 0 {
                tell(&format!("round {round}, {} accepted", accepted.len()));
            }
        }
        receiver.behave(Behaviour::Status(204));
        stack.kill9();
        stack.restart();

        let mut ends: BTreeMap<String, u32> = BTreeMap::new();
        for id in &accepted {
            let view = client
                .request_when(id, "ended and delivered", s(120), |view| view["webhook"]["state"] == "delivered")
                .await;
            let state = view["state"].as_str().unwrap().to_owned();
            if state == "done" {
                let file = client.get(view["file"]["url"].as_str().unwrap()).await.expect(200);
                assert_eq!(Some(file.body.len() as u64), view["file"]["bytes"].as_u64(), "{view:#}");
            }
            if state == "failed" {
                tell(&format!("{id} failed: {view}"));
                // One crash is no reason to fail. A request whose browser was lost in every one of its attempts has had its
                // share: it might have been the page that did it.
                let lost =
                    view["attempt_log"].as_array().unwrap().iter().filter(|attempt| attempt["reason"].is_string());
                assert!(lost.count() >= ATTEMPTS_MAX, "{id} failed before its attempts were used up: {view:#}");
                assert_eq!(view["error"]["code"], "internal_application_error", "{view:#}");
            }
            *ends.entry(state).or_default() += 1;
        }
        let webhooks = receiver.all();
        let told: HashSet<&str> = webhooks.iter().map(|webhook| webhook.header("webhook-id")).collect();
        let missing: Vec<&String> =
            accepted.iter().filter(|id| !told.contains(id.replace("req_", "msg_").as_str())).collect();
        let mut bodies: BTreeMap<&str, &[u8]> = BTreeMap::new();
        for webhook in &webhooks {
            let body = bodies.entry(webhook.header("webhook-id")).or_insert(&webhook.body);
            assert_eq!(*body, &webhook.body[..], "the same bytes on every attempt");
        }
        let duplicates = webhooks.len() - told.len();
        tell(&format!(
            "seed={seed} rounds={rounds} accepted={} done={} failed={} webhooks={} duplicates={duplicates} lost={}",
            accepted.len(),
            ends.get("done").unwrap_or(&0),
            ends.get("failed").unwrap_or(&0),
            told.len(),
            missing.len(),
        ));
        assert!(missing.is_empty(), "no webhook for {missing:?}");
        let ended = |state: &str| ends.get(state).copied().unwrap_or(0) as usize;
        assert_eq!(ended("done") + ended("failed"), accepted.len(), "{ends:?}");
        assert!(ended("failed") * 100 <= accepted.len(), "so many cannot have lost every browser: {ends:?}");
    });
}
