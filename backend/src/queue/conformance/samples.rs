//! What the tests put into a queue, and how they look at it.

use std::sync::Arc;

use crate::domain::artifact::Size;
use crate::domain::delivery::{DeliveryAttempt, DeliveryBody, DeliveryState, DeliveryView, NewDelivery};
use crate::domain::job::{NewRequest, Outcome, PutBack, StoredFile};
use crate::domain::ports::{DeliveryFilter, ReplayFilter};
use crate::queue::Queue;
use crate::queue::testing::{NOW, request};

pub(super) fn delivery(request: &NewRequest) -> NewDelivery {
    NewDelivery {
        id: request.id.replacen("req_", "msg_", 1),
        url: "https://example.com/hook".to_owned(),
        sign: true,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: DeliveryBody::Inline(b"{}".to_vec()),
    }
}

pub(super) fn done(name: &str, expires_ms: u64) -> Outcome {
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

pub(super) fn attempt(number: u32, status: u16) -> DeliveryAttempt {
    let (answer, headers) = Default::default();
    DeliveryAttempt { number, at_ms: NOW, took_ms: 1, status: Some(status), error: None, answer, headers }
}

pub(super) fn back(at_ms: u64, ours: bool) -> PutBack {
    PutBack { now_ms: NOW + 7, at_ms, reason: "the page crashed".to_owned(), ours }
}

/// Ends a request with a webhook to an address; gives the webhook's id.
pub(super) async fn told(queue: &Arc<dyn Queue>, number: u64, access_key: &str, url: &str) -> String {
    let request = request(number, access_key);
    let webhook = NewDelivery { url: url.to_owned(), ..delivery(&request) };
    let id = webhook.id.clone();
    queue.record(request, NOW, done(&format!("{number}.png"), NOW), Some(webhook)).await.unwrap();
    id
}

pub(super) async fn view_of(queue: &Arc<dyn Queue>, id: &str) -> DeliveryView {
    let filter = DeliveryFilter { id: Some(id.to_owned()), limit: 1, ..DeliveryFilter::default() };
    queue.deliveries(filter).await.unwrap().remove(0)
}

pub(super) async fn state_of(queue: &Arc<dyn Queue>, id: &str) -> (DeliveryState, Option<String>) {
    let view = view_of(queue, id).await;
    (view.state, view.end_reason)
}

pub(super) fn only(access_key: &str, id: Option<&str>) -> ReplayFilter {
    ReplayFilter { access_key: Some(access_key.to_owned()), id: id.map(str::to_owned), ..ReplayFilter::default() }
}

pub(super) const DAY: u64 = 86_400_000;
