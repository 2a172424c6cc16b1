//! Rules between parameters, in the words of ScreenshotOne's validator.

use super::detail;
use super::model::{Format, Options, ResponseType};
use crate::code::Detail;
use crate::dialect::Dialect;
use crate::request::Endpoint;

pub(super) fn check(endpoint: Endpoint, options: &Options, given: &[&'static str], problems: &mut Vec<Detail>) {
    let is_given = |name: &str| given.contains(&name);
    let mut refuse = |parameter: &str, message: &str| problems.push(detail(parameter, message.to_owned()));

    if options.source.url.is_none() && options.source.html.is_none() && !is_given("url") && !is_given("html") {
        refuse("", "\"value\" must contain at least one of [html, url, markdown]");
    }
    for name in ["full_page_scroll", "full_page_max_height"] {
        if is_given(name) && !options.capture.full_page {
            refuse(name, &format!("\"{name}\" is not allowed"));
        }
    }
    let scrolls = options.capture.full_page && options.capture.full_page_scroll != Some(false);
    for name in
        ["full_page_scroll_delay", "full_page_scroll_by", "full_page_scroll_by_amount", "full_page_scroll_by_duration"]
    {
        if is_given(name) && !scrolls {
            refuse(name, &format!("\"{name}\" is not allowed"));
        }
    }
    if options.output.omit_background && options.output.format == Format::Jpeg {
        refuse(
            "omit_background",
            "The \"omit_background\" option is only allowed to use with image formats that support transparent backgrounds, like PNG.",
        );
    }
    if endpoint.dialect() == Dialect::ScreenshotOne {
        let mode_max = if options.delivery.asynchronous { 600 } else { 90 };
        if options.wait.timeout_s.is_some_and(|timeout| timeout > mode_max) {
            refuse("timeout", &format!("\"timeout\" must be less than or equal to {mode_max}"));
        }
        let delay_max = if options.wait.timeout_s.is_some_and(|timeout| timeout > 300) { 300 } else { 30 };
        if options.wait.delay_s > delay_max {
            refuse("delay", &format!("\"delay\" must be less than or equal to {delay_max}"));
        }
        if options.delivery.store.enabled && options.delivery.store.path.is_none() {
            refuse("storage_path", "\"storage_path\" is required");
        }
        if options.delivery.store.path.is_some() && !options.delivery.store.enabled {
            refuse("storage_path", "\"storage_path\" is not allowed");
        }
        for name in ["cache_ttl", "cache_key"] {
            if is_given(name) && !options.delivery.cache.enabled {
                refuse(
                    name,
                    &format!("The `{name}` option cannot be used when the `cache` option is false or not set."),
                );
            }
        }
        if options.delivery.webhook.url.is_some() && options.delivery.response_type == ResponseType::Empty {
            refuse("webhook_url", "\"webhook_url\" is not allowed");
        }
    }
    let location = &options.emulation.geolocation;
    match (location.latitude, location.longitude) {
        (Some(_), None) => refuse("geolocation_longitude", "\"geolocation_longitude\" is required"),
        (None, Some(_)) => refuse("geolocation_latitude", "\"geolocation_latitude\" is required"),
        _ => {}
    }
}
