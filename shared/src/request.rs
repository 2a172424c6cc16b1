//! From a raw request to a checked one, in the order of the data's way: gate, authenticate, check.
//!
//! [`RawRequest`] is what came over the wire; [`CheckedRequest`] is what may be acted upon. [`RawRequest::authenticate`]
//! and [`RawRequest::check`] are the only way from one to the other.

use std::fmt;
use std::io::Write;

use zeroize::Zeroize;

use crate::code::{Code, Detail, Problem};
use crate::dialect::Dialect;
use crate::key::{KeyRecord, is_access_key};
use crate::limits::{BODY_BYTES_MAX, IDEMPOTENCY_KEY_CHARACTERS_MAX, QUERY_BYTES_MAX};
use crate::link::{self, LinkError};
use crate::options::fields::Fields;
use crate::options::model::{Animation, Format, Options, WaitUntil, Webhook};
use crate::options::{self, Parameter, animate, screencast, screenshotmax, screenshotone};
use crate::priority::Urgency;
use crate::route;
use crate::secret::Secret;
use crate::signing::Sha256Writer;
use crate::target::{ParseUrl, TargetPolicy, TargetRefusal, check_proxy_target, check_target};

/// A route that renders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// ScreenshotOne `/take`
    Take,
    /// ScreenshotOne `/animate`
    Animate,
    /// ScreenshotMAX `/v1/screenshot`
    Screenshot,
    /// ScreenshotMAX `/v1/pdf`
    Pdf,
    /// ScreenshotMAX `/v1/scrape`
    Scrape,
    /// ScreenshotMAX `/v1/screencast`
    Screencast,
}

impl Endpoint {
    pub const ALL: [Endpoint; 6] = [
        Endpoint::Take,
        Endpoint::Animate,
        Endpoint::Screenshot,
        Endpoint::Pdf,
        Endpoint::Scrape,
        Endpoint::Screencast,
    ];

    pub const fn path(self) -> &'static str {
        match self {
            Endpoint::Take => "/take",
            Endpoint::Animate => "/animate",
            Endpoint::Screenshot => "/v1/screenshot",
            Endpoint::Pdf => "/v1/pdf",
            Endpoint::Scrape => "/v1/scrape",
            Endpoint::Screencast => "/v1/screencast",
        }
    }

    pub fn from_path(path: &str) -> Option<Endpoint> {
        Endpoint::ALL.into_iter().find(|endpoint| endpoint.path() == path)
    }

    pub const fn dialect(self) -> Dialect {
        match self {
            Endpoint::Take | Endpoint::Animate => Dialect::ScreenshotOne,
            Endpoint::Screenshot | Endpoint::Pdf | Endpoint::Scrape | Endpoint::Screencast => Dialect::ScreenshotMax,
        }
    }

    /// The parameters this endpoint knows.
    pub fn table(self) -> &'static [&'static Parameter] {
        match self {
            Endpoint::Take => screenshotone::TAKE,
            Endpoint::Animate => animate::ANIMATE,
            Endpoint::Screenshot => screenshotmax::SCREENSHOT,
            Endpoint::Pdf => screenshotmax::PDF,
            Endpoint::Scrape => screenshotmax::SCRAPE,
            Endpoint::Screencast => screencast::SCREENCAST,
        }
    }

    /// What holds where nothing is said; the vendors differ in the wait and the time limit.
    pub fn defaults(self) -> Options {
        let mut options = Options::default();
        options.delivery.cache.ttl_s = match self.dialect() {
            Dialect::ScreenshotOne => 14_400,
            Dialect::ScreenshotMax | Dialect::Native => 604_800,
        };
        if self.dialect() == Dialect::ScreenshotOne {
            // Documented, and the same on every machine.
            options.emulation.time_zone = Some("GMT".to_owned());
        }
        if self.dialect() == Dialect::ScreenshotMax {
            options.blocking.cookie_banners = true;
            options.wait.until = vec![WaitUntil::DomContentLoaded];
            options.wait.timeout_s = Some(30);
            options.capture.full_page_scroll = Some(false);
        }
        match self {
            Endpoint::Take | Endpoint::Screenshot => {}
            Endpoint::Pdf => {
                options.output.format = Format::Pdf;
                // The vendor's default for all its endpoints; paper is where it shows.
                options.emulation.media_type = Some("screen".to_owned());
            }
            Endpoint::Scrape => options.output.format = Format::Html,
            Endpoint::Animate => {
                options.output.format = Format::Mp4;
                options.animation = Some(Animation::default());
            }
            Endpoint::Screencast => {
                options.output.format = Format::Mp4;
                options.animation = Some(screencast::defaults());
            }
        }
        options
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
}

impl Method {
    pub const fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
        }
    }
}

/// What can be refused by the head of a request alone, before a byte of the body is read.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub method: &'a str,
    pub path: &'a str,
    /// Without the question mark.
    pub query: &'a str,
    pub content_type: Option<&'a str>,
    /// As declared; a body may still be longer and is counted as it arrives.
    pub content_length: Option<u64>,
}

/// Lets a request for a render through to authentication.
///
/// # Errors
/// `not_found`, `method_not_allowed`, `uri_too_long`, `request_body_too_large`, `unsupported_media_type`.
pub fn gate(head: Head<'_>) -> Result<(Endpoint, Method), Problem> {
    let endpoint = Endpoint::from_path(head.path).ok_or_else(|| Problem::new(Code::NotFound))?;
    let method = match head.method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        _ => return Err(Problem::method_not_allowed(route::methods(head.path).unwrap_or_default())),
    };
    gate_body(head)?;
    Ok((endpoint, method))
}

/// The part of [`gate`] that every route needs which takes a body.
///
/// # Errors
/// `uri_too_long`, `request_body_too_large`, `unsupported_media_type`.
pub fn gate_body(head: Head<'_>) -> Result<(), Problem> {
    if head.query.len() > QUERY_BYTES_MAX {
        return Err(Problem::new(Code::UriTooLong));
    }
    if head.content_length.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        return Err(Problem::new(Code::RequestBodyTooLarge));
    }
    if matches!(head.method, "POST" | "PATCH")
        && let Some(content_type) = head.content_type
    {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Problem::new(Code::UnsupportedMediaType));
        }
    }
    Ok(())
}

/// A request as it came over the wire. Nothing in it may be trusted. What the caller wrote may hold secrets: nothing of it is in
/// `Debug`, and query and body are wiped when it goes.
#[derive(Clone)]
pub struct RawRequest {
    pub endpoint: Endpoint,
    pub method: Method,
    /// Raw, undecoded: signed links sign these bytes.
    pub query: String,
    /// The `X-Access-Key` header.
    pub access_key_header: Option<String>,
    /// The `Idempotency-Key` header.
    pub idempotency_key: Option<String>,
    /// The `Priority` header.
    pub priority: Option<String>,
    /// Empty for GET and HEAD.
    pub body: Vec<u8>,
}

impl Drop for RawRequest {
    fn drop(&mut self) {
        self.query.zeroize();
        self.body.zeroize();
    }
}

/// A request whose fields have been read and whose caller has been named, though not yet proved. `Debug` is that of its
/// [`RawRequest`].
#[derive(Clone)]
pub struct ReadRequest {
    raw: RawRequest,
    fields: Fields,
    access_key: String,
}

/// A request that may be acted upon. Its access key is not in `Debug`: whoever has one can have pages taken.
#[derive(Clone, PartialEq)]
pub struct CheckedRequest {
    pub endpoint: Endpoint,
    pub access_key: String,
    pub options: Options,
    pub idempotency_key: Option<String>,
    pub urgency: Urgency,
}

impl fmt::Debug for RawRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRequest")
            .field("endpoint", &self.endpoint)
            .field("method", &self.method)
            .field("query_bytes", &self.query.len())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ReadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadRequest").field(&self.raw).finish()
    }
}

impl fmt::Debug for CheckedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedRequest")
            .field("endpoint", &self.endpoint)
            .field("options", &self.options)
            .field("urgency", &self.urgency)
            .finish_non_exhaustive()
    }
}

/// The access key that the head of a request names: in its header, else in its query. None where there is none, or what cannot
/// be one.
pub fn access_key(header: Option<&str>, query: &str) -> Option<String> {
    let key = header.map(str::to_owned).or_else(|| Fields::from_query(query).take("access_key"));
    key.filter(|key| is_access_key(key))
}

impl RawRequest {
    /// Decodes the parameters and finds the access key: header first, then query or body.
    ///
    /// # Errors
    /// `request_not_valid` for a body that is no JSON object, `access_key_required`, `access_key_invalid` for a text that
    /// cannot be a key (so that it costs no look-up).
    pub fn read(self) -> Result<ReadRequest, Problem> {
        if self.query.len() > QUERY_BYTES_MAX {
            return Err(Problem::new(Code::UriTooLong));
        }
        if self.body.len() > BODY_BYTES_MAX {
            return Err(Problem::new(Code::RequestBodyTooLarge));
        }
        let mut fields = match self.method {
            Method::Post if self.body.iter().all(u8::is_ascii_whitespace) => Fields::default(),
            Method::Post => Fields::from_json(&self.body)
                .map_err(|error| Problem::with_detail(Code::RequestNotValid, "", error.to_string()))?,
            Method::Get | Method::Head => {
                let mut fields = Fields::from_query(&self.query);
                fields.take("signature");
                fields.take("expires");
                fields
            }
        };
        let given = fields.take("access_key");
        // Some clients keep the key in the address while they post JSON.
        let in_address = || Fields::from_query(&self.query).take("access_key");
        let access_key = self.access_key_header.clone().or(given).or_else(in_address).filter(|key| !key.is_empty());
        let access_key = access_key.ok_or_else(|| Problem::new(Code::AccessKeyRequired))?;
        if !is_access_key(&access_key) {
            return Err(Problem::new(Code::AccessKeyInvalid));
        }
        Ok(ReadRequest { raw: self, fields, access_key })
    }
}

impl ReadRequest {
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    pub fn endpoint(&self) -> Endpoint {
        self.raw.endpoint
    }

    pub fn raw(&self) -> &RawRequest {
        &self.raw
    }

    /// Proves the caller: the key is live, and the link's signature, if there is one or must be one, fits.
    ///
    /// `now` is Unix seconds. An unknown key on a signed link is answered as a wrong signature, after the same work, so
    /// that nobody can find out which keys exist.
    ///
    /// # Errors
    /// `access_key_invalid`, `signature_is_required`, `signature_is_not_valid`.
    pub fn authenticate(&self, record: Option<&KeyRecord>, now: u64) -> Result<(), Problem> {
        let live = record.filter(|record| !record.revoked);
        if self.raw.method == Method::Post {
            return live.map(|_| ()).ok_or_else(|| Problem::new(Code::AccessKeyInvalid));
        }
        // With no secret at all the same work is done, and nothing verifies.
        let secrets = live.map(|record| record.live_secrets(now)).unwrap_or_default();
        match (link::verify(&self.raw.query, &secrets, now), live) {
            (Ok(()), Some(_)) => Ok(()),
            (Err(LinkError::Missing), Some(record)) if !record.require_signed => Ok(()),
            (Err(LinkError::Missing), Some(_)) => Err(Problem::new(Code::SignatureIsRequired)),
            (Err(LinkError::Missing), None) => Err(Problem::new(Code::AccessKeyInvalid)),
            _ => Err(Problem::new(Code::SignatureIsNotValid)),
        }
    }

    /// Validates every parameter, and every address by what can be known without asking a name server.
    ///
    /// # Errors
    /// `request_not_valid` with all that is wrong, or `target_not_allowed` when only an address is.
    pub fn check(self, urls: &dyn ParseUrl, policies: &Policies) -> Result<CheckedRequest, Problem> {
        let (mut options, mut details) = options::read(self.raw.endpoint, &self.fields, urls);
        let proxy = check_proxy(&mut options, urls, &policies.pages).err();
        let (refused, malformed) = proxy.into_iter().partition(|(code, _)| *code == Code::TargetNotAllowed);
        let detail = |found: Vec<(Code, Detail)>| found.into_iter().map(|(_, detail)| detail);
        details.extend(detail(malformed));
        let code = if details.is_empty() { Code::TargetNotAllowed } else { Code::RequestNotValid };
        let next_page = options.animation.as_ref().and_then(|animation| animation.scroll.navigate_to_url.clone());
        details.extend(detail(refused));
        let targets = [
            ("url", &options.source.url, &policies.pages),
            ("scroll_navigate_to_url", &next_page, &policies.pages),
            ("webhook_url", &options.delivery.webhook.url, &policies.webhooks),
            ("storage_endpoint", &options.delivery.store.endpoint, &policies.pages),
        ];
        for (parameter, target, policy) in targets {
            if let Some(Err(refusal)) = target.as_ref().map(|target| check_target(target, urls, policy)) {
                details
                    .push(Detail { parameter: parameter.to_owned(), message: format!("\"{parameter}\": {refusal}") });
            }
        }
        if !details.is_empty() {
            return Err(Problem { details, ..Problem::new(code) });
        }
        let idempotency_key = match &self.raw.idempotency_key {
            Some(key) if key.is_empty() || key.len() > IDEMPOTENCY_KEY_CHARACTERS_MAX => {
                let message = format!("\"Idempotency-Key\" must have 1 to {IDEMPOTENCY_KEY_CHARACTERS_MAX} characters");
                return Err(Problem::with_detail(Code::RequestNotValid, "Idempotency-Key", message));
            }
            key => key.clone(),
        };
        let urgency = Urgency::of_header(self.raw.priority.as_deref());
        Ok(CheckedRequest {
            endpoint: self.raw.endpoint,
            access_key: self.access_key,
            options,
            idempotency_key,
            urgency,
        })
    }
}

/// The caller's own proxy: a URL with credentials, where other parameters may have none. Kept as it is understood.
fn check_proxy(options: &mut Options, urls: &dyn ParseUrl, policy: &TargetPolicy) -> Result<(), (Code, Detail)> {
    let Some(proxy) = &options.network.proxy else { return Ok(()) };
    let text = proxy.expose();
    let wrong = |code, message: String| Err((code, Detail { parameter: "proxy".to_owned(), message }));
    if !text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://")) {
        let message = "\"proxy\" must be a valid uri with a scheme matching the http pattern";
        return wrong(Code::RequestNotValid, message.to_owned());
    }
    match check_proxy_target(text, urls, policy) {
        Ok(serialized) => {
            options.network.proxy = Some(Secret::new(serialized));
            Ok(())
        }
        Err(TargetRefusal::Invalid) => wrong(Code::RequestNotValid, "\"proxy\" must be a valid uri".to_owned()),
        Err(refusal) => wrong(Code::TargetNotAllowed, format!("\"proxy\": {refusal}")),
    }
}

impl CheckedRequest {
    /// SHA-256 (hex) of what was asked, for telling a repeated request from another one under the same idempotency key.
    pub fn fingerprint(&self) -> String {
        hash_of(&[self.endpoint.path()], &self.options)
    }
}

impl CheckedRequest {
    /// SHA-256 (hex) of whose answer this is and of all that shapes it; what only says how it is delivered does not count.
    pub fn cache_key(&self) -> String {
        let mut options = self.options.clone();
        options.delivery.webhook = Webhook::default();
        options.delivery.external_identifier = None;
        options.delivery.cache.ttl_s = 0;
        hash_of(&["cache", &self.access_key, self.endpoint.path()], &options)
    }
}

/// SHA-256 (hex) of a line each, and of the options behind them, which are written into it and nowhere else.
fn hash_of(lines: &[&str], options: &Options) -> String {
    let mut hash = Sha256Writer::default();
    // Neither the hash nor the options can fail.
    let _ = lines.iter().try_for_each(|line| writeln!(hash, "{line}"));
    let _ = serde_json::to_writer(&mut hash, options);
    hash.hex()
}

/// Where pages and webhooks may lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// Callers' buckets and proxies too.
    pub pages: TargetPolicy,
    pub webhooks: TargetPolicy,
}

impl Policies {
    /// One rule for both, but that webhooks go over http only if that is wanted.
    pub fn new(policy: TargetPolicy, http_webhooks: bool) -> Policies {
        Policies { webhooks: TargetPolicy { https_only: !http_webhooks, ..policy.clone() }, pages: policy }
    }
}
