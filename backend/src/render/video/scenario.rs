//! What the page does while it is recorded: nothing, or it is scrolled, and perhaps left for another one on the way.

use std::future::pending;
use std::pin::pin;
use std::time::{Duration, Instant};

use serde_json::Value;
use snaphook_shared::code::Code;
use snaphook_shared::options::model::{Animation, Scroll};

use super::camera::Rolling;
use crate::domain::failure::Failure;
use crate::render::page::{FIND, Page, json, web_address};

const SCROLL: &str = include_str!("../js/scroll.js");
const LINK: &str = include_str!("../js/link.js");

/// What can be found out to be wrong before the recording.
pub(super) async fn check(page: &Page<'_>, animation: &Animation) -> Result<(), Failure> {
    let Some(selector) = animation.scroll.till_selector.as_ref().filter(|_| animation.scrolls) else { return Ok(()) };
    let found = page.evaluate::<Value>(format!("({FIND})({}).length", json(selector))).await;
    found.map(|_| ()).map_err(|failure| failure.blame("scroll_till_selector"))
}

/// Plays from the moment at which the camera rolls, and comes to an end only if the scenario does.
pub(super) async fn play(page: &mut Page<'_>, animation: &Animation, mut rolling: Rolling) -> Result<(), Failure> {
    if !animation.scrolls {
        return pending().await;
    }
    let began = rolling.wait_for(Option::is_some).await.ok().and_then(|began| *began);
    let Some(began) = began else { return pending().await };
    let scenario = &animation.scroll;
    if !scenario.try_navigate {
        return scroll(page, scenario, began).await;
    }
    let half = animation.duration_ms / 2;
    let moment = began + Duration::from_millis(u64::from(scenario.navigate_after_ms.unwrap_or(half)));
    let next = {
        let mut scrolling = pin!(scroll(page, scenario, began));
        let waiting = tokio::time::sleep_until(moment.into());
        tokio::select! {
            // Where it comes to its end early, it stands there until it is time to go.
            scrolled = &mut scrolling => {
                scrolled?;
                tokio::time::sleep_until(moment.into()).await;
                next_page(page, scenario).await?
            }
            () = waiting => match next_page(page, scenario).await? {
                Some(next) => Some(next),
                None => return scrolling.await,
            },
        }
    };
    match next {
        Some(next) => {
            page.leave_for(&next).await?;
            let scenario = Scroll { start_delay_ms: 0.0, ..scenario.clone() };
            scroll(page, &scenario, began).await
        }
        None => Ok(()),
    }
}

/// The caller's own choice, else a link of the page.
async fn next_page(page: &Page<'_>, scenario: &Scroll) -> Result<Option<String>, Failure> {
    if let Some(url) = &scenario.navigate_to_url {
        return Ok(Some(url.clone()));
    }
    let words = serde_json::to_string(&scenario.navigate_link_hints).unwrap_or_else(|_| "[]".to_owned());
    match page.evaluate(format!("({LINK})({words})")).await {
        Err(failure) if failure.problem.code == Code::PageCrashed => Err(failure),
        // The page can say what it likes, and is led nowhere but on the web.
        found => Ok(found.unwrap_or(None).and_then(|link: String| web_address(&link))),
    }
}

/// Scrolls until the scenario is over.
async fn scroll(page: &Page<'_>, scenario: &Scroll, began: Instant) -> Result<(), Failure> {
    let options = serde_json::to_string(scenario).map_err(|error| Failure::internal(error.to_string()))?;
    let passed = began.elapsed().as_millis();
    match page.evaluate::<Value>(format!("({SCROLL})({FIND}, {options}, {passed})")).await {
        Ok(_) => Ok(()),
        Err(failure) if failure.problem.code == Code::PageCrashed => Err(failure),
        // The page went elsewhere by itself, or has broken what it is scrolled with. That is recorded too, to the end.
        Err(failure) => {
            tracing::debug!(cause = failure.cause, "a scroll broke off");
            pending().await
        }
    }
}
