//! What is known of a page, from what its events say.
//!
//! Events are read into structures of the few fields that matter here: a browser that is newer than the protocol
//! definitions may say things in the others that those refuse.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::egress::MARKER;
use crate::render::cdp::Event;
use crate::render::patterns::UrlPattern;

/// What is known of a page. Waits look at it until it is as they want it.
#[derive(Clone, Debug)]
pub(in crate::render) struct PageState {
    /// The current document of each frame.
    documents: HashMap<String, Document>,
    /// Loaders of all documents that have begun.
    begun: HashSet<String>,
    /// The loader of the first document that was asked for in the main frame: the page's own.
    first: Option<String>,
    /// Why that document did not come, in Chromium's words.
    not_opened: Option<String>,
    /// Loaders of documents of which nothing more comes: why they broke off, in Chromium's words; None for those that loaded or
    /// stopped themselves.
    stopped: HashMap<String, Option<String>>,
    /// The main document's answer; that of the latest one, if the page went elsewhere.
    pub(in crate::render) main: Option<MainResponse>,
    pub(in crate::render) crashed: bool,
    /// How often the page has asked to be led elsewhere.
    pub(in crate::render) departures: u32,
    /// The first failed request that must not fail.
    pub(in crate::render) failed_request: Option<String>,
    /// Requests on their way that count for network idleness.
    in_flight: HashMap<String, InFlight>,
    /// Since when there have been none, and at most two.
    quiet_since: [Option<Instant>; 2],
    /// Since when there have been none but for fonts.
    fonts_alone_since: Option<Instant>,
}

#[derive(Clone, Debug)]
struct InFlight {
    /// The session that told of it.
    session: String,
    is_font: bool,
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
pub(in crate::render) struct Opened {
    pub(in crate::render) frame: String,
    pub(in crate::render) loader: String,
}

#[derive(Clone, Debug)]
pub(in crate::render) struct MainResponse {
    pub(in crate::render) status: u16,
    /// Names in lower case.
    pub(in crate::render) headers: BTreeMap<String, String>,
    /// What the egress proxy has to say, where the answer is its own.
    pub(in crate::render) egress: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lifecycle {
    frame_id: String,
    loader_id: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stopped {
    frame_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestedNavigation {
    frame_id: String,
    #[serde(default)]
    disposition: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestStarted {
    pub(super) request_id: String,
    loader_id: Option<String>,
    frame_id: Option<String>,
    pub(super) r#type: Option<String>,
    request: RequestUrl,
}

#[derive(Deserialize)]
struct RequestUrl {
    url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResponseReceived {
    request_id: String,
    r#type: String,
    frame_id: Option<String>,
    response: ResponseHead,
}

#[derive(Deserialize)]
struct ResponseHead {
    url: String,
    status: i64,
    #[serde(default)]
    headers: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestEnded {
    pub(super) request_id: String,
    #[serde(default)]
    error_text: String,
    #[serde(default)]
    canceled: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detached {
    session_id: String,
}

impl PageState {
    pub(super) fn new() -> PageState {
        let now = Some(Instant::now());
        PageState {
            documents: HashMap::new(),
            begun: HashSet::new(),
            first: None,
            not_opened: None,
            stopped: HashMap::new(),
            main: None,
            crashed: false,
            departures: 0,
            failed_request: None,
            in_flight: HashMap::new(),
            quiet_since: [now, now],
            fonts_alone_since: now,
        }
    }

    /// Of a page whose browser is gone.
    pub(super) fn of_nothing() -> PageState {
        PageState { crashed: true, ..PageState::new() }
    }

    /// How the page's own document has fared: its loader once it is there, or why it did not come. None as long as that is
    /// open.
    pub(in crate::render) fn opening(&self) -> Option<Result<&str, &str>> {
        if let Some(error) = &self.not_opened {
            return Some(Err(error));
        }
        self.first.as_deref().filter(|first| self.begun.contains(*first)).map(Ok)
    }

    /// Whether the opened document, or one that it led to in the same frame, has reached a lifecycle event. The tab's blank
    /// page reported its own events before, and frames report theirs; neither counts.
    pub(in crate::render) fn reached(&self, opened: &Opened, event: &str) -> bool {
        let current = self.documents.get(&opened.frame);
        self.begun.contains(&opened.loader) && current.is_some_and(|document| document.events.contains(event))
    }

    /// Whether nothing more comes of the document that is shown now, and if it broke off why.
    pub(in crate::render) fn stopped(&self, opened: &Opened) -> Option<Option<&str>> {
        self.stopped.get(self.current(&opened.frame)?).map(Option::as_deref)
    }

    /// The loader of the document that a frame shows now.
    pub(in crate::render) fn current(&self, frame: &str) -> Option<&str> {
        self.documents.get(frame).map(|document| document.loader.as_str())
    }

    /// How long there have been at most `connections` (0 or 2) requests on their way.
    pub(in crate::render) fn quiet_for(&self, connections: usize) -> Option<Duration> {
        let since = if connections == 0 { self.quiet_since[0] } else { self.quiet_since[1] };
        since.map(|since| since.elapsed())
    }

    /// How long nothing but fonts has been on its way.
    pub(in crate::render) fn fonts_alone_for(&self) -> Option<Duration> {
        self.fonts_alone_since.map(|since| since.elapsed())
    }

    fn ended(&mut self, request: &str) {
        self.in_flight.remove(request);
        self.count();
    }

    fn count(&mut self) {
        let note = |since: &mut Option<Instant>, holds: bool| match holds {
            true => _ = since.get_or_insert_with(Instant::now),
            false => *since = None,
        };
        for (quiet_since, limit) in self.quiet_since.iter_mut().zip([0, 2]) {
            note(quiet_since, self.in_flight.len() <= limit);
        }
        note(&mut self.fonts_alone_since, self.in_flight.values().all(|request| request.is_font));
    }

    fn live_on(&mut self, frame: String, loader: String, event: String) {
        let document = self.documents.entry(frame).or_default();
        if self.begun.insert(loader.clone()) || event == "init" {
            *document = Document { loader, events: HashSet::from([event]) };
        } else if document.loader == loader {
            document.events.insert(event);
        }
    }

    pub(super) fn apply(&mut self, session: &str, event: &Event, main_frame: &str) {
        match event.method.as_str() {
            "Page.lifecycleEvent" => {
                if let Some(lifecycle) = event.read::<Lifecycle>() {
                    self.live_on(lifecycle.frame_id, lifecycle.loader_id, lifecycle.name);
                }
            }
            "Page.frameStoppedLoading" => {
                // After its load event, or because the page had enough of itself.
                if let Some(stopped) = event.read::<Stopped>()
                    && let Some(loader) = self.current(&stopped.frame_id).map(str::to_owned)
                {
                    self.stopped.entry(loader).or_insert(None);
                }
            }
            "Page.frameRequestedNavigation" => {
                let Some(navigation) = event.read::<RequestedNavigation>() else { return };
                if navigation.frame_id == main_frame && navigation.disposition != "newWindow" {
                    self.departures += 1;
                }
            }
            "Network.requestWillBeSent" => {
                let Some(request) = event.read::<RequestStarted>() else { return };
                let is_document = request.r#type.as_deref() == Some("Document");
                if self.first.is_none() && is_document && request.frame_id.as_deref() == Some(main_frame) {
                    self.first = request.loader_id;
                }
                // These stay open for as long as the page likes; waiting for them would be waiting for ever.
                let endless = matches!(
                    request.r#type.as_deref(),
                    Some("EventSource" | "WebSocket" | "Ping" | "Media" | "Prefetch")
                );
                if !endless {
                    let is_font = request.r#type.as_deref() == Some("Font");
                    self.in_flight.insert(request.request_id, InFlight { session: session.to_owned(), is_font });
                    self.count();
                }
            }
            "Network.responseReceived" => {
                let Some(response) = event.read::<ResponseReceived>() else { return };
                if response.r#type == "EventSource" {
                    self.ended(&response.request_id);
                }
                if response.r#type == "Document" && response.frame_id.as_deref() == Some(main_frame) {
                    self.main = Some(MainResponse::new(response.response));
                }
            }
            "Network.loadingFinished" | "Network.loadingFailed" => {
                if let Some(ended) = event.read::<RequestEnded>() {
                    self.ended(&ended.request_id);
                    // The request for a document has the id of its loader.
                    let is_first = self.first.as_ref() == Some(&ended.request_id);
                    match (ended.error_text.is_empty(), self.begun.contains(&ended.request_id)) {
                        (true, _) => {}
                        (false, true) => {
                            self.stopped.insert(ended.request_id, Some(ended.error_text).filter(|_| !ended.canceled));
                        }
                        (false, false) if is_first => self.not_opened = Some(ended.error_text),
                        (false, false) => {}
                    }
                }
            }
            "Target.detachedFromTarget" => {
                // Its requests end with it, and nobody will say so.
                if let Some(detached) = event.read::<Detached>() {
                    self.in_flight.retain(|_, request| request.session != detached.session_id);
                    self.count();
                }
            }
            "Inspector.targetCrashed" => self.crashed = true,
            _ => {}
        }
    }
}

impl MainResponse {
    fn new(head: ResponseHead) -> MainResponse {
        let text = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let headers: BTreeMap<String, String> =
            head.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), text(value))).collect();
        // Inside TLS only the site itself can have written the header, so there it means nothing.
        let plain = head.url.starts_with("http:");
        MainResponse {
            status: u16::try_from(head.status).unwrap_or(0),
            egress: headers.get(MARKER.as_str()).filter(|_| plain).cloned(),
            headers,
        }
    }
}

/// The address of a request that must not fail and did: no answer, or one that says so. What we stopped did not fail.
pub(super) fn failed_request(
    event: &Event,
    needed: &[UrlPattern],
    addresses: &mut HashMap<String, String>,
) -> Option<String> {
    if needed.is_empty() {
        return None;
    }
    let is_needed = |url: &str| needed.iter().any(|pattern| pattern.matches(url));
    match event.method.as_str() {
        "Network.requestWillBeSent" => {
            let request = event.read::<RequestStarted>()?;
            if is_needed(&request.request.url) {
                addresses.insert(request.request_id, request.request.url);
            }
            None
        }
        "Network.responseReceived" => {
            let response = event.read::<ResponseReceived>()?.response;
            (response.status >= 400 && is_needed(&response.url)).then_some(response.url)
        }
        "Network.loadingFinished" => {
            addresses.remove(&event.read::<RequestEnded>()?.request_id);
            None
        }
        "Network.loadingFailed" => {
            let failed = event.read::<RequestEnded>()?;
            let url = addresses.remove(&failed.request_id)?;
            (!failed.canceled && !failed.error_text.starts_with("net::ERR_BLOCKED_BY_CLIENT")).then_some(url)
        }
        _ => None,
    }
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
