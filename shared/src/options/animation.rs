//! Moving pictures: how long, how large, and what the page does meanwhile.

use serde::{Deserialize, Serialize};

use super::format::Medium;
use super::model::{Format, Options};
use crate::limits::{VIDEO_PIXELS_MAX, VIDEO_SIDE_PIXELS_MAX};

/// Names that both vendors know.
pub(super) const EASINGS: &[&str] = &[
    "linear",
    "ease_in_quad",
    "ease_out_quad",
    "ease_in_out_quad",
    "ease_in_cubic",
    "ease_out_cubic",
    "ease_in_out_cubic",
    "ease_in_quart",
    "ease_out_quart",
    "ease_in_out_quart",
    "ease_in_quint",
    "ease_out_quint",
    "ease_in_out_quint",
];

/// What is recorded. A request without one is for a picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Animation {
    /// The longest it may be.
    pub duration_ms: u32,
    /// Size of the video in CSS pixels; None: that of what is recorded, which is else made to fit inside.
    pub width: Option<u32>,
    pub height: Option<u32>,
    /// Wins over the size: what is recorded is put into the smallest picture of these proportions that holds it.
    pub aspect_ratio: Option<AspectRatio>,
    /// Whether the page is scrolled; else it is left alone.
    pub scrolls: bool,
    pub scroll: Scroll,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AspectRatio {
    pub width: u32,
    pub height: u32,
}

/// How a page is scrolled. All times count from the beginning of the recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scroll {
    /// Of one scroll.
    pub duration_ms: f64,
    /// Between two scrolls.
    pub delay_ms: f64,
    /// CSS pixels of one scroll.
    pub by: f64,
    /// Do not wait for the delay before the first scroll.
    pub start_immediately: bool,
    /// And wait for this long before all that.
    pub start_delay_ms: f64,
    /// The recording ends with the scrolling.
    pub complete: bool,
    pub back: bool,
    /// Go back as it came, step by step, rather than in one scroll.
    pub back_by_steps: bool,
    pub back_delay_ms: f64,
    /// Turn back then, however far it has come.
    pub back_after_ms: Option<u32>,
    /// Stand still then.
    pub stop_after_ms: Option<u32>,
    /// Go to the end of the page then, in one scroll.
    pub to_end_after_ms: Option<u32>,
    /// One of the known names.
    pub easing: String,
    /// CSS selector of the element to stop at, and how many pixels further on.
    pub till_selector: Option<String>,
    pub till_selector_adjust_top: i32,
    /// Go to another page on the way, and scroll that one.
    pub try_navigate: bool,
    /// None: after half of the duration.
    pub navigate_after_ms: Option<u32>,
    pub navigate_to_url: Option<String>,
    /// What the text of a link has in it that is followed where no address is given; none: any link will do.
    pub navigate_link_hints: Vec<String>,
}

impl Default for Animation {
    fn default() -> Animation {
        Animation {
            duration_ms: 5_000,
            width: None,
            height: None,
            aspect_ratio: None,
            scrolls: false,
            scroll: Scroll::default(),
        }
    }
}

impl Default for Scroll {
    fn default() -> Scroll {
        Scroll {
            duration_ms: 1_500.0,
            delay_ms: 500.0,
            by: 1_000.0,
            start_immediately: true,
            start_delay_ms: 0.0,
            complete: true,
            back: true,
            back_by_steps: false,
            back_delay_ms: 0.0,
            back_after_ms: None,
            stop_after_ms: None,
            to_end_after_ms: None,
            easing: "ease_in_out_quint".to_owned(),
            till_selector: None,
            till_selector_adjust_top: 0,
            try_navigate: false,
            navigate_after_ms: None,
            navigate_to_url: None,
            navigate_link_hints: ["pricing", "about", "customers"].map(str::to_owned).to_vec(),
        }
    }
}

/// What the options are to be recorded as, for the tables: their endpoints' requests all have one.
pub(super) fn animation(options: &mut Options) -> &mut Animation {
    options.animation.get_or_insert_default()
}

pub(super) fn scroll(options: &mut Options) -> &mut Scroll {
    &mut animation(options).scroll
}

/// `5` → 5,000
pub(super) fn milliseconds(seconds: f64) -> u32 {
    (seconds * 1_000.0).round() as u32
}

/// Rules between parameters, in the words of ScreenshotOne's validator where it has some.
pub(super) fn check(options: &Options, given: &[&'static str], refuse: &mut impl FnMut(&str, &str)) {
    let Some(animation) = &options.animation else { return };
    let is_given = |name: &str| given.contains(&name);
    for (name, other) in [("width", "height"), ("height", "width")] {
        if is_given(name) && !is_given(other) {
            refuse(name, &format!("\"value\" contains [{name}] without its required peers [{other}]"));
        }
    }
    if is_given("scroll_stop_after_duration") && animation.scroll.back {
        refuse("scroll_stop_after_duration", "\"scroll_stop_after_duration\" is not allowed");
    }
    if is_given("scroll_to_end_after") && !animation.scrolls {
        refuse("scroll_to_end_after", "\"scroll_to_end_after\" is not allowed");
    }
    if is_given("scroll_stop_after_duration") && is_given("scroll_back_after_duration") {
        let peers = "[scroll_stop_after_duration, scroll_back_after_duration]";
        refuse("", &format!("\"value\" contains a conflict between optional exclusive peers {peers}"));
    }
    size(options, animation, refuse);
}

/// Every frame of a video is held and encoded, so there is an end to its size.
fn size(options: &Options, animation: &Animation, refuse: &mut impl FnMut(&str, &str)) {
    let scale = options.viewport.device_scale_factor;
    let is_too_large = |width: u32, height: u32| {
        let (width, height) = (f64::from(width) * scale, f64::from(height) * scale);
        width.max(height) > f64::from(VIDEO_SIDE_PIXELS_MAX) || width * height > f64::from(VIDEO_PIXELS_MAX)
    };
    let mut limit = |parameter: &str, what: &str| {
        let times = "times the device scale factor";
        let most = format!("{VIDEO_SIDE_PIXELS_MAX} pixels a side and {VIDEO_PIXELS_MAX} in all");
        refuse(parameter, &format!("{what} {times} must have at most {most} in a video"));
    };
    let (width, height) = (options.viewport.width, options.viewport.height);
    if is_too_large(width, height) {
        limit("viewport_width", "the viewport");
    }
    if animation.aspect_ratio.is_none()
        && let (Some(width), Some(height)) = (animation.width, animation.height)
        && is_too_large(width, height)
    {
        limit("width", "\"width\" and \"height\"");
    }
}

impl Options {
    /// What is made of the page: that depends on more than the format, as a GIF may be a picture or a recording.
    pub fn medium(&self) -> Medium {
        match self.animation {
            Some(_) => Medium::Video,
            None => self.output.format.medium(),
        }
    }
}

impl Animation {
    /// Frames in 100 seconds. A GIF counts in hundredths of a second, and pays for each frame with its size.
    pub const fn frames_per_100_s(format: Format) -> u32 {
        match format {
            Format::Gif => 1_250,
            _ => 2_500,
        }
    }
}
