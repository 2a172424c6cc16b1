//! ScreenshotOne's `/take`. Names, types, ranges and defaults: its published validation schema and options page.

use super::devices;
use super::model::{ContentFormat, Format, Options, ResponseType, WaitUntil};
use super::pdf::PAPERS;
use super::{Kind, PAID, Parameter, Support, join};

const ANY: Kind = Kind::Int { min: 0, max: 1_000_000 };
const PIXELS: Kind = Kind::Int { min: 1, max: crate::limits::VIEWPORT_PIXELS_MAX };

/// In the vendor's order; two of them are refused by a rule that says why.
const FORMATS: &[&str] =
    &["png", "jpeg", "jpg", "webp", "gif", "jp2", "tiff", "avif", "heif", "html", "pdf", "markdown"];
const RESPONSE_TYPES: &[&str] = &["by_format", "empty", "json", "byformat"];
/// Where the vendor has data centres to go out from; the first is its default.
const COUNTRIES: &[&str] =
    &["us", "gb", "de", "it", "fr", "cn", "ca", "es", "jp", "kr", "in", "au", "br", "mx", "nz", "pe", "is", "ie"];
const STORAGE_CLASSES: &[&str] = &[
    "standard",
    "reduced_redundancy",
    "standard_ia",
    "onezone_ia",
    "intelligent_tiering",
    "glacier",
    "deep_archive",
    "outposts",
    "glacier_ir",
];
pub(super) const MEDIA_TYPES: &[&str] = &["screen", "print"];
pub(super) const RESOURCES: &[&str] = &[
    "document",
    "stylesheet",
    "image",
    "media",
    "font",
    "script",
    "texttrack",
    "xhr",
    "fetch",
    "eventsource",
    "websocket",
    "manifest",
    "other",
];

/// The parameters of `/take`.
pub static TAKE: &[&Parameter] = &join::<{ OF_TAKE.len() }>(&[(OF_TAKE, &[])]);

#[rustfmt::skip]
pub(super) static OF_TAKE: &[Parameter] = &[
    // Source and output
    Parameter::effect("url", Kind::Url, |o, v| o.source.url = Some(v.text()), "Page to take."),
    Parameter::effect("html", Kind::Text, |o, v| o.source.html = Some(v.text()), "HTML to render instead of a page."),
    Parameter::effect("markdown", Kind::Text, |o, v| o.source.markdown = Some(v.text()), "Markdown to render instead of a page."),
    Parameter::effect("format", Kind::Enum { of: FORMATS, fold: true }, |o, v| o.output.format = Format::from_name(&v.text()), "Format of the result."),
    Parameter::effect("response_type", Kind::Enum { of: RESPONSE_TYPES, fold: true }, |o, v| o.delivery.response_type = response_type(&v.text()), "The file, its headers only, or JSON with links."),
    Parameter::effect("selector", Kind::Text, |o, v| o.capture.selector = Some(v.text()), "Take this element only."),
    Parameter::effect("selector_algorithm", Kind::Enum { of: &["default", "clip"], fold: false }, |o, v| o.capture.selector_scroll_into_view &= v.text() != "clip", "clip takes the element where it is, without scrolling to it."),
    Parameter::effect("selector_scroll_into_view", Kind::Bool, |o, v| o.capture.selector_scroll_into_view &= v.bool(), "Scroll to the element first."),
    Parameter::effect("error_on_selector_not_found", Kind::Bool, |o, v| o.capture.error_on_selector_not_found = v.bool(), "Fail when the selector matches nothing."),
    Parameter::effect("capture_beyond_viewport", Kind::Bool, |o, v| o.capture.beyond_viewport = Some(v.bool()), "Take what lies outside the viewport."),
    Parameter::effect("scroll_into_view", Kind::Text, |o, v| o.capture.scroll_into_view = Some(v.text()), "Element to scroll to the top."),
    Parameter::effect("scroll_into_view_adjust_top", Kind::Int { min: -1_000_000, max: 1_000_000 }, |o, v| o.capture.scroll_into_view_adjust_top = v.int() as i32, "Pixels to scroll on from there."),
    Parameter::effect("include_shadow_dom", Kind::Bool, |o, v| o.output.include_shadow_dom = v.bool(), "Open shadow roots in HTML."),
    Parameter::effect("attachment_name", Kind::Text, |o, v| o.delivery.attachment_name = Some(v.text()), "File name for download; the extension is added."),
    Parameter::effect("external_identifier", Kind::AlphaNumeric { characters_max: 64 }, |o, v| o.delivery.external_identifier = Some(v.text()), "Echoed in a webhook header."),
    Parameter::refused("request_gpu_rendering", Kind::Bool, PAID),
    Parameter::refused("fail_if_gpu_rendering_fails", Kind::Bool, PAID),
    Parameter { name: "servers_region", kind: Kind::Enum { of: &["us-east"], fold: false }, support: Support::Ignored("there is one region: yours"), about: "Where the vendor renders." },

    // Image, clip, full page
    Parameter::effect("image_quality", Kind::Int { min: 0, max: 100 }, |o, v| o.output.quality = v.int() as u8, "Quality of a JPEG or WebP."),
    Parameter::effect("image_width", ANY, |o, v| o.output.width_max = side(v.int()), "Make the picture fit this width."),
    Parameter::effect("image_height", ANY, |o, v| o.output.height_max = side(v.int()), "Make the picture fit this height."),
    Parameter::effect("omit_background", Kind::Bool, |o, v| o.output.omit_background = v.bool(), "Transparent background."),
    Parameter::effect("clip_x", ANY, |o, v| o.capture.clip.x = Some(v.int() as u32), "Left edge of the area."),
    Parameter::effect("clip_y", ANY, |o, v| o.capture.clip.y = Some(v.int() as u32), "Top edge of the area."),
    Parameter::effect("clip_width", PIXELS, |o, v| o.capture.clip.width = Some(v.int() as u32), "Width of the area."),
    Parameter::effect("clip_height", PIXELS, |o, v| o.capture.clip.height = Some(v.int() as u32), "Height of the area."),
    Parameter::effect("full_page", Kind::Bool, |o, v| o.capture.full_page = v.bool(), "The whole page, not only the viewport."),
    Parameter::effect("full_page_scroll", Kind::Bool, |o, v| o.capture.full_page_scroll = Some(v.bool()), "Scroll through first, so that lazy images load."),
    Parameter::effect("full_page_scroll_delay", Kind::Int { min: 100, max: 60_000 }, |o, v| o.capture.full_page_scroll_delay_ms = v.int() as u32, "Pause of each scroll step, milliseconds."),
    Parameter::effect("full_page_scroll_by", Kind::Int { min: 1, max: 1_000_000 }, |o, v| o.capture.full_page_scroll_by = Some(v.int() as u32), "Pixels of each scroll step."),
    Parameter::effect("full_page_max_height", Kind::Int { min: 1, max: 1_000_000 }, |o, v| o.capture.full_page_max_height = Some(v.int() as u32), "Cut a full page at this height."),
    Parameter::effect("full_page_algorithm", Kind::Enum { of: &["default", "by_sections"], fold: false }, |o, v| o.capture.full_page_by_sections = v.text() == "by_sections", "Take a full page at once, or scroll from section to section."),
    Parameter::effect("full_page_slices", Kind::Bool, |o, v| o.capture.full_page_slices = v.bool(), "Also cut the full page into slices."),
    Parameter::effect("full_page_slice_height", Kind::Int { min: 1, max: 16_000 }, |o, v| o.capture.full_page_slice_height = v.int() as u32, "CSS pixels of a slice."),
    Parameter::effect("full_page_slice_overlap_height", ANY, |o, v| o.capture.full_page_slice_overlap = v.int() as u32, "CSS pixels that a slice repeats of the one before."),

    // PDF
    Parameter::effect("pdf_print_background", Kind::Bool, |o, v| o.pdf.print_background = v.bool(), "Print background colours and images."),
    Parameter::effect("pdf_fit_one_page", Kind::Bool, |o, v| o.pdf.fit_one_page = v.bool(), "One page as tall as the content."),
    Parameter::effect("pdf_landscape", Kind::Bool, |o, v| o.pdf.landscape = v.bool(), "Turn the paper."),
    Parameter::effect("pdf_paper_format", Kind::Enum { of: PAPERS, fold: false }, |o, v| o.pdf.paper = Some(v.text()), "Size of the paper."),
    Parameter::effect("pdf_margin", Kind::Text, |o, v| o.pdf.margin.all = Some(v.text()), "CSS length, for all sides."),
    Parameter::effect("pdf_margin_top", Kind::Text, |o, v| o.pdf.margin.top = Some(v.text()), "CSS length."),
    Parameter::effect("pdf_margin_right", Kind::Text, |o, v| o.pdf.margin.right = Some(v.text()), "CSS length."),
    Parameter::effect("pdf_margin_bottom", Kind::Text, |o, v| o.pdf.margin.bottom = Some(v.text()), "CSS length."),
    Parameter::effect("pdf_margin_left", Kind::Text, |o, v| o.pdf.margin.left = Some(v.text()), "CSS length."),

    // Viewport and emulation
    Parameter::effect("viewport_device", Kind::Enum { of: &devices::SCREENSHOTONE_IDS, fold: false }, |o, v| device(o, &v.text()), "Screen, scale, touch and user agent of a device."),
    Parameter::effect("viewport_width", PIXELS, |o, v| o.viewport.width = v.int() as u32, "CSS pixels."),
    Parameter::effect("viewport_height", PIXELS, |o, v| o.viewport.height = v.int() as u32, "CSS pixels."),
    Parameter::effect("device_scale_factor", Kind::Number { min: 1, max: 5 }, |o, v| o.viewport.device_scale_factor = v.number(), "Device pixels per CSS pixel."),
    Parameter::effect("viewport_mobile", Kind::Bool, |o, v| o.viewport.mobile = v.bool(), "Honour the page's viewport meta tag."),
    Parameter::effect("viewport_has_touch", Kind::Bool, |o, v| o.viewport.touch = v.bool(), "Offer touch events."),
    Parameter::effect("viewport_landscape", Kind::Bool, |o, v| o.viewport.landscape = v.bool(), "Report landscape orientation."),
    Parameter::effect("dark_mode", Kind::Bool, |o, v| o.emulation.dark_mode = Some(v.bool()), "prefers-color-scheme."),
    Parameter::effect("reduced_motion", Kind::Bool, |o, v| o.emulation.reduced_motion = Some(v.bool()), "prefers-reduced-motion."),
    Parameter::effect("reduce_motion", Kind::Bool, |o, v| o.emulation.reduce_motion = v.bool(), "Finish animations, pause loops and media."),
    Parameter::effect("media_type", Kind::Enum { of: MEDIA_TYPES, fold: true }, |o, v| o.emulation.media_type = Some(v.text()), "CSS media type."),

    // Customisation and blocking
    Parameter::effect("scripts", Kind::Text, |o, v| o.page.scripts = Some(v.text()), "JavaScript to run in the page."),
    Parameter::effect("scripts_wait_until", Kind::EnumList { of: WaitUntil::NAMES }, |o, v| o.page.scripts_wait_until = WaitUntil::from_names(v.list()), "Events to wait for after the scripts."),
    Parameter::effect("styles", Kind::Text, |o, v| o.page.styles = Some(v.text()), "CSS to add to the page."),
    Parameter::effect("hide_selectors", Kind::List, |o, v| o.page.hide_selectors = v.list(), "Elements to hide."),
    Parameter::effect("click", Kind::Text, |o, v| o.page.click = Some(v.text()), "Element to click first."),
    Parameter::effect("hover", Kind::Text, |o, v| o.page.hover = Some(v.text()), "Element to put the pointer on."),
    Parameter::effect("error_on_click_selector_not_found", Kind::Bool, |o, v| o.page.error_on_click_selector_not_found = v.bool(), "Fail when there is nothing to click."),
    Parameter::effect("error_on_hover_selector_not_found", Kind::Bool, |o, v| o.page.error_on_hover_selector_not_found = v.bool(), "Fail when there is nothing to hover."),
    Parameter::effect("block_cookie_banners", Kind::Bool, |o, v| o.blocking.cookie_banners = v.bool(), "Reject or hide consent banners."),
    Parameter::effect("block_banners_by_heuristics", Kind::Bool, |o, v| o.blocking.banners_by_heuristics = v.bool(), "Hide banners that no list knows."),
    Parameter::effect("block_chats", Kind::Bool, |o, v| o.blocking.chats = v.bool(), "Keep chat widgets out."),
    Parameter::effect("block_ads", Kind::Bool, |o, v| o.blocking.ads = v.bool(), "Keep ads out."),
    Parameter::effect("block_trackers", Kind::Bool, |o, v| o.blocking.trackers = v.bool(), "Keep trackers out."),
    Parameter::effect("block_socials", Kind::Bool, |o, v| o.blocking.socials = v.bool(), "Keep social widgets out."),
    Parameter::effect("block_annoyances", Kind::Bool, |o, v| o.blocking.annoyances = v.bool(), "Keep newsletter and app pop-ups out."),
    Parameter::effect("block_requests", Kind::List, |o, v| o.blocking.requests = v.list(), "URLs, domains or patterns with * that are not loaded."),
    Parameter::effect("block_resources", Kind::EnumList { of: RESOURCES }, |o, v| o.blocking.resources = v.list(), "Kinds of resources that are not loaded."),

    // Request and location
    Parameter::effect("user_agent", Kind::Text, |o, v| o.network.user_agent = Some(v.text()), "User-Agent header."),
    Parameter::effect("authorization", Kind::Text, |o, v| o.network.authorization = Some(v.secret()), "Authorization header."),
    Parameter::effect("headers", Kind::List, |o, v| o.network.headers = v.secrets(), "Name:Value each."),
    Parameter::effect("cookies", Kind::List, |o, v| o.network.cookies = v.secrets(), "name=value; Domain=…; Secure; HttpOnly each."),
    Parameter::effect("proxy", Kind::Text, |o, v| o.network.proxy = Some(v.secret()), "Your own proxy for the page, http://user:password@host:port."),
    Parameter::effect("proxy_bypass_hosts", Kind::List, |o, v| o.network.proxy_bypass_hosts = v.list(), "Hosts that are reached without it; * stands for anything."),
    Parameter { name: "ip_country_code", kind: Kind::Enum { of: COUNTRIES, fold: false }, support: Support::RefusedBut("us", PAID), about: "us, the vendor's default, is taken and changes nothing." },
    Parameter::effect("geolocation_latitude", Kind::Number { min: -90, max: 90 }, |o, v| o.emulation.geolocation.latitude = Some(v.number()), "Degrees."),
    Parameter::effect("geolocation_longitude", Kind::Number { min: -180, max: 180 }, |o, v| o.emulation.geolocation.longitude = Some(v.number()), "Degrees."),
    Parameter::effect("geolocation_accuracy", Kind::Int { min: 1, max: 1_000_000 }, |o, v| o.emulation.geolocation.accuracy = Some(v.int() as f64), "Metres."),
    Parameter::effect("time_zone", Kind::Text, |o, v| o.emulation.time_zone = Some(v.text()), "IANA name."),
    Parameter::effect("bypass_csp", Kind::Bool, |o, v| o.network.bypass_csp = v.bool(), "Ignore the page's Content-Security-Policy."),

    // Waiting and failing
    Parameter::effect("wait_until", Kind::EnumList { of: WaitUntil::NAMES }, |o, v| o.wait.until = WaitUntil::from_names(v.list()), "Events that must all have happened."),
    Parameter::effect("delay", Kind::Int { min: 0, max: 300 }, |o, v| o.wait.delay_s = v.int() as u32, "Seconds to wait before the picture."),
    Parameter::effect("timeout", Kind::Int { min: 0, max: 600 }, |o, v| o.wait.timeout_s = Some(v.int() as u32), "Seconds for the whole render."),
    Parameter::effect("navigation_timeout", Kind::Int { min: 0, max: 30 }, |o, v| o.wait.navigation_timeout_s = v.int() as u32, "Seconds until the host's first answer."),
    Parameter::effect("wait_for_selector", Kind::Text, |o, v| o.wait.for_selector = Some(v.text()), "Element that must be in the document."),
    Parameter::effect("wait_for_selector_algorithm", Kind::Enum { of: &["at_least_one", "at_least_by_count"], fold: false }, |o, v| o.wait.for_selector_by_count = v.text() == "at_least_by_count", "One match, or as many as the selector has parts."),
    Parameter::effect("fail_if_content_contains", Kind::List, |o, v| o.fail.content_contains = v.list(), "Texts that must not be in the page."),
    Parameter::effect("fail_if_content_missing", Kind::List, |o, v| o.fail.content_missing = v.list(), "Texts that must be in the page."),
    Parameter::effect("fail_if_request_failed", Kind::List, |o, v| o.fail.request_failed = v.list(), "URLs, domains or patterns with * that must not fail."),
    Parameter::effect("ignore_host_errors", Kind::Bool, |o, v| o.fail.ignore_host_errors = v.bool(), "Take the page whatever its status."),

    // Cache, store, async, metadata
    Parameter::effect("cache", Kind::Bool, |o, v| o.delivery.cache.enabled = v.bool(), "Give the same answer again for a while."),
    Parameter::effect("cache_ttl", Kind::Int { min: 14_400, max: 2_592_000 }, |o, v| o.delivery.cache.ttl_s = v.int() as u32, "Seconds that it is given again."),
    Parameter::effect("cache_key", Kind::AlphaNumeric { characters_max: 250 }, |o, v| o.delivery.cache.key = Some(v.text()), "Keeps apart what would be the same otherwise."),
    Parameter::effect("store", Kind::Bool, |o, v| o.delivery.store.enabled = v.bool(), "Keep the file under storage_path."),
    Parameter::effect("storage_path", Kind::Text, |o, v| o.delivery.store.path = Some(v.text()), "Path without its extension."),
    Parameter::effect("storage_bucket", Kind::Text, |o, v| o.delivery.store.bucket = Some(v.text()), "Bucket of your own."),
    Parameter::effect("storage_endpoint", Kind::Url, |o, v| o.delivery.store.endpoint = Some(v.text()), "S3-compatible service; Amazon's if not given."),
    Parameter::effect("storage_access_key_id", Kind::Text, |o, v| o.delivery.store.access_key_id = Some(v.text()), "Who may put files there."),
    Parameter::effect("storage_secret_access_key", Kind::Text, |o, v| o.delivery.store.secret_access_key = Some(v.secret()), "And the secret that proves it; kept sealed, and only until the request has ended."),
    Parameter::effect("storage_acl", Kind::Enum { of: &["", "public-read"], fold: false }, |o, v| o.delivery.store.acl = Some(v.text()).filter(|acl| !acl.is_empty()), "Who may read it there."),
    Parameter::effect("storage_class", Kind::Enum { of: STORAGE_CLASSES, fold: false }, |o, v| o.delivery.store.class = Some(v.text()), "How it is kept there."),
    Parameter::effect("storage_return_location", Kind::Bool, |o, v| o.delivery.store.return_location = v.bool(), "Say where the stored file is."),
    Parameter::effect("async", Kind::Bool, |o, v| o.delivery.asynchronous = v.bool(), "Answer at once, render in the background."),
    Parameter::effect("webhook_url", Kind::Url, |o, v| o.delivery.webhook.url = Some(v.text()), "Where the result is posted."),
    Parameter::effect("webhook_sign", Kind::Bool, |o, v| o.delivery.webhook.sign = v.bool(), "Sign the webhook."),
    Parameter::effect("webhook_errors", Kind::Bool, |o, v| o.delivery.webhook.errors = v.bool(), "Post failures too."),
    Parameter::effect("metadata_image_size", Kind::Bool, |o, v| o.output.tell_size = v.bool(), "Say how many pixels the picture has."),
    Parameter::effect("metadata_fonts", Kind::Bool, |o, v| o.metadata.fonts = v.bool(), "Tell the fonts and who uses them."),
    Parameter::effect("metadata_content", Kind::Bool, |o, v| o.metadata.content = v.bool(), "Keep the content too, under its own link."),
    Parameter::effect("metadata_content_format", Kind::Enum { of: &["html", "markdown"], fold: false }, |o, v| o.metadata.content_format = content_format(&v.text()), "html or markdown."),
    Parameter::effect("metadata_page_title", Kind::Bool, |o, v| o.metadata.page_title = v.bool(), "Tell the title."),
    Parameter::effect("metadata_open_graph", Kind::Bool, |o, v| o.metadata.open_graph = v.bool(), "Tell the Open Graph properties."),
    Parameter::effect("metadata_icon", Kind::Bool, |o, v| o.metadata.icon = v.bool(), "Tell the icon."),
    Parameter::effect("metadata_http_response_status_code", Kind::Bool, |o, v| o.metadata.status_code = v.bool(), "Tell the status that the host answered."),
    Parameter::effect("metadata_http_response_headers", Kind::Bool, |o, v| o.metadata.headers = v.bool(), "Tell the headers that the host answered."),
    Parameter::refused("openai_api_key", Kind::Text, PAID),
    Parameter::refused("vision_prompt", Kind::Text, PAID),
    Parameter::refused("vision_max_tokens", ANY, PAID),
];

/// A side of a thumbnail; 0 asks for none.
pub(super) fn side(pixels: i64) -> Option<u32> {
    u32::try_from(pixels).ok().filter(|pixels| *pixels > 0)
}

/// `byformat` is what the .NET SDK writes.
fn response_type(name: &str) -> ResponseType {
    match name {
        "json" => ResponseType::Json,
        "empty" => ResponseType::Empty,
        _ => ResponseType::ByFormat,
    }
}

/// Makes a page appear as on a device. The id is one of the list.
pub(super) fn device(options: &mut Options, id: &str) {
    if let Some(device) = devices::find(id) {
        device.apply(options);
    }
}

fn content_format(name: &str) -> ContentFormat {
    if name == "markdown" { ContentFormat::Markdown } else { ContentFormat::Html }
}
