//! Webhooks: how many arrive in a second, how soon, and how soon beside a hundred receivers that hang.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use http::Response;
use http_body_util::BodyExt;
use snaphook::clock::Clock;
use snaphook::config::Config;
use snaphook::domain::delivery::{DeliveryBody, NewDelivery};
use snaphook::domain::job::Outcome;
use snaphook::domain::ports::JobQueue;
use snaphook::egress::{Egress, SystemResolver};
use snaphook::notify::{Sender, WebhookClient};
use snaphook::queue::sqlite::SqliteQueue;
use snaphook::store::Store;
use snaphook_shared::target::TargetPolicy;
use snaphook_tests::receiver::{Behaviour, Receiver};
use snaphook_tests::serve::{Port, Server, full};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::rig;
use crate::figures::{line, spread};

const MANY: usize = 5_000;
const ONE_BY_ONE: usize = 400;
const HANGING: usize = 100;

/// A receiver that notes when each webhook came.
struct Watch {
    server: Server,
    arrived: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Watch {
    fn start() -> Watch {
        let arrived = Arc::new(Mutex::new(HashMap::new()));
        let noted = arrived.clone();
        let server = Server::start(Port::reserve(), move |request| {
            let id = request.headers().get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
            let id = id.to_owned();
            noted.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Instant::now());
            async move {
                let _ = request.into_body().collect().await;
                Response::builder().status(204).body(full("")).expect("a response")
            }
        });
        Watch { server, arrived }
    }

    fn url(&self) -> String {
        format!("{}/hook", self.server.url())
    }

    fn arrival(&self, id: &str) -> Option<Instant> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied()
    }

    fn count(&self) -> usize {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    async fn wait_for(&self, id: &str) -> Instant {
        snaphook_tests::wait::for_it(id, Duration::from_secs(60), || self.arrival(id)).await
    }
}

/// The sender as the service has it.
struct Rig {
    queue: SqliteQueue,
    wake: Arc<Notify>,
    stop: CancellationToken,
}

async fn start(folder: &Path, name: &str, per_receiver: Option<u32>) -> Rig {
    let queue = rig::open(folder, name).await;
    let data_dir = folder.display().to_string();
    let config = Config::load(None, &|name| (name == "SNAPHOOK_DATA_DIR").then(|| data_dir.clone())).expect("settings");
    let egress = Egress::new(TargetPolicy::development(), Arc::new(SystemResolver::default()));
    let (wake, stop) = (Arc::new(Notify::new()), CancellationToken::new());
    let sender = Arc::new(Sender {
        queue: Arc::new(queue.clone()),
        store: Arc::new(Store::open(&config, reqwest::Client::new()).expect("a folder")),
        client: WebhookClient::new(egress).expect("a client"),
        clock: Clock::default(),
        schedule_seconds: config.webhook.schedule_seconds.clone(),
        timeout: Duration::from_secs(120),
        concurrency: config.webhook.concurrency,
        per_receiver: per_receiver.unwrap_or(config.webhook.per_receiver_concurrency),
        wake: wake.clone(),
    });
    tokio::spawn(sender.run(stop.clone(), stop.clone()));
    Rig { queue, wake, stop }
}

/// Ends a request with a webhook, as a worker does; gives the webhook's id.
async fn end_one(rig: &Rig, url: &str) -> String {
    let request = rig::request();
    let delivery = NewDelivery {
        id: request.id.replacen("req_", "msg_", 1),
        url: url.to_owned(),
        sign: true,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: DeliveryBody::Inline(vec![b'x'; 250]),
    };
    let id = delivery.id.clone();
    let outcome = Outcome::Done { file: None, parts: Vec::new(), render_ms: 1, refused: Vec::new() };
    rig.queue.record(request, rig::now_ms(), outcome, Some(delivery)).await.expect("a working disk");
    id
}

/// Posts a second of the same size, so many at once, by a client that has nothing else to do.
async fn bare(at_once: usize) -> f64 {
    let (watch, client) = (Watch::start(), reqwest::Client::new());
    let url = watch.url();
    let started = Instant::now();
    let post = async |number: usize| {
        let post = client.post(&url).header("webhook-id", number.to_string()).body(vec![b'x'; 250]);
        post.send().await.expect("a receiver");
    };
    futures::stream::iter(0..MANY).for_each_concurrent(at_once, post).await;
    MANY as f64 / started.elapsed().as_secs_f64()
}

/// The time from the end of a render, its commit included, to the arrival of its webhook.
async fn delays(rig: &Rig, watch: &Watch) -> Vec<Duration> {
    let mut delays = Vec::new();
    for _ in 0..ONE_BY_ONE {
        let done = Instant::now();
        let id = end_one(rig, &watch.url()).await;
        rig.wake.notify_one();
        delays.push(watch.wait_for(&id).await - done);
        // The sender comes to rest: each one is woken for.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    delays
}

pub(super) async fn measure(folder: &Path) {
    for (what, per_receiver, at_once) in [("8 at a time, the default", None, 8), ("64 at a time", Some(64), 64)] {
        let watch = Watch::start();
        let rig = start(folder, &format!("many-{}.db", per_receiver.unwrap_or(0)), per_receiver).await;
        let url = watch.url();
        let started = Instant::now();
        let ends = (0..MANY).map(|_| end_one(&rig, &url));
        futures::future::join_all(ends).await;
        rig.wake.notify_one();
        snaphook_tests::wait::for_it("all webhooks", Duration::from_secs(120), || {
            (watch.count() >= MANY).then_some(())
        })
        .await;
        let rate = MANY as f64 / started.elapsed().as_secs_f64();
        rig.stop.cancel();
        let figure = format!("{rate:.0}/s, {:.2} of bare posts", rate / bare(at_once).await);
        line(&format!("webhooks to one receiver, {what}"), &figure, "");
    }

    let (watch, rig) = (Watch::start(), start(folder, "delays.db", None).await);
    let alone = delays(&rig, &watch).await;
    let hanging: Vec<Receiver> = (0..HANGING).map(|_| Receiver::start()).collect();
    for receiver in &hanging {
        receiver.behave(Behaviour::Hang);
        end_one(&rig, &receiver.url()).await;
        rig.wake.notify_one();
    }
    for receiver in &hanging {
        receiver.first(Duration::from_secs(60)).await;
    }
    let beside = delays(&rig, &watch).await;
    assert!(hanging.iter().all(|receiver| receiver.all().len() == 1), "they hang to the end");
    for (what, delays, aim) in [
        ("render done to webhook there, its commit included", &alone, "p50 < 5 ms"),
        ("the same beside 100 receivers that hang", &beside, "p99 < 2 s"),
    ] {
        line(what, &spread(delays, 0.99), aim);
    }
    rig.stop.cancel();
}
