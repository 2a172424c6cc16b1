//! Windows that a page opens, which nobody would see.
//!
//! `window.open` is answered with nothing (`js/before.js`), and a window with an opener is held before it begins and closed
//! (`events.rs`). A link or a form can ask for one without an opener, and only the browser as a whole hears of that: such a
//! window is closed as soon as it is there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chromiumoxide::cdp::browser_protocol::browser::BrowserContextId;
use chromiumoxide::cdp::browser_protocol::target::{
    CloseTargetParams, FilterEntry, SetDiscoverTargetsParams, TargetFilter, TargetId,
};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::cdp::{Cdp, CdpError, Event};

const LIMIT: Duration = Duration::from_secs(10);

/// The window of each render's context: the first one in it. All later ones are the page's doing.
#[derive(Default)]
pub(super) struct Windows(Mutex<HashMap<String, Option<String>>>);

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
    /// A context was made, and will get its window.
    pub(super) fn expect(&self, context: &BrowserContextId) {
        self.lock().insert(context.inner().clone(), None);
    }

    /// A context is gone, or going.
    pub(super) fn forget(&self, context: &BrowserContextId) {
        self.lock().remove(context.inner());
    }

    /// Closes what is nobody's window, for as long as the browser runs.
    pub(super) async fn watch(self: Arc<Self>, cdp: &Cdp) -> Result<(), CdpError> {
        let events = cdp.browser_events();
        let pages = FilterEntry::builder().r#type("page").build();
        let discover = SetDiscoverTargetsParams { discover: true, filter: Some(TargetFilter::new(vec![pages])) };
        cdp.browser(discover, LIMIT).await?;
        tokio::spawn(self.close_strangers(events, cdp.clone()));
        Ok(())
    }

    async fn close_strangers(self: Arc<Self>, mut events: mpsc::UnboundedReceiver<Event>, cdp: Cdp) {
        while let Some(event) = events.recv().await {
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

    fn is_stranger(&self, window: &TargetInfo) -> bool {
        let mut contexts = self.lock();
        let Some(own) = window.browser_context_id.as_ref().and_then(|context| contexts.get_mut(context)) else {
            return false;
        };
        own.get_or_insert_with(|| window.target_id.clone()) != &window.target_id
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Option<String>>> {
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
        windows.expect(&BrowserContextId::new("a"));
        assert!(!windows.is_stranger(&window("1", "a")));
        assert!(!windows.is_stranger(&window("1", "a")), "told of twice");
        assert!(windows.is_stranger(&window("2", "a")));
        assert!(!windows.is_stranger(&window("3", "of the browser itself")));
        windows.forget(&BrowserContextId::new("a"));
        assert!(!windows.is_stranger(&window("4", "a")));
    }
}
