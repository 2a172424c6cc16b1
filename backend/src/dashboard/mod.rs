//! The operator's pages: what was asked for, what was sent, who may ask, and how all of it fares.
//!
//! A request goes one way: [`Dashboard::answer`] → the few paths that need no session → the session ([`session`]) → for what
//! changes something, where it comes from ([`gate`]) and its form's token → its page. So no page can forget to ask. The pages
//! are plain HTML and work without scripts; `assets/live.js` keeps them up to date, `assets/playground.js` keeps you there.

mod access;
mod answer;
mod deliveries;
mod gate;
mod health;
mod html;
mod login;
pub mod password;
mod playground;
mod plot;
mod preview;
mod request;
mod requests;
mod session;
mod storage;
mod throttle;
mod usage;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use snaphook_shared::options::fields::Fields;
use tokio::sync::Notify;

pub use self::answer::Answer;
use self::answer::{Refusal, Result};
use self::html::Frame;
pub(crate) use self::html::prose;
use self::session::{Open, Sessions};
pub use self::storage::Places;
use crate::clock::Clock;
use crate::disk::LastLook;
use crate::domain::admin::AdminStore;
use crate::domain::notice::Links;
use crate::domain::operator::Operator;
use crate::domain::ports::{JobQueue, QueueError, Readiness};
use crate::domain::trial::Trials;

/// Every path below `/dashboard`, `*` standing for an id. `tests/it/dashboard.rs` tries each of them without a session, with
/// somebody else's, and without its form's token.
pub const ROUTES: &[(&str, &str)] = &[
    ("GET", "/"),
    ("GET", "/requests"),
    ("GET", "/requests/*"),
    ("POST", "/requests/*/retry"),
    ("POST", "/requests/*/cancel"),
    ("GET", "/deliveries"),
    ("GET", "/deliveries/*"),
    ("POST", "/deliveries/*/replay"),
    ("POST", "/deliveries/replay"),
    ("GET", "/access"),
    ("GET", "/access/*"),
    ("POST", "/access/create"),
    ("POST", "/access/import"),
    ("POST", "/access/*/limits"),
    ("POST", "/access/*/signing"),
    ("POST", "/access/*/rotate"),
    ("POST", "/access/*/revoke"),
    ("GET", "/playground"),
    ("POST", "/playground"),
    ("POST", "/playground/code"),
    ("GET", "/usage"),
    ("GET", "/storage"),
    ("GET", "/health"),
    ("POST", "/health/enable"),
    ("POST", "/logout"),
];

/// A request, read to its end by whoever speaks HTTP.
pub struct Call {
    pub method: Method,
    /// Below `/dashboard`.
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Whom the connection is with.
    pub peer: Option<IpAddr>,
}

impl Call {
    fn form(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether a person made it, and not `live.js`.
    fn is_attended(&self) -> bool {
        !self.headers.contains_key("x-snaphook-live")
    }
}

/// What the pages are made from.
pub struct Parts {
    pub queue: Arc<dyn JobQueue>,
    pub operator: Arc<dyn Operator>,
    pub admins: Arc<dyn AdminStore>,
    pub readiness: Arc<dyn Readiness>,
    pub trials: Arc<dyn Trials>,
    pub clock: Clock,
    pub links: Links,
    pub places: Places,
    pub disk: LastLook,
    /// To ring when a request was accepted.
    pub requests: Arc<Notify>,
    /// To ring when a webhook may be due.
    pub deliveries: Arc<Notify>,
    /// Whether browsers come over TLS.
    pub secure: bool,
    pub session_lifetime: Duration,
    pub session_idle: Duration,
}

pub struct Dashboard {
    queue: Arc<dyn JobQueue>,
    operator: Arc<dyn Operator>,
    admins: Arc<dyn AdminStore>,
    readiness: Arc<dyn Readiness>,
    trials: Arc<dyn Trials>,
    clock: Clock,
    links: Links,
    places: Places,
    disk: LastLook,
    requests: Arc<Notify>,
    deliveries: Arc<Notify>,
    sessions: Sessions,
    throttle: throttle::Throttle,
    checker: password::Checker,
    started_ms: u64,
}

impl Dashboard {
    pub fn new(parts: Parts) -> Dashboard {
        let sessions = Sessions {
            store: parts.admins.clone(),
            clock: parts.clock.clone(),
            secure: parts.secure,
            lifetime: parts.session_lifetime,
            idle: parts.session_idle,
        };
        Dashboard {
            queue: parts.queue,
            operator: parts.operator,
            admins: parts.admins,
            readiness: parts.readiness,
            trials: parts.trials,
            started_ms: parts.clock.now_ms(),
            clock: parts.clock,
            links: parts.links,
            places: parts.places,
            disk: parts.disk,
            requests: parts.requests,
            deliveries: parts.deliveries,
            sessions,
            throttle: throttle::Throttle::default(),
            checker: password::Checker::default(),
        }
    }

    /// Answers a request. Never fails: what goes wrong is a page too.
    pub async fn answer(&self, call: Call) -> Answer {
        let path = call.path.clone();
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let reads = match call.method {
            Method::GET | Method::HEAD => true,
            Method::POST => false,
            _ => return self.refuse(None, "", StatusCode::METHOD_NOT_ALLOWED, "There is no such method here."),
        };
        if let (true, ["assets", name]) = (reads, segments.as_slice()) {
            return self.asset(name);
        }
        if !reads && !gate::is_own(&call.headers, &self.links.public_url) {
            return self.refuse(None, "", StatusCode::FORBIDDEN, "That did not come from a page of ours.");
        }
        let session = match self.sessions.find(&call.headers, call.is_attended()).await {
            Ok(session) => session,
            Err(error) => return answer::refused(&self.frame(None, ""), &error.into()),
        };
        match (reads, segments.as_slice(), session) {
            (true, ["login"], None) => login::form(self, StatusCode::OK, None),
            (true, ["login"], Some(_)) => answer::see("/dashboard/requests"),
            (false, ["login"], _) => {
                let signed_in = login::sign_in(self, &call).await;
                signed_in.unwrap_or_else(|refusal| answer::refused(&self.frame(None, ""), &refusal))
            }
            (true, _, None) => answer::see("/dashboard/login"),
            (false, _, None) => login::form(self, StatusCode::UNAUTHORIZED, Some("Your session has ended.")),
            (true, segments, Some(session)) => self.show(segments, &call, &session).await,
            (false, segments, Some(session)) => self.act(segments, &call, &session).await,
        }
    }

    /// Pages for whoever has a session.
    async fn show(&self, segments: &[&str], call: &Call, session: &Open) -> Answer {
        let frame = self.frame(Some(session), segments.first().unwrap_or(&""));
        let mut fields = Fields::from_query(&call.query);
        if let Some(name) = fields.with_nul() {
            return answer::refused(&frame, &no_text(name));
        }
        let shown = match segments {
            [] => Ok(answer::see("/dashboard/requests")),
            ["requests"] => requests::list(self, &frame, &mut fields).await,
            ["requests", id] => request::show(self, &frame, id, &mut fields).await,
            ["deliveries"] => deliveries::list(self, &frame, &mut fields).await,
            ["deliveries", id] => deliveries::show(self, &frame, id, &mut fields).await,
            ["access"] => access::list(self, &frame, &mut fields).await,
            ["access", key] => access::show(self, &frame, key, &mut fields).await,
            ["playground"] => playground::show(self, &frame, &mut fields).await,
            ["usage"] => usage::show(self, &frame, &mut fields).await,
            ["storage"] => storage::show(self, &frame).await,
            ["health"] => health::show(self, &frame, &mut fields).await,
            _ => Err(Refusal::NotFound),
        };
        shown.unwrap_or_else(|refusal| answer::refused(&frame, &refusal))
    }

    /// What changes something, for whoever has a session and one of its forms.
    async fn act(&self, segments: &[&str], call: &Call, session: &Open) -> Answer {
        let frame = self.frame(Some(session), segments.first().unwrap_or(&""));
        let mut fields = Fields::from_query(&call.form());
        if !fields.take("form_token").is_some_and(|token| session.made(&token)) {
            return self.refuse(
                Some(session),
                "",
                StatusCode::FORBIDDEN,
                "The form is not of this session. Go back and reload it.",
            );
        }
        // The playground renders whatever it is given; everything else is looked for or kept.
        if let Some(name) = fields.with_nul().filter(|_| segments.first() != Some(&"playground")) {
            return answer::refused(&frame, &no_text(name));
        }
        let done = match segments {
            ["logout"] => login::sign_out(self, session).await,
            ["requests", id, "retry"] => request::retry(self, id).await,
            ["requests", id, "cancel"] => request::cancel(self, id).await,
            ["deliveries", "replay"] => deliveries::replay_dead(self, &mut fields).await,
            ["deliveries", id, "replay"] => deliveries::replay(self, id).await,
            ["access", "create"] => access::create(self, &frame, &mut fields).await,
            ["access", "import"] => access::import(self, &mut fields).await,
            ["access", key, "limits"] => access::limits(self, key, &mut fields).await,
            ["access", key, "signing"] => access::signing(self, key, &mut fields).await,
            ["access", key, "rotate"] => access::rotate(self, &frame, key, &mut fields).await,
            ["access", key, "revoke"] => access::revoke(self, key, &mut fields).await,
            ["playground"] => playground::render(self, &frame, &mut fields).await,
            ["playground", "code"] => playground::code(self, &frame, &mut fields).await,
            ["health", "enable"] => health::enable(self, &mut fields).await,
            _ => Err(Refusal::NotFound),
        };
        done.unwrap_or_else(|refusal| answer::refused(&frame, &refusal))
    }

    fn frame(&self, session: Option<&Open>, section: &str) -> Frame {
        Frame::new(session, section, self.clock.now_ms())
    }

    fn refuse(&self, session: Option<&Open>, section: &str, status: StatusCode, text: &str) -> Answer {
        let mut answer = answer::message(status, &self.frame(session, section), "That was not done", text);
        if status == StatusCode::METHOD_NOT_ALLOWED {
            answer::set(&mut answer, "allow", "GET, HEAD, POST");
        }
        answer
    }

    /// Style, script and icon, which say nothing about anybody. Their address holds a hash of what they say.
    fn asset(&self, name: &str) -> Answer {
        let (content_type, text) = match name {
            "style.css" => ("text/css; charset=utf-8", html::STYLE),
            "live.js" => ("text/javascript; charset=utf-8", html::LIVE),
            "playground.js" => ("text/javascript; charset=utf-8", html::PLAYGROUND),
            "icon.svg" => ("image/svg+xml", html::ICON),
            _ => return answer::refused(&self.frame(None, ""), &Refusal::NotFound),
        };
        let mut answer = answer::with(StatusCode::OK, content_type, text);
        answer::set(&mut answer, "cache-control", "public, max-age=31536000, immutable");
        answer
    }
}

fn no_text(name: &str) -> Refusal {
    Refusal::Invalid(format!("\"{name}\" has a character in it that no text here has: U+0000."))
}

/// The field's text, if there is any in it.
fn filled(fields: &mut Fields, name: &str) -> Option<String> {
    fields.take(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// A moment of a form, in UTC: as `datetime-local` has it, or RFC 3339. Unix milliseconds.
fn moment(fields: &mut Fields, name: &str) -> Result<Option<u64>> {
    let Some(text) = filled(fields, name) else { return Ok(None) };
    let local = || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let time = text.parse::<jiff::Timestamp>().ok().or_else(|| local().map(|zoned| zoned.timestamp()));
    let unix_ms = time.and_then(|time| u64::try_from(time.as_millisecond()).ok());
    unix_ms
        .map(Some)
        .ok_or_else(|| Refusal::Invalid(format!("{text} is no time. Write it as 2026-11-21T08:00, in UTC.")))
}

/// How `datetime-local` wants it.
fn as_local(unix_ms: u64) -> String {
    crate::clock::rfc3339(unix_ms).chars().take(16).collect()
}

/// Makes the first password, if there is none, and tells it in the log: this once, since nobody could read it otherwise.
///
/// # Errors
/// If it cannot be made or kept.
pub async fn make_first_password(
    admins: &dyn AdminStore,
    now_ms: u64,
    url: &str,
) -> std::result::Result<(), QueueError> {
    if admins.password_hash().await?.is_some() {
        return Ok(());
    }
    let (password, hash) = password::make().map_err(|error| QueueError(error.to_string()))?;
    if admins.set_first_password(&hash, now_ms).await? {
        // A warning, so that it is seen at every usual level of the log.
        tracing::warn!(
            password = password.expose(),
            url,
            "the dashboard has a password now, which is shown this once; another one: snaphook admin reset-password"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_utc() {
        let read = |text: &str| moment(&mut Fields::from_query(&format!("t={text}")), "t");
        assert_eq!(read("1970-01-01T00:01").unwrap(), Some(60_000));
        assert_eq!(read("1970-01-01T01:00:00%2B01:00").unwrap(), Some(0));
        assert_eq!(read("").unwrap(), None);
        assert!(read("yesterday").is_err());
        assert_eq!(as_local(60_000), "1970-01-01T00:01");
    }
}
