//! Reading a body within bounds of size and time. A declared length is not believed: bytes are counted as they arrive.

use std::time::Duration;

use bytes::Buf;
use futures::{Stream, TryStreamExt};
use snaphook_shared::code::{Code, Problem};
use snaphook_shared::limits::BODY_BYTES_MAX;

/// # Errors
/// `request_body_too_large`, or `request_aborted` for a body that broke off or took too long.
pub(super) async fn read(
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    bytes_max: usize,
    limit: Duration,
) -> Result<Vec<u8>, Problem> {
    let broken = |_| Problem::new(Code::RequestAborted);
    let collect = async {
        futures::pin_mut!(body);
        let mut all = Vec::new();
        while let Some(mut chunk) = body.try_next().await.map_err(broken)? {
            if all.len() + chunk.remaining() > bytes_max {
                return Err(Problem::new(Code::RequestBodyTooLarge));
            }
            while chunk.has_remaining() {
                let part = chunk.chunk();
                all.extend_from_slice(part);
                let length = part.len();
                chunk.advance(length);
            }
        }
        Ok(all)
    };
    tokio::time::timeout(limit, collect).await.unwrap_or_else(|_| Err(Problem::new(Code::RequestAborted)))
}

/// An envelope holds a body as a JSON string, in which a byte may take six.
pub(super) const ENVELOPE_BYTES_MAX: usize = 6 * BODY_BYTES_MAX + 256 * 1024;
