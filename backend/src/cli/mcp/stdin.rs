//! Standard input that nothing has to wait for.

use std::io::{self, Read};

use tokio::io::{AsyncRead, AsyncWriteExt, duplex};
use tokio::runtime::Handle;

const CHUNK_BYTES: usize = 64 * 1024;

/// Reads standard input on a thread of its own. Tokio's own reader would keep the runtime from ending, after a signal, for as
/// long as the client says nothing.
///
/// # Errors
/// When there can be no thread.
pub(super) fn reader() -> io::Result<impl AsyncRead + Send + Unpin + 'static> {
    // One direction of it: a simplex does not end when its writer is dropped.
    let (reader, mut writer) = duplex(CHUNK_BYTES);
    let runtime = Handle::current();
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut stdin = io::stdin().lock();
        loop {
            let length = match stdin.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            // Nobody reads any more when this fails.
            if runtime.block_on(writer.write_all(chunk.get(..length).unwrap_or_default())).is_err() {
                break;
            }
        }
    })?;
    Ok(reader)
}
