//! The operator's password: made by us, so it cannot be guessed; kept as an argon2id hash; checked at a bounded cost.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use snaphook_shared::secret::Secret;
use tokio::sync::Semaphore;

use crate::domain::operator::{NoRandomness, random_text};

/// 144 random bits.
const PASSWORD_BYTES: usize = 18;
/// A longer text cannot be right, and is not hashed.
const GIVEN_BYTES_MAX: usize = 256;
/// Checks at the same time: each takes 19 MiB and one core for as long as it lasts.
const CHECKS_MAX: usize = 2;
/// Callers who wait for one.
const WAITING_MAX: usize = 8;

/// Why there is no password to be had.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error(transparent)]
    Random(#[from] NoRandomness),
    #[error("the password could not be hashed: {0}")]
    Hash(argon2::password_hash::Error),
}

/// A new password and what is kept of it.
pub fn make() -> Result<(Secret, String), PasswordError> {
    let password = Secret::new(random_text(PASSWORD_BYTES)?);
    let hash = Argon2::default().hash_password(password.expose().as_bytes()).map_err(PasswordError::Hash)?;
    Ok((password, hash.to_string()))
}

/// As many are being checked and wait for it as may be.
#[derive(Debug)]
pub(super) struct Busy;

/// Checks passwords away from the threads that serve, a few at a time.
pub(super) struct Checker {
    entrance: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Default for Checker {
    fn default() -> Checker {
        Checker {
            entrance: Arc::new(Semaphore::new(CHECKS_MAX + WAITING_MAX)),
            running: Arc::new(Semaphore::new(CHECKS_MAX)),
        }
    }
}

impl Checker {
    /// Whether this is the password of that hash. Takes the same time whatever is wrong, and if there is none.
    pub(super) async fn check(&self, given: Secret, hash: Option<String>) -> Result<bool, Busy> {
        let place = self.entrance.clone().try_acquire_owned().map_err(|_| Busy)?;
        let permit = self.running.clone().acquire_owned().await.map_err(|_| Busy)?;
        let work = move || {
            // Held to the end of the work, and not of its caller, who may go away.
            let _held = (place, permit);
            matches(&given, hash.as_deref())
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Busy)
    }
}

fn matches(given: &Secret, hash: Option<&str>) -> bool {
    let is_sane = given.expose().len() <= GIVEN_BYTES_MAX;
    let bytes = if is_sane { given.expose().as_bytes() } else { b"" };
    match hash.and_then(|hash| PasswordHash::new(hash).ok()) {
        Some(hash) => Argon2::default().verify_password(bytes, &hash).is_ok() && is_sane,
        None => {
            let _ = Argon2::default().hash_password(bytes);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn only_the_password_is_right_and_only_so_many_are_checked() {
        let (password, hash) = make().unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let checker = Checker::default();
        assert!(checker.check(password.clone(), Some(hash.clone())).await.unwrap());
        let long = format!("{}{}", password.expose(), "x".repeat(300));
        for wrong in ["", "x", &password.expose()[1..], &long] {
            assert!(!checker.check(Secret::new(wrong), Some(hash.clone())).await.unwrap(), "{wrong}");
        }
        assert!(!checker.check(password.clone(), None).await.unwrap());
        assert!(!checker.check(password.clone(), Some("no hash".to_owned())).await.unwrap());

        let busy = checker.running.clone().acquire_many_owned(2).await.unwrap();
        let waiting: Vec<_> =
            (0..CHECKS_MAX + WAITING_MAX).map(|_| checker.entrance.clone().try_acquire_owned().unwrap()).collect();
        assert!(checker.check(password.clone(), Some(hash.clone())).await.is_err(), "beyond the bound nobody waits");
        drop((busy, waiting));
        assert!(checker.check(password, Some(hash)).await.unwrap());
    }
}
