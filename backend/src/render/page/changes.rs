//! What is made different about the page: what is blocked or hidden, the caller's styles and scripts, a click, a hand that hovers.

use std::time::{Duration, Instant};

use chromiumoxide::cdp::browser_protocol::input::{DispatchMouseEventParams, DispatchMouseEventType};
use chromiumoxide::cdp::js_protocol::runtime::EvaluateParams;
use serde::Deserialize;
use snaphook_shared::code::Code;

use super::opening::judge_egress;
use super::{FIND, HIDE_AND_STYLE, Page, crashed, failure, json, list};
use crate::domain::failure::Failure;
use crate::render::blocking;
use crate::render::cdp::CdpError;

/// How long a script's departure may take to be noticed.
const DEPARTURE_LIMIT: Duration = Duration::from_millis(100);
/// For the search for consent banners, so that it costs less than the picture.
const BANNERS_MS: u32 = 1_500;
const HIDE: &str = include_str!("../js/hide.js");
const NAMES: &str = include_str!("../js/names.js");
const DISMISS_BANNERS: &str = include_str!("../js/dismiss_banners.js");
const HOVER_POINT: &str = include_str!("../js/hover_point.js");

impl Page<'_> {
    /// Keeps out what the block lists know by its looks, and gets rid of banners.
    pub(super) async fn block(&self) -> Result<(), Failure> {
        let wanted = &self.options.blocking;
        if blocking::wants_lists(wanted) {
            let names: Names = self.evaluate(format!("({NAMES})()")).await?;
            let hidden = self.means.blocklists.hidden(wanted, self.address(), &names.classes, &names.ids);
            if !hidden.is_empty() {
                let selectors = serde_json::to_string(&hidden).unwrap_or_else(|_| "[]".to_owned());
                self.evaluate::<serde_json::Value>(format!("({HIDE})({selectors})")).await?;
            }
        }
        if wanted.cookie_banners || wanted.banners_by_heuristics {
            let script = format!("({DISMISS_BANNERS})({}, {BANNERS_MS})", wanted.banners_by_heuristics);
            let search = self.evaluate::<serde_json::Value>(script);
            // A page can slow its own scripts down; the picture does not wait for them. If it broke the search, it keeps
            // its banner.
            match tokio::time::timeout(Duration::from_millis(u64::from(BANNERS_MS) + 500), search).await {
                Ok(Err(failure)) if failure.problem.code == Code::PageCrashed => return Err(failure),
                Ok(Ok(outcome)) => tracing::debug!(%outcome, "banners"),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) async fn restyle(&self) -> Result<(), Failure> {
        let page = &self.options.page;
        if page.styles.is_some() || !page.hide_selectors.is_empty() {
            let styles = json(page.styles.as_deref().unwrap_or_default());
            let selectors = list(&page.hide_selectors);
            self.evaluate::<serde_json::Value>(format!("({HIDE_AND_STYLE})({styles}, {selectors})")).await?;
        }
        Ok(())
    }

    /// What the caller wants different: styles, hidden elements, scripts, a click.
    pub(super) async fn change(&mut self) -> Result<(), Failure> {
        self.restyle().await?;
        let page = &self.options.page;
        if let Some(script) = &page.scripts {
            self.run_script(script).await?;
        }
        if let Some(selector) = &page.click {
            let script =
                format!("(() => {{ const e = ({FIND})({})[0]; if (e) e.click(); return !!e; }})()", json(selector));
            let clicked: bool = self.evaluate(script).await.map_err(|failure| failure.blame("click"))?;
            if !clicked && page.error_on_click_selector_not_found {
                return Err(Failure::new(Code::SelectorNotFound, "nothing to click"));
            }
        }
        if let Some(selector) = &page.hover {
            self.hover(selector).await?;
        }
        Ok(())
    }

    /// Runs the caller's script. It may lead the page elsewhere only if it was said what to wait for there.
    async fn run_script(&mut self, script: &str) -> Result<(), Failure> {
        let before = self.watcher.now();
        // The script is the caller's, and so are its errors: they are no reason to withhold the picture.
        let mut evaluate = EvaluateParams::new(script);
        evaluate.await_promise = Some(true);
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.session.call(evaluate, left).await {
            // The page went while its script was waited for.
            Ok(_) | Err(CdpError::Refused { .. }) => {}
            Err(error) => return Err(failure(error)),
        }
        let departed = self.watcher.until(|state| state.departures > before.departures);
        let departed = tokio::time::timeout(DEPARTURE_LIMIT, departed).await;
        let events = self.options.page.scripts_wait_until.clone();
        if departed.is_ok() {
            if events.is_empty() {
                return Err(Failure::new(Code::ScriptTriggersRedirect, "the script led the page elsewhere"));
            }
            let frame = &self.opened.frame;
            let earlier = before.current(frame);
            if self.watcher.until(|state| state.current(frame) != earlier).await.crashed {
                return Err(crashed());
            }
        }
        self.wait_for(&events).await?;
        self.main_response().map_or(Ok(()), |main| judge_egress(&main))
    }

    /// Puts the pointer on an element, as a hand would.
    async fn hover(&self, selector: &str) -> Result<(), Failure> {
        let script = format!("({HOVER_POINT})({FIND}, {})", json(selector));
        let point: Option<Point> = self.evaluate(script).await.map_err(|failure| failure.blame("hover"))?;
        match point {
            Some(Point { x, y }) => {
                let moved = DispatchMouseEventParams::new(DispatchMouseEventType::MouseMoved, x, y);
                self.call(moved).await?;
                // One frame, for what the page shows then.
                self.evaluate::<serde_json::Value>("new Promise((resolve) => requestAnimationFrame(() => resolve()))")
                    .await
                    .map(|_| ())
            }
            None if self.options.page.error_on_hover_selector_not_found => {
                Err(Failure::new(Code::SelectorNotFound, "nothing to hover"))
            }
            None => Ok(()),
        }
    }
}

/// The classes and ids of a page.
#[derive(Deserialize)]
struct Names {
    classes: Vec<String>,
    ids: Vec<String>,
}

#[derive(Deserialize)]
struct Point {
    x: f64,
    y: f64,
}
