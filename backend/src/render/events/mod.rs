//! What a page has been through, gathered from its events while commands are on their way.
//!
//! A task of its own reads the events, since some of them must be answered at once: a dialog blocks everything else until
//! it is dismissed, a paused request blocks the page, and a popup takes memory until it is closed.

mod interception;
mod state;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chromiumoxide::cdp::browser_protocol::fetch::{
    ContinueRequestParams, EnableParams as FetchEnableParams, EventRequestPaused,
};
use chromiumoxide::cdp::browser_protocol::network::{EnableParams as NetworkEnableParams, ResourceType};
use chromiumoxide::cdp::browser_protocol::page::{CloseParams, HandleJavaScriptDialogParams};
use chromiumoxide::cdp::browser_protocol::target::SetAutoAttachParams;
use chromiumoxide::cdp::js_protocol::runtime::RunIfWaitingForDebuggerParams;
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use serde::Deserialize;
use tokio::sync::{mpsc, watch};

use super::cdp::{Event, Session};
pub(super) use interception::Interception;
use interception::{announced_kind, answer_paused};
pub(super) use state::{MainResponse, Opened, PageState};
use state::{RequestEnded, RequestStarted, failed_request};

const ANSWER_LIMIT: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attached {
    session_id: String,
    target_info: TargetInfo,
}

#[derive(Deserialize)]
struct TargetInfo {
    r#type: String,
}

/// Reads a page's events until it is dropped.
pub(super) struct Watcher {
    state: watch::Receiver<PageState>,
    /// Frames of a recording, for whoever makes one.
    frames: Option<mpsc::UnboundedReceiver<Event>>,
    task: tokio::task::JoinHandle<()>,
}

type Events = SelectAll<BoxStream<'static, (Arc<Session>, Event)>>;

fn events_of(
    session: Arc<Session>,
    events: mpsc::UnboundedReceiver<Event>,
) -> BoxStream<'static, (Arc<Session>, Event)> {
    let next = |(session, mut events): (Arc<Session>, mpsc::UnboundedReceiver<Event>)| async move {
        let event = events.recv().await?;
        Some(((session.clone(), event), (session, events)))
    };
    futures::stream::unfold((session, events), next).boxed()
}

impl Watcher {
    pub(super) fn start(
        session: Arc<Session>,
        events: mpsc::UnboundedReceiver<Event>,
        interception: Interception,
    ) -> Watcher {
        let (sender, state) = watch::channel(PageState::new());
        let (filmed, frames) = mpsc::unbounded_channel();
        let interception = Arc::new(interception);
        let task = tokio::spawn(async move {
            let mut streams: Events = SelectAll::new();
            streams.push(events_of(session, events));
            // Addresses of requests under way, kept only if some of them must not fail.
            let mut addresses = HashMap::new();
            // What a pause calls XHR may be a fetch or an event stream; how it was announced tells them apart.
            let announced: Arc<Mutex<HashMap<String, ResourceType>>> = Arc::default();
            let distinguish = !interception.blocking.resources.is_empty();
            while let Some((session, event)) = streams.next().await {
                match event.method.as_str() {
                    "Page.javascriptDialogOpening" => {
                        tokio::spawn(async move {
                            let _ = session.call(HandleJavaScriptDialogParams::new(false), ANSWER_LIMIT).await;
                        });
                    }
                    "Page.screencastFrame" => {
                        // None comes before it is asked for, and then somebody listens.
                        let _ = filmed.send(event);
                    }
                    "Fetch.requestPaused" => {
                        if let Some(mut paused) = event.read::<EventRequestPaused>() {
                            let (interception, announced) = (interception.clone(), announced.clone());
                            tokio::spawn(async move {
                                if distinguish && paused.resource_type == ResourceType::Xhr {
                                    paused.resource_type = announced_kind(&paused, &announced).await;
                                }
                                answer_paused(&session, paused, &interception).await
                            });
                        } else if let Some(paused) = event.read::<RequestEnded>() {
                            // A kind of request that this program is too old to know must not wait for ever.
                            let go_on = ContinueRequestParams::new(paused.request_id);
                            tokio::spawn(async move { session.call(go_on, ANSWER_LIMIT).await.map(|_| ()) });
                        }
                    }
                    "Target.attachedToTarget" => {
                        if let Some(attached) = event.read::<Attached>() {
                            let (child, events) = session.child(&attached.session_id);
                            let child = Arc::new(child);
                            streams.push(events_of(child.clone(), events));
                            let enable = interception.enable();
                            tokio::spawn(async move { adopt(&child, &attached.target_info.r#type, enable).await });
                        }
                    }
                    _ => {
                        if distinguish
                            && event.method == "Network.requestWillBeSent"
                            && let Some(request) = event.read::<RequestStarted>()
                            && let Some(kind) = request.r#type.and_then(|kind| kind.parse().ok())
                        {
                            let mut announced = announced.lock().unwrap_or_else(PoisonError::into_inner);
                            announced.insert(request.request_id, kind);
                        }
                        let failed = failed_request(&event, &interception.needed, &mut addresses);
                        sender.send_modify(|state| {
                            state.apply(session.id(), &event, &interception.main_frame);
                            if state.failed_request.is_none() {
                                state.failed_request = failed;
                            }
                        });
                    }
                }
            }
        });
        Watcher { state, frames: Some(frames), task }
    }

    /// Waits until the state is as wanted, or the page crashed, or the browser is gone.
    pub(super) async fn until(&mut self, wanted: impl Fn(&PageState) -> bool) -> PageState {
        match self.state.wait_for(|state| state.crashed || wanted(state)).await {
            Ok(state) => state.clone(),
            Err(_) => PageState::of_nothing(),
        }
    }

    /// The frames of a recording; there is one taker.
    pub(super) fn take_frames(&mut self) -> Option<mpsc::UnboundedReceiver<Event>> {
        self.frames.take()
    }

    pub(super) fn now(&self) -> PageState {
        self.state.borrow().clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks that frames of other sites, workers and popups report to us, and wait until they have been dealt with: a frame of
/// another site lives in a process of its own, whose requests its page does not see.
pub(super) fn auto_attach() -> SetAutoAttachParams {
    let mut attach = SetAutoAttachParams::new(true, true);
    attach.flatten = Some(true);
    attach
}

/// Deals with something that the page has opened: a frame is watched as the page is, a window is closed.
async fn adopt(child: &Session, kind: &str, enable: Option<FetchEnableParams>) {
    if kind == "page" {
        let _ = child.call(CloseParams::default(), ANSWER_LIMIT).await;
        return;
    }
    if kind == "iframe" {
        let _ = futures::join!(
            child.call(NetworkEnableParams::default(), ANSWER_LIMIT),
            child.call(auto_attach(), ANSWER_LIMIT),
            async {
                if let Some(enable) = enable {
                    let _ = child.call(enable, ANSWER_LIMIT).await;
                }
            },
        );
    }
    let _ = child.call(RunIfWaitingForDebuggerParams::default(), ANSWER_LIMIT).await;
}
