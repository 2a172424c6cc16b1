//! What keys may use, and answers that are given again.

use std::sync::Arc;

use snaphook_shared::key::KeyLimits;
use snaphook_shared::options::model::Options;
use snaphook_shared::priority::Urgency;
use snaphook_shared::request::Endpoint;

use crate::domain::job::{NewRequest, Outcome};
use crate::domain::limits::Limited;
use crate::domain::operator::NewKey;
use crate::domain::ports::{Acceptance, Admission, CachedAnswer};
use crate::queue::Queue;
use crate::queue::testing::on_each_queue;

on_each_queue! {
    the_quota_counts_what_succeeded_and_holds_places_for_what_is_not_finished
    a_minute_has_so_many_starts_and_refusals_are_not_counted
    a_busy_key_is_refused_or_waits_in_the_queue
    limits_hold_however_many_come_at_once
    a_request_that_turns_over_is_neither_checked_nor_counted_again
    kept_answers_are_given_until_their_time_is_over
}

/// 2026-11-21T12:00:30Z
const NOW: u64 = 1_795_262_430_000;

async fn limited(queue: &Arc<dyn Queue>, limits: KeyLimits) {
    assert!(queue.add_key(NewKey { limits, ..NewKey::unlimited("AK", "SK") }, NOW).await.unwrap());
}

fn request(number: u32) -> NewRequest {
    NewRequest {
        id: format!("req_{number:032x}"),
        access_key: "AK".to_owned(),
        endpoint: Endpoint::Take,
        options: Options::default(),
        idempotency_key: None,
        urgency: Urgency::default(),
        fingerprint: String::new(),
        created_ms: NOW,
        traceparent: None,
    }
}

fn done() -> Outcome {
    Outcome::Done { file: None, parts: Vec::new(), render_ms: 1, refused: Vec::new() }
}

fn failed() -> Outcome {
    Outcome::Failed {
        code: "timeout_error".to_owned(),
        message: String::new(),
        cause: String::new(),
        refused: Vec::new(),
    }
}

async fn accepted(queue: &Arc<dyn Queue>, number: u32) -> Acceptance {
    queue.accept(request(number)).await.unwrap()
}

async fn the_quota_counts_what_succeeded_and_holds_places_for_what_is_not_finished(queue: &Arc<dyn Queue>) {
    limited(queue, KeyLimits { monthly_quota: Some(2), ..KeyLimits::default() }).await;
    for number in [1, 2] {
        assert!(matches!(accepted(queue, number).await, Acceptance::Accepted { .. }));
    }
    assert!(matches!(accepted(queue, 3).await, Acceptance::Limited(Limited::Quota { .. })));
    assert!(matches!(accepted(queue, 2).await, Acceptance::Accepted { .. }), "the same request is no second one");
    for outcome in [failed(), done()] {
        let claimed = queue.claim("w", NOW, NOW + 1000).await.unwrap().unwrap();
        assert!(queue.finish(&claimed.request.id, "w", NOW, outcome, None).await.unwrap());
    }
    let usage = queue.usage("AK", NOW).await.unwrap();
    assert_eq!((usage.rendered, usage.unfinished, usage.started), (1, 0, 2));
    let Admission::Admitted(place) = queue.admit("AK", NOW).await.unwrap() else { panic!("there is one left") };
    assert!(matches!(queue.admit("AK", NOW).await.unwrap(), Admission::Limited(Limited::Quota { .. })));
    queue.record(request(4), NOW, done(), None).await.unwrap();
    drop(place);
    assert!(matches!(queue.admit("AK", NOW).await.unwrap(), Admission::Limited(Limited::Quota { .. })));
    let next_month = NOW + 10 * 86_400_000;
    assert!(matches!(queue.admit("AK", next_month).await.unwrap(), Admission::Admitted(_)));
    assert_eq!(queue.usage("AK", next_month).await.unwrap().rendered, 0);
}

async fn a_minute_has_so_many_starts_and_refusals_are_not_counted(queue: &Arc<dyn Queue>) {
    limited(queue, KeyLimits { requests_per_minute: Some(2), ..KeyLimits::default() }).await;
    assert!(matches!(accepted(queue, 1).await, Acceptance::Accepted { .. }));
    assert!(matches!(queue.admit("AK", NOW).await.unwrap(), Admission::Admitted(_)));
    for _ in 0..3 {
        let Admission::Limited(limited) = queue.admit("AK", NOW).await.unwrap() else { panic!("over the limit") };
        assert_eq!(limited, Limited::Minute { retry_after_s: 30 });
    }
    assert_eq!(queue.usage("AK", NOW).await.unwrap().started, 2);
    assert_eq!(queue.usage("AK", NOW + 30_000).await.unwrap().started, 0);
    assert!(matches!(queue.admit("AK", NOW + 30_000).await.unwrap(), Admission::Admitted(_)));
    assert!(queue.set_limits("AK", KeyLimits::default()).await.unwrap());
    assert!(matches!(queue.admit("AK", NOW + 30_000).await.unwrap(), Admission::Admitted(_)));
}

async fn a_request_that_turns_over_is_neither_checked_nor_counted_again(queue: &Arc<dyn Queue>) {
    limited(queue, KeyLimits { monthly_quota: Some(1), requests_per_minute: Some(1), concurrency: Some(1) }).await;
    let Admission::Admitted(place) = queue.admit("AK", NOW).await.unwrap() else { panic!("nothing was used yet") };
    let turned = queue.turn_over(request(1), place).await.unwrap();
    assert_eq!(turned, Acceptance::Accepted { id: request(1).id, created_ms: NOW });
    let usage = queue.usage("AK", NOW).await.unwrap();
    assert_eq!((usage.started, usage.unfinished, usage.under_way), (1, 1, 0), "once, and its place is free");
    // It counts on, so that nothing else finds room.
    assert!(matches!(accepted(queue, 2).await, Acceptance::Limited(Limited::Quota { .. })));
    assert_eq!(queue.backlog(NOW).await.unwrap().queued, 1);
    let claimed = queue.claim("w", NOW, NOW + 1000).await.unwrap().unwrap();
    assert_eq!(claimed.request.id, request(1).id);
    assert!(queue.finish(&claimed.request.id, "w", NOW, done(), None).await.unwrap());
    let usage = queue.usage("AK", NOW).await.unwrap();
    assert_eq!((usage.rendered, usage.unfinished, usage.started), (1, 0, 1));

    // A render that had ended in that very moment is found again.
    queue.set_limits("AK", KeyLimits::default()).await.unwrap();
    let Admission::Admitted(place) = queue.admit("AK", NOW).await.unwrap() else { panic!("there are no limits") };
    queue.record(request(3), NOW, done(), None).await.unwrap();
    let turned = queue.turn_over(request(3), place).await.unwrap();
    assert_eq!(turned, Acceptance::Accepted { id: request(3).id, created_ms: NOW });
    assert_eq!(queue.usage("AK", NOW).await.unwrap().unfinished, 0);
}

async fn a_busy_key_is_refused_or_waits_in_the_queue(queue: &Arc<dyn Queue>) {
    limited(queue, KeyLimits { concurrency: Some(1), ..KeyLimits::default() }).await;
    let Admission::Admitted(place) = queue.admit("AK", NOW).await.unwrap() else { panic!("nothing is under way") };
    assert!(matches!(queue.admit("AK", NOW).await.unwrap(), Admission::Limited(Limited::UnderWay)));
    accepted(queue, 1).await;
    accepted(queue, 2).await;
    assert!(queue.claim("w", NOW, NOW + 1000).await.unwrap().is_none(), "a caller has the one place");
    drop(place);
    let claimed = queue.claim("w", NOW, NOW + 1000).await.unwrap().unwrap();
    assert!(queue.claim("v", NOW, NOW + 1000).await.unwrap().is_none(), "a worker has it");
    assert!(matches!(queue.admit("AK", NOW).await.unwrap(), Admission::Limited(Limited::UnderWay)));
    queue.finish(&claimed.request.id, "w", NOW, done(), None).await.unwrap();
    assert!(queue.claim("v", NOW, NOW + 1000).await.unwrap().is_some());
}

async fn kept_answers_are_given_until_their_time_is_over(queue: &Arc<dyn Queue>) {
    let answer = CachedAnswer {
        file: "a.png".to_owned(),
        headers: vec![("content-type".to_owned(), "image/png".to_owned())],
        body: None,
        expires_ms: NOW + 10,
    };
    queue.keep_answer("k", CachedAnswer { file: "older".to_owned(), ..answer.clone() }).await.unwrap();
    queue.keep_answer("k", answer.clone()).await.unwrap();
    assert_eq!(queue.cached_answer("k", NOW).await.unwrap(), Some(answer));
    assert_eq!(queue.cached_answer("k", NOW + 10).await.unwrap(), None);
    queue.forget_answers(NOW + 10).await.unwrap();
    assert_eq!(queue.cached_answer("k", NOW).await.unwrap(), None);
}

async fn limits_hold_however_many_come_at_once(queue: &Arc<dyn Queue>) {
    let limits = KeyLimits { monthly_quota: Some(20), requests_per_minute: Some(15), concurrency: Some(3) };
    limited(queue, limits).await;
    let acceptances = futures::future::join_all((1..=40).map(|number| accepted(queue, number))).await;
    let taken = acceptances.iter().filter(|one| matches!(one, Acceptance::Accepted { .. })).count();
    assert_eq!(taken, 15);
    let workers: Vec<String> = (0..12).map(|number| format!("w{number}")).collect();
    let claims = workers.iter().map(|worker| queue.claim(worker, NOW, NOW + 1000));
    let claims = futures::future::join_all(claims).await;
    assert_eq!(claims.iter().filter(|claimed| matches!(claimed, Ok(Some(_)))).count(), 3);
    let next_minute = NOW + 60_000;
    let admissions = futures::future::join_all((0..12).map(|_| queue.admit("AK", next_minute))).await;
    assert!(admissions.iter().all(|admission| matches!(admission, Ok(Admission::Limited(Limited::UnderWay)))));
}
