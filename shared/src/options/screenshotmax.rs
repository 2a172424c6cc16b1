//! ScreenshotMAX's `/v1/screenshot`, `/v1/pdf` and `/v1/scrape`. Names, types, ranges and defaults: the vendor's OpenAPI document.

use super::devices;
use super::model::{Blocking, Format, Options, WaitUntil};
use super::pdf::PAPERS_AND_LEDGER;
use super::screenshotone::{MEDIA_TYPES, RESOURCES, device, side};
use super::{Kind, PAID, Parameter, Support, join};

const PIXELS: Kind = Kind::Int { min: 0, max: 1_000_000 };
const SIDE: Kind = Kind::Int { min: 1, max: crate::limits::VIEWPORT_PIXELS_MAX };
const FORMATS: &[&str] = &["jpeg", "jpg", "png", "webp", "gif"];
const TEXTS: &[&str] = &["html", "md"];
const DEFICIENCIES: &[&str] = &["achromatopsia", "deuteranopia", "blurred_vision", "reduced_contrast"];

/// What all endpoints know.
#[rustfmt::skip]
pub(super) static COMMON: &[Parameter] = &[
    Parameter::effect("url", Kind::Url, |o, v| o.source.url = Some(v.text()), "Page to take."),
    Parameter::refused("gpu_rendering", Kind::Bool, PAID),
    Parameter::effect("viewport_device", Kind::Enum { of: &devices::SCREENSHOTMAX_IDS, fold: false }, |o, v| device(o, &v.text()), "Screen, scale, touch and user agent of a device."),
    Parameter::effect("viewport_width", SIDE, |o, v| o.viewport.width = v.int() as u32, "CSS pixels."),
    Parameter::effect("viewport_height", SIDE, |o, v| o.viewport.height = v.int() as u32, "CSS pixels."),
    Parameter::effect("viewport_landscape", Kind::Bool, |o, v| o.viewport.landscape = v.bool(), "Report landscape orientation."),
    Parameter::effect("viewport_has_touch", Kind::Bool, |o, v| o.viewport.touch = v.bool(), "Offer touch events."),
    Parameter::effect("viewport_mobile", Kind::Bool, |o, v| o.viewport.mobile = v.bool(), "Honour the page's viewport meta tag."),
    Parameter::effect("device_scale_factor", Kind::Number { min: 1, max: 5 }, |o, v| o.viewport.device_scale_factor = v.number(), "Device pixels per CSS pixel."),
    Parameter::effect("attachment_name", Kind::Text, |o, v| o.delivery.attachment_name = Some(v.text()), "File name for download; the extension is added."),
    Parameter::effect("block_annoyance", Kind::Enum { of: &["none", "ads", "tracking", "cookies_banner"], fold: true }, |o, v| annoyance(o, &v.text()), "What is kept out; consent banners where nothing is said."),
    Parameter::effect("block_ressources", Kind::EnumList { of: RESOURCES }, |o, v| o.blocking.resources = v.list(), "Kinds of resources that are not loaded."),
    Parameter::effect("geolocation_accuracy", Kind::Int { min: 0, max: 1000 }, |o, v| o.emulation.geolocation.accuracy = Some(v.int() as f64), "Metres."),
    Parameter::effect("geolocation_latitude", Kind::Number { min: -90, max: 90 }, |o, v| o.emulation.geolocation.latitude = Some(v.number()), "Degrees."),
    Parameter::effect("geolocation_longitude", Kind::Number { min: -180, max: 180 }, |o, v| o.emulation.geolocation.longitude = Some(v.number()), "Degrees."),
    Parameter::effect("timezone", Kind::Text, |o, v| o.emulation.time_zone = Some(v.text()), "IANA name."),
    Parameter::effect("hide_selectors", Kind::List, |o, v| o.page.hide_selectors = v.list(), "Elements to hide."),
    Parameter::effect("click_selector", Kind::Text, |o, v| o.page.click = Some(v.text()), "Element to click first."),
    Parameter::effect("authorization", Kind::Text, |o, v| o.network.authorization = Some(v.secret()), "Authorization header."),
    Parameter::effect("user_agent", Kind::Text, |o, v| o.network.user_agent = Some(v.text()), "User-Agent header."),
    Parameter::effect("cookies", Kind::List, |o, v| o.network.cookies = v.secrets(), "name=value; Domain=…; Secure; HttpOnly each."),
    Parameter::effect("headers", Kind::List, |o, v| o.network.headers = v.secrets(), "Name:Value each."),
    Parameter::effect("bypass_csp", Kind::Bool, |o, v| o.network.bypass_csp = v.bool(), "Ignore the page's Content-Security-Policy."),
    Parameter::refused("ip_location", Kind::Text, PAID),
    Parameter::effect("proxy", Kind::Text, |o, v| o.network.proxy = Some(v.secret()), "Your own proxy for the page, http://user:password@host:port."),
    Parameter::effect("delay", Kind::Int { min: 0, max: 30 }, |o, v| o.wait.delay_s = v.int() as u32, "Seconds to wait before the picture."),
    Parameter::effect("timeout", Kind::Int { min: 0, max: 30 }, |o, v| o.wait.timeout_s = Some(v.int() as u32), "Seconds for the whole render."),
    Parameter::effect("wait_until", Kind::EnumList { of: WaitUntil::NAMES }, |o, v| o.wait.until = WaitUntil::from_names(v.list()), "Events that must all have happened."),
    Parameter::effect("cache", Kind::Bool, |o, v| o.delivery.cache.enabled = v.bool(), "Give the same answer again for a while."),
    Parameter::effect("cache_ttl", Kind::Int { min: 1, max: 2_592_000 }, |o, v| o.delivery.cache.ttl_s = v.int() as u32, "Seconds that it is given again."),
    Parameter::effect("metadata_icon", Kind::Bool, |o, v| o.metadata.icon = v.bool(), "Tell the icon."),
    Parameter::effect("metadata_fonts", Kind::Bool, |o, v| o.metadata.fonts = v.bool(), "Tell the fonts and who uses them."),
    Parameter::effect("metadata_title", Kind::Bool, |o, v| o.metadata.page_title = v.bool(), "Tell the title."),
    Parameter::effect("metadata_hash", Kind::Bool, |o, v| o.metadata.hash = v.bool(), "Tell the SHA-256 of the file."),
    Parameter::effect("metadata_status", Kind::Bool, |o, v| o.metadata.status_code = v.bool(), "Tell the status that the host answered."),
    Parameter::effect("metadata_headers", Kind::Bool, |o, v| o.metadata.headers = v.bool(), "Tell the headers that the host answered."),
    Parameter::effect("async", Kind::Bool, |o, v| o.delivery.asynchronous = v.bool(), "Answer at once, render in the background."),
    Parameter::effect("webhook_url", Kind::Url, |o, v| o.delivery.webhook.url = Some(v.text()), "Where the result is posted."),
    Parameter::effect("webhook_signed", Kind::Bool, |o, v| o.delivery.webhook.sign = v.bool(), "Sign the webhook."),
];

/// What is seen, on a screen or on paper.
#[rustfmt::skip]
pub(super) static VISUAL: &[Parameter] = &[
    Parameter::effect("html", Kind::Text, |o, v| o.source.html = Some(v.text()), "HTML to render instead of a page."),
    Parameter::effect("dark_mode", Kind::Bool, |o, v| o.emulation.dark_mode = Some(v.bool()), "prefers-color-scheme."),
    Parameter::effect("reduced_motion", Kind::Bool, |o, v| o.emulation.reduced_motion = Some(v.bool()), "prefers-reduced-motion."),
    Parameter::effect("media_type", Kind::Enum { of: MEDIA_TYPES, fold: true }, |o, v| o.emulation.media_type = Some(v.text()), "CSS media type."),
    Parameter::effect("capture_beyond_viewport", Kind::Bool, |o, v| o.capture.beyond_viewport = Some(v.bool()), "Take what lies outside the viewport."),
    Parameter::effect("clip_x", PIXELS, |o, v| o.capture.clip.x = Some(v.int() as u32), "Left edge of the area."),
    Parameter::effect("clip_y", PIXELS, |o, v| o.capture.clip.y = Some(v.int() as u32), "Top edge of the area."),
    Parameter::effect("clip_width", SIDE, |o, v| o.capture.clip.width = Some(v.int() as u32), "Width of the area."),
    Parameter::effect("clip_height", SIDE, |o, v| o.capture.clip.height = Some(v.int() as u32), "Height of the area."),
];

/// On a screen only.
#[rustfmt::skip]
pub(super) const VISION: Parameter = Parameter::effect("vision_deficiency", Kind::Enum { of: DEFICIENCIES, fold: true }, |o, v| o.emulation.vision_deficiency = Some(deficiency(&v.text())), "How the page looks to others.");

#[rustfmt::skip]
const IMAGE: &[Parameter] = &[
    VISION,
    Parameter::effect("format", Kind::Enum { of: FORMATS, fold: true }, |o, v| o.output.format = Format::from_name(&v.text()), "Format of the picture."),
    Parameter::effect("image_quality", Kind::Int { min: 1, max: 100 }, |o, v| o.output.quality = v.int() as u8, "Quality of a JPEG or WebP."),
    Parameter::effect("image_width", PIXELS, |o, v| o.output.width_max = side(v.int()), "Make the picture fit this width."),
    Parameter::effect("image_height", PIXELS, |o, v| o.output.height_max = side(v.int()), "Make the picture fit this height."),
    Parameter::effect("omit_background", Kind::Bool, |o, v| o.output.omit_background = v.bool(), "Transparent background."),
    Parameter::effect("full_page", Kind::Bool, |o, v| o.capture.full_page = v.bool(), "The whole page, not only the viewport."),
    Parameter::effect("full_page_scroll", Kind::Bool, |o, v| o.capture.full_page_scroll = Some(v.bool()), "Scroll through first, so that lazy images load."),
    Parameter::effect("full_page_scroll_by_amount", Kind::Int { min: 1, max: 1_000_000 }, |o, v| o.capture.full_page_scroll_by = Some(v.int() as u32), "Pixels of each scroll step."),
    Parameter::effect("full_page_scroll_by_duration", Kind::Int { min: 0, max: 1000 }, |o, v| o.capture.full_page_scroll_delay_ms = v.int() as u32, "Milliseconds of each scroll step."),
    Parameter::effect("metadata_image_size", Kind::Bool, |o, v| o.output.tell_size = v.bool(), "Say how many pixels the picture has."),
];

#[rustfmt::skip]
const PAPER: &[Parameter] = &[
    Parameter::refused("vision_deficiency", Kind::Enum { of: DEFICIENCIES, fold: true }, "Chromium emulates it on the screen and not on paper"),
    Parameter::effect("pdf_paper_format", Kind::Enum { of: PAPERS_AND_LEDGER, fold: true }, |o, v| o.pdf.paper = Some(v.text()), "Size of the paper."),
    Parameter::effect("pdf_landscape", Kind::Bool, |o, v| o.pdf.landscape = v.bool(), "Turn the paper."),
    Parameter::effect("pdf_print_background", Kind::Bool, |o, v| o.pdf.print_background = v.bool(), "Print background colours and images."),
];

#[rustfmt::skip]
const TEXT: &[Parameter] = &[
    Parameter { name: "capture_beyond_viewport", kind: Kind::Bool, support: Support::Ignored("text has no viewport to go beyond"), about: "Take what lies outside the viewport." },
    Parameter::effect("format", Kind::Enum { of: TEXTS, fold: true }, |o, v| o.output.format = Format::from_name(&v.text()), "HTML, or Markdown made of it."),
    Parameter::effect("js_enabled", Kind::Bool, |o, v| o.source.without_javascript = !v.bool(), "Run the page's scripts."),
];

/// The parameters of `/v1/screenshot`.
pub static SCREENSHOT: &[&Parameter] =
    &join::<{ COMMON.len() + VISUAL.len() + IMAGE.len() }>(&[(COMMON, &[]), (VISUAL, &[]), (IMAGE, &[])]);
/// The parameters of `/v1/pdf`.
pub static PDF: &[&Parameter] =
    &join::<{ COMMON.len() + VISUAL.len() + PAPER.len() }>(&[(COMMON, &[]), (VISUAL, &[]), (PAPER, &[])]);
/// The parameters of `/v1/scrape`.
pub static SCRAPE: &[&Parameter] = &join::<{ COMMON.len() + TEXT.len() }>(&[(COMMON, &[]), (TEXT, &[])]);

/// In the names of the DevTools protocol.
fn deficiency(name: &str) -> String {
    match name {
        "blurred_vision" => "blurredVision".to_owned(),
        "reduced_contrast" => "reducedContrast".to_owned(),
        other => other.to_owned(),
    }
}

/// One kind at a time, so what is named replaces the default.
fn annoyance(options: &mut Options, name: &str) {
    let (requests, resources) = (options.blocking.requests.clone(), options.blocking.resources.clone());
    options.blocking = Blocking {
        ads: name == "ads",
        trackers: name == "tracking",
        cookie_banners: name == "cookies_banner",
        requests,
        resources,
        ..Blocking::default()
    };
}
