//! What must hold before the first request of a page: its screen, its agent, its cookies, what is done with its requests.

use std::sync::Arc;

use chromiumoxide::cdp::browser_protocol::dom::Rgba;
use chromiumoxide::cdp::browser_protocol::emulation::{
    MediaFeature, ScreenOrientation, ScreenOrientationType, SetDefaultBackgroundColorOverrideParams,
    SetDeviceMetricsOverrideParams, SetEmulatedMediaParams, SetEmulatedVisionDeficiencyParams,
    SetEmulatedVisionDeficiencyType, SetGeolocationOverrideParams, SetLocaleOverrideParams,
    SetScriptExecutionDisabledParams, SetTimezoneOverrideParams, SetTouchEmulationEnabledParams,
    SetUserAgentOverrideParams,
};
use chromiumoxide::cdp::browser_protocol::fetch::EnableParams as FetchEnableParams;
use chromiumoxide::cdp::browser_protocol::inspector::EnableParams as InspectorEnableParams;
use chromiumoxide::cdp::browser_protocol::network::{
    CookieParam, EnableParams as NetworkEnableParams, SetCookiesParams,
};
use chromiumoxide::cdp::browser_protocol::page::{
    AddScriptToEvaluateOnNewDocumentParams, EnableParams as PageEnableParams, SetBypassCspParams,
    SetLifecycleEventsEnabledParams,
};
use chromiumoxide::cdp::js_protocol::runtime::RunIfWaitingForDebuggerParams;
use futures::future::{FutureExt, TryFutureExt};
use snaphook_shared::code::Code;
use snaphook_shared::options::model::{Medium, Options};
use snaphook_shared::secret::Secret;

use super::super::blocking::Blocklists;
use super::super::events::{Interception, auto_attach};
use super::super::markdown;
use super::super::patterns::UrlPattern;
use super::super::video::SetVisibleSize;
use super::opening::HTML_ADDRESS;
use super::{Order, Page, address};
use crate::domain::failure::Failure;

const BEFORE: &str = include_str!("../js/before.js");

impl Page<'_> {
    /// Sends everything that must hold before the first request of the page, which waits for the last of it. It goes
    /// together: the browser obeys in the order in which it was told, but answers some of it only when the page has begun.
    pub(super) fn prepare(&self, intercept: Option<FetchEnableParams>) -> Result<Vec<Order>, Failure> {
        let options = self.options;
        let viewport = &options.viewport;
        let mut orders = vec![
            self.order(PageEnableParams::default()),
            self.order(SetLifecycleEventsEnabledParams::new(true)),
            self.order(NetworkEnableParams::default()),
            self.order(InspectorEnableParams::default()),
            self.order(auto_attach()),
            self.screen(viewport.width, viewport.height).boxed(),
        ];
        if viewport.touch {
            orders.push(self.order(SetTouchEmulationEnabledParams::new(true)));
        }
        orders.extend(self.media().map(|media| self.order(media)));
        if let Some(deficiency) = &options.emulation.vision_deficiency {
            let kind: SetEmulatedVisionDeficiencyType =
                deficiency.parse().map_err(|_| Failure::internal("unknown vision deficiency"))?;
            orders.push(self.order(SetEmulatedVisionDeficiencyParams::new(kind)));
        }
        if let Some(zone) = &options.emulation.time_zone {
            let refused = || Failure::invalid("time_zone", "\"time_zone\" is not a known time zone");
            orders.push(self.order_or(SetTimezoneOverrideParams::new(zone), refused));
        }
        let location = &options.emulation.geolocation;
        if let (Some(latitude), Some(longitude)) = (location.latitude, location.longitude) {
            orders.push(self.order(SetGeolocationOverrideParams {
                latitude: Some(latitude),
                longitude: Some(longitude),
                accuracy: Some(location.accuracy.unwrap_or(50.0)),
                ..SetGeolocationOverrideParams::default()
            }));
        }
        if options.source.without_javascript {
            orders.push(self.order(SetScriptExecutionDisabledParams::new(true)));
        }
        if options.output.omit_background {
            let color = Some(Rgba { r: 0, g: 0, b: 0, a: Some(0.0) });
            orders.push(self.order(SetDefaultBackgroundColorOverrideParams { color }));
        }
        orders.extend(intercept.map(|enable| self.order(enable)));
        // Handshakes of WebSockets are never paused, so they are kept out from within.
        let web_sockets = !options.blocking.resources.iter().any(|name| name == "websocket");
        orders.push(self.order(AddScriptToEvaluateOnNewDocumentParams::new(format!("({BEFORE})({web_sockets})"))));
        self.emulate_agent(&mut orders);
        if options.network.bypass_csp {
            orders.push(self.order(SetBypassCspParams::new(true)));
        }
        if !options.network.cookies.is_empty() {
            let cookies = cookies(&options.network.cookies, self.address())?;
            let refused = || Failure::new(Code::InvalidCookieParameter, "Chromium refused a cookie");
            orders.push(self.order_or(SetCookiesParams::new(cookies), refused));
        }
        orders.push(self.order(RunIfWaitingForDebuggerParams::default()));
        Ok(orders)
    }

    /// Gives the page a screen of this size, otherwise as the options want it.
    pub(in crate::render) async fn set_screen(&self, width: u32, height: u32) -> Result<(), Failure> {
        self.screen(width, height).await
    }

    fn screen(&self, width: u32, height: u32) -> impl Future<Output = Result<(), Failure>> + use<> {
        let viewport = &self.options.viewport;
        let mut metrics = SetDeviceMetricsOverrideParams::new(
            i64::from(width),
            i64::from(height),
            viewport.device_scale_factor,
            viewport.mobile,
        );
        metrics.screen_orientation = Some(match viewport.landscape {
            true => ScreenOrientation::new(ScreenOrientationType::LandscapePrimary, 90),
            false => ScreenOrientation::new(ScreenOrientationType::PortraitPrimary, 0),
        });
        let mut view = None;
        if self.options.medium() == Medium::Video {
            // Frames of a recording are as large as the view, and not as what is in it: so the view is made as large as the
            // device pixels, and what is in it is scaled up to fill it.
            metrics.scale = Some(viewport.device_scale_factor);
            metrics.dont_set_visible_size = Some(true);
            let pixels = |side: u32| (f64::from(side) * viewport.device_scale_factor).round() as u32;
            view = Some(SetVisibleSize { width: pixels(width), height: pixels(height) });
        }
        let orders: Vec<Order> =
            std::iter::once(self.order(metrics)).chain(view.map(|view| self.order(view))).collect();
        futures::future::try_join_all(orders).map_ok(|_| ())
    }

    fn media(&self) -> Option<SetEmulatedMediaParams> {
        let emulation = &self.options.emulation;
        let mut features = Vec::new();
        if let Some(dark) = emulation.dark_mode {
            features.push(MediaFeature::new("prefers-color-scheme", if dark { "dark" } else { "light" }));
        }
        // Where motion is to be stopped, the page is told beforehand, whatever else was said of it.
        if let Some(reduced) = emulation.reduce_motion.then_some(true).or(emulation.reduced_motion) {
            features
                .push(MediaFeature::new("prefers-reduced-motion", if reduced { "reduce" } else { "no-preference" }));
        }
        // What is going to be printed is waited for, changed and measured as print; made at its address, from its load event on.
        let printed = self.options.medium() == Medium::Document && self.tab.is_led;
        let media_type = emulation.media_type.clone().or_else(|| printed.then(|| "print".to_owned()));
        let is_wanted = !features.is_empty() || media_type.is_some();
        is_wanted.then_some(SetEmulatedMediaParams { media: media_type, features: Some(features) })
    }

    /// Shows a page as print that is going to be printed, and was made as one for the screen.
    pub(in crate::render) async fn turn_to_paper(&self) -> Result<(), Failure> {
        if self.options.medium() != Medium::Document || self.tab.is_led {
            return Ok(());
        }
        self.order(SetEmulatedMediaParams { media: Some("print".to_owned()), features: None }).await
    }

    /// The agent that the page sees, and the languages it is said to read: those of an `accept-language` header.
    fn emulate_agent(&self, orders: &mut Vec<Order>) {
        let network = &self.options.network;
        let mut headers = network.headers.iter().filter_map(|header| header.expose().split_once(':'));
        let languages = headers.find_map(|(name, value)| {
            name.trim().eq_ignore_ascii_case("accept-language").then(|| value.trim().to_owned())
        });
        if network.user_agent.is_none() && languages.is_none() {
            return;
        }
        // An empty agent is the browser's own.
        let mut agent = SetUserAgentOverrideParams::new(network.user_agent.as_deref().unwrap_or_default());
        agent.accept_language = languages.clone();
        orders.push(self.order(agent));
        let first = languages.as_deref().and_then(|text| text.split([',', ';']).next()).map(str::trim);
        if let Some(language) = first.filter(|language| !language.is_empty() && *language != "*") {
            // As ICU writes them.
            let locale = SetLocaleOverrideParams { locale: Some(language.replace('-', "_")) };
            let refused = || Failure::new(Code::InvalidHeaderParameter, "accept-language names no locale");
            orders.push(self.order_or(locale, refused));
        }
    }
}

/// What is to be done with the page's requests: blocked, answered by ourselves, given more headers.
pub(super) fn interception(
    options: &Options,
    main_frame: String,
    blocklists: Arc<Blocklists>,
) -> Result<Interception, Failure> {
    let mut extra = Vec::new();
    for header in &options.network.headers {
        let invalid = || Failure::new(Code::InvalidHeaderParameter, "a header has no name or no value");
        let (name, value) = header.expose().split_once(':').ok_or_else(invalid)?;
        let name = http::HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| invalid())?;
        let value = value.trim();
        http::HeaderValue::from_str(value).map_err(|_| invalid())?;
        extra.push((name.to_string(), value.to_owned()));
    }
    if let Some(authorization) = &options.network.authorization
        && !extra.iter().any(|(name, _)| name == "authorization")
    {
        extra.push(("authorization".to_owned(), authorization.expose().to_owned()));
    }
    let url = options.source.url.as_deref();
    let origin = origin(address(options));
    Ok(Interception {
        main_frame,
        page: address(options).to_owned(),
        blocking: options.blocking.clone(),
        blocklists,
        blocked: UrlPattern::all(&options.blocking.requests),
        needed: UrlPattern::all(&options.fail.request_failed),
        document: match (url, &options.source.html, &options.source.markdown) {
            (None, Some(html), _) => Some((HTML_ADDRESS.to_owned(), html.clone())),
            (None, None, Some(text)) => Some((HTML_ADDRESS.to_owned(), markdown::document(text))),
            _ => None,
        },
        headers: (!extra.is_empty()).then_some((origin, extra)),
    })
}

/// `https://host:port` of a serialised URL.
fn origin(url: &str) -> String {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let end =
        url.get(after_scheme..).and_then(|rest| rest.find(['/', '?', '#'])).map_or(url.len(), |at| after_scheme + at);
    url.get(..end).unwrap_or(url).to_owned()
}

/// `name=value; Domain=…; Path=…; Secure; HttpOnly; SameSite=…`, for the page's address where no domain is given.
fn cookies(texts: &[Secret], url: &str) -> Result<Vec<CookieParam>, Failure> {
    texts.iter().map(|text| cookie(text.expose(), url)).collect()
}

fn cookie(text: &str, url: &str) -> Result<CookieParam, Failure> {
    let invalid = || Failure::new(Code::InvalidCookieParameter, "a cookie has no name");
    let mut parts = text.split(';').map(str::trim);
    let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).ok_or_else(invalid)?;
    if name.is_empty() {
        return Err(invalid());
    }
    let mut cookie = CookieParam::new(name, value);
    cookie.url = Some(url.to_owned());
    for attribute in parts {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        match name.to_ascii_lowercase().as_str() {
            "domain" => cookie.domain = Some(value.to_owned()),
            "path" => cookie.path = Some(value.to_owned()),
            "secure" => cookie.secure = Some(true),
            "httponly" => cookie.http_only = Some(true),
            "samesite" => cookie.same_site = value.parse().ok(),
            _ => {}
        }
    }
    Ok(cookie)
}
