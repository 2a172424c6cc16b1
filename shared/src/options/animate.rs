//! ScreenshotOne's `/animate`. Names, types, ranges and defaults: its published validation schema and options page.

use super::animation::{EASINGS, animation, milliseconds, scroll};
use super::model::{AspectRatio, Format, Options};
use super::screenshotone::OF_TAKE;
use super::{Kind, Parameter, join};
use crate::limits::VIDEO_SIDE_PIXELS_MAX;

const SIDE: Kind = Kind::Int { min: 1, max: VIDEO_SIDE_PIXELS_MAX as i64 };
/// A moment of the recording, in milliseconds.
const MOMENT: Kind = Kind::Int { min: 0, max: 1_000_000 };
const FORMATS: &[&str] = &["mp4", "avi", "mov", "webm", "gif"];
const SCENARIOS: &[&str] = &["", "default", "scroll"];

/// What of `/take` makes no sense here, or something else.
const NOT_OF_TAKE: &[&str] = &[
    "format",
    "selector",
    "selector_algorithm",
    "selector_scroll_into_view",
    "error_on_selector_not_found",
    "capture_beyond_viewport",
    "scroll_into_view",
    "scroll_into_view_adjust_top",
    "image_quality",
    "image_width",
    "image_height",
    "full_page",
    "full_page_scroll",
    "full_page_scroll_delay",
    "full_page_scroll_by",
    "full_page_max_height",
    "full_page_algorithm",
    "full_page_slices",
    "full_page_slice_height",
    "full_page_slice_overlap_height",
    "pdf_print_background",
    "pdf_fit_one_page",
    "pdf_landscape",
    "pdf_paper_format",
    "pdf_margin",
    "pdf_margin_top",
    "pdf_margin_right",
    "pdf_margin_bottom",
    "pdf_margin_left",
    "reduce_motion",
    "metadata_image_size",
    "openai_api_key",
    "vision_prompt",
    "vision_max_tokens",
];

#[rustfmt::skip]
const OWN: &[Parameter] = &[
    Parameter::effect("format", Kind::Enum { of: FORMATS, fold: true }, |o, v| o.output.format = Format::from_name(&v.text()), "Format of the video."),
    Parameter::effect("duration", Kind::Number { min: 1, max: 30 }, |o, v| animation(o).duration_ms = milliseconds(v.number()), "Seconds of the recording."),
    Parameter::effect("width", SIDE, |o, v| animation(o).width = Some(v.int() as u32), "Width of the video, times device_scale_factor; the viewport's if not given."),
    Parameter::effect("height", SIDE, |o, v| animation(o).height = Some(v.int() as u32), "Height of the video, times device_scale_factor; the viewport's if not given."),
    Parameter::effect("aspect_ratio", Kind::Enum { of: &["4:3", "16:9"], fold: true }, |o, v| animation(o).aspect_ratio = aspect_ratio(&v.text()), "Put what is recorded into a picture of these proportions; width and height are not used then."),
    Parameter::effect("scenario", Kind::Enum { of: SCENARIOS, fold: true }, |o, v| animation(o).scrolls = v.text() == "scroll", "Leave the page alone, or scroll it."),
    Parameter::effect("scroll_duration", Kind::Number { min: 100, max: 1_000_000 }, |o, v| scroll(o).duration_ms = v.number(), "Milliseconds of one scroll."),
    Parameter::effect("scroll_delay", Kind::Number { min: 0, max: 1_000_000 }, |o, v| scroll(o).delay_ms = v.number(), "Milliseconds between two scrolls."),
    Parameter::effect("scroll_by", Kind::Number { min: 1, max: 1_000_000 }, |o, v| scroll(o).by = v.number(), "Pixels of one scroll."),
    Parameter::effect("scroll_start_immediately", Kind::Bool, |o, v| scroll(o).start_immediately = v.bool(), "Do not wait for scroll_delay before the first scroll."),
    Parameter::effect("scroll_start_delay", Kind::Number { min: 0, max: 1_000_000 }, |o, v| scroll(o).start_delay_ms = v.number(), "Milliseconds before the scrolling starts."),
    Parameter::effect("scroll_complete", Kind::Bool, |o, v| scroll(o).complete = v.bool(), "End the recording with the scrolling (after a second at the soonest)."),
    Parameter::effect("scroll_back", Kind::Bool, |o, v| scroll(o).back = v.bool(), "Scroll back to the top in the end."),
    Parameter::effect("scroll_back_algorithm", Kind::Enum { of: &["once", "repeat"], fold: true }, |o, v| scroll(o).back_by_steps = v.text() == "repeat", "Back in one scroll, or as it came."),
    Parameter::effect("scroll_back_after_duration", MOMENT, |o, v| scroll(o).back_after_ms = Some(v.int() as u32), "Turn back after so many milliseconds, however far it has come."),
    Parameter::effect("scroll_stop_after_duration", MOMENT, |o, v| scroll(o).stop_after_ms = Some(v.int() as u32), "Stand still after so many milliseconds."),
    Parameter::effect("scroll_easing", Kind::Enum { of: EASINGS, fold: true }, |o, v| scroll(o).easing = v.text(), "How a scroll gains and loses speed."),
    Parameter::effect("scroll_till_selector", Kind::Text, |o, v| scroll(o).till_selector = Some(v.text()), "Element to scroll to, and no further."),
    Parameter::effect("scroll_till_selector_adjust_top", Kind::Int { min: -1_000_000, max: 1_000_000 }, |o, v| scroll(o).till_selector_adjust_top = v.int() as i32, "Pixels to scroll on from there."),
    Parameter::effect("scroll_to_end_after", MOMENT, |o, v| scroll(o).to_end_after_ms = Some(v.int() as u32), "Go to the end in one scroll after so many milliseconds."),
    Parameter::effect("scroll_try_navigate", Kind::Bool, |o, v| scroll(o).try_navigate = v.bool(), "Go to another page on the way, and scroll that one."),
    Parameter::effect("scroll_navigate_after", MOMENT, |o, v| scroll(o).navigate_after_ms = Some(v.int() as u32), "After so many milliseconds; after half of the duration if not given."),
    Parameter::effect("scroll_navigate_to_url", Kind::Url, |o, v| scroll(o).navigate_to_url = Some(v.text()), "The other page."),
    Parameter::effect("scroll_navigate_link_hints", Kind::List, |o, v| scroll(o).navigate_link_hints = v.list(), "Words in the text of a link to follow where no address is given."),
];

/// The parameters of `/animate`.
pub static ANIMATE: &[&Parameter] =
    &join::<{ OF_TAKE.len() - NOT_OF_TAKE.len() + OWN.len() }>(&[(OF_TAKE, NOT_OF_TAKE), (OWN, &[])]);

fn aspect_ratio(name: &str) -> Option<AspectRatio> {
    let (width, height) = name.split_once(':')?;
    Some(AspectRatio { width: width.parse().ok()?, height: height.parse().ok()? })
}

/// What the validator forbids with some of the formats.
pub(super) fn check(options: &Options, given: &[&'static str], refuse: &mut impl FnMut(&str, &str)) {
    let format = options.output.format;
    for name in ["clip_x", "clip_y", "clip_width", "clip_height"] {
        if given.contains(&name) && format != Format::Gif {
            refuse(name, &format!("\"{name}\" is not allowed"));
        }
    }
    if given.contains(&"omit_background") && format != Format::Mov {
        refuse("omit_background", "\"omit_background\" is not allowed");
    }
}
