//! What a page has been through, gathered from its events while commands are on their way.
//!
//! A task of its own reads the events, since some of them must be answered at once: a dialog blocks everything else until
//! it is dismissed, and a paused request blocks the page.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chromiumoxide::cdp::browser_protocol::fetch::{
    ContinueRequestParams, EventRequestPaused, FulfillRequestParams, HeaderEntry,
};
use chromiumoxide::cdp::browser_protocol::network::{
    EventLoadingFailed, EventLoadingFinished, EventRequestWillBeSent, EventResponseReceived, ResourceType,
};
use chromiumoxide::cdp::browser_protocol::page::{EventLifecycleEvent, HandleJavaScriptDialogParams};
use tokio::sync::{mpsc, watch};

use super::cdp::{Event, Session};
use crate::egress::MARKER;

const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What is known of a page. Waits look at it until it is as they want it.
#[derive(Clone, Debug)]
pub(super) struct PageState {
    /// The current document of each frame.
    documents: HashMap<String, Document>,
    /// Loaders of all documents that have begun.
    begun: HashSet<String>,
    /// The main document's answer.
    pub(super) main: Option<MainResponse>,
    pub(super) crashed: bool,
    /// Requests on their way that count for network idleness.
    in_flight: HashSet<String>,
    /// Since when there have been none, and at most two.
    quiet_since: [Option<Instant>; 2],
}

/// A document and what it has reached.
#[derive(Clone, Debug, Default)]
struct Document {
    loader: String,
    /// Names of lifecycle events (`load`, `DOMContentLoaded`, …).
    events: HashSet<String>,
}

/// A document by the frame it was opened in and its loader, as the answer to a navigation names it.
#[derive(Clone, Debug, Default)]
pub(super) struct Opened {
    pub(super) frame: String,
    pub(super) loader: String,
}

#[derive(Clone, Debug)]
pub(super) struct MainResponse {
    pub(super) status: u16,
    /// What the egress proxy has to say, where the answer is its own.
    pub(super) egress: Option<String>,
}

impl PageState {
    fn new() -> PageState {
        let now = Some(Instant::now());
        PageState {
            documents: HashMap::new(),
            begun: HashSet::new(),
            main: None,
            crashed: false,
            in_flight: HashSet::new(),
            quiet_since: [now, now],
        }
    }

    /// Whether the opened document, or one that it led to in the same frame, has reached a lifecycle event. The tab's blank
    /// page reported its own events before, and frames report theirs; neither counts.
    pub(super) fn reached(&self, opened: &Opened, event: &str) -> bool {
        let current = self.documents.get(&opened.frame);
        self.begun.contains(&opened.loader) && current.is_some_and(|document| document.events.contains(event))
    }

    /// How long there have been at most `connections` (0 or 2) requests on their way.
    pub(super) fn quiet_for(&self, connections: usize) -> Option<Duration> {
        let since = if connections == 0 { self.quiet_since[0] } else { self.quiet_since[1] };
        since.map(|since| since.elapsed())
    }

    fn count(&mut self) {
        for (quiet_since, limit) in self.quiet_since.iter_mut().zip([0, 2]) {
            match self.in_flight.len() > limit {
                true => *quiet_since = None,
                false => {
                    quiet_since.get_or_insert_with(Instant::now);
                }
            }
        }
    }

    fn live_on(&mut self, frame: String, loader: String, event: String) {
        let document = self.documents.entry(frame).or_default();
        if self.begun.insert(loader.clone()) || event == "init" {
            *document = Document { loader, events: HashSet::from([event]) };
        } else if document.loader == loader {
            document.events.insert(event);
        }
    }

    fn apply(&mut self, event: &Event) {
        match event.method.as_str() {
            "Page.lifecycleEvent" => {
                if let Some(lifecycle) = event.read::<EventLifecycleEvent>() {
                    self.live_on(lifecycle.frame_id.into(), lifecycle.loader_id.into(), lifecycle.name);
                }
            }
            "Network.requestWillBeSent" => {
                let Some(request) = event.read::<EventRequestWillBeSent>() else { return };
                // These stay open for as long as the page likes; waiting for them would be waiting for ever.
                let endless = matches!(
                    request.r#type,
                    Some(
                        ResourceType::EventSource | ResourceType::WebSocket | ResourceType::Ping | ResourceType::Media
                    )
                );
                if !endless {
                    self.in_flight.insert(String::from(request.request_id));
                    self.count();
                }
            }
            "Network.responseReceived" => {
                let Some(response) = event.read::<EventResponseReceived>() else { return };
                if response.r#type == ResourceType::EventSource {
                    self.in_flight.remove(response.request_id.inner());
                    self.count();
                }
                // The first document is the page; later ones are its frames.
                if response.r#type == ResourceType::Document && self.main.is_none() {
                    // Inside TLS only the site itself can have written the header, so there it means nothing.
                    let plain = response.response.url.starts_with("http:");
                    let egress = response.response.headers.inner().get(MARKER.as_str()).filter(|_| plain);
                    self.main = Some(MainResponse {
                        status: u16::try_from(response.response.status).unwrap_or(0),
                        egress: egress.and_then(|value| value.as_str()).map(str::to_owned),
                    });
                }
            }
            "Network.loadingFinished" => {
                if let Some(finished) = event.read::<EventLoadingFinished>() {
                    self.in_flight.remove(finished.request_id.inner());
                    self.count();
                }
            }
            "Network.loadingFailed" => {
                if let Some(failed) = event.read::<EventLoadingFailed>() {
                    self.in_flight.remove(failed.request_id.inner());
                    self.count();
                }
            }
            "Inspector.targetCrashed" => self.crashed = true,
            _ => {}
        }
    }
}

/// What to do with requests that the browser pauses for us.
#[derive(Clone, Debug, Default)]
pub(super) struct Interception {
    /// The caller's HTML, served under this address so that it has an ordinary https origin.
    pub(super) document: Option<(String, String)>,
    /// Headers for requests to this origin alone: a page's third parties must not see its credentials.
    pub(super) headers: Option<(String, Vec<(String, String)>)>,
}

impl Interception {
    /// URL patterns to pause; empty when nothing is to be intercepted.
    pub(super) fn patterns(&self) -> Vec<String> {
        let document = self.document.iter().map(|(url, _)| url.clone());
        let headers = self.headers.iter().map(|(origin, _)| format!("{origin}/*"));
        document.chain(headers).collect()
    }
}

/// Reads a page's events until it is dropped.
pub(super) struct Watcher {
    state: watch::Receiver<PageState>,
    task: tokio::task::JoinHandle<()>,
}

impl Watcher {
    pub(super) fn start(
        session: Arc<Session>,
        mut events: mpsc::UnboundedReceiver<Event>,
        interception: Interception,
    ) -> Watcher {
        let (sender, state) = watch::channel(PageState::new());
        let task = tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                match event.method.as_str() {
                    "Page.javascriptDialogOpening" => {
                        let session = session.clone();
                        tokio::spawn(async move {
                            let _ = session.call(HandleJavaScriptDialogParams::new(false), ANSWER_LIMIT).await;
                        });
                    }
                    "Fetch.requestPaused" => {
                        if let Some(paused) = event.read::<EventRequestPaused>() {
                            let (session, interception) = (session.clone(), interception.clone());
                            tokio::spawn(async move { answer_paused(&session, paused, &interception).await });
                        }
                    }
                    _ => sender.send_modify(|state| state.apply(&event)),
                }
            }
        });
        Watcher { state, task }
    }

    /// Waits until the state is as wanted, or the page crashed, or the browser is gone.
    pub(super) async fn until(&mut self, wanted: impl Fn(&PageState) -> bool) -> PageState {
        match self.state.wait_for(|state| state.crashed || wanted(state)).await {
            Ok(state) => state.clone(),
            Err(_) => PageState { crashed: true, ..PageState::new() },
        }
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

async fn answer_paused(session: &Session, paused: EventRequestPaused, interception: &Interception) {
    let url = paused.request.url.as_str();
    if let Some((_, html)) = interception.document.as_ref().filter(|(address, _)| address == url) {
        let mut fulfil = FulfillRequestParams::new(paused.request_id, 200);
        fulfil.response_headers = Some(vec![HeaderEntry::new("content-type", "text/html; charset=utf-8")]);
        fulfil.body = Some(BASE64.encode(html).into());
        let _ = session.call(fulfil, ANSWER_LIMIT).await;
        return;
    }
    let mut go_on = ContinueRequestParams::new(paused.request_id);
    let same_origin = |origin: &str| url.strip_prefix(origin).is_some_and(|rest| rest.starts_with('/'));
    if let Some((_, extra)) = interception.headers.as_ref().filter(|(origin, _)| same_origin(origin)) {
        let given = paused.request.headers.inner().as_object().cloned().unwrap_or_default();
        let kept = given
            .into_iter()
            .filter(|(name, _)| !extra.iter().any(|(extra, _)| extra.eq_ignore_ascii_case(name)))
            .map(|(name, value)| HeaderEntry::new(name, value.as_str().unwrap_or_default()));
        let added = extra.iter().map(|(name, value)| HeaderEntry::new(name.clone(), value.clone()));
        go_on.headers = Some(kept.chain(added).collect());
    }
    let _ = session.call(go_on, ANSWER_LIMIT).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_opened_document_and_what_it_leads_to_count() {
        let mut state = PageState::new();
        let opened = Opened { frame: "main".to_owned(), loader: "page".to_owned() };
        let mut event = |frame: &str, loader: &str, name: &str| {
            state.live_on(frame.to_owned(), loader.to_owned(), name.to_owned());
            state.reached(&opened, "load")
        };
        assert!(!event("main", "blank", "init"));
        assert!(!event("main", "blank", "load"), "the blank page is not the page");
        assert!(!event("main", "page", "init"));
        assert!(!event("main", "blank", "load"), "late news of the blank page");
        assert!(!event("child", "frame", "init"));
        assert!(!event("child", "frame", "load"), "a frame is not the page");
        assert!(event("main", "page", "load"));
        assert!(event("child", "another", "init"), "a frame takes nothing away");
        assert!(!event("main", "redirected", "init"), "the page leads elsewhere");
        assert!(event("main", "redirected", "load"));
    }
}
