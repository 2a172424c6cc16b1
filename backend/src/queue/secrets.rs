//! Secrets at rest: sealed with the operator's root key (XChaCha20-Poly1305), bound to the access key they belong to.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use snaphook_shared::options::model::Secrets;
use snaphook_shared::secret::Secret;
use zeroize::Zeroizing;

use crate::domain::ports::QueueError;
use crate::domain::task::Task;

const NONCE_BYTES: usize = 24;
/// Whose secret the proof is, and what it says. No access key has a space in it.
const PROOF_OWNER: &str = "root key";
const PROOF: &str = "sealed with this root key";

/// The operator's key. It never leaves this module.
pub struct RootKey(XChaCha20Poly1305);

/// Why a root key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    #[error("the root key must be 64 hexadecimal digits")]
    Malformed,
    #[error("the root key file {path}: {source}")]
    File { path: String, source: io::Error },
    #[error("no randomness: {0}")]
    Random(getrandom::Error),
}

impl RootKey {
    /// From the setting (64 hexadecimal digits), or from a file in the data directory, which is made at first use.
    pub fn load(setting: &str, data_dir: &Path) -> Result<RootKey, RootKeyError> {
        if !setting.is_empty() {
            return RootKey::from_hex(setting);
        }
        let path = RootKey::file(data_dir);
        let failed = |source| RootKeyError::File { path: path.display().to_string(), source };
        match fs::read_to_string(&path) {
            Ok(text) => RootKey::from_hex(Zeroizing::new(text).trim()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut random = Zeroizing::new([0; 32]);
                getrandom::fill(random.as_mut_slice()).map_err(RootKeyError::Random)?;
                let text = Zeroizing::new(hex::encode(random.as_slice()));
                let mut file =
                    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
                file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
                RootKey::from_hex(&text)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Where it is, unless the settings have it.
    pub fn file(data_dir: &Path) -> PathBuf {
        data_dir.join("root.key")
    }

    fn from_hex(text: &str) -> Result<RootKey, RootKeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text, bytes.as_mut_slice()).map_err(|_| RootKeyError::Malformed)?;
        Ok(RootKey(XChaCha20Poly1305::new(&Key::from(*bytes))))
    }

    /// Nonce and ciphertext. `owner` is authenticated with it, so that a row's secret cannot be moved to another row.
    pub fn seal(&self, owner: &str, secret: &Secret) -> Result<Vec<u8>, getrandom::Error> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)?;
        let payload = Payload { msg: secret.expose().as_bytes(), aad: owner.as_bytes() };
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload).unwrap_or_default();
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// None if it was not sealed with this key for this owner.
    pub fn open(&self, owner: &str, sealed: &[u8]) -> Option<Secret> {
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_BYTES)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().ok()?;
        let payload = Payload { msg: ciphertext, aad: owner.as_bytes() };
        let plain = Zeroizing::new(self.0.decrypt(&XNonce::from(nonce), payload).ok()?);
        Some(Secret::new(std::str::from_utf8(&plain).ok()?.to_owned()))
    }

    /// What a database keeps, so that another key is known for what it is.
    pub(super) fn proof(&self) -> Result<Vec<u8>, QueueError> {
        self.seal_for(PROOF_OWNER, &Secret::new(PROOF))
    }

    /// Whether this key made that proof.
    pub(super) fn made(&self, proof: &[u8]) -> bool {
        self.open(PROOF_OWNER, proof).is_some_and(|text| text.expose() == PROOF)
    }

    /// The error of a database that is another key's.
    pub(super) fn another() -> QueueError {
        let text = "the database was sealed with another root key: give this service the one that it was made with, as root_key \
                    (SNAPHOOK_ROOT_KEY) or as the file root.key in data_dir";
        QueueError(text.to_owned())
    }

    pub(super) fn seal_for(&self, owner: &str, secret: &Secret) -> Result<Vec<u8>, QueueError> {
        self.seal(owner, secret).map_err(|error| QueueError(error.to_string()))
    }

    pub(super) fn open_for(&self, owner: &str, sealed: &[u8]) -> Result<Secret, QueueError> {
        let other = || QueueError(format!("the secret of {owner} was sealed with another root key"));
        self.open(owner, sealed).ok_or_else(other)
    }

    /// None if there are none, which is the usual case.
    pub(super) fn seal_secrets(&self, request_id: &str, secrets: Secrets) -> Result<Option<Vec<u8>>, QueueError> {
        if secrets == Secrets::default() {
            return Ok(None);
        }
        let json = serde_json::to_string(&secrets).map_err(|error| QueueError(error.to_string()))?;
        self.seal_for(request_id, &Secret::new(json)).map(Some)
    }

    pub(super) fn open_secrets(&self, request_id: &str, sealed: &[u8]) -> Result<Secrets, QueueError> {
        let json = self.open_for(request_id, sealed)?;
        serde_json::from_str(json.expose()).map_err(|error| QueueError(error.to_string()))
    }

    /// A task's query may hold credentials. Its owner is the task, so that it cannot be moved to another one.
    pub(super) fn seal_query(&self, task_id: u64, query: &str) -> Result<Vec<u8>, QueueError> {
        self.seal_for(&format!("task {task_id}"), &Secret::new(query))
    }

    /// Puts the query into a task that was read without it.
    pub(super) fn open_query(&self, (mut task, sealed): (Task, Vec<u8>)) -> Result<Task, QueueError> {
        task.plan.query = self.open_for(&format!("task {}", task.id), &sealed)?.expose().to_owned().into();
        Ok(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_for_its_owner_only_and_the_file_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let key = RootKey::load("", folder.path()).unwrap();
        let sealed = key.seal("alice", &Secret::new("s3cret")).unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"s3cret"));
        let again = RootKey::load("", folder.path()).unwrap();
        assert_eq!(again.open("alice", &sealed), Some(Secret::new("s3cret")));
        assert_eq!(again.open("mallory", &sealed), None);
        let proof = key.proof().unwrap();
        assert!(again.made(&proof) && !RootKey::load(&"0f".repeat(32), folder.path()).unwrap().made(&proof));
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(folder.path().join("root.key")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }
}
