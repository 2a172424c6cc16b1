//! Addresses of webhooks: none holds up another, and one that fails for long hears no more.

use std::sync::Arc;

use futures::StreamExt;

use super::samples::{DAY, attempt, delivery, only, state_of, told};
use crate::domain::delivery::{DeliveryAttempt, DeliveryState, NewDelivery, NextStep};
use crate::domain::job::Outcome;
use crate::domain::ports::DeliveryFilter;
use crate::queue::Queue;
use crate::queue::testing::{NOW, on_each_queue, request};

on_each_queue! {
    however_much_waits_for_an_endpoint_that_is_disabled_all_of_it_ends
    a_receiver_that_fails_holds_up_nobody_else
    an_endpoint_that_fails_for_five_days_is_disabled_until_somebody_enables_it
    an_endpoint_is_as_long_as_an_address_may_be
    gone_disables_at_once_and_an_answer_to_a_replay_enables_again
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
