//! Reading a body within bounds of size and time. A declared length is not believed: bytes are counted as they arrive.

use std::time::Duration;

use bytes::Buf;
use futures::{Stream, TryStreamExt};
use snaphook_shared::code::{Code, Problem};
use snaphook_shared::limits::BODY_BYTES_MAX;
use tokio::sync::{Semaphore, SemaphorePermit};

const MIB: usize = 1024 * 1024;
/// Whole mebibytes of bodies that are on their way or worked on, of all callers together: nobody has said yet who they are.
static ROOM: Semaphore = Semaphore::const_new(256);

/// The room that a body takes up, to be held for as long as anything is made of it: while the disk stalls, what was read waits
/// in memory.
#[must_use]
pub(super) struct Room(
    #[expect(dead_code, reason = "held, and given back when it is dropped")] Option<SemaphorePermit<'static>>,
);

/// # Errors
/// `request_body_too_large`, `request_aborted` for a body that broke off or took too long, and `temporary_unavailable` where
/// too many large ones are on their way.
pub(super) async fn read(
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    bytes_max: usize,
    limit: Duration,
) -> Result<(Vec<u8>, Room), Problem> {
    let broken = |_| Problem::new(Code::RequestAborted);
    let collect = async {
        futures::pin_mut!(body);
        let (mut all, mut room) = (Vec::new(), None::<SemaphorePermit<'static>>);
        while let Some(mut chunk) = body.try_next().await.map_err(broken)? {
            let length = all.len() + chunk.remaining();
            if length > bytes_max {
                return Err(Problem::new(Code::RequestBodyTooLarge));
            }
            let missing = (length / MIB).saturating_sub(room.as_ref().map_or(0, SemaphorePermit::num_permits));
            if missing > 0 {
                let more = ROOM.try_acquire_many(missing as u32).map_err(|_| Problem::unavailable())?;
                match &mut room {
                    Some(room) => room.merge(more),
                    None => room = Some(more),
                }
            }
            while chunk.has_remaining() {
                let part = chunk.chunk();
                all.extend_from_slice(part);
                let length = part.len();
                chunk.advance(length);
            }
        }
        Ok((all, Room(room)))
    };
    tokio::time::timeout(limit, collect).await.unwrap_or_else(|_| Err(Problem::new(Code::RequestAborted)))
}

/// An envelope holds a body as a JSON string, in which a byte may take six.
pub(super) const ENVELOPE_BYTES_MAX: usize = 6 * BODY_BYTES_MAX + 256 * 1024;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::StreamExt;

    use super::*;

    /// So many mebibytes, and then nothing more, without an end.
    fn stuck(mebibytes: usize) -> impl Stream<Item = Result<Bytes, warp::Error>> {
        let block = Bytes::from(vec![b' '; MIB]);
        futures::stream::iter((0..mebibytes).map(move |_| Ok(block.clone()))).chain(futures::stream::pending())
    }

    #[tokio::test]
    async fn bodies_that_do_not_end_take_so_much_memory_together_and_no_more() {
        let limit = Duration::from_millis(500);
        let read = |mebibytes| async move { super::read(stuck(mebibytes), 100 * MIB, limit).await.err().unwrap().code };
        let (first, second, third) = tokio::join!(read(90), read(90), read(90));
        let mut codes = [first, second, third];
        codes.sort_by_key(|code| *code == Code::RequestAborted);
        assert_eq!(codes, [Code::TemporaryUnavailable, Code::RequestAborted, Code::RequestAborted]);
        assert_eq!(ROOM.available_permits(), 256, "all of it is given back");
        assert_eq!(read(101).await, Code::RequestBodyTooLarge);

        let whole = futures::stream::iter((0..90).map(|_| Ok(Bytes::from(vec![b' '; MIB]))));
        let (body, room) = super::read(whole, 100 * MIB, limit).await.ok().unwrap();
        assert_eq!((body.len(), ROOM.available_permits()), (90 * MIB, 166), "it is worked on");
        drop(room);
        assert_eq!(ROOM.available_permits(), 256);
    }
}
