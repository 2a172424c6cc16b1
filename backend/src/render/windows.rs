//! Windows: the one of each render, and those that a page opens, which nobody would see.
//!
//! The browser holds every new window before its first request until it is told to go on, so that a render's window can be
//! made at its address and still be set up before anything is asked of a host: a blank page that is led there afterwards
//! costs a sixth more processor time.
//!
//! `window.open` is answered with nothing (`js/before.js`), and a window with an opener is held before it begins and closed
//! (`events`). A link or a form can ask for one without an opener, and only the browser as a whole hears of that: such a
//! window is closed as soon as it is there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chromiumoxide::cdp::browser_protocol::browser::BrowserContextId;
use chromiumoxide::cdp::browser_protocol::target::{
    CloseTargetParams, FilterEntry, SetAutoAttachParams, SetDiscoverTargetsParams, TargetFilter, TargetId,
};
use chromiumoxide::cdp::js_protocol::runtime::RunIfWaitingForDebuggerParams;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::cdp::{Cdp, CdpError, Event};

const LIMIT: Duration = Duration::from_secs(10);

/// The window of each render's context: the first one in it. All later ones are the page's doing.
#[derive(Default)]
pub(super) struct Windows(Mutex<HashMap<String, Own>>);

#[derive(Default)]
struct Own {
    target: Option<String>,
    /// Who waits for the session with it.
    opener: Option<oneshot::Sender<Held>>,
}

/// A window that waits to be told to go on.
pub(super) struct Held {
    pub(super) target: String,
    pub(super) session: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attached {
    session_id: String,
    target_info: TargetInfo,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    target_info: TargetInfo,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TargetInfo {
    target_id: String,
    browser_context_id: Option<String>,
}

impl Windows {
    /// A context was made, and will get its window, which is then given out.
    pub(super) fn expect(&self, context: &BrowserContextId) -> oneshot::Receiver<Held> {
        let (opener, held) = oneshot::channel();
        self.lock().insert(context.inner().clone(), Own { target: None, opener: Some(opener) });
        held
    }

    /// A context is gone, or going.
    pub(super) fn forget(&self, context: &BrowserContextId) {
        self.lock().remove(context.inner());
    }

    /// Gives windows to their renders and closes what is nobody's, for as long as the browser runs.
    pub(super) async fn watch(self: Arc<Self>, cdp: &Cdp) -> Result<(), CdpError> {
        let events = cdp.browser_events();
        let pages = || Some(TargetFilter::new(vec![FilterEntry::builder().r#type("page").build()]));
        let discover = SetDiscoverTargetsParams { discover: true, filter: pages() };
        let hold = SetAutoAttachParams { flatten: Some(true), filter: pages(), ..SetAutoAttachParams::new(true, true) };
        futures::try_join!(cdp.browser(discover, LIMIT), cdp.browser(hold, LIMIT))?;
        tokio::spawn(self.attend(events, cdp.clone()));
        Ok(())
    }

    async fn attend(self: Arc<Self>, mut events: mpsc::UnboundedReceiver<Event>, cdp: Cdp) {
        while let Some(event) = events.recv().await {
            if event.method == "Target.attachedToTarget" {
                if let Some(attached) = event.read::<Attached>() {
                    self.hand_over(attached, &cdp);
                }
                continue;
            }
            if event.method != "Target.targetCreated" {
                continue;
            }
            let Some(Created { target_info: window }) = event.read::<Created>() else { continue };
            if self.is_stranger(&window) {
                tracing::debug!("a page opened a window; it is closed");
                let cdp = cdp.clone();
                tokio::spawn(async move {
                    let _ = cdp.browser(CloseTargetParams::new(TargetId::new(window.target_id)), LIMIT).await;
                });
            }
        }
    }

    /// A render's own window goes to the render. One in no render's context, as the self-test opens, need not wait; a
    /// stranger waits until it is closed.
    fn hand_over(&self, Attached { session_id: session, target_info: window }: Attached, cdp: &Cdp) {
        let mut contexts = self.lock();
        let Some(own) = window.browser_context_id.as_ref().and_then(|context| contexts.get_mut(context)) else {
            let (session, _) = cdp.session(session);
            // Sent when it is called.
            drop(session.call(RunIfWaitingForDebuggerParams::default(), LIMIT));
            return;
        };
        if own.target.get_or_insert_with(|| window.target_id.clone()) == &window.target_id
            && let Some(opener) = own.opener.take()
        {
            let _ = opener.send(Held { target: window.target_id, session });
        }
    }

    fn is_stranger(&self, window: &TargetInfo) -> bool {
        let mut contexts = self.lock();
        let Some(own) = window.browser_context_id.as_ref().and_then(|context| contexts.get_mut(context)) else {
            return false;
        };
        own.target.get_or_insert_with(|| window.target_id.clone()) != &window.target_id
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Own>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_window_of_a_context_is_ours_and_no_other() {
        let windows = Windows::default();
        let window = |target: &str, context: &str| TargetInfo {
            target_id: target.to_owned(),
            browser_context_id: Some(context.to_owned()),
        };
        let _held = windows.expect(&BrowserContextId::new("a"));
        assert!(!windows.is_stranger(&window("1", "a")));
        assert!(!windows.is_stranger(&window("1", "a")), "told of twice");
        assert!(windows.is_stranger(&window("2", "a")));
        assert!(!windows.is_stranger(&window("3", "of the browser itself")));
        windows.forget(&BrowserContextId::new("a"));
        assert!(!windows.is_stranger(&window("4", "a")));
    }
}
