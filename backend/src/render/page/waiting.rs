//! What is waited for before the picture: events of the page, an element, time, silence, fonts.

use std::time::Duration;

use snaphook_shared::code::Code;
use snaphook_shared::options::model::WaitUntil;

use super::opening::judge_egress;
use super::{FIND, Page, crashed, json};
use crate::domain::failure::Failure;
use crate::render::capture;
use crate::render::events::PageState;

/// No request for this long is what "idle" means (the vendors' and Puppeteer's figure).
const IDLE_FOR: Duration = Duration::from_millis(500);
/// Web fonts may keep the picture waiting for so long and no longer.
const FONTS_LIMIT: Duration = Duration::from_secs(3);
/// What is left of a document that broke off gets so long to be taken for all of it.
const BROKEN_OFF_LIMIT: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(50);
const SCROLL_TO: &str = include_str!("../js/scroll_to.js");
const STOP_MOTION: &str = include_str!("../js/stop_motion.js");
const SCROLL_THROUGH: &str = include_str!("../js/scroll_through.js");
const FONTS_READY: &str = include_str!("../js/fonts_ready.js");

impl Page<'_> {
    /// Waits for every event that was asked for, the selector, and the delay.
    pub(super) async fn wait(&mut self) -> Result<(), Failure> {
        self.wait_for(&self.options.wait.until.clone()).await?;
        if let Some(selector) = &self.options.wait.for_selector {
            let wanted = if self.options.wait.for_selector_by_count { parts(selector) } else { 1 };
            let script = format!("({FIND})({}).length >= {wanted}", json(selector));
            while !self.evaluate::<bool>(script.clone()).await.map_err(|failure| failure.blame("wait_for_selector"))? {
                tokio::time::sleep(POLL).await;
            }
        }
        if self.options.wait.delay_s > 0 {
            tokio::time::sleep(Duration::from_secs(u64::from(self.options.wait.delay_s))).await;
        }
        // The page may have led itself to where it could not have been opened.
        self.main_response().map_or(Ok(()), |main| judge_egress(&main))
    }

    pub(super) async fn wait_for(&mut self, events: &[WaitUntil]) -> Result<(), Failure> {
        for event in events {
            match event {
                WaitUntil::Load => self.wait_load().await,
                WaitUntil::DomContentLoaded => self.wait_event("DOMContentLoaded").await,
                WaitUntil::NetworkIdle0 => self.wait_idle(0).await,
                WaitUntil::NetworkIdle2 => self.wait_idle(2).await,
            }?;
        }
        Ok(())
    }

    async fn wait_event(&mut self, event: &str) -> Result<(), Failure> {
        let opened = self.opened.clone();
        let reached = |state: &PageState| state.reached(&opened, event);
        let ended = self.watcher.until(|state| reached(state) || state.stopped(&opened).is_some()).await;
        match ended.stopped(&opened) {
            _ if ended.crashed => Err(crashed()),
            // Chromium takes some breaks for an end, and its events may come a little later.
            Some(reason) if !reached(&ended) => {
                match tokio::time::timeout(BROKEN_OFF_LIMIT, self.watcher.until(reached)).await {
                    Ok(state) if state.crashed => Err(crashed()),
                    Ok(_) => Ok(()),
                    Err(_) => reason.map_or(Ok(()), |reason| Err(broken_off(reason))),
                }
            }
            _ => Ok(()),
        }
    }

    /// A page is not held up by fonts that do not come: after as long as browsers hide text for their sake, it is as good as
    /// loaded. What else is missing is waited for.
    async fn wait_load(&mut self) -> Result<(), Failure> {
        let opened = self.opened.clone();
        loop {
            if let Ok(loaded) = tokio::time::timeout(FONTS_LIMIT, self.wait_event("load")).await {
                return loaded;
            }
            let state = self.watcher.now();
            let fonts_alone = state.fonts_alone_for().is_some_and(|alone| alone >= FONTS_LIMIT);
            if fonts_alone && state.reached(&opened, "DOMContentLoaded") {
                return if state.crashed { Err(crashed()) } else { Ok(()) };
            }
        }
    }

    async fn wait_idle(&mut self, connections: usize) -> Result<(), Failure> {
        self.wait_event("DOMContentLoaded").await?;
        loop {
            let state = self.watcher.now();
            if state.crashed {
                return Err(crashed());
            }
            if state.quiet_for(connections).is_some_and(|quiet| quiet >= IDLE_FOR) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The last things before the picture: lazy parts of a full page, fonts.
    pub(super) async fn settle(&self) -> Result<(), Failure> {
        if self.options.source.without_javascript {
            // Neither frames nor timers come to our scripts then, and a wait for them would only end by its limit.
            return Ok(());
        }
        let capture = &self.options.capture;
        if capture.full_page && capture.full_page_scroll != Some(false) {
            let step = capture.full_page_scroll_by.unwrap_or(self.options.viewport.height);
            let script = format!(
                "({SCROLL_THROUGH})({step}, {}, {})",
                capture.full_page_scroll_delay_ms,
                capture.full_page_max_height.unwrap_or(capture::HEIGHT_PIXELS_MAX),
            );
            self.evaluate::<serde_json::Value>(script).await?;
        }
        let fonts = self.evaluate::<serde_json::Value>(FONTS_READY);
        match tokio::time::timeout(FONTS_LIMIT, fonts).await {
            Ok(Err(failure)) if failure.problem.code == Code::PageCrashed => return Err(failure),
            _ => {}
        }
        if let Some(selector) = &capture.scroll_into_view {
            let script = format!("({SCROLL_TO})({FIND}, {}, {})", json(selector), capture.scroll_into_view_adjust_top);
            let found: bool = self.evaluate(script).await.map_err(|failure| failure.blame("scroll_into_view"))?;
            if !found && capture.error_on_selector_not_found {
                return Err(Failure::new(Code::SelectorNotFound, "nothing to scroll to"));
            }
        }
        if self.options.emulation.reduce_motion {
            self.evaluate::<serde_json::Value>(format!("({STOP_MOTION})()")).await?;
        }
        Ok(())
    }
}

fn broken_off(reason: &str) -> Failure {
    Failure::new(Code::NetworkError, format!("the document broke off: {reason}"))
}

/// How many comma-separated parts a selector has; a comma in brackets or quotes separates nothing.
fn parts(selector: &str) -> usize {
    let (mut depth, mut quote, mut count) = (0_usize, None, 1);
    let mut characters = selector.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', _) => {
                characters.next();
            }
            (_, Some(end)) if character == end => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) => quote = Some(character),
            ('(' | '[', None) => depth += 1,
            (')' | ']', None) => depth = depth.saturating_sub(1),
            (',', None) if depth == 0 => count += 1,
            _ => {}
        }
    }
    count
}
