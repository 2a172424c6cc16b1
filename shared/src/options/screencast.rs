//! ScreenshotMAX's `/v1/screencast`. Names, types, ranges and defaults: the vendor's OpenAPI document.

use super::animation::{EASINGS, animation, milliseconds, scroll};
use super::model::{Animation, Format, Scroll};
use super::screenshotmax::{COMMON, VISION, VISUAL};
use super::{Kind, Parameter, join};

const FORMATS: &[&str] = &["mp4", "webm", "mov", "avi"];
/// Milliseconds.
const PAUSE: Kind = Kind::Int { min: 0, max: 1_000_000 };
/// There is nothing but pages to record.
const NOT_VISUAL: &[&str] = &["html"];

#[rustfmt::skip]
const OWN: &[Parameter] = &[
    VISION,
    Parameter::effect("format", Kind::Enum { of: FORMATS, fold: true }, |o, v| o.output.format = Format::from_name(&v.text()), "Format of the video."),
    Parameter::effect("duration", Kind::Number { min: 1, max: 30 }, |o, v| animation(o).duration_ms = milliseconds(v.number()), "Seconds of the recording."),
    Parameter::effect("scenario", Kind::Enum { of: &["video", "scroll"], fold: true }, |o, v| animation(o).scrolls = v.text() == "scroll", "Leave the page alone, or scroll it."),
    Parameter::effect("scroll_by_amount", Kind::Int { min: 1, max: 1_000_000 }, |o, v| scroll(o).by = v.int() as f64, "Pixels of one scroll."),
    Parameter::effect("scroll_by_delay", PAUSE, |o, v| scroll(o).delay_ms = v.int() as f64, "Milliseconds between two scrolls."),
    Parameter::effect("scroll_by_duration", Kind::Int { min: 1, max: 1_000_000 }, |o, v| scroll(o).duration_ms = v.int() as f64, "Milliseconds of one scroll."),
    Parameter::effect("scroll_back", Kind::Bool, |o, v| scroll(o).back = v.bool(), "Scroll back to the top in the end."),
    Parameter::effect("scroll_back_delay", PAUSE, |o, v| scroll(o).back_delay_ms = v.int() as f64, "Milliseconds at the end before that."),
    Parameter::effect("scroll_easing", Kind::Enum { of: EASINGS, fold: true }, |o, v| scroll(o).easing = v.text(), "How a scroll gains and loses speed."),
];

/// The parameters of `/v1/screencast`.
pub static SCREENCAST: &[&Parameter] = &join::<{ COMMON.len() + VISUAL.len() - NOT_VISUAL.len() + OWN.len() }>(&[
    (COMMON, &[]),
    (VISUAL, NOT_VISUAL),
    (OWN, &[]),
]);

/// What holds where nothing is said.
pub(crate) fn defaults() -> Animation {
    let scroll = Scroll { easing: "linear".to_owned(), back_delay_ms: 800.0, complete: false, ..Scroll::default() };
    Animation { scroll, ..Animation::default() }
}
