//! What the operator set for this Worker: its variables and secrets, read and judged once for each isolate.
//!
//! Never keeps a half-valid set: one bad value refuses all, and every answer is then an error that the log explains.
//! The explanation names the binding and never its value.

use std::time::Duration;

use snaphook_shared::dialect::Dialect;
use snaphook_shared::request::Policies;
use snaphook_shared::secret::Secret;
use snaphook_shared::target::{ParseUrl, TargetPolicy};

/// The platform hashes several times as fast, but asking it takes as long as some thousand bytes do here.
const HASHED_BY_PLATFORM_BYTES: u64 = 16 * 1024;

/// The settings of the Worker.
#[derive(Clone, Debug)]
pub(crate) struct Bindings {
    /// `BACKEND_URL`: scheme, host and port, without a final slash.
    pub(crate) backend_origin: String,
    /// The first half of `EDGE_SECRET`: tells the backend which of its secrets a seal is made with.
    pub(crate) key_id: String,
    /// The second half of `EDGE_SECRET`.
    pub(crate) secret: Secret,
    /// From `DEVELOPMENT` and `WEBHOOK_ALLOW_HTTP`: where pages and webhooks may lead. The backend decides again, by its own
    /// settings.
    pub(crate) policies: Policies,
    /// `PUBLIC_URL`: the origin that callers are shown. Without it, the one they asked.
    pub(crate) public_origin: Option<String>,
    /// `SYNC_WAIT_SECONDS`: how long the caller of a synchronous request can be held.
    pub(crate) sync_wait: Duration,
    /// `KEY_FRESH_SECONDS`: how long the edge believes what the backend said of a key.
    pub(crate) key_fresh_ms: u64,
    /// `FILE_CACHE_SECONDS`: how long a stored file may stay in the edge's cache; 0 for not at all.
    pub(crate) file_cache_seconds: u64,
    /// `HASHED_BY_PLATFORM_BYTES`: from which length on the platform hashes what is sealed. For the benchmark that looks for it.
    pub(crate) hashed_by_platform_bytes: u64,
    /// Whether `LIMITER` is bound: most Workers have none, and asking costs each request a look.
    pub(crate) has_limiter: bool,
    /// `SCREENSHOTONE_ASYNC_STATUS`: how ScreenshotOne's callers are told that the outbox has their request.
    screenshotone_async_status: u16,
}

/// Which setting is missing or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BindingError {
    #[error("`{0}` is not set")]
    Missing(&'static str),
    #[error("`{0}` must be an http or https origin, such as https://api.example.com")]
    NotAnOrigin(&'static str),
    #[error("`EDGE_SECRET` must be `key-id:secret`")]
    NotASecret,
    #[error("`{0}` must be `true` or `false`")]
    NotAFlag(&'static str),
    #[error("`{0}` must be a whole number from {1} to {2}")]
    NotInRange(&'static str, u64, u64),
}

impl Bindings {
    /// Reads all settings. `get` gives the text of a variable or secret; an empty one counts as not set.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub(crate) fn read(get: &dyn Fn(&str) -> Option<String>, urls: &dyn ParseUrl) -> Result<Bindings, BindingError> {
        let optional = |name| get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let required = |name| optional(name).ok_or(BindingError::Missing(name));
        let backend_origin = origin("BACKEND_URL", &required("BACKEND_URL")?, urls)?;
        let public_origin = optional("PUBLIC_URL").map(|text| origin("PUBLIC_URL", &text, urls)).transpose()?;
        let edge_secret = required("EDGE_SECRET")?;
        let (key_id, secret) = match edge_secret.split_once(':') {
            Some((key_id, secret)) if is_key_id(key_id) && !secret.is_empty() => (key_id, secret),
            _ => return Err(BindingError::NotASecret),
        };
        let flag = |name| match optional(name).as_deref() {
            Some("true") => Ok(true),
            Some("false") | None => Ok(false),
            Some(_) => Err(BindingError::NotAFlag(name)),
        };
        let development = flag("DEVELOPMENT")?;
        let policy = if development { TargetPolicy::development() } else { TargetPolicy::default() };
        let http_webhooks = flag("WEBHOOK_ALLOW_HTTP")? || development;
        let number = |name, (least, most): (u64, u64), otherwise: u64| match optional(name) {
            None => Ok(otherwise),
            Some(text) => text
                .parse()
                .ok()
                .filter(|number| (least..=most).contains(number))
                .ok_or(BindingError::NotInRange(name, least, most)),
        };
        let status = number("SCREENSHOTONE_ASYNC_STATUS", (200, 202), 202)?;
        Ok(Bindings {
            backend_origin,
            key_id: key_id.to_owned(),
            secret: Secret::new(secret),
            policies: Policies::new(policy, http_webhooks),
            public_origin,
            sync_wait: Duration::from_secs(number("SYNC_WAIT_SECONDS", (2, 90), 25)?),
            key_fresh_ms: number("KEY_FRESH_SECONDS", (1, 3600), 60)?.saturating_mul(1000),
            file_cache_seconds: number("FILE_CACHE_SECONDS", (0, 86_400), 60)?,
            hashed_by_platform_bytes: number("HASHED_BY_PLATFORM_BYTES", (0, u64::MAX), HASHED_BY_PLATFORM_BYTES)?,
            has_limiter: false,
            screenshotone_async_status: u16::try_from(status).unwrap_or(202),
        })
    }

    /// The status of a request that the outbox has.
    pub(crate) fn accepted_status(&self, dialect: Dialect) -> u16 {
        match dialect {
            Dialect::ScreenshotOne => self.screenshotone_async_status,
            Dialect::ScreenshotMax | Dialect::Native => 202,
        }
    }
}

/// It travels in a header.
fn is_key_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A path behind the origin would have to be sealed and served too, so none may be there.
fn origin(name: &'static str, text: &str, urls: &dyn ParseUrl) -> Result<String, BindingError> {
    let parts =
        urls.parse(text).filter(|parts| matches!(parts.scheme.as_str(), "http" | "https") && !parts.has_credentials);
    let serialized = parts.map(|parts| parts.serialized);
    let origin = serialized.as_deref().and_then(|serialized| serialized.strip_suffix('/'));
    // What is left of an origin has no slash but the two behind its scheme.
    match origin {
        Some(origin) if origin.matches('/').count() == 2 && !origin.contains(['?', '#']) => Ok(origin.to_owned()),
        _ => Err(BindingError::NotAnOrigin(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snaphook_shared::target::NativeUrlParser;

    fn read(settings: &[(&str, &str)]) -> Result<Bindings, BindingError> {
        let get = |name: &str| settings.iter().rev().find(|(key, _)| *key == name).map(|(_, text)| (*text).to_owned());
        Bindings::read(&get, &NativeUrlParser)
    }

    const BACKEND: (&str, &str) = ("BACKEND_URL", "http://127.0.0.1:8400/");
    const SECRET: (&str, &str) = ("EDGE_SECRET", "k1:a:b");

    #[test]
    fn the_two_that_are_required_suffice() {
        let bindings = read(&[BACKEND, SECRET]).unwrap();
        assert_eq!(bindings.backend_origin, "http://127.0.0.1:8400");
        assert_eq!((bindings.key_id.as_str(), bindings.secret.expose()), ("k1", "a:b"));
        assert_eq!((bindings.public_origin, bindings.policies), (None, Policies::new(TargetPolicy::default(), false)));
        assert_eq!(read(&[SECRET]).unwrap_err(), BindingError::Missing("BACKEND_URL"));
        assert_eq!(read(&[BACKEND, ("EDGE_SECRET", " ")]).unwrap_err(), BindingError::Missing("EDGE_SECRET"));
    }

    #[test]
    fn the_optional_ones_are_taken_or_refused() {
        let bindings =
            read(&[BACKEND, SECRET, ("PUBLIC_URL", "https://S.example:443"), ("DEVELOPMENT", "true")]).unwrap();
        assert_eq!(bindings.public_origin.as_deref(), Some("https://s.example"));
        assert_eq!(bindings.policies.webhooks, TargetPolicy::development());
        assert!(read(&[BACKEND, SECRET, ("PUBLIC_URL", ""), ("DEVELOPMENT", "false")]).is_ok());
        let open = read(&[BACKEND, SECRET, ("WEBHOOK_ALLOW_HTTP", "true")]).unwrap();
        assert_eq!(open.policies, Policies::new(TargetPolicy::default(), true));
        for flag in ["DEVELOPMENT", "WEBHOOK_ALLOW_HTTP"] {
            assert_eq!(read(&[BACKEND, SECRET, (flag, "yes")]).unwrap_err(), BindingError::NotAFlag(flag));
        }
    }

    #[test]
    fn the_status_of_an_accepted_request_is_one_of_three_in_one_dialect() {
        const NAME: &str = "SCREENSHOTONE_ASYNC_STATUS";
        let status = |text| read(&[BACKEND, SECRET, (NAME, text)]);
        for (text, expected) in [("", 202), ("200", 200), ("201", 201), ("202", 202)] {
            let bindings = status(text).unwrap();
            assert_eq!(bindings.accepted_status(Dialect::ScreenshotOne), expected);
            assert_eq!(bindings.accepted_status(Dialect::ScreenshotMax), 202);
        }
        for text in ["204", "199", "20", "ok"] {
            assert_eq!(status(text).unwrap_err(), BindingError::NotInRange(NAME, 200, 202), "{text}");
        }
    }

    #[test]
    fn only_origins_are_origins() {
        for text in [
            "api.example.com",
            "ftp://a.example",
            "https://a.example/x",
            "https://a.example/x/",
            "https://a.example/?x",
            "https://a.example/?/",
            "https://a.example/#/",
            "https://u:p@a.example",
        ] {
            let refused = read(&[SECRET, ("BACKEND_URL", text)]).unwrap_err();
            assert_eq!(refused, BindingError::NotAnOrigin("BACKEND_URL"), "{text}");
        }
    }

    #[test]
    fn a_secret_has_an_id_and_is_never_shown() {
        for text in ["secret", ":secret", "id:", "a b:secret"] {
            assert_eq!(read(&[BACKEND, ("EDGE_SECRET", text)]).unwrap_err(), BindingError::NotASecret, "{text}");
        }
        let shown = format!("{:?}", read(&[BACKEND, ("EDGE_SECRET", "k1:hush")]).unwrap());
        assert!(!shown.contains("hush"));
    }
}
