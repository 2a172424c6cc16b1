//! Requests: what is accepted, who renders it, what comes of it, what is listed.

use std::sync::Arc;

use snaphook_shared::key::KeyLimits;
use snaphook_shared::priority::Urgency;

use super::samples::{attempt, back, delivery, done, told};
use crate::domain::delivery::{DeliveryAttempt, DeliveryBody, DeliveryState, NewDelivery, NextStep, Release};
use crate::domain::job::{ATTEMPTS_KEPT, NewRequest, Outcome, PutBack, RequestAttempt, RequestState};
use crate::domain::operator::NewKey;
use crate::domain::ports::{Acceptance, RequestFilter};
use crate::queue::Queue;
use crate::queue::testing::{CAPACITY, NOW, on_each_queue, request};

on_each_queue! {
    an_id_is_accepted_once
    a_place_in_a_trace_is_kept_until_the_webhook
    an_idempotency_key_stands_for_one_request_of_one_caller
    the_most_urgent_of_a_key_is_next_and_no_key_gains_by_it
    what_is_not_due_does_not_hold_up_what_is
    a_full_queue_refuses_and_keeps_a_tenth_for_others
    one_key_cannot_starve_another
    a_lease_ends_with_its_owner_or_its_time
    what_is_put_back_waits_and_keeps_its_count
    a_result_and_its_webhook_are_kept_together
    requests_are_listed_newest_first_by_key_and_state
    files_expire_once
    a_cancelled_request_stays_cancelled
    every_attempt_is_kept_with_its_times_and_its_reason
    of_attempts_that_we_put_back_for_long_the_first_and_the_last_are_kept
    a_text_may_hold_anything
    any_number_of_claimers_are_fair_and_take_each_request_once
}

async fn an_id_is_accepted_once(queue: &Arc<dyn Queue>) {
    let first = queue.accept(request(1, "alice")).await.unwrap();
    assert_eq!(queue.accept(request(1, "alice")).await.unwrap(), first);
    assert!(queue.claim("w", NOW + 9, NOW + 99).await.unwrap().is_some());
    assert!(queue.claim("w", NOW + 9, NOW + 99).await.unwrap().is_none());
}

async fn a_place_in_a_trace_is_kept_until_the_webhook(queue: &Arc<dyn Queue>) {
    let traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned());
    let request = NewRequest { traceparent: traceparent.clone(), ..request(1, "alice") };
    queue.accept(request.clone()).await.unwrap();
    let claim = async || queue.claim("w", NOW + 9, NOW + 99).await.unwrap().unwrap().request.traceparent;
    assert_eq!(claim().await, traceparent);
    queue.put_back(&request.id, "w", back(NOW + 8, false)).await.unwrap();
    assert_eq!(claim().await, traceparent);
    queue.finish(&request.id, "w", NOW + 10, done("a.png", NOW + 99), Some(delivery(&request))).await.unwrap();
    let claimed = queue.claim_deliveries(NOW + 11, NOW + 99, 10, 10).await.unwrap();
    assert_eq!(claimed.iter().map(|claimed| claimed.traceparent.clone()).collect::<Vec<_>>(), [traceparent]);
}

async fn an_idempotency_key_stands_for_one_request_of_one_caller(queue: &Arc<dyn Queue>) {
    let keyed = |number, access_key: &str, fingerprint: &str| NewRequest {
        idempotency_key: Some("k".to_owned()),
        fingerprint: fingerprint.to_owned(),
        ..request(number, access_key)
    };
    let same = futures::future::join_all((0..100).map(|number| queue.accept(keyed(number, "alice", "same")))).await;
    let ids: std::collections::HashSet<String> = same
        .into_iter()
        .map(|acceptance| match acceptance.unwrap() {
            Acceptance::Accepted { id, .. } => id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(queue.accept(keyed(200, "alice", "other")).await.unwrap(), Acceptance::KeyReused);
    assert!(matches!(queue.accept(keyed(201, "bob", "other")).await.unwrap(), Acceptance::Accepted { .. }));
}

async fn the_most_urgent_of_a_key_is_next_and_no_key_gains_by_it(queue: &Arc<dyn Queue>) {
    let urgency = |level| Urgency::new(level).unwrap();
    for (number, access_key, level) in
        [(1, "alice", 3), (2, "alice", 7), (3, "alice", 0), (4, "alice", 0), (5, "bob", 7)]
    {
        let request = NewRequest { urgency: urgency(level), ..request(number, access_key) };
        assert!(matches!(queue.accept(request).await.unwrap(), Acceptance::Accepted { .. }));
    }
    let mut order = Vec::new();
    for _ in 0..5 {
        let claimed = queue.claim("w", NOW + 9, NOW + 99).await.unwrap().unwrap();
        let urgency = claimed.request.urgency;
        order.push((claimed.request.created_ms - NOW, urgency.level()));
        // Ended at once, so that the turn alone decides between the keys.
        assert!(queue.finish(&claimed.request.id, "w", NOW + 9, done(&claimed.request.id, NOW), None).await.unwrap());
    }
    assert_eq!(order, [(3, 0), (5, 7), (4, 0), (1, 3), (2, 7)]);
}

async fn what_is_not_due_does_not_hold_up_what_is(queue: &Arc<dyn Queue>) {
    let urgent = NewRequest { urgency: Urgency::new(0).unwrap(), ..request(1, "alice") };
    queue.accept(urgent.clone()).await.unwrap();
    queue.accept(request(2, "alice")).await.unwrap();
    queue.claim("w", NOW + 9, NOW + 99).await.unwrap().unwrap();
    assert!(queue.put_back(&urgent.id, "w", back(NOW + 500, false)).await.unwrap());
    let next = queue.claim("w", NOW + 10, NOW + 99).await.unwrap().unwrap();
    assert_eq!(next.request.id, request(2, "alice").id);
    assert!(queue.claim("w", NOW + 499, NOW + 999).await.unwrap().is_none());
    assert_eq!(queue.claim("w", NOW + 500, NOW + 999).await.unwrap().unwrap().request.id, urgent.id);
}

async fn a_full_queue_refuses_and_keeps_a_tenth_for_others(queue: &Arc<dyn Queue>) {
    let taken = async |numbers: std::ops::Range<u64>, access_key: &str| {
        let accepts = numbers.map(|number| queue.accept(request(number, access_key)));
        let accepted = futures::future::join_all(accepts).await;
        accepted.into_iter().filter(|acceptance| matches!(acceptance, Ok(Acceptance::Accepted { .. }))).count() as u64
    };
    let (alices, share) = (CAPACITY / 10 * 9, CAPACITY / 10);
    assert_eq!(taken(0..alices, "alice").await, alices);
    assert_eq!(queue.accept(request(alices, "alice")).await.unwrap(), Acceptance::Full);
    let bobs = alices + share / 2;
    assert_eq!(taken(alices..bobs, "bob").await, share / 2, "one key's burst does not shut out another");
    assert_eq!(queue.accept(request(bobs, "bob")).await.unwrap(), Acceptance::Full, "nor do two");
    // Whoever has a limit is let in another way.
    let limits = KeyLimits { monthly_quota: Some(9_999), ..KeyLimits::default() };
    assert!(queue.add_key(NewKey { limits, ..NewKey::unlimited("carol", "a secret") }, NOW).await.unwrap());
    assert_eq!(taken(bobs..bobs + share / 4, "carol").await, share / 4);
    assert_eq!(queue.accept(request(CAPACITY, "carol")).await.unwrap(), Acceptance::Full);
    assert_eq!(taken(CAPACITY..CAPACITY + 1, "dave").await, 1);
    // What one left is no place for whoever has most of the rest.
    queue.claim("w", NOW + 2 * CAPACITY, NOW * 2).await.unwrap().unwrap();
    assert_eq!(queue.accept(request(CAPACITY + 1, "alice")).await.unwrap(), Acceptance::Full);
}

async fn one_key_cannot_starve_another(queue: &Arc<dyn Queue>) {
    for number in 0..1000 {
        queue.accept(request(number, "alice")).await.unwrap();
    }
    // One worker, which has finished what it had: nobody has anything under way, and alice has the older requests.
    let first = queue.claim("w", NOW + 5000, NOW * 2).await.unwrap().unwrap();
    queue.finish(&first.request.id, "w", NOW, done("a.png", NOW), None).await.unwrap();
    queue.accept(request(2000, "bob")).await.unwrap();
    let second = queue.claim("w", NOW + 5000, NOW * 2).await.unwrap().unwrap();
    assert_eq!(second.request.access_key, "bob");
    // And while bob's is under way, alice goes on, oldest first.
    let third = queue.claim("w", NOW + 5000, NOW * 2).await.unwrap().unwrap();
    assert_eq!(third.request.id, request(1, "alice").id);
}

async fn a_lease_ends_with_its_owner_or_its_time(queue: &Arc<dyn Queue>) {
    let id = request(1, "alice").id;
    queue.accept(request(1, "alice")).await.unwrap();
    assert!(queue.claim("old", NOW, NOW + 10).await.unwrap().is_none(), "not due yet");
    assert_eq!(queue.claim("old", NOW + 5, NOW + 10).await.unwrap().unwrap().attempt, 1);
    assert_eq!(queue.release(Release::Expired { now_ms: NOW + 9 }).await.unwrap(), 0);
    assert!(queue.extend(&id, "old", NOW + 20).await.unwrap());
    assert_eq!(queue.release(Release::Expired { now_ms: NOW + 15 }).await.unwrap(), 0);
    assert_eq!(queue.release(Release::Expired { now_ms: NOW + 20 }).await.unwrap(), 1);
    assert_eq!(queue.claim("new", NOW + 30, NOW + 99).await.unwrap().unwrap().attempt, 2);
    // The old one comes back from wherever it was; nothing of what it says counts.
    assert!(!queue.extend(&id, "old", NOW + 500).await.unwrap());
    assert!(!queue.put_back(&id, "old", back(NOW, false)).await.unwrap());
    let late = queue.finish(&id, "old", NOW, done("late.png", NOW), Some(delivery(&request(1, "alice")))).await;
    assert!(!late.unwrap());
    assert!(queue.file("late.png").await.unwrap().is_none());
    assert!(queue.claim_deliveries(NOW * 2, NOW * 3, 10, 8).await.unwrap().is_empty());
    assert!(queue.finish(&id, "new", NOW, done("new.png", NOW), None).await.unwrap());
    let finished_twice = queue.finish(&id, "new", NOW, done("again.png", NOW), None).await.unwrap();
    assert!(!finished_twice);
}

async fn what_is_put_back_waits_and_keeps_its_count(queue: &Arc<dyn Queue>) {
    let id = request(1, "alice").id;
    queue.accept(request(1, "alice")).await.unwrap();
    queue.claim("w", NOW + 5, NOW + 10).await.unwrap().unwrap();
    assert!(queue.put_back(&id, "w", back(NOW + 100, false)).await.unwrap());
    assert!(queue.claim("w", NOW + 99, NOW + 200).await.unwrap().is_none());
    assert_eq!(queue.claim("w", NOW + 100, NOW + 200).await.unwrap().unwrap().attempt, 2);
}

async fn a_result_and_its_webhook_are_kept_together(queue: &Arc<dyn Queue>) {
    let request = request(1, "alice");
    queue.accept(request.clone()).await.unwrap();
    queue.claim("w", NOW + 5, NOW * 2).await.unwrap().unwrap();
    // Where the webhook cannot be kept, the result is not either.
    let taken = told(queue, 2, "alice", "https://example.com/hook").await;
    let impossible = NewDelivery { id: taken.clone(), ..delivery(&request) };
    let kept = queue.finish(&request.id, "w", NOW + 6, done("a.png", NOW + 50), Some(impossible)).await;
    assert!(kept.is_err());
    assert_eq!(queue.request(&request.id).await.unwrap().unwrap().state, RequestState::Rendering);
    assert!(queue.file("a.png").await.unwrap().is_none());
    let claimed = queue.claim_deliveries(NOW, NOW + 60, 10, 8).await.unwrap().remove(0);
    queue.finish_attempt(&taken, attempt(claimed.number, 204), NextStep::Delivered).await.unwrap();

    queue.finish(&request.id, "w", NOW + 6, done("a.png", NOW + 50), Some(delivery(&request))).await.unwrap();
    let view = queue.request(&request.id).await.unwrap().unwrap();
    assert_eq!(
        (view.state, view.attempts, view.started_ms, view.finished_ms),
        (RequestState::Done, 1, Some(NOW + 5), Some(NOW + 6))
    );
    assert_eq!(view.file.unwrap().name, "a.png");
    assert_eq!(view.webhook.unwrap().state, DeliveryState::Pending);
    let claimed = queue.claim_deliveries(NOW + 6, NOW + 60, 10, 8).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].delivery, delivery(&request));
    assert_eq!((claimed[0].access_key.as_str(), claimed[0].attempt), ("alice", 1));
}

async fn requests_are_listed_newest_first_by_key_and_state(queue: &Arc<dyn Queue>) {
    for number in 0..10 {
        queue.accept(request(number, if number % 2 == 0 { "alice" } else { "bob" })).await.unwrap();
    }
    let filter = RequestFilter { access_key: Some("alice".to_owned()), limit: 3, ..RequestFilter::default() };
    let page = queue.requests(filter.clone()).await.unwrap();
    let ids: Vec<&String> = page.iter().map(|view| &view.id).collect();
    assert_eq!(ids, [&request(8, "").id, &request(6, "").id, &request(4, "").id]);
    let rest = queue.requests(RequestFilter { before: Some(page[2].id.clone()), ..filter.clone() }).await.unwrap();
    assert_eq!(rest.len(), 2);
    let done = RequestFilter { state: Some(RequestState::Done), ..filter };
    assert!(queue.requests(done).await.unwrap().is_empty());
}

async fn files_expire_once(queue: &Arc<dyn Queue>) {
    queue.record(request(1, "alice"), NOW, done("a.png", NOW + 10), None).await.unwrap();
    assert!(queue.expired_files(NOW + 9, 10).await.unwrap().is_empty());
    assert_eq!(queue.expired_files(NOW + 10, 10).await.unwrap(), ["a.png"]);
    queue.forget_file("a.png").await.unwrap();
    assert!(queue.expired_files(NOW + 10, 10).await.unwrap().is_empty());
    assert!(queue.file("a.png").await.unwrap().is_some(), "its row still says that it was there");
}

async fn a_cancelled_request_stays_cancelled(queue: &Arc<dyn Queue>) {
    let id = request(1, "alice").id;
    queue.accept(request(1, "alice")).await.unwrap();
    assert_eq!(queue.cancel("bob", &id, NOW).await.unwrap(), None);
    queue.claim("w", NOW + 5, NOW + 50).await.unwrap().unwrap();
    assert_eq!(queue.cancel("alice", &id, NOW + 6).await.unwrap(), Some(RequestState::Cancelled));
    assert!(!queue.extend(&id, "w", NOW + 90).await.unwrap());
    assert!(!queue.finish(&id, "w", NOW + 7, done("a.png", NOW), Some(delivery(&request(1, "alice")))).await.unwrap());
    assert!(queue.claim("w", NOW + 99, NOW + 200).await.unwrap().is_none());
    queue.record(request(2, "alice"), NOW, done("b.png", NOW), None).await.unwrap();
    assert_eq!(queue.cancel("alice", &request(2, "").id, NOW).await.unwrap(), Some(RequestState::Done));
}

async fn every_attempt_is_kept_with_its_times_and_its_reason(queue: &Arc<dyn Queue>) {
    let id = request(1, "alice").id;
    queue.accept(request(1, "alice")).await.unwrap();
    queue.claim("w", NOW + 5, NOW + 6).await.unwrap().unwrap();
    assert!(queue.put_back(&id, "w", back(NOW + 100, false)).await.unwrap());
    queue.claim("w", NOW + 100, NOW + 101).await.unwrap().unwrap();
    assert_eq!(queue.release(Release::Expired { now_ms: NOW + 200 }).await.unwrap(), 1);
    queue.claim("w", NOW + 200, NOW + 300).await.unwrap().unwrap();
    queue.finish(&id, "w", NOW + 250, done("a.png", NOW), None).await.unwrap();
    let attempt = |number, started_ms, ended_ms, reason: Option<&str>| RequestAttempt {
        number,
        started_ms,
        ended_ms,
        reason: reason.map(str::to_owned),
    };
    let expected = [
        attempt(1, NOW + 5, Some(NOW + 7), Some("the page crashed")),
        attempt(2, NOW + 100, None, Some("the lease ran out")),
        attempt(3, NOW + 200, Some(NOW + 250), None),
    ];
    assert_eq!(queue.request(&id).await.unwrap().unwrap().log, expected);
}

async fn of_attempts_that_we_put_back_for_long_the_first_and_the_last_are_kept(queue: &Arc<dyn Queue>) {
    let id = request(1, "alice").id;
    queue.accept(request(1, "alice")).await.unwrap();
    let (crashed, last) = (ATTEMPTS_KEPT + 5, 4 * ATTEMPTS_KEPT);
    for number in 1..=last {
        assert_eq!(queue.claim("w", NOW + 5, NOW + 50).await.unwrap().unwrap().attempt, number);
        let again = match number == crashed {
            true => back(NOW, false),
            false => PutBack { reason: format!("no store: for {number} s"), ..back(NOW, true) },
        };
        assert!(queue.put_back(&id, "w", again).await.unwrap());
    }
    let view = queue.request(&id).await.unwrap().unwrap();
    let kept: Vec<u32> = view.log.iter().map(|attempt| attempt.number).collect();
    let expected = (1..=ATTEMPTS_KEPT).chain([crashed]).chain(last - ATTEMPTS_KEPT + 1..=last);
    assert!(expected.eq(kept.iter().copied()), "{kept:?}");
    assert_eq!(view.attempts, last, "counted is each");
}

const ODD: &str = "a\0b\u{202e}'\"\\%_\u{fffd}";

async fn a_text_may_hold_anything(queue: &Arc<dyn Queue>) {
    let mut odd = request(1, "alice");
    odd.options.source.html = Some(ODD.to_owned());
    let options = odd.options.clone();
    queue.accept(odd.clone()).await.unwrap();
    let claimed = queue.claim("w", NOW + 5, NOW + 10).await.unwrap().unwrap();
    assert_eq!(claimed.request.options, options, "what is rendered is not changed by so much as a byte");
    let reason = ODD.to_owned();
    assert!(queue.put_back(&odd.id, "w", PutBack { reason, ..back(NOW, false) }).await.unwrap());
    queue.claim("w", NOW + 5, NOW + 10).await.unwrap().unwrap();
    let outcome = Outcome::Failed {
        code: "timeout_error".to_owned(),
        message: ODD.to_owned(),
        cause: ODD.to_owned(),
        refused: Vec::new(),
    };
    let body = DeliveryBody::Inline(ODD.as_bytes().to_vec());
    let webhook = NewDelivery { body, ..delivery(&odd) };
    assert!(queue.finish(&odd.id, "w", NOW + 6, outcome, Some(webhook.clone())).await.unwrap());
    let claimed = queue.claim_deliveries(NOW + 6, NOW + 60, 10, 8).await.unwrap();
    assert_eq!(claimed[0].delivery, webhook);
    let answer = DeliveryAttempt { answer: ODD.to_owned(), error: Some(ODD.to_owned()), ..attempt(1, 500) };
    queue.finish_attempt(&webhook.id, answer, NextStep::Dead).await.unwrap();
    let view = queue.request(&odd.id).await.unwrap().unwrap();
    assert!(view.error_message.unwrap().contains("b\u{202e}'\"\\%_"));
    assert_eq!(view.log.len(), 2);
}

async fn any_number_of_claimers_are_fair_and_take_each_request_once(queue: &Arc<dyn Queue>) {
    // Keys that want very different amounts; what each is given at a time must not differ by that.
    let keys = ["alice", "bob", "carol", "dave"];
    for (key, count) in keys.iter().zip([200, 40, 40, 40]) {
        for number in 0..count {
            let request = NewRequest {
                id: snaphook_shared::id::request_id(NOW + number, [key.as_bytes()[0]; 10]),
                ..request(number, key)
            };
            queue.accept(request).await.unwrap();
        }
    }
    let claim = async |worker: usize| {
        let owner = format!("w{worker}");
        queue.claim(&owner, NOW + 5000, NOW * 2).await.unwrap().map(|claimed| (owner, claimed.request))
    };
    let mut seen = std::collections::HashSet::new();
    for round in 0..10 {
        let claimed = futures::future::join_all((0..16).map(claim)).await;
        let claimed: Vec<_> = claimed.into_iter().flatten().collect();
        assert_eq!(claimed.len(), 16);
        for key in keys {
            let held = claimed.iter().filter(|(_, request)| request.access_key == *key).count();
            assert_eq!(held, 4, "{key} in round {round}");
        }
        for (owner, request) in claimed {
            assert!(seen.insert(request.id.clone()), "{} was given twice", request.id);
            let file = format!("{}.png", request.id);
            assert!(queue.finish(&request.id, &owner, NOW, done(&file, NOW), None).await.unwrap());
        }
    }
}
