//! Requests and their webhooks: what is accepted, who renders it, what is sent, what is listed.

use std::sync::Arc;

use futures::StreamExt;
use snaphook_shared::options::model::Options;
use snaphook_shared::priority::Urgency;
use snaphook_shared::request::Endpoint;

use crate::domain::artifact::Size;
use crate::domain::delivery::{
    ATTEMPTS_KEPT, ATTEMPTS_SHOWN, ClaimedDelivery, DeliveryAttempt, DeliveryBody, DeliveryState, DeliveryView,
    NewDelivery, NextStep, Release,
};
use crate::domain::job::{NewRequest, Outcome, PutBack, RequestAttempt, RequestState, StoredFile};
use crate::domain::ports::{Acceptance, DeliveryFilter, ReplayFilter, RequestFilter};
use crate::domain::retry::{DEAD_FILE_KEPT, LOST_ATTEMPTS_MAX};
use crate::queue::Queue;
use crate::queue::testing::{CAPACITY, NOW, on_each_queue};

on_each_queue! {
    an_id_is_accepted_once
    a_place_in_a_trace_is_kept_until_the_webhook
    an_idempotency_key_stands_for_one_request_of_one_caller
    the_most_urgent_of_a_key_is_next_and_no_key_gains_by_it
    what_is_not_due_does_not_hold_up_what_is
    a_full_queue_refuses
    one_key_cannot_starve_another
    a_lease_ends_with_its_owner_or_its_time
    what_is_put_back_waits_and_keeps_its_count
    a_result_and_its_webhook_are_kept_together
    a_webhook_is_sent_again_until_it_ends
    requests_are_listed_newest_first_by_key_and_state
    files_expire_once
    a_file_stays_until_its_webhook_has_taken_it_along
    a_file_stays_for_a_while_for_a_webhook_that_is_dead_and_may_be_replayed
    however_much_waits_for_an_endpoint_that_is_disabled_all_of_it_ends
    what_has_nothing_to_send_is_dead_and_charged_to_nobody
    a_late_outcome_changes_nothing_that_a_later_claim_decides
    what_takes_its_service_down_waits_longer_each_time_and_counts_in_the_end
    an_orderly_end_costs_a_delivery_nothing
    of_attempts_that_are_postponed_for_long_the_first_and_the_last_are_kept
    a_receiver_that_fails_holds_up_nobody_else
    what_is_dead_can_be_replayed_and_keeps_its_log
    a_cancelled_request_stays_cancelled
    every_attempt_is_kept_with_its_times_and_its_reason
    a_failure_of_ours_is_charged_to_nobody
    an_endpoint_that_fails_for_five_days_is_disabled_until_somebody_enables_it
    an_endpoint_is_as_long_as_an_address_may_be
    gone_disables_at_once_and_an_answer_to_a_replay_enables_again
    dead_deliveries_are_replayed_by_key_address_and_time
    a_text_may_hold_anything
    any_number_of_claimers_are_fair_and_take_each_request_once
}

fn request(number: u64, access_key: &str) -> NewRequest {
    NewRequest {
        id: snaphook_shared::id::request_id(NOW + number, [0; 10]),
        access_key: access_key.to_owned(),
        endpoint: Endpoint::Screenshot,
        options: Options::default(),
        idempotency_key: None,
        urgency: Urgency::default(),
        fingerprint: "f".to_owned(),
        created_ms: NOW + number,
        traceparent: None,
    }
}

fn delivery(request: &NewRequest) -> NewDelivery {
    NewDelivery {
        id: request.id.replacen("req_", "msg_", 1),
        url: "https://example.com/hook".to_owned(),
        sign: true,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: DeliveryBody::Inline(b"{}".to_vec()),
    }
}

fn done(name: &str, expires_ms: u64) -> Outcome {
    let file = StoredFile {
        name: name.to_owned(),
        content_type: "image/png".to_owned(),
        bytes: 3,
        size: Some(Size { width: 1, height: 1 }),
        expires_ms,
        attachment: None,
    };
    Outcome::Done { file: Some(file), parts: Vec::new(), render_ms: 7, refused: Vec::new() }
}

fn only(access_key: &str, id: Option<&str>) -> ReplayFilter {
    ReplayFilter { access_key: Some(access_key.to_owned()), id: id.map(str::to_owned), ..ReplayFilter::default() }
}

fn back(at_ms: u64, ours: bool) -> PutBack {
    PutBack { now_ms: NOW + 7, at_ms, reason: "the page crashed".to_owned(), ours }
}

fn attempt(number: u32, status: u16) -> DeliveryAttempt {
    let (answer, headers) = Default::default();
    DeliveryAttempt { number, at_ms: NOW, took_ms: 1, status: Some(status), error: None, answer, headers }
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

async fn a_full_queue_refuses(queue: &Arc<dyn Queue>) {
    let accepted = futures::future::join_all((0..CAPACITY).map(|number| queue.accept(request(number, "alice")))).await;
    assert!(accepted.into_iter().all(|acceptance| matches!(acceptance, Ok(Acceptance::Accepted { .. }))));
    assert_eq!(queue.accept(request(CAPACITY, "alice")).await.unwrap(), Acceptance::Full);
    queue.claim("w", NOW + CAPACITY, NOW * 2).await.unwrap().unwrap();
    assert!(matches!(queue.accept(request(CAPACITY, "alice")).await.unwrap(), Acceptance::Accepted { .. }));
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

async fn a_webhook_is_sent_again_until_it_ends(queue: &Arc<dyn Queue>) {
    for number in 1..=2 {
        let request = request(number, "alice");
        let webhook = Some(delivery(&request));
        queue
            .record(
                request,
                NOW,
                Outcome::Failed {
                    code: "timeout_error".into(),
                    message: String::new(),
                    cause: String::new(),
                    refused: Vec::new(),
                },
                webhook,
            )
            .await
            .unwrap();
    }
    let claimed = queue.claim_deliveries(NOW, NOW + 30, 10, 8).await.unwrap();
    assert_eq!(claimed.len(), 2);
    assert!(
        queue.claim_deliveries(NOW, NOW + 30, 10, 8).await.unwrap().is_empty(),
        "a leased delivery is nobody else's"
    );
    let [first, second] = [&claimed[0].delivery.id, &claimed[1].delivery.id];
    queue.finish_attempt(first, attempt(1, 500), NextStep::RetryAt { ms: NOW + 100 }).await.unwrap();
    queue.finish_attempt(second, attempt(1, 500), NextStep::Dead).await.unwrap();
    assert!(queue.claim_deliveries(NOW + 99, NOW + 130, 10, 8).await.unwrap().is_empty());
    let again = queue.claim_deliveries(NOW + 100, NOW + 130, 10, 8).await.unwrap();
    assert_eq!((again.len(), &again[0].delivery.id, again[0].attempt), (1, first, 2));
    // A sender that died: its lease runs out and the delivery is due again.
    assert_eq!(queue.release(Release::Expired { now_ms: NOW + 130 }).await.unwrap(), 1);
    assert!(queue.claim_deliveries(NOW + 2_129, NOW + 2_160, 10, 8).await.unwrap().is_empty());
    let after = queue.claim_deliveries(NOW + 2_130, NOW + 2_160, 10, 8).await.unwrap();
    queue.finish_attempt(first, attempt(3, 204), NextStep::Delivered).await.unwrap();
    assert_eq!((after[0].number, after[0].attempt), (3, 2), "what ended with its sender is none of the schedule's");
    let view = queue.request(&request(1, "alice").id).await.unwrap().unwrap().webhook.unwrap();
    assert_eq!((view.state, view.attempts, view.last_status), (DeliveryState::Delivered, 3, Some(204)));
}

async fn a_late_outcome_changes_nothing_that_a_later_claim_decides(queue: &Arc<dyn Queue>) {
    // A sender that hung: its lease runs out, and its outcome comes after all.
    let hung = async |number: u64| {
        let id = told(queue, number, "alice", &format!("https://{number}.example.com/hook")).await;
        let claimed = queue.claim_deliveries(NOW, NOW + 30, 10, 8).await.unwrap();
        assert_eq!((claimed.len(), claimed[0].number), (1, 1));
        assert_eq!(queue.release(Release::Expired { now_ms: NOW + 30 }).await.unwrap(), 1);
        id
    };
    let again = async || {
        let claimed = queue.claim_deliveries(NOW + 2_030, NOW + 2_060, 10, 8).await.unwrap();
        assert_eq!(claimed[0].number, 2);
    };
    let late = async |id: &str, status, next| queue.finish_attempt(id, attempt(1, status), next).await.unwrap();

    // Another sends it meanwhile, or has ended it: neither a failure nor a success of before has a say.
    let id = hung(1).await;
    again().await;
    for next in [NextStep::Gone, NextStep::RetryAt { ms: NOW }, NextStep::Delivered] {
        assert!(!late(&id, 410, next).await);
        assert_eq!(state_of(queue, &id).await.0, DeliveryState::Sending);
    }
    queue.finish_attempt(&id, attempt(2, 204), NextStep::Delivered).await.unwrap();
    assert!(!late(&id, 500, NextStep::Dead).await);
    assert_eq!(state_of(queue, &id).await.0, DeliveryState::Delivered);
    assert!(queue.endpoints(None).await.unwrap().is_empty(), "no endpoint is charged with it");
    let log = view_of(queue, &id).await.log;
    let log: Vec<_> = log.iter().map(|attempt| (attempt.number, attempt.status)).collect();
    assert_eq!(log, [(1, Some(500)), (2, Some(204))], "each attempt is kept at its place");

    // Nobody has claimed it since: then the outcome counts, and it is not sent a second time.
    let id = hung(2).await;
    late(&id, 204, NextStep::Delivered).await;
    assert_eq!(state_of(queue, &id).await.0, DeliveryState::Delivered);
    assert!(queue.claim_deliveries(NOW + 2_030, NOW + 2_060, 10, 8).await.unwrap().is_empty());

    // Nor is it left out of the schedule a second time.
    let id = hung(3).await;
    late(&id, 0, NextStep::PostponedTo { ms: NOW + 30 }).await;
    let claimed = queue.claim_deliveries(NOW + 30, NOW + 60, 10, 8).await.unwrap().remove(0);
    assert_eq!((claimed.number, claimed.attempt, claimed.postponed), (2, 1, 1));

    assert!(!late("msg_unknown", 500, NextStep::Dead).await);
}

/// Claims the only delivery as soon as it is due, which may be `after_ms` from then on, and not before.
async fn claim_after(queue: &Arc<dyn Queue>, now_ms: u64, after_ms: u64) -> ClaimedDelivery {
    if after_ms > 0 {
        assert!(queue.claim_deliveries(now_ms + after_ms - 1, now_ms * 2, 10, 8).await.unwrap().is_empty());
    }
    queue.claim_deliveries(now_ms + after_ms, now_ms + after_ms, 10, 8).await.unwrap().remove(0)
}

async fn what_takes_its_service_down_waits_longer_each_time_and_counts_in_the_end(queue: &Arc<dyn Queue>) {
    let id = told(queue, 1, "alice", "https://example.com/hook").await;
    let (mut now_ms, mut pause_ms) = (NOW, 0);
    for (lost, pause_s) in (0_u32..).zip([2, 4, 8, 16, 32].into_iter().chain([60; LOST_ATTEMPTS_MAX as usize])) {
        let claimed = claim_after(queue, now_ms, pause_ms).await;
        now_ms += pause_ms;
        let counted = lost.saturating_sub(LOST_ATTEMPTS_MAX);
        assert_eq!((claimed.number, claimed.attempt), (lost + 1, counted + 1));
        assert_eq!(claimed.postponed, lost.min(LOST_ATTEMPTS_MAX));
        assert_eq!(queue.release(Release::Expired { now_ms }).await.unwrap(), 1);
        pause_ms = pause_s * 1000;
        let view = view_of(queue, &id).await;
        assert_eq!((view.state, view.next_attempt_ms), (DeliveryState::Pending, Some(now_ms + pause_ms)));
        let last = view.log.last().unwrap();
        assert_eq!((last.number, last.at_ms, last.status), (lost + 1, now_ms, None));
        assert_eq!(last.error.as_deref(), Some("the lease ran out"));
    }
    assert!(queue.endpoints(None).await.unwrap().is_empty(), "the receiver is not to blame");
    // Several that are lost together come back one after the other.
    for number in 2..=4 {
        told(queue, number, "bob", "https://other.example.com/hook").await;
    }
    assert_eq!(queue.claim_deliveries(NOW, NOW + 9, 10, 8).await.unwrap().len(), 3);
    assert_eq!(queue.release(Release::Expired { now_ms: NOW + 9 }).await.unwrap(), 3);
    for after in [2, 3, 4] {
        assert_eq!(queue.claim_deliveries(NOW + 9 + after * 1000, NOW * 2, 10, 8).await.unwrap().len(), 1);
    }
}

async fn an_orderly_end_costs_a_delivery_nothing(queue: &Arc<dyn Queue>) {
    let id = told(queue, 1, "alice", "https://example.com/hook").await;
    for number in 1..=3 {
        let claimed = claim_after(queue, NOW, 0).await;
        assert_eq!((claimed.number, claimed.attempt, claimed.postponed), (number, 1, 0));
        assert_eq!(queue.release(Release::Stopping { now_ms: NOW + 5 }).await.unwrap(), 1);
    }
    let log = view_of(queue, &id).await.log;
    assert_eq!(log.len(), 3);
    assert!(log.iter().all(|attempt| attempt.error.as_deref() == Some("the service ended")));
}

async fn of_attempts_that_are_postponed_for_long_the_first_and_the_last_are_kept(queue: &Arc<dyn Queue>) {
    let id = told(queue, 1, "alice", "https://example.com/hook").await;
    let answered = ATTEMPTS_KEPT + 5;
    for number in 1..=4 * ATTEMPTS_KEPT {
        assert_eq!(claim_after(queue, NOW, 0).await.number, number);
        let nobody = DeliveryAttempt { status: None, error: Some("no store".to_owned()), ..attempt(number, 0) };
        let postponed = NextStep::PostponedTo { ms: NOW };
        match number {
            number if number == answered => {
                queue.finish_attempt(&id, attempt(number, 500), NextStep::RetryAt { ms: NOW }).await.unwrap();
            }
            // However it is postponed.
            number if number % 2 == 0 => {
                queue.release(Release::Stopping { now_ms: NOW }).await.unwrap();
            }
            _ => assert!(!queue.finish_attempt(&id, nobody, postponed).await.unwrap()),
        }
    }
    let kept: Vec<u32> = view_of(queue, &id).await.log.iter().map(|attempt| attempt.number).collect();
    let first = 1..=ATTEMPTS_KEPT;
    let last = 3 * ATTEMPTS_KEPT + 1..=4 * ATTEMPTS_KEPT;
    assert_eq!(kept, first.chain([answered]).chain(last).collect::<Vec<_>>());

    // What receivers answered all stays, and so much of it is shown.
    for number in 4 * ATTEMPTS_KEPT + 1..=4 * ATTEMPTS_KEPT + ATTEMPTS_SHOWN {
        claim_after(queue, NOW, 0).await;
        queue.finish_attempt(&id, attempt(number, 500), NextStep::RetryAt { ms: NOW }).await.unwrap();
    }
    let view = view_of(queue, &id).await;
    assert_eq!((view.attempts, view.log.len()), (4 * ATTEMPTS_KEPT + ATTEMPTS_SHOWN, ATTEMPTS_SHOWN as usize));
    let numbers = view.log.iter().map(|attempt| attempt.number);
    assert!(numbers.eq(4 * ATTEMPTS_KEPT + 1..=4 * ATTEMPTS_KEPT + ATTEMPTS_SHOWN));
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

async fn a_file_stays_until_its_webhook_has_taken_it_along(queue: &Arc<dyn Queue>) {
    let request = request(1, "alice");
    let webhook = NewDelivery { body: DeliveryBody::File("a.png".to_owned()), ..delivery(&request) };
    queue.record(request, NOW, done("a.png", NOW + 10), Some(webhook)).await.unwrap();
    let expired = async || queue.expired_files(NOW + 10, 10).await.unwrap();
    assert!(expired().await.is_empty(), "it waits");
    let claimed = queue.claim_deliveries(NOW + 10, NOW + 20, 10, 8).await.unwrap().remove(0);
    assert!(expired().await.is_empty(), "it is on its way");
    let answer = attempt(claimed.number, 204);
    queue.finish_attempt(&claimed.delivery.id, answer, NextStep::Delivered).await.unwrap();
    assert_eq!(expired().await, ["a.png"]);
}

async fn a_file_stays_for_a_while_for_a_webhook_that_is_dead_and_may_be_replayed(queue: &Arc<dyn Queue>) {
    let request = request(1, "alice");
    let webhook = NewDelivery { body: DeliveryBody::File("a.png".to_owned()), ..delivery(&request) };
    queue.record(request.clone(), NOW, done("a.png", NOW + 10), Some(webhook)).await.unwrap();
    let kept_ms = DEAD_FILE_KEPT.as_millis() as u64;
    let die = async |at_ms: u64| {
        let claimed = queue.claim_deliveries(at_ms, at_ms + 9, 10, 8).await.unwrap().remove(0);
        let at = DeliveryAttempt { at_ms, ..attempt(claimed.number, 500) };
        queue.finish_attempt(&claimed.delivery.id, at, NextStep::Dead).await.unwrap();
        assert!(queue.expired_files(at_ms + kept_ms - 1, 10).await.unwrap().is_empty());
        assert_eq!(queue.expired_files(at_ms + kept_ms, 10).await.unwrap(), ["a.png"]);
    };
    let replayed_ms = NOW + 5 * DAY;
    die(NOW + 20).await;
    assert_eq!(queue.replay(only("alice", None), replayed_ms).await.unwrap(), 1);
    assert!(queue.expired_files(NOW * 2, 10).await.unwrap().is_empty(), "it waits again");
    die(replayed_ms).await;
    // And then all of it goes.
    assert_eq!(queue.purge(NOW * 2, 10).await.unwrap(), 0);
    queue.forget_file("a.png").await.unwrap();
    assert_eq!(queue.purge(NOW * 2, 10).await.unwrap(), 1);
    assert!(queue.request(&request.id).await.unwrap().is_none());
}

async fn however_much_waits_for_an_endpoint_that_is_disabled_all_of_it_ends(queue: &Arc<dyn Queue>) {
    // More than two batches.
    let waiting = 2_100;
    let told = (0..=waiting).map(|number| told(queue, number, "alice", "https://example.com/hook"));
    futures::stream::iter(told).buffer_unordered(64).collect::<Vec<_>>().await;
    let other = self::told(queue, 5_000, "alice", "https://example.com/other").await;
    let claimed = queue.claim_deliveries(NOW, NOW + 9, 1, 8).await.unwrap().remove(0);
    assert!(queue.finish_attempt(&claimed.delivery.id, attempt(1, 410), NextStep::Gone).await.unwrap());
    let pending = DeliveryFilter { state: Some(DeliveryState::Pending), limit: 9, ..DeliveryFilter::default() };
    let pending: Vec<String> = queue.deliveries(pending).await.unwrap().into_iter().map(|view| view.id).collect();
    assert_eq!(pending, [other]);
    let dead = DeliveryFilter { state: Some(DeliveryState::Dead), limit: 9_000, ..DeliveryFilter::default() };
    assert_eq!(queue.deliveries(dead).await.unwrap().len() as u64, waiting + 1);
}

async fn what_has_nothing_to_send_is_dead_and_charged_to_nobody(queue: &Arc<dyn Queue>) {
    let id = told(queue, 1, "alice", "https://example.com/hook").await;
    queue.claim_deliveries(NOW, NOW + 9, 10, 8).await.unwrap();
    let nothing = DeliveryAttempt { status: None, error: Some("the file is gone".to_owned()), ..attempt(1, 0) };
    assert!(!queue.finish_attempt(&id, nothing, NextStep::NothingToSend).await.unwrap());
    let reason = "there is nothing to send any more".to_owned();
    assert_eq!(state_of(queue, &id).await, (DeliveryState::Dead, Some(reason)));
    assert!(queue.endpoints(None).await.unwrap().is_empty());
}

async fn a_receiver_that_fails_holds_up_nobody_else(queue: &Arc<dyn Queue>) {
    let failed = || Outcome::Failed {
        code: "timeout_error".into(),
        message: String::new(),
        cause: String::new(),
        refused: Vec::new(),
    };
    for number in 0..20 {
        let request = request(number, "alice");
        let url = if number < 19 { "https://dead.example.com/hook" } else { "https://alive.example.com/hook" };
        let webhook = NewDelivery { url: url.to_owned(), ..delivery(&request) };
        queue.record(request, NOW + number, failed(), Some(webhook)).await.unwrap();
    }
    let claimed = queue.claim_deliveries(NOW + 50, NOW + 90, 100, 8).await.unwrap();
    let to = |claimed: &[crate::domain::delivery::ClaimedDelivery], host: &str| {
        claimed.iter().filter(|claimed| claimed.delivery.url.contains(host)).count()
    };
    assert_eq!((to(&claimed, "dead"), to(&claimed, "alive")), (8, 1));
    for claimed in &claimed {
        let next = NextStep::RetryAt { ms: NOW + 1_000 };
        queue.finish_attempt(&claimed.delivery.id, attempt(claimed.number, 500), next).await.unwrap();
    }
    // Eight failures in a row: from now on one at a time. The other failed but once.
    let claimed = queue.claim_deliveries(NOW + 1_000, NOW + 1_090, 100, 8).await.unwrap();
    assert_eq!((to(&claimed, "dead"), to(&claimed, "alive")), (1, 1));
    for claimed in &claimed {
        queue.finish_attempt(&claimed.delivery.id, attempt(claimed.number, 204), NextStep::Delivered).await.unwrap();
    }
    let claimed = queue.claim_deliveries(NOW + 1_000, NOW + 1_090, 100, 8).await.unwrap();
    assert_eq!(to(&claimed, "dead"), 8, "one answer, and it is trusted again");
}

async fn what_is_dead_can_be_replayed_and_keeps_its_log(queue: &Arc<dyn Queue>) {
    let request = request(1, "alice");
    let id = delivery(&request).id;
    queue.record(request.clone(), NOW, done("a.png", NOW), Some(delivery(&request))).await.unwrap();
    queue.claim_deliveries(NOW, NOW + 9, 10, 8).await.unwrap();
    queue.finish_attempt(&id, attempt(1, 410), NextStep::Dead).await.unwrap();
    assert_eq!(queue.replay(only("bob", Some(&id)), NOW + 10).await.unwrap(), 0, "it is not bob's");
    assert_eq!(queue.replay(only("alice", None), NOW + 10).await.unwrap(), 1);
    let claimed = queue.claim_deliveries(NOW + 10, NOW + 19, 10, 8).await.unwrap();
    assert_eq!(
        (claimed[0].attempt, &claimed[0].delivery),
        (1, &delivery(&request)),
        "the schedule begins anew, the bytes do not"
    );
    queue.finish_attempt(&id, attempt(2, 200), NextStep::Delivered).await.unwrap();
    let filter = DeliveryFilter { access_key: Some("alice".to_owned()), limit: 10, ..DeliveryFilter::default() };
    let views = queue.deliveries(filter).await.unwrap();
    let statuses: Vec<Option<u16>> = views[0].log.iter().map(|attempt| attempt.status).collect();
    assert_eq!((views[0].state, statuses), (DeliveryState::Delivered, vec![Some(410), Some(200)]));
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
    let attempt = |started_ms, ended_ms, reason: Option<&str>| RequestAttempt {
        started_ms,
        ended_ms,
        reason: reason.map(str::to_owned),
    };
    let expected = [
        attempt(NOW + 5, Some(NOW + 7), Some("the page crashed")),
        attempt(NOW + 100, None, Some("the lease ran out")),
        attempt(NOW + 200, Some(NOW + 250), None),
    ];
    assert_eq!(queue.request(&id).await.unwrap().unwrap().log, expected);
}

async fn a_failure_of_ours_is_charged_to_nobody(queue: &Arc<dyn Queue>) {
    let request = request(1, "alice");
    queue.accept(request.clone()).await.unwrap();
    for (ours, failures, postponed) in [(true, 0, 0), (false, 0, 1), (true, 1, 1), (true, 1, 2)] {
        let claimed = queue.claim("w", NOW + 5, NOW + 6).await.unwrap().unwrap();
        assert_eq!((claimed.failures, claimed.postponed), (failures, postponed));
        queue.put_back(&request.id, "w", back(NOW, ours)).await.unwrap();
    }
    queue.claim("w", NOW + 5, NOW + 6).await.unwrap().unwrap();
    queue.finish(&request.id, "w", NOW + 6, done("a.png", NOW), Some(delivery(&request))).await.unwrap();
    let id = delivery(&request).id;
    for (attempt, postponed) in [(1, 0), (1, 1), (1, 2)] {
        let claimed = queue.claim_deliveries(NOW + 60, NOW + 90, 10, 8).await.unwrap().remove(0);
        assert_eq!((claimed.attempt, claimed.postponed), (attempt, postponed));
        let nobody =
            DeliveryAttempt { status: None, error: Some("no network".to_owned()), ..self::attempt(claimed.number, 0) };
        queue.finish_attempt(&id, nobody, NextStep::PostponedTo { ms: NOW + 60 }).await.unwrap();
    }
    assert!(queue.endpoints(None).await.unwrap().is_empty(), "the receiver is not to blame");
    let views = queue.deliveries(DeliveryFilter { limit: 1, ..DeliveryFilter::default() }).await.unwrap();
    assert_eq!(views[0].log.len(), 3, "and yet it is in the log");
}

/// Ends a request with a webhook to an address; gives the webhook's id.
async fn told(queue: &Arc<dyn Queue>, number: u64, access_key: &str, url: &str) -> String {
    let request = request(number, access_key);
    let webhook = NewDelivery { url: url.to_owned(), ..delivery(&request) };
    let id = webhook.id.clone();
    queue.record(request, NOW, done(&format!("{number}.png"), NOW), Some(webhook)).await.unwrap();
    id
}

async fn view_of(queue: &Arc<dyn Queue>, id: &str) -> DeliveryView {
    let filter = DeliveryFilter { id: Some(id.to_owned()), limit: 1, ..DeliveryFilter::default() };
    queue.deliveries(filter).await.unwrap().remove(0)
}

async fn state_of(queue: &Arc<dyn Queue>, id: &str) -> (DeliveryState, Option<String>) {
    let view = view_of(queue, id).await;
    (view.state, view.end_reason)
}

const DAY: u64 = 86_400_000;

async fn an_endpoint_is_as_long_as_an_address_may_be(queue: &Arc<dyn Queue>) {
    // Nothing that would be short once it is compressed.
    let letters = (0..8_000_u32).map(|at| char::from(b'a' + (at.wrapping_mul(2_654_435_761) >> 16) as u8 % 26));
    let url = format!("https://example.com/{}", letters.collect::<String>());
    for number in [1, 2] {
        let id = told(queue, number, "alice", &url).await;
        queue.claim_deliveries(NOW + 9, NOW + 99, 10, 8).await.unwrap();
        assert!(!queue.finish_attempt(&id, attempt(1, 500), NextStep::Dead).await.unwrap());
    }
    let endpoints = queue.endpoints(Some("alice")).await.unwrap();
    assert_eq!((endpoints.len(), endpoints[0].url.as_str(), endpoints[0].failures), (1, url.as_str(), 2));
}

async fn an_endpoint_that_fails_for_five_days_is_disabled_until_somebody_enables_it(queue: &Arc<dyn Queue>) {
    let url = "https://example.com/hook";
    // One success in between, and the five days begin anew.
    let mut number = 0;
    for (day, status, disabled) in [(0, 500, false), (4, 500, false), (4, 204, false), (5, 503, false), (10, 500, true)]
    {
        number += 1;
        let id = told(queue, number, "alice", &format!("{url}?n={number}")).await;
        queue.claim_deliveries(NOW + day * DAY, NOW + day * DAY + 9, 10, 8).await.unwrap();
        let next = match status {
            204 => NextStep::Delivered,
            _ => NextStep::Dead,
        };
        if disabled {
            // What waits for it meanwhile, and what others sent to the same address.
            told(queue, 100, "alice", url).await;
            told(queue, 101, "bob", url).await;
            told(queue, 102, "alice", "https://example.com/other").await;
        }
        let at_day = DeliveryAttempt { at_ms: NOW + day * DAY, ..attempt(1, status) };
        assert_eq!(queue.finish_attempt(&id, at_day, next).await.unwrap(), disabled, "day {day}");
    }
    let webhook = |number| delivery(&request(number, "")).id;
    let waiting = state_of(queue, &webhook(100)).await;
    assert_eq!(waiting, (DeliveryState::Dead, Some("the endpoint is disabled".to_owned())));
    for number in [101, 102] {
        assert_eq!(state_of(queue, &webhook(number)).await.0, DeliveryState::Pending, "{number}");
    }
    let later = told(queue, 103, "alice", url).await;
    assert_eq!(state_of(queue, &later).await.0, DeliveryState::Dead);
    let endpoints = queue.endpoints(Some("alice")).await.unwrap();
    assert_eq!((endpoints.len(), endpoints[0].url.as_str(), endpoints[0].failures), (1, url, 2));
    assert_eq!(endpoints[0].disabled_ms, Some(NOW + 10 * DAY));
    assert_eq!(queue.forget_failures(NOW * 2).await.unwrap(), 1, "the host is forgotten, the decision is not");

    assert!(!queue.enable_endpoint("bob", url).await.unwrap());
    assert!(queue.enable_endpoint("alice", url).await.unwrap());
    assert!(!queue.enable_endpoint("alice", url).await.unwrap());
    let after = told(queue, 104, "alice", url).await;
    assert_eq!(state_of(queue, &after).await.0, DeliveryState::Pending);
}

async fn gone_disables_at_once_and_an_answer_to_a_replay_enables_again(queue: &Arc<dyn Queue>) {
    let id = told(queue, 1, "alice", "https://example.com/hook").await;
    queue.claim_deliveries(NOW, NOW + 9, 10, 8).await.unwrap();
    assert!(queue.finish_attempt(&id, attempt(1, 410), NextStep::Gone).await.unwrap());
    assert_eq!(state_of(queue, &id).await, (DeliveryState::Dead, Some("the receiver said that it is gone".to_owned())));
    for (step, state, listed) in
        [(NextStep::RetryAt { ms: NOW }, DeliveryState::Dead, 1), (NextStep::Delivered, DeliveryState::Delivered, 0)]
    {
        assert_eq!(queue.replay(only("alice", Some(&id)), NOW).await.unwrap(), 1);
        let claimed = queue.claim_deliveries(NOW, NOW + 9, 10, 8).await.unwrap().remove(0);
        assert!(
            !queue.finish_attempt(&id, attempt(claimed.number, 500), step).await.unwrap(),
            "it was disabled before"
        );
        assert_eq!(state_of(queue, &id).await.0, state);
        assert_eq!(queue.endpoints(None).await.unwrap().len(), listed);
    }
}

async fn dead_deliveries_are_replayed_by_key_address_and_time(queue: &Arc<dyn Queue>) {
    let mut ids = Vec::new();
    for (number, access_key, url) in [
        (1, "alice", "https://a.example.com/x"),
        (2, "alice", "https://a.example.com/y"),
        (3, "alice", "https://b.example.com/x"),
        (4, "bob", "https://a.example.com/x"),
    ] {
        ids.push(told(queue, number * 1000, access_key, url).await);
    }
    let die = async || {
        // A host that fails is sent one at a time.
        while let Some(claimed) = queue.claim_deliveries(NOW, NOW + 9, 1, 8).await.unwrap().pop() {
            queue.finish_attempt(&claimed.delivery.id, attempt(claimed.number, 500), NextStep::Dead).await.unwrap();
        }
    };
    die().await;
    let of = |access_key: Option<&str>, url: Option<&str>, since_ms| ReplayFilter {
        access_key: access_key.map(str::to_owned),
        url: url.map(str::to_owned),
        since_ms,
        id: None,
    };
    for (filter, replayed) in [
        (of(Some("alice"), Some("https://a.example.com/"), None), vec![0, 1]),
        (of(None, Some("https://a.example.com/x"), None), vec![0, 3]),
        (of(Some("alice"), None, Some(NOW + 2000)), vec![1, 2]),
        (of(None, Some("https://a.example.com/%"), None), vec![]),
        (of(None, None, None), vec![0, 1, 2, 3]),
    ] {
        assert_eq!(queue.replay(filter.clone(), NOW).await.unwrap(), replayed.len() as u64, "{filter:?}");
        for (number, id) in ids.iter().enumerate() {
            let expected = if replayed.contains(&number) { DeliveryState::Pending } else { DeliveryState::Dead };
            assert_eq!(state_of(queue, id).await.0, expected, "{number} by {filter:?}");
        }
        die().await;
    }
}

#[rustfmt::skip]
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
