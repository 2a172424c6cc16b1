//! The rows of ScreenshotMAX's `/v1/screenshot`, `/v1/pdf` and `/v1/scrape`.

use serde_json::{Value as Json, json};
use snaphook_shared::request::Endpoint;

use super::lab::Taken;
use super::pages::{BACKGROUND, EVENTS, MOBILE, NO_PROXY, NOISE, PLACE, SPOT, TALL};
use super::{Row, row};

const ALL: &[Endpoint] = &[Endpoint::Screenshot, Endpoint::Pdf, Endpoint::Scrape];
const VISUAL: &[Endpoint] = &[Endpoint::Screenshot, Endpoint::Pdf];
const IMAGE: &[Endpoint] = &[Endpoint::Screenshot];
const PAPER: &[Endpoint] = &[Endpoint::Pdf];
const TEXT: &[Endpoint] = &[Endpoint::Scrape];

fn common(name: &'static str, value: impl Into<Json>) -> Row {
    row(ALL, name, value)
}

fn visual(name: &'static str, value: impl Into<Json>) -> Row {
    row(VISUAL, name, value)
}

fn image(name: &'static str, value: impl Into<Json>) -> Row {
    row(IMAGE, name, value)
}

fn place(name: &'static str, value: impl Into<Json>) -> Row {
    common(name, value).beside(json!({ "geolocation_latitude": 1, "geolocation_longitude": 2, "delay": 1 })).page(PLACE)
}

fn has_header(name: &'static str) -> impl Fn(&Taken) -> String {
    move |taken| (!taken.header(name).is_empty()).to_string()
}

/// Whether there is a picture in a document.
fn has_picture(taken: &Taken) -> String {
    taken.answer.text().contains("/Subtype /Image").to_string()
}

fn is_signed(taken: &Taken) -> String {
    taken.hook().is_some_and(|hook| hook.headers.contains_key("x-screenshotmax-webhook-signature")).to_string()
}

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    vec![
        row(VISUAL, "url", "{base}/").beside(json!({ "html": "<p>x" })).times("", "0", "1"),
        row(TEXT, "url", "{base}/").code("request_not_valid \"url\" is required", "ok"),
        row(IMAGE, "capture_beyond_viewport", false).beside(json!({ "clip_height": 300 })).page(TALL).size("200x300", "200x100"),
        row(PAPER, "capture_beyond_viewport", false).beside(json!({ "clip_height": 300 })).page(TALL).look(Taken::paper, "150x225 x1", "150x75 x1"),
        common("viewport_device", "iphone_13_pro").beside(json!({ "viewport_width": null, "viewport_height": null })).told("scale", "1", "3"),
        common("viewport_width", 320).told("width", "1280", "320"),
        common("viewport_height", 333).told("height", "1024", "333"),
        common("viewport_landscape", true).told("landscape", "false", "true"),
        common("viewport_has_touch", true).told("touch", "false", "true"),
        common("viewport_mobile", true).page(MOBILE).told("layout", "200", "500"),
        common("device_scale_factor", 2).told("scale", "1", "2"),
        row(IMAGE, "attachment_name", "shot").look(|t| t.header("content-disposition").contains("filename=\"shot.png\"").to_string(), "false", "true"),
        row(PAPER, "attachment_name", "shot").look(|t| t.header("content-disposition").contains("filename=\"shot.pdf\"").to_string(), "false", "true"),
        row(TEXT, "attachment_name", "shot").look(|t| t.header("content-disposition").contains("filename=\"shot.html\"").to_string(), "false", "true"),
        common("block_annoyance", "ads").beside(json!({ "block_annoyance": "none" })).page("<script src='{base}/pagead/js/paint.js'></script>").times("pagead/js/paint.js", "1", "0"),
        common("block_ressources", json!(["script"])).page("<script src='{base}/paint.js'></script>").times("paint.js", "1", "0"),
        place("geolocation_accuracy", 7).told("accuracy", "50", "7"),
        place("geolocation_latitude", 48.5).told("latitude", "1", "48.5"),
        place("geolocation_longitude", 9.25).told("longitude", "2", "9.25"),
        common("timezone", "Pacific/Auckland").look(|t| (t.told("zone") == "Pacific/Auckland").to_string(), "false", "true"),
        image("hide_selectors", json!(["#a"])).page("<div id=a style='height:99px;background:red'>").pixel(9, 9, "#ff0000", "#ffffff"),
        row(PAPER, "hide_selectors", json!(["#a"])).page("<div id=a style='height:1400px'>x</div>").look(Taken::paper, "612x792 x2", "612x792 x1"),
        row(TEXT, "hide_selectors", json!(["#a"])).look(|t| t.answer.text().contains("first").to_string(), "true", "false"),
        common("click_selector", "#a").page(EVENTS).beside(json!({ "delay": 1 })).times("clicked", "0", "1"),
        common("authorization", "Bearer x").sent("authorization", "", "Bearer x"),
        common("user_agent", "Own/1").look(|t| (t.sent("", "user-agent") == "Own/1").to_string(), "false", "true"),
        common("cookies", json!(["c=1"])).sent("cookie", "", "c=1"),
        common("headers", json!(["X-Mine: yes"])).sent("x-mine", "", "yes"),
        common("bypass_csp", true).beside(json!({ "url": "{base}/strict", "delay": 1 })).page("<script>fetch('{base}/ran')</script>").times("ran", "0", "1"),
        common("proxy", NO_PROXY).code("ok", "request_not_valid \"proxy\" cannot be reached"),
        common("delay", 2).page(EVENTS).times("late", "0", "1"),
        common("timeout", 1).beside(json!({ "delay": 3 })).code("ok", "timeout_error"),
        common("wait_until", json!(["networkidle0"])).page("<script>addEventListener('DOMContentLoaded', () => setTimeout(() => fetch('{base}/slow.js').then(() => fetch('{base}/after')), 50))</script>").times("after", "0", "1"),
        common("cache", true).header("x-snaphook-cache", "", "miss"),
        common("cache_ttl", 2_592_000).beside(json!({ "cache": true, "async": true })).look(Taken::file_days, "7", "30"),
        common("metadata_icon", true).look(|t| t.header("x-screenshotmax-icon").contains("{base}/icon.png").to_string(), "false", "true"),
        common("metadata_fonts", true).look(|t| t.header("x-screenshotmax-fonts").contains("First Font").to_string(), "false", "true"),
        common("metadata_title", true).header("x-screenshotmax-title", "", "Probe"),
        common("metadata_hash", true).look(has_header("x-screenshotmax-hash"), "false", "true"),
        common("metadata_status", true).header("x-screenshotmax-status", "", "200"),
        common("metadata_headers", true).look(|t| t.header("x-screenshotmax-headers").contains("\"x-custom\":\"hello\"").to_string(), "false", "true"),
        common("async", true).look(|t| t.answer.status.as_u16().to_string(), "200", "202"),
        common("webhook_url", "{base}/hook").beside(json!({ "async": true })).times("hook", "0", "1"),
        common("webhook_signed", false).beside(json!({ "async": true, "webhook_url": "{base}/hook" })).look(is_signed, "true", "false"),

        // What is seen
        visual("html", "<p>x").beside(json!({ "url": null })).code("request_not_valid \"value\" must contain at least one of [html, url, markdown]", "ok"),
        visual("dark_mode", true).told("dark", "false", "true"),
        visual("reduced_motion", true).told("reduced", "false", "true"),
        visual("media_type", "print").told("print", "false", "true"),
        image("vision_deficiency", "achromatopsia").page("<body bgcolor=red>").look(|t| (t.pixel(9, 9) == "#ff0000").to_string(), "true", "false"),
        image("clip_x", 150).page("<div style='height:300px;background:linear-gradient(90deg,red 100px,lime 100px)'>").pixel(9, 9, "#ff0000", "#00ff00"),
        image("clip_y", 60).page("<div style='height:300px;background:linear-gradient(red 50px,lime 50px)'>").pixel(9, 9, "#ff0000", "#00ff00"),
        image("clip_width", 50).size("200x100", "50x100"),
        image("clip_height", 50).size("200x100", "200x50"),

        // Image
        image("format", "webp").header("content-type", "image/jpeg", "image/webp"),
        image("image_quality", 1).beside(json!({ "format": "jpg" })).page(NOISE).look(|t| (t.answer.body.len() < 6_000).to_string(), "false", "true"),
        image("image_width", 100).size("200x100", "100x50"),
        image("image_height", 20).size("200x100", "40x20"),
        image("omit_background", true).pixel(190, 90, "#ffffff", "#00000000"),
        image("full_page", true).page(TALL).size("200x100", "200x300"),
        image("full_page_scroll", true).beside(json!({ "full_page": true })).page(TALL).times("scrolled", "0", "1"),
        image("full_page_scroll_by_amount", 10).beside(json!({ "full_page": true, "full_page_scroll": true, "full_page_scroll_by_duration": 20 })).page(TALL).times("scrolled-often", "0", "1"),
        image("full_page_scroll_by_duration", 1000).beside(json!({ "full_page": true, "full_page_scroll": true, "full_page_scroll_by_duration": 20 })).page(TALL).look(|t| (t.times("scrolled-slowly") != "0").to_string(), "false", "true"),
        image("metadata_image_size", true).header("x-screenshotmax-image-width", "", "200"),

        // Paper
        row(PAPER, "clip_x", 140).beside(json!({ "clip_y": 50, "clip_width": 50, "clip_height": 50 })).page(SPOT).look(has_picture, "false", "true"),
        row(PAPER, "clip_y", 50).beside(json!({ "clip_x": 140, "clip_width": 50, "clip_height": 50 })).page(SPOT).look(has_picture, "false", "true"),
        row(PAPER, "clip_width", 100).look(Taken::paper, "612x792 x1", "75x75 x1"),
        row(PAPER, "clip_height", 50).look(Taken::paper, "612x792 x1", "150x38 x1"),
        row(PAPER, "pdf_paper_format", "legal").look(Taken::paper, "612x792 x1", "612x1008 x1"),
        row(PAPER, "pdf_landscape", true).look(Taken::paper, "612x792 x1", "792x612 x1"),
        row(PAPER, "pdf_print_background", true).page(BACKGROUND).look(has_picture, "false", "true"),

        // Text
        row(TEXT, "format", "md").look(|t| t.answer.header("content-type").contains("markdown").to_string(), "false", "true"),
        row(TEXT, "js_enabled", false).page("<script>document.write('written')</script>").look(|t| t.answer.text().contains("<body>written").to_string(), "true", "false"),
    ]
}
