//! Rules between parameters, in the words of ScreenshotOne's validator.

use super::model::{Format, Medium, Options, ResponseType};
use super::{animate, animation, detail};
use crate::code::Detail;
use crate::dialect::Dialect;
use crate::request::Endpoint;

/// CSS pixels that a slice must go beyond the one before.
const SLICE_ADVANCE_MIN: i64 = 100;

pub(super) fn check(endpoint: Endpoint, options: &Options, given: &[&'static str], problems: &mut Vec<Detail>) {
    let is_given = |name: &str| given.contains(&name);
    let mut refuse = |parameter: &str, message: &str| problems.push(detail(parameter, message.to_owned()));

    match endpoint {
        Endpoint::Scrape | Endpoint::Screencast if !is_given("url") => refuse("url", "\"url\" is required"),
        _ if !["url", "html", "markdown"].into_iter().any(is_given) => {
            refuse("", "\"value\" must contain at least one of [html, url, markdown]");
        }
        _ => {}
    }
    for name in ["full_page_scroll", "full_page_max_height", "full_page_algorithm"] {
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
    if is_given("selector_scroll_into_view") && options.capture.selector.is_none() {
        refuse("selector_scroll_into_view", "\"selector_scroll_into_view\" is not allowed");
    }
    if is_given("metadata_content_format") && !options.metadata.content {
        refuse("metadata_content_format", "\"metadata_content_format\" is not allowed");
    }
    for name in ["metadata_http_response_status_code", "metadata_http_response_headers"] {
        if is_given(name) && options.source.url.is_none() {
            refuse(name, &format!("\"{name}\" is not allowed"));
        }
    }
    let format = options.output.format;
    if let Some(reason) = format.missing() {
        refuse("format", &format!("\"format\" {} is not supported: {reason}", format.extension()));
    }
    if endpoint != Endpoint::Animate && options.output.omit_background && !format.is_transparent() {
        refuse(
            "omit_background",
            "The \"omit_background\" option is only allowed to use with image formats that support transparent backgrounds, like PNG.",
        );
    }
    for name in options.pdf.margin.invalid() {
        refuse(name, &format!("\"{name}\" must be a CSS length like 20px, 1.5cm or 1in"));
    }
    slices(options, &mut refuse);
    animation::check(options, given, &mut refuse);
    if endpoint == Endpoint::Animate {
        animate::check(options, given, &mut refuse);
    }
    if endpoint.dialect() == Dialect::ScreenshotOne {
        if is_given("image_quality") && !format.takes_quality() {
            refuse("image_quality", "\"image_quality\" is not allowed");
        }
        if options.capture.selector.is_some() && format == Format::Pdf {
            refuse("selector", "Rendering PDFs by \"selector\" is not allowed.");
        }
        for name in ["selector_algorithm", "selector_scroll_into_view"] {
            if is_given(name) && options.capture.selector.is_none() {
                refuse(name, &format!("\"{name}\" is not allowed"));
            }
        }
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

fn slices(options: &Options, refuse: &mut impl FnMut(&str, &str)) {
    let capture = &options.capture;
    if !capture.full_page_slices {
        return;
    }
    let is_image = options.output.format.medium() == Medium::Image;
    if !capture.full_page || options.delivery.store.enabled || !is_image {
        refuse("full_page_slices", "\"value\" contains an invalid value");
    }
    // Each slice must bring something new, or there would be no end of them.
    let overlap_max = i64::from(capture.full_page_slice_height) - SLICE_ADVANCE_MIN;
    if i64::from(capture.full_page_slice_overlap) > overlap_max {
        let name = "full_page_slice_overlap_height";
        refuse(name, &format!("\"{name}\" must be less than or equal to {}", overlap_max.max(0)));
    }
    if overlap_max < 0 {
        let name = "full_page_slice_height";
        refuse(name, &format!("\"{name}\" must be greater than or equal to {SLICE_ADVANCE_MIN}"));
    }
}
