//! The operator's password and sessions, as they are kept: nothing in here lets anybody in who reads it.

use async_trait::async_trait;

use super::ports::QueueError;

/// Sessions that may be open at once. One more ends the oldest: an operator has no use for so many.
pub const SESSIONS_MAX: u32 = 100;

/// A session that begins. Its token is known to the browser alone; kept is the hash of it.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// SHA-256 of the token, hexadecimal.
    pub token_hash: String,
    /// The password that it was begun with, as it is kept.
    pub password_hash: String,
    pub now_ms: u64,
    /// When it ends if it is not used.
    pub idle_until_ms: u64,
    /// When it ends however much it is used.
    pub ends_ms: u64,
}

/// A session that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    pub idle_until_ms: u64,
    pub ends_ms: u64,
}

/// Passwords and sessions in stable storage.
#[async_trait]
pub trait AdminStore: Send + Sync {
    /// The hash of the password, if there is one.
    async fn password_hash(&self) -> Result<Option<String>, QueueError>;
    /// Keeps the first password; false if there is one already.
    async fn set_first_password(&self, hash: &str, now_ms: u64) -> Result<bool, QueueError>;
    /// Keeps a password in the place of the one before, and ends all sessions, both or neither.
    async fn reset_password(&self, hash: &str, now_ms: u64) -> Result<(), QueueError>;
    /// Keeps a session. False if its password is no longer the one that is kept: then nobody is let in by it.
    async fn begin_session(&self, session: NewSession) -> Result<bool, QueueError>;
    /// The session of this token's hash, unless it has ended.
    async fn session(&self, token_hash: &str, now_ms: u64) -> Result<Option<Session>, QueueError>;
    /// Notes that a session is used.
    async fn extend_session(&self, token_hash: &str, idle_until_ms: u64) -> Result<(), QueueError>;
    async fn end_session(&self, token_hash: &str) -> Result<(), QueueError>;
}
