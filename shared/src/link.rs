//! Signed links: a GET request whose query string carries its own signature.
//!
//! The wire format is the vendors' ("Signed requests" of ScreenshotOne, the same in ScreenshotMAX): HMAC-SHA256 under
//! the secret key over the raw query string, as 64 hex digits in one more pair, `signature=…`. Every SDK escapes and
//! orders parameters in its own way, so everything here works on the query as it came over the wire: nothing is
//! decoded, sorted or written anew, and names are compared byte by byte.
//!
//! Our own addition is `expires=<Unix seconds>`: a link has no end otherwise. It stands in the signed text, so nobody
//! but the holder of the secret can move it.

use crate::secret::Secret;
use crate::signing::{any_made, parse_decimal, parse_hex, sign_hex};

const SIGNATURE: &str = "signature";
const EXPIRES: &str = "expires";

/// A raw query string, looked at for its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkSignature<'a> {
    /// No `signature` pair.
    Unsigned,
    /// One `signature` pair.
    Signed {
        /// The query without that pair and the one `&` that tied it on; every other byte is as it came.
        message: String,
        /// The pair's raw value, of any form.
        signature: &'a str,
    },
    /// Two or more `signature` pairs: which of them is signed text is anyone's guess, so nothing is.
    Repeated,
}

/// Why a signed link was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The link has no signature.
    #[error("the query has no `signature`")]
    Missing,
    /// The link has several.
    #[error("the query has more than one `signature`")]
    Repeated,
    /// No live secret made the signature over these bytes, or it is not 64 hex digits.
    #[error("the signature does not match the raw query")]
    Wrong,
    /// The signature is right, and `expires` is past or is not a plain decimal number.
    #[error("the link has expired")]
    Expired,
}

/// The pairs of a raw query string in order, undecoded; a piece without `=` has an empty value.
pub fn raw_pairs(raw_query: &str) -> impl Iterator<Item = (&str, &str)> {
    raw_query.split('&').map(pair)
}

/// Takes the signature out of a raw query string (without its `?`), wherever it stands.
pub fn split(raw_query: &str) -> LinkSignature<'_> {
    let mut signatures = raw_pairs(raw_query).filter(|(name, _)| *name == SIGNATURE).map(|(_, value)| value);
    match (signatures.next(), signatures.next()) {
        (None, _) => LinkSignature::Unsigned,
        (Some(_), Some(_)) => LinkSignature::Repeated,
        (Some(signature), None) => {
            let kept: Vec<&str> = raw_query.split('&').filter(|piece| pair(piece).0 != SIGNATURE).collect();
            LinkSignature::Signed { message: kept.join("&"), signature }
        }
    }
}

/// Checks the signature of a raw query string, and `expires` if it has one: the link works until that second is over.
///
/// `secrets` are all that are live, `now` is in Unix seconds. With no secret at all (an unknown key) the same work is
/// done and the answer is [`LinkError::Wrong`], so that it tells nothing about which keys exist. Hex digits of either
/// case pass.
///
/// # Errors
/// See [`LinkError`]; `Expired` only under a right signature.
pub fn verify(raw_query: &str, secrets: &[Secret], now: u64) -> Result<(), LinkError> {
    let (message, signature) = match split(raw_query) {
        LinkSignature::Unsigned => return Err(LinkError::Missing),
        LinkSignature::Repeated => return Err(LinkError::Repeated),
        LinkSignature::Signed { message, signature } => (message, signature),
    };
    let given = parse_hex(signature).ok_or(LinkError::Wrong)?;
    if !any_made(secrets.iter().map(|secret| secret.expose().as_bytes()), &[message.as_bytes()], &[given]) {
        return Err(LinkError::Wrong);
    }
    // A deadline that cannot be read is one that was meant; ignoring it would give a link without end.
    let alive = raw_pairs(&message)
        .filter(|(name, _)| *name == EXPIRES)
        .all(|(_, value)| parse_decimal(value).is_some_and(|until| now <= until));
    if alive { Ok(()) } else { Err(LinkError::Expired) }
}

/// The query with its signature appended as the last pair.
///
/// `raw_query` is signed as it stands, so it must already be escaped as it will be sent, and have no `signature` pair.
pub fn sign(raw_query: &str, secret: &Secret) -> String {
    let joint = if raw_query.is_empty() { "" } else { "&" };
    format!("{raw_query}{joint}{SIGNATURE}={}", sign_hex(secret, raw_query.as_bytes()))
}

fn pair(piece: &str) -> (&str, &str) {
    piece.split_once('=').unwrap_or((piece, ""))
}
