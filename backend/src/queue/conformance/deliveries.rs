//! Webhooks: when each is sent again, what its log keeps, what is replayed, and the files that go with it.

use std::sync::Arc;

use super::samples::{DAY, attempt, back, delivery, done, only, state_of, told, view_of};
use crate::domain::delivery::{
    ATTEMPTS_KEPT, ATTEMPTS_SHOWN, ClaimedDelivery, DeliveryAttempt, DeliveryBody, DeliveryState, NewDelivery,
    NextStep, Release,
};
use crate::domain::job::Outcome;
use crate::domain::ports::{DeliveryFilter, ReplayFilter};
use crate::domain::retry::{DEAD_FILE_KEPT, LOST_ATTEMPTS_MAX};
use crate::queue::Queue;
use crate::queue::testing::{NOW, on_each_queue, request};

on_each_queue! {
    a_webhook_is_sent_again_until_it_ends
    a_file_stays_until_its_webhook_has_taken_it_along
    a_file_stays_for_a_while_for_a_webhook_that_is_dead_and_may_be_replayed
    what_has_nothing_to_send_is_dead_and_charged_to_nobody
    a_late_outcome_changes_nothing_that_a_later_claim_decides
    what_takes_its_service_down_waits_longer_each_time_and_counts_in_the_end
    an_orderly_end_costs_a_delivery_nothing
    of_attempts_that_are_postponed_for_long_the_first_and_the_last_are_kept
    what_is_dead_can_be_replayed_and_keeps_its_log
    a_failure_of_ours_is_charged_to_nobody
    dead_deliveries_are_replayed_by_key_address_and_time
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

async fn what_has_nothing_to_send_is_dead_and_charged_to_nobody(queue: &Arc<dyn Queue>) {
    let id = told(queue, 1, "alice", "https://example.com/hook").await;
    queue.claim_deliveries(NOW, NOW + 9, 10, 8).await.unwrap();
    let nothing = DeliveryAttempt { status: None, error: Some("the file is gone".to_owned()), ..attempt(1, 0) };
    assert!(!queue.finish_attempt(&id, nothing, NextStep::NothingToSend).await.unwrap());
    let reason = "there is nothing to send any more".to_owned();
    assert_eq!(state_of(queue, &id).await, (DeliveryState::Dead, Some(reason)));
    assert!(queue.endpoints(None).await.unwrap().is_empty());
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
