//! Sessions of the operator: a random token in a cookie, of which only the hash is kept; and the token that every form
//! carries, made from it.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use snaphook_shared::secret::Secret;
use snaphook_shared::signing::{sha256_hex, sign_hex, verify_hex};

use crate::clock::Clock;
use crate::domain::admin::{AdminStore, NewSession};
use crate::domain::operator::random_text;
use crate::domain::ports::QueueError;

/// 256 bits.
const TOKEN_BYTES: usize = 32;
/// A longer text is no token.
const TOKEN_CHARACTERS_MAX: usize = 64;
/// What forms are signed for.
const FORMS: &[u8] = b"snaphook dashboard forms";

/// Begins, finds and ends sessions.
pub(super) struct Sessions {
    pub(super) store: Arc<dyn AdminStore>,
    pub(super) clock: Clock,
    /// Whether browsers reach us over TLS.
    pub(super) secure: bool,
    pub(super) lifetime: Duration,
    pub(super) idle: Duration,
}

/// A session that a request belongs to.
pub(super) struct Open {
    token: Secret,
}

impl Open {
    /// The token of its forms. Whoever has it learns nothing of the session's own.
    pub(super) fn form_token(&self) -> String {
        sign_hex(&self.token, FORMS)
    }

    /// Whether a form is of this session; in constant time.
    pub(super) fn made(&self, form_token: &str) -> bool {
        verify_hex(&self.token, FORMS, form_token)
    }

    fn hash(&self) -> String {
        sha256_hex(self.token.expose().as_bytes())
    }
}

impl Sessions {
    /// The prefix makes browsers refuse a cookie that did not come over TLS. `__Host-` would need the path `/`.
    fn cookie_name(&self) -> &'static str {
        if self.secure { "__Secure-snaphook-admin" } else { "snaphook-admin" }
    }

    fn cookie(&self, value: &str, more: &str) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{}={value}; HttpOnly; SameSite=Strict; Path=/dashboard{secure}{more}", self.cookie_name())
    }

    /// Begins a session of whoever has proved that password, and gives the cookie to set. None if the password has been
    /// replaced meanwhile.
    pub(super) async fn begin(&self, password_hash: String) -> Result<Option<String>, QueueError> {
        let token = random_text(TOKEN_BYTES).map_err(|error| QueueError(error.to_string()))?;
        let now_ms = self.clock.now_ms();
        let session = NewSession {
            token_hash: sha256_hex(token.as_bytes()),
            password_hash,
            now_ms,
            idle_until_ms: now_ms + self.idle.as_millis() as u64,
            ends_ms: now_ms + self.lifetime.as_millis() as u64,
        };
        Ok(self.store.begin_session(session).await?.then(|| self.cookie(&token, "")))
    }

    /// The session that a request belongs to. `attended` if a person made the request, and not a page by itself: only that
    /// keeps a session from its end.
    pub(super) async fn find(&self, headers: &HeaderMap, attended: bool) -> Result<Option<Open>, QueueError> {
        let Some(token) = self.token(headers) else { return Ok(None) };
        let open = Open { token };
        let (hash, now_ms) = (open.hash(), self.clock.now_ms());
        let Some(session) = self.store.session(&hash, now_ms).await? else { return Ok(None) };
        let idle_ms = self.idle.as_millis() as u64;
        // A commit for each page would be a waste: to a tenth of the time is exact enough.
        if attended && session.idle_until_ms < now_ms + idle_ms - idle_ms / 10 {
            self.store.extend_session(&hash, now_ms + idle_ms).await?;
        }
        Ok(Some(open))
    }

    /// Ends a session and gives the cookie that removes its cookie.
    pub(super) async fn end(&self, session: &Open) -> Result<String, QueueError> {
        self.store.end_session(&session.hash()).await?;
        Ok(self.cookie("", "; Max-Age=0"))
    }

    fn token(&self, headers: &HeaderMap) -> Option<Secret> {
        let cookies = headers.get_all("cookie").into_iter().filter_map(|header| header.to_str().ok());
        let mut pairs = cookies.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_, token) = pairs.find(|(name, _)| *name == self.cookie_name())?;
        (1..=TOKEN_CHARACTERS_MAX).contains(&token.len()).then(|| Secret::new(token))
    }
}
