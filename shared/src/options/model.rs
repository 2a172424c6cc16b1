//! Checked options: what a render, its storage and its notification are asked to do, in no dialect's words.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use super::animation::{Animation, AspectRatio, Scroll};
pub use super::format::{Format, Medium};
pub use super::pdf::Pdf;
use crate::secret::Secret;

/// All options of a request. The defaults are the endpoint's ([`crate::request::Endpoint::defaults`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    pub source: Source,
    pub output: Output,
    pub pdf: Pdf,
    /// Set for what is recorded rather than taken.
    pub animation: Option<Animation>,
    pub viewport: Viewport,
    pub emulation: Emulation,
    pub capture: Capture,
    pub page: PageChanges,
    pub blocking: Blocking,
    pub metadata: MetadataOptions,
    pub network: Network,
    pub wait: Wait,
    pub fail: FailureConditions,
    pub delivery: Delivery,
}

/// What is rendered. A URL wins over HTML, and HTML over Markdown, where more than one is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Source {
    /// Serialised by a WHATWG parser; never the caller's own spelling.
    pub url: Option<String>,
    pub html: Option<String>,
    pub markdown: Option<String>,
    /// The page's own scripts do not run.
    pub without_javascript: bool,
}

impl Source {
    /// The address, or what stands in for one in a list of requests.
    pub fn label(&self) -> &str {
        match (&self.url, &self.html) {
            (Some(url), _) => url,
            (None, Some(_)) => "html",
            (None, None) => "markdown",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Output {
    pub format: Format,
    /// 0..=100, for formats that lose.
    pub quality: u8,
    pub omit_background: bool,
    /// The picture is made to fit inside, in pixels; it is never enlarged.
    pub width_max: Option<u32>,
    pub height_max: Option<u32>,
    /// Say how large the picture is.
    pub tell_size: bool,
    /// In HTML: open shadow roots too.
    pub include_shadow_dom: bool,
}

impl Default for Output {
    fn default() -> Output {
        Output {
            format: Format::Jpeg,
            quality: 80,
            omit_background: false,
            width_max: None,
            height_max: None,
            tell_size: false,
            include_shadow_dom: false,
        }
    }
}

/// The emulated screen, in CSS pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Viewport {
    pub width: u32,
    pub height: u32,
    pub device_scale_factor: f64,
    pub mobile: bool,
    pub touch: bool,
    pub landscape: bool,
}

impl Default for Viewport {
    fn default() -> Viewport {
        Viewport { width: 1280, height: 1024, device_scale_factor: 1.0, mobile: false, touch: false, landscape: false }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Emulation {
    pub dark_mode: Option<bool>,
    pub reduced_motion: Option<bool>,
    /// Bring all motion to a halt before the picture.
    pub reduce_motion: bool,
    /// `screen` or `print`.
    pub media_type: Option<String>,
    /// In CDP's names (`achromatopsia`, `blurredVision`, …).
    pub vision_deficiency: Option<String>,
    /// IANA name.
    pub time_zone: Option<String>,
    pub geolocation: Geolocation,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Geolocation {
    pub latitude: Option<f64>,
    pub longitude: Option<f64>,
    /// Metres.
    pub accuracy: Option<f64>,
}

/// Which part of the page, in CSS pixels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capture {
    pub full_page: bool,
    /// Scroll through a full page first, so that lazy images load. On by default with `full_page`.
    pub full_page_scroll: Option<bool>,
    pub full_page_scroll_delay_ms: u32,
    pub full_page_scroll_by: Option<u32>,
    pub full_page_max_height: Option<u32>,
    /// Scroll from section to section and take what is seen, for pages that draw only that.
    pub full_page_by_sections: bool,
    /// Also cut a full page into slices.
    pub full_page_slices: bool,
    pub full_page_slice_height: u32,
    pub full_page_slice_overlap: u32,
    /// Take what lies outside the viewport. On by default; without it a full page enlarges the viewport instead, and
    /// anything else is cut at its edges.
    pub beyond_viewport: Option<bool>,
    /// CSS selector of the one element to take.
    pub selector: Option<String>,
    /// Scroll to the element first, so that it takes its final looks.
    pub selector_scroll_into_view: bool,
    pub error_on_selector_not_found: bool,
    /// CSS selector of the element to scroll to the top of the viewport.
    pub scroll_into_view: Option<String>,
    /// Pixels to scroll on from there.
    pub scroll_into_view_adjust_top: i32,
    pub clip: Clip,
}

/// A rectangle of the page; what is not given is the viewport's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Clip {
    pub x: Option<u32>,
    pub y: Option<u32>,
    pub width: Option<u32>,
    pub height: Option<u32>,
}

impl Clip {
    pub fn is_given(&self) -> bool {
        *self != Clip::default()
    }
}

/// What is done to the page before the picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PageChanges {
    /// JavaScript, run after the page was ready.
    pub scripts: Option<String>,
    /// What to wait for after the scripts, which may then lead the page elsewhere.
    pub scripts_wait_until: Vec<WaitUntil>,
    /// CSS, added after the page was ready.
    pub styles: Option<String>,
    pub hide_selectors: Vec<String>,
    pub click: Option<String>,
    pub error_on_click_selector_not_found: bool,
    pub hover: Option<String>,
    pub error_on_hover_selector_not_found: bool,
}

/// What is kept out of the page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Blocking {
    pub ads: bool,
    pub trackers: bool,
    pub cookie_banners: bool,
    /// Banners that no list knows, by how they look.
    pub banners_by_heuristics: bool,
    pub chats: bool,
    pub socials: bool,
    pub annoyances: bool,
    /// URLs, domains, or patterns with `*`.
    pub requests: Vec<String>,
    /// In the vendors' names (`image`, `texttrack`, …).
    pub resources: Vec<String>,
}

/// What is told about the page beside its picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetadataOptions {
    pub icon: bool,
    pub open_graph: bool,
    pub page_title: bool,
    pub fonts: bool,
    pub status_code: bool,
    pub headers: bool,
    /// SHA-256 of the file.
    pub hash: bool,
    /// Keep the content as a file of its own.
    pub content: bool,
    pub content_format: ContentFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentFormat {
    #[default]
    Html,
    Markdown,
}

impl ContentFormat {
    pub const fn name(self) -> &'static str {
        match self {
            ContentFormat::Html => "html",
            ContentFormat::Markdown => "markdown",
        }
    }

    pub const fn extension(self) -> &'static str {
        match self {
            ContentFormat::Html => "html",
            ContentFormat::Markdown => "md",
        }
    }

    pub const fn content_type(self) -> &'static str {
        match self {
            ContentFormat::Html => "text/html; charset=utf-8",
            ContentFormat::Markdown => "text/markdown; charset=utf-8",
        }
    }
}

/// What goes out to a page's host. Most of it opens somebody's doors, so `Debug` shows how much there is, and nothing of it.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    pub user_agent: Option<String>,
    /// Value of the `Authorization` header.
    pub authorization: Option<Secret>,
    /// `Name:Value` each.
    pub headers: Vec<Secret>,
    /// `name=value; Domain=…; Secure; HttpOnly` each.
    pub cookies: Vec<Secret>,
    pub bypass_csp: bool,
    /// The caller's own proxy, a URL with its credentials.
    pub proxy: Option<Secret>,
    /// Names, or patterns with `*`, that are reached without it.
    pub proxy_bypass_hosts: Vec<String>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("user_agent", &self.user_agent)
            .field("authorization", &self.authorization.is_some())
            .field("headers", &self.headers.len())
            .field("cookies", &self.cookies.len())
            .field("bypass_csp", &self.bypass_csp)
            .field("proxy", &self.proxy)
            .field("proxy_bypass_hosts", &self.proxy_bypass_hosts)
            .finish()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WaitUntil {
    Load,
    DomContentLoaded,
    NetworkIdle0,
    NetworkIdle2,
}

impl WaitUntil {
    pub(crate) const NAMES: &'static [&'static str] = &["load", "domcontentloaded", "networkidle0", "networkidle2"];

    pub(crate) fn from_names(names: Vec<String>) -> Vec<WaitUntil> {
        let known = |name: String| match name.as_str() {
            "load" => Some(WaitUntil::Load),
            "domcontentloaded" => Some(WaitUntil::DomContentLoaded),
            "networkidle0" => Some(WaitUntil::NetworkIdle0),
            "networkidle2" => Some(WaitUntil::NetworkIdle2),
            _ => None,
        };
        names.into_iter().filter_map(known).collect()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wait {
    /// All of them must have happened.
    pub until: Vec<WaitUntil>,
    /// After that, seconds.
    pub delay_s: u32,
    /// The whole render, seconds. None: the mode's default (60, asynchronous 600).
    pub timeout_s: Option<u32>,
    /// The first answer of the page's host, seconds.
    pub navigation_timeout_s: u32,
    /// CSS selector that must be in the document.
    pub for_selector: Option<String>,
    /// As many matches as the selector has comma-separated parts, rather than one.
    pub for_selector_by_count: bool,
}

impl Default for Wait {
    fn default() -> Wait {
        Wait {
            until: vec![WaitUntil::Load],
            delay_s: 0,
            timeout_s: None,
            navigation_timeout_s: 30,
            for_selector: None,
            for_selector_by_count: false,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailureConditions {
    /// Take the page whatever status its host answered.
    pub ignore_host_errors: bool,
    /// Case-insensitive texts.
    pub content_contains: Vec<String>,
    pub content_missing: Vec<String>,
    /// URLs, domains, or patterns with `*`, of requests that must not fail.
    pub request_failed: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseType {
    /// The file itself.
    #[default]
    ByFormat,
    /// Headers only.
    Empty,
    /// A JSON object with the links.
    Json,
}

/// How the result reaches its caller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Delivery {
    /// Answer at once, render in the background.
    pub asynchronous: bool,
    pub response_type: ResponseType,
    pub webhook: Webhook,
    pub store: Store,
    pub cache: Cache,
    /// File name offered for download, without its extension.
    pub attachment_name: Option<String>,
    /// Echoed in the webhook's headers.
    pub external_identifier: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Webhook {
    pub url: Option<String>,
    pub sign: bool,
    /// Send failures as well (ScreenshotOne's switch; the other dialect always does).
    pub errors: bool,
}

impl Default for Webhook {
    fn default() -> Webhook {
        Webhook { url: None, sign: true, errors: false }
    }
}

/// Giving the same answer again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cache {
    pub enabled: bool,
    /// Seconds; the dialects differ in the default.
    pub ttl_s: u32,
    /// Keeps apart what would be the same otherwise.
    pub key: Option<String>,
}

/// Keeping the file under a path of the caller's choice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Store {
    pub enabled: bool,
    /// Without its extension.
    pub path: Option<String>,
    pub return_location: bool,
    /// The caller's own bucket; None: ours.
    pub bucket: Option<String>,
    /// Address of an S3 service; None: Amazon's.
    pub endpoint: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<Secret>,
    /// `public-read`
    pub acl: Option<String>,
    /// In lower case.
    pub class: Option<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            source: Source::default(),
            output: Output::default(),
            pdf: Pdf::default(),
            animation: None,
            viewport: Viewport::default(),
            emulation: Emulation::default(),
            capture: Capture {
                full_page_scroll_delay_ms: 400,
                full_page_slice_height: 4000,
                selector_scroll_into_view: true,
                ..Capture::default()
            },
            page: PageChanges {
                error_on_click_selector_not_found: true,
                error_on_hover_selector_not_found: true,
                ..PageChanges::default()
            },
            blocking: Blocking::default(),
            metadata: MetadataOptions::default(),
            network: Network::default(),
            wait: Wait::default(),
            fail: FailureConditions::default(),
            delivery: Delivery::default(),
        }
    }
}

impl Options {
    /// Seconds that the render may take, waiting for its turn not included. A recording takes its own time besides.
    pub fn timeout_s(&self) -> u32 {
        let recording_s = self.animation.as_ref().map_or(0, |animation| animation.duration_ms.div_ceil(1_000));
        self.wait.timeout_s.unwrap_or(if self.delivery.asynchronous { 600 } else { 60 }) + recording_s
    }
}

/// What in the options opens somebody else's doors. It is kept apart from them at rest, and sealed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Secrets {
    storage: Option<Secret>,
    authorization: Option<Secret>,
    headers: Vec<Secret>,
    cookies: Vec<Secret>,
    proxy: Option<Secret>,
}

impl Options {
    /// Moves the secrets out.
    pub fn take_secrets(&mut self) -> Secrets {
        Secrets {
            storage: self.delivery.store.secret_access_key.take(),
            authorization: self.network.authorization.take(),
            headers: std::mem::take(&mut self.network.headers),
            cookies: std::mem::take(&mut self.network.cookies),
            proxy: self.network.proxy.take(),
        }
    }

    /// Moves them back in.
    pub fn put_secrets(&mut self, secrets: Secrets) {
        self.delivery.store.secret_access_key = secrets.storage;
        self.network.authorization = secrets.authorization;
        self.network.headers = secrets.headers;
        self.network.cookies = secrets.cookies;
        self.network.proxy = secrets.proxy;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_leave_the_options_and_come_back() {
        let mut options = Options::default();
        options.delivery.store.secret_access_key = Some(Secret::new("door-1"));
        options.network.authorization = Some(Secret::new("door-2"));
        options.network.headers = vec![Secret::new("X-Key: door-3")];
        options.network.cookies = vec![Secret::new("a=door-4")];
        options.network.proxy = Some(Secret::new("http://a:door-5@proxy.example/"));
        assert!(!format!("{options:?}{options:#?}").contains("door"));
        let before = options.clone();
        let secrets = options.take_secrets();
        assert!(!serde_json::to_string(&options).unwrap().contains("door"));
        assert!(!format!("{secrets:?}").contains("door"));
        options.put_secrets(secrets);
        assert_eq!(options, before);
    }
}
