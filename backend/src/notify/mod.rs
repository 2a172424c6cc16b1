//! The webhook sender: takes what is due from the outbox, signs it, posts it, and keeps what came of it.

mod client;

use std::sync::Arc;
use std::time::{Duration, Instant};

use snaphook_shared::signing;
use snaphook_shared::trace::TRACEPARENT;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::clock::Clock;
use crate::domain::delivery::{ClaimedDelivery, DeliveryAttempt, DeliveryBody, NextStep};
use crate::domain::ports::{FileStore, JobQueue};
use crate::domain::retry;
use crate::fault;
use crate::metrics;
use crate::trace::{Span, TraceContext};
use client::{Answer, Fault};
pub use client::{WebhookClient, build_client};

/// The scan is the truth; the wake-up only saves the wait.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);

/// Mebibytes of files that are held to be sent; one that is larger goes by itself.
const FILES_MIB_MAX: u32 = 512;
static FILE_ROOM: Semaphore = Semaphore::const_new(FILES_MIB_MAX as usize);

/// What the sender needs.
pub struct Sender {
    pub queue: Arc<dyn JobQueue>,
    pub store: Arc<dyn FileStore>,
    pub client: WebhookClient,
    pub clock: Clock,
    pub schedule_seconds: Vec<u64>,
    pub timeout: Duration,
    pub concurrency: u32,
    /// Attempts under way to one receiver.
    pub per_receiver: u32,
    /// Rung when a delivery was added.
    pub wake: Arc<Notify>,
}

impl Sender {
    /// Sends until it is told to stop, and then until what is under way has ended, unless it is told to abandon that.
    pub async fn run(self: Arc<Self>, stop: CancellationToken, abandon: CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.concurrency as usize));
        let under_way = TaskTracker::new();
        while !stop.is_cancelled() {
            let free = slots.available_permits() as u32;
            let now_ms = self.clock.now_ms();
            // Longer than any attempt. Should this process hang all the same, the queue knows a late outcome by its number.
            let lease_until_ms = now_ms + (self.timeout.as_millis() as u64) * 2;
            let due = match free {
                0 => Vec::new(),
                free => {
                    self.queue.claim_deliveries(now_ms, lease_until_ms, free, self.per_receiver).await.unwrap_or_else(
                        |error| {
                            tracing::error!(%error, "deliveries could not be claimed");
                            Vec::new()
                        },
                    )
                }
            };
            let idle = due.is_empty();
            for delivery in due {
                let Ok(slot) = slots.clone().acquire_owned().await else { return };
                let sender = self.clone();
                let id = &delivery.delivery.id;
                // Of the level that is never filtered out: what is logged inside says whose it is.
                let span = tracing::error_span!("webhook", request = id.replacen("msg_", "req_", 1));
                let attempt = async move {
                    sender.attempt(delivery).await;
                    drop(slot);
                    sender.wake.notify_one();
                };
                under_way.spawn(attempt.instrument(span));
            }
            if idle {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(SCAN_INTERVAL) => {}
                }
            }
        }
        under_way.close();
        tokio::select! {
            () = under_way.wait() => {}
            () = abandon.cancelled() => {}
        }
    }

    async fn attempt(&self, claimed: ClaimedDelivery) {
        let id = claimed.delivery.id.clone();
        let at_ms = self.clock.now_ms();
        let started = Instant::now();
        let mut span = Span::of_client("webhook", claimed.traceparent.as_deref().and_then(TraceContext::read).as_ref());
        span.set("snaphook.attempt", i64::from(claimed.attempt));
        let mut headers = Vec::new();
        let answer = match self.is_hopeless(&claimed) {
            true => Answer::failed("it is not sent any more: its attempts have ended with their service too often"),
            false => self.post(&claimed, at_ms / 1000, span.context(), &mut headers).await,
        };
        fault::point("after-post");
        let attempt = DeliveryAttempt {
            number: claimed.number,
            at_ms,
            took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            status: answer.status,
            error: answer.error.clone(),
            answer: answer.body.clone(),
            headers,
        };
        let next = self.next_step(&answer, &claimed);
        tracing::info!(
            delivery = id,
            attempt = claimed.attempt,
            status = answer.status,
            error = answer.error,
            took_ms = attempt.took_ms,
            ?next,
            "webhook"
        );
        let outcome = match next {
            NextStep::Delivered => "delivered",
            NextStep::RetryAt { .. } => "retried",
            NextStep::PostponedTo { .. } => "postponed",
            NextStep::Dead => "dead",
            NextStep::Gone => "gone",
            NextStep::NothingToSend => "nothing_to_send",
        };
        metrics::get().webhook_attempted(outcome, started.elapsed());
        if let Some(status) = answer.status {
            span.set("http.response.status_code", i64::from(status));
        }
        if next != NextStep::Delivered {
            span.fail(outcome);
        }
        drop(span);
        match self.queue.finish_attempt(&id, attempt, next).await {
            Ok(false) => {}
            Ok(true) => {
                tracing::warn!(delivery = id, "a webhook endpoint is disabled: it is gone or fails for days");
            }
            // The lease runs out and the delivery is sent again: at least once, never less.
            Err(error) => tracing::error!(delivery = id, %error, "the outcome of a webhook could not be kept"),
        }
    }

    /// Whether the schedule was over before this attempt, as attempts were lost with their service so often that they count.
    fn is_hopeless(&self, claimed: &ClaimedDelivery) -> bool {
        claimed.postponed >= retry::LOST_ATTEMPTS_MAX && claimed.attempt as usize > self.schedule_seconds.len()
    }

    /// `own` gets the headers that are this attempt's and no other's.
    async fn post(
        &self,
        claimed: &ClaimedDelivery,
        now_s: u64,
        place: Option<&TraceContext>,
        own: &mut Vec<(String, String)>,
    ) -> Answer {
        let (delivery, began) = (&claimed.delivery, Instant::now());
        let _room;
        let body = match &delivery.body {
            DeliveryBody::Inline(bytes) => bytes.clone().into(),
            DeliveryBody::File(name) => match timeout(self.timeout / 2, self.read_file(name)).await {
                Ok(Ok((bytes, taken))) => {
                    _room = taken;
                    bytes
                }
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Answer::nothing_to_send("the file is not there any more");
                }
                Ok(Err(error)) => return Answer::ours(format!("the file could not be read: {error}")),
                Err(_) => return Answer::ours("the store did not give the file in time".to_owned()),
            },
        };
        if delivery.sign {
            let record = match self.queue.key(&claimed.access_key).await {
                Ok(Some(record)) => record,
                Ok(None) => return Answer::nothing_to_send("the access key is gone"),
                Err(error) => return Answer::ours(error.to_string()),
            };
            let signed = signing::webhook_headers(&record.live_secrets(now_s), &delivery.id, now_s, &body);
            own.extend(signed.into_iter().map(|(name, value)| (name.to_owned(), value)));
        }
        own.extend(place.map(|place| (TRACEPARENT.to_owned(), place.traceparent())));
        let headers = [delivery.headers.as_slice(), own.as_slice()].concat();
        let post = self.client.post(&delivery.url, headers, body, self.timeout.saturating_sub(began.elapsed()));
        fault::within("during-post", post).await
    }

    /// Also the room that it takes up, until the bytes are let go.
    async fn read_file(&self, name: &str) -> std::io::Result<(bytes::Bytes, SemaphorePermit<'static>)> {
        use futures::TryStreamExt;
        let known = self.queue.file(name).await.map_err(std::io::Error::other)?;
        let mebibytes = known.map_or(0, |file| file.bytes.div_ceil(1024 * 1024)).clamp(1, u64::from(FILES_MIB_MAX));
        let room = FILE_ROOM.acquire_many(mebibytes as u32).await.map_err(std::io::Error::other)?;
        let stream = self.store.get(name, None).await?;
        let collected = stream.try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        });
        Ok((bytes::Bytes::from(collected.await?), room))
    }

    fn next_step(&self, answer: &Answer, claimed: &ClaimedDelivery) -> NextStep {
        let after = |pause: Duration| self.clock.now_ms() + pause.as_millis() as u64;
        match answer.fault {
            Fault::Ours if claimed.postponed < retry::POSTPONEMENTS_MAX => {
                return NextStep::PostponedTo { ms: after(retry::postponement(claimed.postponed)) };
            }
            Fault::NothingToSend => return NextStep::NothingToSend,
            Fault::Ours | Fault::Receiver => {}
        }
        match answer.status {
            Some(200..=299) => return NextStep::Delivered,
            Some(410) => return NextStep::Gone,
            _ => {}
        }
        let throttled = matches!(answer.status, Some(429 | 502 | 504));
        let schedule = &self.schedule_seconds;
        match retry::webhook_delay(schedule, claimed.attempt, dice(), throttled, answer.retry_after) {
            Some(pause) => NextStep::RetryAt { ms: after(pause) },
            None => NextStep::Dead,
        }
    }
}

/// A number in 0..1, for jitter.
fn dice() -> f64 {
    let mut random = [0; 4];
    match getrandom::fill(&mut random) {
        Ok(()) => f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use snaphook_shared::options::model::Options;
    use snaphook_shared::priority::Urgency;
    use snaphook_shared::request::Endpoint;
    use snaphook_shared::secret::Secret;
    use snaphook_shared::signing::verify_webhook;
    use snaphook_shared::target::TargetPolicy;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;
    use crate::config::Config;
    use crate::domain::delivery::{DeliveryState, NewDelivery, Release};
    use crate::domain::job::{NewRequest, Outcome};
    use crate::domain::operator::{NewKey, Operator};
    use crate::domain::ports::{DeliveryFilter, ReplayFilter};
    use crate::egress::{Egress, SystemResolver};
    use crate::queue::secrets::RootKey;
    use crate::queue::sqlite::SqliteQueue;
    use crate::store::Store;

    /// A receiver that answers every request with the same bytes and reports the request's.
    async fn receiver(answer: &'static str) -> (String, mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (requests, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            // Kept open: an answer that is never complete must not end by itself.
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"{\"n\":1}") {
                    let mut chunk = [0; 1024];
                    match stream.read(&mut chunk).await {
                        Ok(0) | Err(_) => break,
                        Ok(length) => request.extend_from_slice(&chunk[..length]),
                    }
                }
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = requests.send(String::from_utf8(request).unwrap());
                open.push(stream);
            }
        });
        (url, seen)
    }

    struct Bench {
        sender: Arc<Sender>,
        stop: CancellationToken,
        _folder: tempfile::TempDir,
    }

    async fn bench(url: &str) -> Bench {
        bench_with(url, DeliveryBody::Inline(b"{\"n\":1}".to_vec()), &[]).await
    }

    /// With settings beside the defaults.
    async fn bench_with(url: &str, body: DeliveryBody, settings: &[(&str, &str)]) -> Bench {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().display().to_string();
        let set = |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let folder_or_set = |name: &str| if name == "SNAPHOOK_DATA_DIR" { Some(data_dir.clone()) } else { set(name) };
        let config = Config::load(None, &folder_or_set).unwrap();
        let root_key = RootKey::load("", folder.path()).unwrap();
        let queue = SqliteQueue::open(&folder.path().join("test.db"), root_key, 10).unwrap();
        let clock = Clock::default();
        queue.add_key(NewKey::unlimited("alice", "secret"), clock.now_ms()).await.unwrap();
        let request = NewRequest {
            id: snaphook_shared::id::request_id(clock.now_ms(), [1; 10]),
            access_key: "alice".to_owned(),
            endpoint: Endpoint::Screenshot,
            options: Options::default(),
            idempotency_key: None,
            urgency: Urgency::default(),
            fingerprint: String::new(),
            created_ms: clock.now_ms(),
            traceparent: None,
        };
        let delivery = NewDelivery {
            id: "msg_1".to_owned(),
            url: url.to_owned(),
            sign: true,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body,
        };
        let (code, message, cause, refused) = Default::default();
        let outcome = Outcome::Failed { code, message, cause, refused };
        queue.record(request, clock.now_ms(), outcome, Some(delivery)).await.unwrap();
        let egress = Egress::new(TargetPolicy::development(), Arc::new(SystemResolver::default()));
        let sender = Arc::new(Sender {
            queue: Arc::new(queue),
            store: Arc::new(Store::open(&config, reqwest::Client::new()).unwrap()),
            client: WebhookClient::new(egress).unwrap(),
            clock,
            schedule_seconds: config.webhook.schedule_seconds,
            timeout: Duration::from_secs(1),
            concurrency: 4,
            per_receiver: 4,
            wake: Arc::new(Notify::new()),
        });
        let stop = CancellationToken::new();
        tokio::spawn(sender.clone().run(stop.clone(), CancellationToken::new()));
        Bench { sender, stop, _folder: folder }
    }

    impl Bench {
        /// The delivery once it has had so many attempts and waits or has ended.
        async fn after(&self, attempts: usize) -> crate::domain::delivery::DeliveryView {
            for _ in 0..500 {
                let filter = DeliveryFilter { limit: 1, ..DeliveryFilter::default() };
                let view = self.sender.queue.deliveries(filter).await.unwrap().remove(0);
                if view.log.len() == attempts && view.state != DeliveryState::Sending {
                    return view;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("attempt {attempts} did not come");
        }
    }

    #[tokio::test]
    async fn the_whole_schedule_then_dead_then_replayed() {
        let (url, mut seen) = receiver("HTTP/1.1 500 Oops\r\ncontent-length: 4\r\nconnection: close\r\n\r\noops").await;
        let bench = bench(&url).await;
        let planned = bench.sender.schedule_seconds.clone();
        assert_eq!(planned, [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]);
        let mut kept = Vec::new();
        for (number, &pause_s) in (1..).zip(planned.iter().skip(1).chain([&0])) {
            let view = bench.after(number).await;
            let last = view.log.last().unwrap();
            assert_eq!((last.status, last.answer.as_str()), (Some(500), "oops"));
            kept.push(last.headers.clone());
            let Some(next_ms) = view.next_attempt_ms else {
                assert_eq!((number, view.state), (10, DeliveryState::Dead));
                break;
            };
            let pause_ms = (next_ms - bench.sender.clock.now_ms()) as f64;
            let planned_ms = pause_s as f64 * 1000.0;
            // A little less than 0.8, as the clock went on since.
            assert!(pause_ms > planned_ms * 0.8 - 2000.0 && pause_ms <= planned_ms * 1.2, "{number}: {pause_ms}");
            bench.sender.clock.advance(Duration::from_millis(next_ms - bench.sender.clock.now_ms()));
            bench.sender.wake.notify_one();
        }
        let mut timestamps = std::collections::HashSet::new();
        for kept in &kept {
            let request = seen.recv().await.unwrap();
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            let header = |name: &str| {
                let value =
                    |line: &str| line.split_once(": ").filter(|(key, _)| *key == name).map(|(_, v)| v.to_owned());
                head.lines().find_map(value)
            };
            let timestamp: u64 = header("webhook-timestamp").unwrap().parse().unwrap();
            let verified = verify_webhook(body.as_bytes(), &header, &[Secret::new("secret")], timestamp, 0).unwrap();
            assert_eq!((verified.id.as_deref(), body), (Some("msg_1"), "{\"n\":1}"));
            timestamps.insert(timestamp);
            assert!(kept.len() >= 5, "{kept:?}");
            for (name, value) in kept {
                assert_eq!(header(name).as_ref(), Some(value), "{name} is kept as it was sent");
            }
        }
        assert_eq!(timestamps.len(), planned.len(), "each attempt is signed at its own time");
        assert_eq!(bench.sender.queue.replay(ReplayFilter::default(), bench.sender.clock.now_ms()).await.unwrap(), 1);
        bench.sender.wake.notify_one();
        assert_eq!(bench.after(11).await.state, DeliveryState::Pending, "a replay has the whole schedule before it");
        bench.stop.cancel();
    }

    #[tokio::test]
    async fn what_took_its_service_down_too_often_is_dead_without_being_sent_again() {
        let (url, mut seen) = receiver("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        let bench = bench(&url).await;
        bench.after(1).await;
        assert!(seen.recv().await.is_some());
        bench.stop.cancel();
        let (queue, mut now_ms) = (&bench.sender.queue, bench.sender.clock.now_ms());
        let counted = bench.sender.schedule_seconds.len() - 1;
        for lost in 0..retry::LOST_ATTEMPTS_MAX as usize + counted {
            now_ms += 60_000;
            assert_eq!(queue.claim_deliveries(now_ms, now_ms, 1, 1).await.unwrap().len(), 1, "{lost}");
            assert_eq!(queue.release(Release::Expired { now_ms }).await.unwrap(), 1);
        }
        bench.sender.clock.advance(Duration::from_millis(now_ms + 60_000 - bench.sender.clock.now_ms()));
        let stop = CancellationToken::new();
        tokio::spawn(bench.sender.clone().run(stop.clone(), CancellationToken::new()));
        // The first and the last attempts are left of those that were lost.
        let view = bench.after(2 * crate::domain::delivery::ATTEMPTS_KEPT as usize + 1).await;
        assert_eq!((view.state, view.end_reason.as_deref()), (DeliveryState::Dead, Some("the schedule is over")));
        let why = view.log.last().unwrap().error.clone().unwrap();
        assert!(why.contains("ended with their service too often"), "{why}");
        assert!(seen.try_recv().is_err(), "it was sent once more");
        stop.cancel();
    }

    #[tokio::test]
    async fn gone_ends_it_and_a_redirect_is_no_success() {
        for (answer, state) in [
            ("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", DeliveryState::Dead),
            ("HTTP/1.1 204 Fine\r\n\r\n", DeliveryState::Delivered),
            ("HTTP/1.1 302 There\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n", DeliveryState::Pending),
        ] {
            let (url, mut seen) = receiver(answer).await;
            let bench = bench(&url).await;
            assert_eq!(bench.after(1).await.state, state, "{answer}");
            assert!(seen.recv().await.unwrap().starts_with("POST /hook "));
            assert!(seen.try_recv().is_err(), "the target of a redirect was visited");
            bench.stop.cancel();
        }
    }

    #[tokio::test]
    async fn a_receiver_may_ask_for_time() {
        let (url, _seen) = receiver("HTTP/1.1 503 Busy\r\nretry-after: 8\r\ncontent-length: 0\r\n\r\n").await;
        let bench = bench(&url).await;
        let view = bench.after(1).await;
        let pause_ms = view.next_attempt_ms.unwrap() - bench.sender.clock.now_ms();
        assert!((6_000..=8_000).contains(&pause_ms), "{pause_ms}");
        bench.stop.cancel();
    }

    #[tokio::test]
    async fn an_endless_answer_is_cut_off() {
        let (url, _seen) = receiver("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\nso it begins").await;
        let bench = bench(&url).await;
        let view = bench.after(1).await;
        assert_eq!(view.state, DeliveryState::Pending);
        assert_eq!(view.log[0].error.as_deref(), Some("no complete answer within 1 s"));
        bench.stop.cancel();
    }

    #[tokio::test]
    async fn a_store_that_hangs_is_our_fault_and_ends_the_attempt_in_time() {
        let (url, mut seen) = receiver("HTTP/1.1 204 Fine\r\n\r\n").await;
        // Takes connections and says nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", silent.local_addr().unwrap());
        let bucket = [
            ("SNAPHOOK_STORE_URL", "s3://files"),
            ("SNAPHOOK_STORE_ENDPOINT", &endpoint),
            ("SNAPHOOK_STORE_ACCESS_KEY_ID", "A"),
            ("SNAPHOOK_STORE_SECRET_ACCESS_KEY", "S"),
        ];
        let bench = bench_with(&url, DeliveryBody::File("picture.png".to_owned()), &bucket).await;
        let view = bench.after(1).await;
        assert_eq!(view.log[0].error.as_deref(), Some("the store did not give the file in time"));
        assert!(view.log[0].took_ms < 2000, "longer than its lease: {} ms", view.log[0].took_ms);
        assert!(view.next_attempt_ms.is_some() && seen.try_recv().is_err());
        bench.stop.cancel();
    }
}
