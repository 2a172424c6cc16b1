//! Requests that the browser pauses for us: which it pauses, and what becomes of each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chromiumoxide::cdp::browser_protocol::fetch::{
    ContinueRequestParams, EnableParams as FetchEnableParams, EventRequestPaused, FailRequestParams,
    FulfillRequestParams, HeaderEntry, RequestPattern,
};
use chromiumoxide::cdp::browser_protocol::network::{ErrorReason, ResourceType};
use snaphook_shared::options::model::Blocking;

use super::ANSWER_LIMIT;
use crate::render::blocking::{self, Blocklists};
use crate::render::cdp::Session;
use crate::render::patterns::UrlPattern;

/// What to do with requests that the browser pauses for us, and which of them to watch.
pub(in crate::render) struct Interception {
    pub(in crate::render) main_frame: String,
    /// The page's address, to judge what is a third party.
    pub(in crate::render) page: String,
    /// The caller's HTML, served under this address so that it has an ordinary https origin.
    pub(in crate::render) document: Option<(String, String)>,
    /// Headers for requests to this origin alone: a page's third parties must not see its credentials.
    pub(in crate::render) headers: Option<(String, Vec<(String, String)>)>,
    pub(in crate::render) blocking: Blocking,
    pub(in crate::render) blocklists: Arc<Blocklists>,
    /// `blocking.requests`, read.
    pub(in crate::render) blocked: Vec<UrlPattern>,
    /// Requests that must not fail.
    pub(in crate::render) needed: Vec<UrlPattern>,
}

impl Interception {
    /// What asks the browser to pause requests; None when nothing is to be intercepted.
    pub(in crate::render) fn enable(&self) -> Option<FetchEnableParams> {
        let patterns = match &self.document {
            // A request that is redirected to another origin carries the extra headers along unless it is looked at
            // again, so with them, too, everything is.
            _ if self.headers.is_some() || blocking::wants_requests(&self.blocking) => vec!["*".to_owned()],
            Some((url, _)) => vec![url.clone()],
            None => return None,
        };
        let pattern = |url| RequestPattern { url_pattern: Some(url), ..RequestPattern::default() };
        let patterns = Some(patterns.into_iter().map(pattern).collect());
        Some(FetchEnableParams { patterns, ..FetchEnableParams::default() })
    }

    /// Whether a request is one that the caller does not want made. The page itself is always wanted.
    fn stops(&self, paused: &EventRequestPaused) -> bool {
        let kind = &paused.resource_type;
        if *kind == ResourceType::Document && paused.frame_id.inner() == &self.main_frame {
            return false;
        }
        let url = paused.request.url.as_str();
        self.blocking.resources.iter().any(|name| name == blocking::vendor_name(kind))
            || self.blocked.iter().any(|pattern| pattern.matches(url))
            || self.blocklists.stops(&self.blocking, url, &self.page, kind)
    }

    /// The headers to send with a request instead of its own; None to send it as it is.
    fn headers_for(&self, paused: &EventRequestPaused) -> Option<Vec<HeaderEntry>> {
        let (origin, extra) = self.headers.as_ref()?;
        let url = paused.request.url.as_str();
        let own = url.strip_prefix(origin.as_str()).is_some_and(|rest| rest.starts_with(['/', '?', '#']));
        if !own && paused.redirected_request_id.is_none() {
            return None;
        }
        let given = paused.request.headers.inner().as_object().cloned().unwrap_or_default();
        let is_extra = |name: &String| extra.iter().any(|(extra, _)| extra.eq_ignore_ascii_case(name));
        let kept = given.into_iter().filter(|(name, _)| !is_extra(name));
        let kept = kept.map(|(name, value)| HeaderEntry::new(name, value.as_str().unwrap_or_default()));
        let added = extra.iter().filter(|_| own).map(|(name, value)| HeaderEntry::new(name.clone(), value.clone()));
        Some(kept.chain(added).collect())
    }
}

/// The kind that a paused request was announced as. The announcement may come after the pause, so a little time is left
/// for it.
pub(super) async fn announced_kind(
    paused: &EventRequestPaused,
    announced: &Mutex<HashMap<String, ResourceType>>,
) -> ResourceType {
    let Some(id) = &paused.network_id else { return paused.resource_type.clone() };
    for _ in 0..100 {
        if let Some(kind) = announced.lock().unwrap_or_else(PoisonError::into_inner).remove(id.inner()) {
            return kind;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    paused.resource_type.clone()
}

pub(super) async fn answer_paused(session: &Session, paused: EventRequestPaused, interception: &Interception) {
    let url = paused.request.url.as_str();
    if let Some((_, html)) = interception.document.as_ref().filter(|(address, _)| address == url) {
        let mut fulfil = FulfillRequestParams::new(paused.request_id, 200);
        fulfil.response_headers = Some(vec![HeaderEntry::new("content-type", "text/html; charset=utf-8")]);
        fulfil.body = Some(BASE64.encode(html).into());
        let _ = session.call(fulfil, ANSWER_LIMIT).await;
        return;
    }
    if interception.stops(&paused) {
        let stop = FailRequestParams::new(paused.request_id, ErrorReason::BlockedByClient);
        let _ = session.call(stop, ANSWER_LIMIT).await;
        return;
    }
    let mut go_on = ContinueRequestParams::new(paused.request_id.clone());
    go_on.headers = interception.headers_for(&paused);
    let _ = session.call(go_on, ANSWER_LIMIT).await;
}
