//! The rows of ScreenshotOne's `/take`.

use serde_json::{Value as Json, json};
use snaphook_shared::request::Endpoint;

use super::lab::Taken;
use super::pages::{BACKGROUND, BANDS, BLOCKS, COVERED, LATE, NO_PROXY, NOISE, PLACE, SHADOW, TALL};
use super::{Row, row};

const TAKE: &[Endpoint] = &[Endpoint::Take];

fn one(name: &'static str, value: impl Into<Json>) -> Row {
    row(TAKE, name, value)
}

fn paper(name: &'static str, value: impl Into<Json>) -> Row {
    one(name, value).beside(json!({ "format": "pdf" }))
}

/// A row over a file that goes to the bucket.
fn stored(name: &'static str, value: impl Into<Json>, more: Json) -> Row {
    let mut options = json!({
        "store": true, "storage_path": "a", "storage_bucket": "shots", "storage_endpoint": "{base}/s3",
        "storage_access_key_id": "AK1", "storage_secret_access_key": "SK1",
    });
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    one(name, value).beside(options)
}

fn stored_path(taken: &Taken) -> String {
    taken.stored().map_or_else(|| taken.code(), |object| object.path.clone())
}

fn stored_header(name: &'static str) -> impl Fn(&Taken) -> String {
    move |taken| {
        let value = taken.stored().and_then(|object| object.headers.get(name)?.to_str().ok());
        value.unwrap_or_default().to_owned()
    }
}

/// A row over an asynchronous request and its webhook.
fn hooked(name: &'static str, value: impl Into<Json>) -> Row {
    one(name, value).beside(json!({ "async": true, "webhook_url": "{base}/hook" }))
}

fn hook_header(name: &'static str) -> impl Fn(&Taken) -> String {
    move |taken| {
        let value = taken.hook().and_then(|hook| hook.headers.get(name)?.to_str().ok());
        value.unwrap_or_default().to_owned()
    }
}

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    vec![
        // Source and output
        one("url", "{base}/").beside(json!({ "html": "<body bgcolor=red>" })).page("<body bgcolor=lime>").pixel(9, 9, "#ff0000", "#00ff00"),
        one("html", "<body bgcolor=lime>").beside(json!({ "url": null, "markdown": "text" })).pixel(190, 90, "#ffffff", "#00ff00"),
        one("markdown", "# x").beside(json!({ "url": null })).code("request_not_valid \"value\" must contain at least one of [html, url, markdown]", "ok"),
        one("format", "webp").header("content-type", "image/jpeg", "image/webp"),
        one("response_type", "json").header("content-type", "image/png", "application/json"),
        one("selector", "#a").page("<p id=a style='margin:9px;width:50px;height:20px'>").size("200x100", "50x20"),
        one("selector_algorithm", "clip").beside(json!({ "selector": "#d" })).page(COVERED).pixel(9, 9, "#00ff00", "#ff0000"),
        one("selector_scroll_into_view", false).beside(json!({ "selector": "#d" })).page(COVERED).pixel(9, 9, "#00ff00", "#ff0000"),
        one("error_on_selector_not_found", true).beside(json!({ "selector": "#no" })).code("ok", "selector_not_found"),
        one("capture_beyond_viewport", false).beside(json!({ "selector": "#a" })).page("<p id=a style='margin:0;width:50px;height:300px'>").size("50x300", "50x100"),
        one("scroll_into_view", "#b").page(BANDS).pixel(5, 1, "#ff0000", "#00ff00"),
        one("scroll_into_view_adjust_top", -30).beside(json!({ "scroll_into_view": "#b" })).page(BANDS).pixel(5, 1, "#00ff00", "#ff0000"),
        one("include_shadow_dom", true).beside(json!({ "format": "html" })).page(SHADOW).look(|t| t.answer.text().contains("shadowrootmode").to_string(), "false", "true"),
        one("attachment_name", "shot").look(|t| t.header("content-disposition").contains("filename=\"shot.png\"").to_string(), "false", "true"),
        hooked("external_identifier", "mine7").look(hook_header("x-screenshotone-external-identifier"), "", "mine7"),

        // Image, clip, full page
        one("image_quality", 1).beside(json!({ "format": "jpg" })).page(NOISE).look(|t| (t.answer.body.len() < 6_000).to_string(), "false", "true"),
        one("image_width", 100).size("200x100", "100x50"),
        one("image_height", 20).size("200x100", "40x20"),
        one("omit_background", true).pixel(190, 90, "#ffffff", "#00000000"),
        one("clip_x", 150).page("<div style='height:300px;background:linear-gradient(90deg,red 100px,lime 100px)'>").pixel(9, 9, "#ff0000", "#00ff00"),
        one("clip_y", 60).page("<div style='height:300px;background:linear-gradient(red 50px,lime 50px)'>").pixel(9, 9, "#ff0000", "#00ff00"),
        one("clip_width", 50).size("200x100", "50x100"),
        one("clip_height", 50).size("200x100", "200x50"),
        one("full_page", true).page(TALL).size("200x100", "200x300"),
        one("full_page_scroll", false).beside(json!({ "full_page": true })).page(TALL).times("scrolled", "1", "0"),
        one("full_page_scroll_delay", 1000).beside(json!({ "full_page": true, "full_page_scroll_delay": 100 })).page(TALL).look(|t| (t.times("scrolled-slowly") != "0").to_string(), "false", "true"),
        one("full_page_scroll_by", 10).beside(json!({ "full_page": true, "full_page_scroll_delay": 100 })).page(TALL).times("scrolled-often", "0", "1"),
        one("full_page_max_height", 150).beside(json!({ "full_page": true })).page(TALL).size("200x300", "200x150"),
        one("full_page_algorithm", "by_sections").beside(json!({ "full_page": true, "full_page_scroll": false })).page(TALL).times("scrolled", "0", "1"),
        one("full_page_slices", true).beside(json!({ "full_page": true })).page(TALL).look(|t| (!t.header("x-screenshotone-full-page-slices-url").is_empty()).to_string(), "false", "true"),
        one("full_page_slice_height", 100).beside(json!({ "full_page": true, "full_page_slices": true, "response_type": "json" })).page(TALL).json("/slices/2/offset_y", "nothing", "200"),
        one("full_page_slice_overlap_height", 50).beside(json!({ "full_page": true, "full_page_slices": true, "full_page_slice_height": 150, "response_type": "json" })).page(TALL).json("/slices/1/offset_y", "150", "100"),

        // PDF
        paper("pdf_print_background", true).page(BACKGROUND).look(|t| t.answer.text().contains("/Subtype /Image").to_string(), "false", "true"),
        paper("pdf_fit_one_page", true).page("<div style='height:2000px'>x").look(Taken::paper, "612x792 x2", "150x1501 x1"),
        paper("pdf_landscape", true).look(Taken::paper, "612x792 x1", "792x612 x1"),
        paper("pdf_paper_format", "legal").look(Taken::paper, "612x792 x1", "612x1008 x1"),
        paper("pdf_margin", "3in").page("<div style='height:1400px'>x").look(Taken::paper, "612x792 x2", "612x792 x3"),
        paper("pdf_margin_top", "5in").page("<div style='height:1400px'>x").look(Taken::paper, "612x792 x2", "612x792 x3"),
        paper("pdf_margin_bottom", "5in").page("<div style='height:1400px'>x").look(Taken::paper, "612x792 x2", "612x792 x3"),
        paper("pdf_margin_left", "4in").page(BLOCKS).look(Taken::paper, "612x792 x1", "612x792 x2"),
        paper("pdf_margin_right", "4in").page(BLOCKS).look(Taken::paper, "612x792 x1", "612x792 x2"),

        // Viewport and emulation
        one("viewport_device", "iphone_13_pro").told("scale", "1", "3"),
        one("viewport_width", 320).told("width", "1280", "320"),
        one("viewport_height", 333).told("height", "1024", "333"),
        one("device_scale_factor", 2).size("200x100", "400x200"),
        one("viewport_mobile", true).page("<meta name=viewport content='width=500'><div style='width:100px;height:900px;background:red'>").pixel(60, 9, "#ff0000", "#ffffff"),
        one("viewport_has_touch", true).told("touch", "false", "true"),
        one("viewport_landscape", true).told("landscape", "false", "true"),
        one("dark_mode", true).pixel(190, 9, "#ffffff", "#000000"),
        one("reduced_motion", true).told("reduced", "false", "true"),
        one("reduce_motion", true).page("<style>@keyframes go { from { background:#f00 } to { background:#0f0 } } body { animation: go 60s forwards }</style>").look(|t| (t.pixel(9, 9) == "#00ff00").to_string(), "false", "true"),
        one("media_type", "print").pixel(190, 40, "#ffffff", "#0000ff"),

        // Customisation and blocking
        one("scripts", "document.body.style.background = '#0f0'").page("x").pixel(190, 90, "#ffffff", "#00ff00"),
        one("scripts_wait_until", json!(["load"])).beside(json!({ "scripts": "location.href = '{base}/?next'" })).code("script_triggers_redirect", "ok"),
        one("styles", "body { background: #0f0 }").page("x").pixel(190, 90, "#ffffff", "#00ff00"),
        one("hide_selectors", json!(["#a"])).page("<div id=a style='height:99px;background:red'>").pixel(9, 9, "#ff0000", "#ffffff"),
        one("click", "#a").told("clicked", "nothing; ok", "true"),
        one("hover", "#a").page("<style>#a{height:99px} #a:hover{background:lime}</style><div id=a>").pixel(9, 9, "#ffffff", "#00ff00"),
        one("error_on_click_selector_not_found", false).beside(json!({ "click": "#no" })).code("selector_not_found", "ok"),
        one("error_on_hover_selector_not_found", false).beside(json!({ "hover": "#no" })).code("selector_not_found", "ok"),
        one("block_cookie_banners", true).page("<div id=onetrust-banner-sdk style='position:fixed;inset:0;background:red'>We use cookies</div>").pixel(150, 80, "#ff0000", "#ffffff"),
        one("block_banners_by_heuristics", true).page("<div style='position:fixed;inset:0;background:red;z-index:9'>Subscribe to our newsletter <button>Go</button></div>").pixel(150, 80, "#ff0000", "#ffffff"),
        one("block_chats", true).page("<div class=crisp-client style='height:99px;background:red'>").pixel(9, 9, "#ff0000", "#ffffff"),
        one("block_ads", true).page("<script src='{base}/pagead/js/paint.js'></script>").times("pagead/js/paint.js", "1", "0"),
        one("block_trackers", true).page("<script src='{base}/gtm.js?id=1'></script>").times("gtm.js", "1", "0"),
        one("block_socials", true).page("<div class=fb-like style='height:99px;background:red'>").pixel(9, 9, "#ff0000", "#ffffff"),
        one("block_annoyances", true).page("<div class=smart-app-banner style='height:99px;background:red'>").pixel(9, 9, "#ff0000", "#ffffff"),
        one("block_requests", json!(["*/paint.js"])).page("<script src='{base}/paint.js'></script>").times("paint.js", "1", "0"),
        one("block_resources", json!(["script"])).page("<script src='{base}/paint.js'></script>").times("paint.js", "1", "0"),

        // Request and location
        one("user_agent", "Own/1").look(|t| (t.sent("", "user-agent") == "Own/1").to_string(), "false", "true"),
        one("authorization", "Bearer x").sent("authorization", "", "Bearer x"),
        one("headers", json!(["X-Mine: yes"])).sent("x-mine", "", "yes"),
        one("cookies", json!(["c=1"])).sent("cookie", "", "c=1"),
        one("proxy", NO_PROXY).code("ok", "request_not_valid \"proxy\" cannot be reached"),
        one("proxy_bypass_hosts", json!(["127.*"])).beside(json!({ "proxy": NO_PROXY })).code("request_not_valid \"proxy\" cannot be reached", "ok"),
        one("geolocation_latitude", 48.5).beside(json!({ "geolocation_latitude": 1, "geolocation_longitude": 2, "delay": 1 })).page(PLACE).told("latitude", "1", "48.5"),
        one("geolocation_longitude", 9.25).beside(json!({ "geolocation_latitude": 1, "geolocation_longitude": 2, "delay": 1 })).page(PLACE).told("longitude", "2", "9.25"),
        one("geolocation_accuracy", 7).beside(json!({ "geolocation_latitude": 1, "geolocation_longitude": 2, "delay": 1 })).page(PLACE).told("accuracy", "50", "7"),
        one("time_zone", "Pacific/Auckland").told("zone", "+00:00", "Pacific/Auckland"),
        one("bypass_csp", true).beside(json!({ "url": "{base}/strict" })).page("<body><script>document.body.style.background = '#0f0'</script>").pixel(9, 9, "#ffffff", "#00ff00"),

        // Waiting and failing
        one("wait_until", json!(["networkidle0"])).page("<body><script>onload = () => document.body.append(Object.assign(document.createElement('script'), { src: '{base}/slow.js' }))</script>").pixel(9, 9, "#ffffff", "#00ff00"),
        one("delay", 2).page(LATE).pixel(190, 90, "#ff0000", "#00ff00"),
        one("timeout", 1).beside(json!({ "delay": 3 })).code("ok", "timeout_error"),
        one("navigation_timeout", 1).beside(json!({ "url": "{base}/late" })).code("ok", "timeout_error"),
        one("wait_for_selector", "#late").page(LATE).pixel(190, 90, "#ff0000", "#00ff00"),
        one("wait_for_selector_algorithm", "at_least_by_count").beside(json!({ "wait_for_selector": "body, #late" })).page(LATE).pixel(190, 90, "#ff0000", "#00ff00"),
        one("fail_if_content_contains", json!(["second"])).code("ok", "content_contains_specified_string"),
        one("fail_if_content_missing", json!(["third"])).code("ok", "content_missing_specified_string"),
        one("fail_if_request_failed", json!(["*.png"])).page("<img src={base}/gone.png>").code("ok", "matched_failed_request"),
        one("ignore_host_errors", true).beside(json!({ "url": "{base}/broken" })).code("host_returned_error", "ok"),

        // Cache, store, async, metadata
        one("cache", true).header("x-snaphook-cache", "", "miss"),
        one("cache_ttl", 2_592_000).beside(json!({ "cache": true, "async": true })).look(Taken::file_days, "7", "30"),
        one("cache_key", "b").beside(json!({ "url": null, "html": "<p>same", "cache": true })).after_itself().header("x-snaphook-cache", "hit", "miss"),
        stored("store", true, json!({ "store": null })).look(stored_path, "request_not_valid \"storage_path\" is not allowed", "s3/shots/a.png"),
        stored("storage_path", "b/c", json!({})).look(stored_path, "s3/shots/a.png", "s3/shots/b/c.png"),
        stored("storage_bucket", "others", json!({})).look(stored_path, "s3/shots/a.png", "s3/others/a.png"),
        stored("storage_endpoint", "{base}/s3/two", json!({})).look(stored_path, "s3/shots/a.png", "s3/two/shots/a.png"),
        stored("storage_access_key_id", "AK2", json!({})).look(|t| stored_header("authorization")(t).contains("Credential=AK2/").to_string(), "false", "true"),
        stored("storage_secret_access_key", "s3-secret", json!({ "storage_endpoint": "{s3}", "storage_access_key_id": "AKID" })).code("storage_access_denied", "ok"),
        stored("storage_acl", "public-read", json!({})).look(stored_header("x-amz-acl"), "", "public-read"),
        stored("storage_class", "glacier", json!({})).look(stored_header("x-amz-storage-class"), "", "GLACIER"),
        stored("storage_return_location", true, json!({})).header("x-screenshotone-store-location", "", "{base}/s3/shots/a.png"),
        one("async", true).look(|t| t.answer.status.as_u16().to_string(), "200", "202"),
        one("webhook_url", "{base}/hook").beside(json!({ "async": true })).times("hook", "0", "1"),
        hooked("webhook_sign", false).look(|t| t.hook().is_some_and(|hook| hook.headers.contains_key("x-screenshotone-signature")).to_string(), "true", "false"),
        one("webhook_errors", true).beside(json!({ "async": true, "webhook_url": "{base}/hook", "url": "{base}/broken" })).times("hook", "0", "1"),
        one("metadata_image_size", true).header("x-screenshotone-image-width", "", "200"),
        one("metadata_fonts", true).look(|t| t.header("x-screenshotone-fonts").contains("First Font").to_string(), "false", "true"),
        one("metadata_content", true).look(|t| (!t.header("x-screenshotone-content-url").is_empty()).to_string(), "false", "true"),
        one("metadata_content_format", "markdown").beside(json!({ "metadata_content": true, "response_type": "json" })).json("/content/format", "html", "markdown"),
        one("metadata_page_title", true).header("x-screenshotone-page-title", "", "Probe"),
        one("metadata_open_graph", true).header("x-screenshotone-open-graph", "", "{\"title\":\"Graph\"}"),
        one("metadata_icon", true).look(|t| t.header("x-screenshotone-icon").contains("{base}/icon.png").to_string(), "false", "true"),
        one("metadata_http_response_status_code", true).header("x-screenshotone-http-response-status-code", "", "200"),
        one("metadata_http_response_headers", true).look(|t| t.header("x-screenshotone-http-response-headers").contains("\"x-custom\":\"hello\"").to_string(), "false", "true"),
    ]
}
