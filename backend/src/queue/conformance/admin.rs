//! The operator's password and sessions.

use std::sync::Arc;

use crate::domain::admin::{NewSession, SESSIONS_MAX};
use crate::queue::Queue;
use crate::queue::testing::on_each_queue;

on_each_queue! {
    sessions_end_by_their_times_by_hand_and_with_their_password
}

fn session(token: u32, password: &str, now_ms: u64) -> NewSession {
    NewSession {
        token_hash: format!("{token}"),
        password_hash: password.to_owned(),
        now_ms,
        idle_until_ms: now_ms + 100,
        ends_ms: now_ms + 1_000,
    }
}

async fn sessions_end_by_their_times_by_hand_and_with_their_password(store: &Arc<dyn Queue>) {
    assert_eq!(store.password_hash().await.unwrap(), None);
    assert!(!store.begin_session(session(0, "", 0)).await.unwrap(), "there is no password yet");
    assert!(store.set_first_password("one", 1).await.unwrap());
    assert!(!store.set_first_password("two", 1).await.unwrap());
    assert!(!store.begin_session(session(1, "two", 0)).await.unwrap());
    for token in [1, 2, 3] {
        assert!(store.begin_session(session(token, "one", 0)).await.unwrap());
    }
    let is_open = async |token: &str, now_ms| store.session(token, now_ms).await.unwrap().is_some();
    assert!(is_open("1", 99).await && !is_open("1", 100).await && !is_open("9", 0).await);
    store.extend_session("1", 5_000).await.unwrap();
    assert!(is_open("1", 999).await && !is_open("1", 1_000).await, "its end stands");
    store.end_session("2").await.unwrap();
    assert!(!is_open("2", 0).await && is_open("3", 0).await);
    store.reset_password("three", 2).await.unwrap();
    assert!(!is_open("1", 0).await && !is_open("3", 0).await);
    assert!(!store.begin_session(session(4, "one", 3)).await.unwrap(), "checked against what was replaced meanwhile");
    for token in 10..10 + SESSIONS_MAX + 5 {
        assert!(store.begin_session(session(token, "three", u64::from(token))).await.unwrap());
    }
    assert!(!is_open("14", 20).await && is_open("15", 20).await, "the oldest make room");
}
