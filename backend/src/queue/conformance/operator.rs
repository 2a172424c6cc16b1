//! What the operator sees and does: keys, details, figures.

use std::sync::Arc;

use snaphook_shared::key::KeyLimits;
use snaphook_shared::priority::Urgency;
use snaphook_shared::secret::Secret;

use super::samples::{back, delivery};
use crate::domain::delivery::{DeliveryAttempt, NewDelivery, NextStep, Release};
use crate::domain::job::{NewRequest, Outcome, RequestState, StoredFile};
use crate::domain::operator::{NewKey, Rotation, USAGE_KEPT_HOURS};
use crate::domain::ports::{Admission, Backlog, RequestFilter};
use crate::queue::Queue;
use crate::queue::testing::{NOW, on_each_queue, request};

on_each_queue! {
    keys_are_kept_changed_and_ended
    old_secrets_are_good_for_a_while_and_never_too_many
    what_was_done_is_counted_by_hour_and_key_and_forgotten
    what_is_kept_and_what_waits_is_counted
    what_more_workers_would_not_help_is_not_said_to_be_ready
    details_hold_what_was_accepted_and_what_is_sent_but_no_secret
    requests_are_found_by_time_text_and_state
    what_is_long_over_is_purged_with_all_that_belongs_to_it
}

const HOUR: u64 = 3_600_000;

fn file(name: &str, bytes: u64) -> StoredFile {
    StoredFile {
        name: name.to_owned(),
        content_type: "image/png".to_owned(),
        bytes,
        size: None,
        expires_ms: NOW,
        attachment: None,
    }
}

fn done(name: &str, render_ms: u64) -> Outcome {
    Outcome::Done { file: Some(file(name, 10)), parts: Vec::new(), render_ms, refused: Vec::new() }
}

fn failed() -> Outcome {
    let (code, message, cause, refused) = Default::default();
    Outcome::Failed { code, message, cause, refused }
}

fn webhook(request: &NewRequest) -> NewDelivery {
    NewDelivery {
        url: "https://example.com/hook?a=b".to_owned(),
        headers: vec![("x-one".to_owned(), "1".to_owned())],
        ..delivery(request)
    }
}

async fn keys_are_kept_changed_and_ended(queue: &Arc<dyn Queue>) {
    let limits = KeyLimits { monthly_quota: Some(5), requests_per_minute: None, concurrency: Some(2) };
    let key = NewKey { name: "laptop".to_owned(), require_signed: true, limits, ..NewKey::unlimited("carol", "s") };
    assert!(queue.add_key(key.clone(), NOW + 5).await.unwrap());
    assert!(!queue.add_key(key, NOW + 6).await.unwrap(), "it is taken");
    let names: Vec<String> = queue.keys().await.unwrap().into_iter().map(|key| key.access_key).collect();
    assert_eq!(names, ["alice", "bob", "carol"], "oldest first");
    let record = queue.key("carol").await.unwrap().unwrap();
    assert_eq!((record.secret_key.expose(), record.require_signed, record.limits), ("s", true, limits));
    assert!(queue.set_limits("carol", KeyLimits::default()).await.unwrap());
    assert!(queue.set_require_signed("carol", false).await.unwrap());
    assert!(queue.revoke("carol", NOW + 7).await.unwrap());
    let record = queue.key("carol").await.unwrap().unwrap();
    assert_eq!((record.require_signed, record.limits, record.revoked), (false, KeyLimits::default(), true));
    assert!(!queue.revoke("carol", NOW + 8).await.unwrap());
    assert!(!queue.set_limits("carol", limits).await.unwrap());
    assert!(!queue.set_require_signed("carol", true).await.unwrap());
    assert_eq!(queue.rotate("carol", &Secret::new("t"), NOW * 2, NOW).await.unwrap(), Rotation::Unknown);
    assert_eq!(queue.rotate("nobody", &Secret::new("t"), NOW * 2, NOW).await.unwrap(), Rotation::Unknown);
    assert_eq!(queue.keys().await.unwrap()[2].revoked_ms, Some(NOW + 7));
    assert!(queue.key("nobody").await.unwrap().is_none());
}

async fn old_secrets_are_good_for_a_while_and_never_too_many(queue: &Arc<dyn Queue>) {
    let rotate = async |number: u64, until_ms: u64, now_ms: u64| {
        queue.rotate("alice", &Secret::new(format!("s{number}")), until_ms, now_ms).await.unwrap()
    };
    for number in 1..=10 {
        assert_eq!(rotate(number, NOW + 1000 * number, NOW).await, Rotation::Done);
    }
    assert_eq!(rotate(11, NOW + 60_000, NOW).await, Rotation::TooMany);
    let record = queue.key("alice").await.unwrap().unwrap();
    assert_eq!(record.secret_key.expose(), "s10");
    let previous: Vec<(&str, u64)> =
        record.previous_secrets.iter().map(|secret| (secret.secret_key.expose(), secret.valid_until)).collect();
    assert_eq!((previous.len(), previous[0]), (10, ("s9", NOW / 1000 + 10)), "the newest first");
    assert_eq!(rotate(11, NOW + 2500, NOW + 1500).await, Rotation::Done);
    let record = queue.key("alice").await.unwrap().unwrap();
    assert!(record.previous_secrets.iter().all(|secret| secret.valid_until <= NOW / 1000 + 2), "none for longer");
}

async fn what_was_done_is_counted_by_hour_and_key_and_forgotten(queue: &Arc<dyn Queue>) {
    let start = NOW / HOUR * HOUR;
    let ends = [done("1.png", 3), done("2.png", 700), done("3.png", 9_000_000), failed()];
    for (number, outcome) in (0..).zip(ends) {
        let request = NewRequest { created_ms: start + number * HOUR / 2, ..request(number, "alice") };
        queue.record(request, start + (number + 2) * HOUR / 2, outcome, None).await.unwrap();
    }
    let cancelled = NewRequest { created_ms: start + 2 * HOUR, ..request(4, "alice") };
    queue.accept(cancelled.clone()).await.unwrap();
    queue.cancel("alice", &cancelled.id, start + 3 * HOUR).await.unwrap();
    queue.accept(NewRequest { created_ms: start, ..request(9, "bob") }).await.unwrap();

    let spans = queue.usage_over_time(None, start, start + 10 * HOUR, 1).await.unwrap();
    let counts: Vec<_> = spans.iter().map(|span| (span.requests, span.done, span.failed, span.cancelled)).collect();
    assert_eq!(counts, [(3, 0, 0, 0), (2, 2, 0, 0), (1, 1, 1, 0), (0, 0, 0, 1)]);
    assert_eq!(spans[1].start_ms, start + HOUR);
    let longest = spans[2].times.percentile(1.0).unwrap();
    assert!(longest >= 3_600_000, "the last class takes what is longer: {longest}");
    let days = queue.usage_over_time(Some("alice"), start, start + 10 * HOUR, 240).await.unwrap();
    assert_eq!(days.iter().map(|span| span.requests).sum::<u64>(), 5);
    let keys = queue.usage_by_key(start, start + 10 * HOUR).await.unwrap();
    let of_keys: Vec<_> = keys.iter().map(|key| (key.access_key.as_str(), key.usage.requests)).collect();
    assert_eq!(of_keys, [("alice", 5), ("bob", 1)], "the busiest first");
    assert!((600..800).contains(&keys[0].usage.times.percentile(0.5).unwrap()));

    assert_eq!(queue.forget_usage(start + USAGE_KEPT_HOURS * HOUR).await.unwrap(), 0);
    assert!(queue.forget_usage(start + (USAGE_KEPT_HOURS + 10) * HOUR).await.unwrap() > 5);
    assert!(queue.usage_over_time(None, start, start + 10 * HOUR, 1).await.unwrap().is_empty());
}

async fn what_is_kept_and_what_waits_is_counted(queue: &Arc<dyn Queue>) {
    for number in 1..=3 {
        queue.accept(request(number, "alice")).await.unwrap();
    }
    queue.claim("w", NOW + 9, NOW + 99).await.unwrap().unwrap();
    for number in 4..=6 {
        let request = request(number, "bob");
        let delivery = Some(webhook(&request));
        queue.record(request, NOW + number, done(&format!("{number}.png"), 1), delivery).await.unwrap();
    }
    queue.forget_file("4.png").await.unwrap();
    let claimed = queue.claim_deliveries(NOW + 9, NOW + 99, 2, 8).await.unwrap();
    let attempt = DeliveryAttempt {
        number: 1,
        at_ms: NOW + 9,
        took_ms: 1,
        status: Some(500),
        error: None,
        answer: String::new(),
        headers: Vec::new(),
    };
    queue.finish_attempt(&claimed[0].delivery.id, attempt, NextStep::Dead).await.unwrap();
    let holdings = queue.holdings().await.unwrap();
    assert_eq!((holdings.queued, holdings.rendering, holdings.oldest_queued_ms), (2, 1, Some(NOW + 2)));
    assert_eq!((holdings.deliveries_waiting, holdings.deliveries_dead), (1, 1));
    assert_eq!((holdings.oldest_due_ms, holdings.files, holdings.file_bytes), (Some(NOW + 6), 2, 20));
    assert!(holdings.database_bytes > 1000);
    let mine = request(7, "alice");
    let large = Outcome::Done {
        file: Some(StoredFile { expires_ms: NOW - 5, ..file("7.png", 90) }),
        parts: vec![file("7-1.png", 5)],
        render_ms: 1,
        refused: Vec::new(),
    };
    queue.record(mine.clone(), NOW + 7, large, None).await.unwrap();
    let longest = queue.kept(2, 0).await.unwrap().by_key;
    assert_eq!(longest.iter().map(|key| key.files).sum::<u64>(), 2, "no more are looked at");
    let kept = queue.kept(100, 2).await.unwrap();
    let by_key: Vec<_> = kept.by_key.iter().map(|key| (key.access_key.as_str(), key.files, key.bytes)).collect();
    assert_eq!(by_key, [("alice", 2, 95), ("bob", 2, 20)], "the most bytes first, and only what is still there");
    let next: Vec<_> =
        kept.expiring.iter().map(|file| (file.request_id.as_str(), file.bytes, file.expires_ms)).collect();
    assert_eq!(
        next,
        [(mine.id.as_str(), 90, NOW - 5), (request(5, "").id.as_str(), 10, NOW)],
        "the first of them first"
    );
    let backlog = Backlog {
        queued: 2,
        rendering: 1,
        oldest_queued_ms: Some(NOW + 2),
        ready_since_ms: Some(NOW + 2),
        webhooks_open: 2,
    };
    assert_eq!(queue.backlog(NOW + 9).await.unwrap(), backlog);
    // What runs out, is put back or cancelled is counted where it is then.
    assert_eq!(queue.release(Release::Expired { now_ms: NOW + 99 }).await.unwrap(), 2);
    assert_eq!(
        queue.backlog(NOW + 9).await.unwrap(),
        Backlog { queued: 3, rendering: 0, oldest_queued_ms: Some(NOW + 1), ready_since_ms: Some(NOW + 1), ..backlog }
    );
    queue.cancel("alice", &request(1, "").id, NOW).await.unwrap();
    assert_eq!(queue.backlog(NOW + 9).await.unwrap().queued, 2);
}

/// What a fleet grows by: a worker more is no help to a request that may not begin.
async fn what_more_workers_would_not_help_is_not_said_to_be_ready(queue: &Arc<dyn Queue>) {
    let ready = async |now_ms| queue.backlog(now_ms).await.unwrap().ready_since_ms;
    assert_eq!(ready(NOW).await, None);
    let limits = KeyLimits { concurrency: Some(1), ..KeyLimits::default() };
    assert!(queue.set_limits("alice", limits).await.unwrap());
    for number in 1..=3 {
        queue.accept(request(number, "alice")).await.unwrap();
    }
    assert_eq!(ready(NOW).await, None, "none is due");
    assert_eq!(ready(NOW + 5).await, Some(NOW + 1), "nothing is under way");
    let Admission::Admitted(place) = queue.admit("alice", NOW + 5).await.unwrap() else {
        panic!("nothing is under way")
    };
    assert_eq!(ready(NOW + 5).await, None, "a caller has the one place");
    drop(place);
    let first = queue.claim("w", NOW + 5, NOW + 99).await.unwrap().unwrap().request;
    assert_eq!(ready(NOW + 6).await, None, "the key has all that it may have");
    queue.accept(NewRequest { urgency: Urgency::LAST, ..request(4, "bob") }).await.unwrap();
    queue.accept(request(5, "bob")).await.unwrap();
    assert_eq!(ready(NOW + 6).await, Some(NOW + 4), "another key, and that it is not urgent does not make it younger");
    assert!(queue.put_back(&first.id, "w", back(NOW + 500, false)).await.unwrap());
    assert_eq!(ready(NOW + 6).await, Some(NOW + 2), "the place is free again");
    for _ in 0..4 {
        let claimed = queue.claim("w", NOW + 6, NOW + 999).await.unwrap().unwrap().request;
        let cancelled = queue.cancel(&claimed.access_key, &claimed.id, NOW + 6).await.unwrap();
        assert_eq!(cancelled, Some(RequestState::Cancelled));
    }
    assert_eq!(queue.backlog(NOW + 7).await.unwrap().queued, 1, "the one that failed");
    assert_eq!(ready(NOW + 7).await, None, "it is not due");
    assert_eq!(ready(NOW + 600).await, Some(NOW + 500), "since then, and not since it was made");
}

async fn details_hold_what_was_accepted_and_what_is_sent_but_no_secret(queue: &Arc<dyn Queue>) {
    let mut secret = request(1, "alice");
    secret.options.source.url = Some("https://example.com".to_owned());
    secret.options.network.authorization = Some(Secret::new("open-sesame"));
    queue.accept(secret.clone()).await.unwrap();
    let claimed = queue.claim("w", NOW + 5, NOW + 9).await.unwrap().unwrap();
    assert_eq!(claimed.request.options, secret.options, "who renders it gets them");
    queue.finish(&secret.id, "w", NOW + 6, done("a.png", 7), Some(webhook(&secret))).await.unwrap();
    let detail = queue.request_detail(&secret.id).await.unwrap().unwrap();
    assert_eq!(detail.request.options.source, secret.options.source);
    assert_eq!((detail.request.options.network.authorization, detail.render_ms), (None, Some(7)));
    let delivery = queue.delivery_detail(&webhook(&secret).id).await.unwrap().unwrap();
    assert_eq!((delivery.access_key.as_str(), delivery.sign), ("alice", true));
    assert_eq!((delivery.headers, delivery.body), (webhook(&secret).headers, webhook(&secret).body));
    assert_eq!(delivery.view.request_id, secret.id);
    assert!(queue.request_detail("req_none").await.unwrap().is_none());
    assert!(queue.delivery_detail("msg_none").await.unwrap().is_none());
}

async fn requests_are_found_by_time_text_and_state(queue: &Arc<dyn Queue>) {
    for (number, url) in
        [(1, "https://example.com/One"), (2, "https://example.org/two_%"), (3, "https://example.org/ÄÖ")]
    {
        let mut request = request(number * 1000, "alice");
        request.options.source.url = Some(url.to_owned());
        queue.accept(request).await.unwrap();
    }
    let found = async |filter: RequestFilter| {
        let views = queue.requests(RequestFilter { limit: 9, ..filter }).await.unwrap();
        views.into_iter().map(|view| (view.created_ms - NOW) / 1000).collect::<Vec<_>>()
    };
    let text = |text: &str| RequestFilter { text: Some(text.to_owned()), ..RequestFilter::default() };
    assert_eq!(found(text("EXAMPLE.com/one")).await, [1]);
    assert_eq!(found(text("_%")).await, [2]);
    assert_eq!(found(text("Äö")).await, [0; 0], "capitals of other letters are other letters");
    assert_eq!(found(text("ÄÖ")).await, [3]);
    let since = RequestFilter { since_ms: Some(NOW + 2000), until_ms: Some(NOW + 3000), ..RequestFilter::default() };
    assert_eq!(found(since).await, [2]);
}

async fn what_is_long_over_is_purged_with_all_that_belongs_to_it(queue: &Arc<dyn Queue>) {
    for number in 1..=3 {
        let request = request(number, "alice");
        let delivery = (number == 2).then(|| webhook(&request));
        queue.record(request, NOW + number, done(&format!("{number}.png"), 1), delivery).await.unwrap();
    }
    assert_eq!(queue.purge(NOW + 100, 9).await.unwrap(), 0, "their files are still there");
    for number in 1..=2 {
        queue.forget_file(&format!("{number}.png")).await.unwrap();
    }
    assert_eq!(queue.purge(NOW + 1, 9).await.unwrap(), 0, "not old enough");
    assert_eq!(queue.purge(NOW + 100, 9).await.unwrap(), 1, "one waits for its webhook, one for its file");
    assert!(queue.request(&request(1, "").id).await.unwrap().is_none());
    assert!(queue.file("1.png").await.unwrap().is_none());
    let names = ["1.png", "2.png", "x.png"].map(str::to_owned).to_vec();
    assert_eq!(queue.unknown_files(names).await.unwrap(), ["1.png", "x.png"]);
    let claimed = queue.claim_deliveries(NOW + 9, NOW + 99, 2, 8).await.unwrap();
    let attempt = DeliveryAttempt {
        number: 1,
        at_ms: NOW,
        took_ms: 1,
        status: Some(204),
        error: None,
        answer: String::new(),
        headers: vec![("webhook-signature".to_owned(), "v1,a \"b\" ü".to_owned())],
    };
    let sent = attempt.headers.clone();
    queue.finish_attempt(&claimed[0].delivery.id, attempt, NextStep::Delivered).await.unwrap();
    let detail = queue.delivery_detail(&claimed[0].delivery.id).await.unwrap().unwrap();
    assert_eq!(detail.view.log[0].headers, sent, "each attempt keeps what it alone had");
    assert_eq!(queue.purge(NOW + 100, 9).await.unwrap(), 1);
    assert!(queue.delivery_detail(&claimed[0].delivery.id).await.unwrap().is_none());
}
