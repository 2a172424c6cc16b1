//! A receiver that does not behave: over plain TCP or TLS, byte by byte as no HTTP library would.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::runtime;
use crate::serve::Port;

/// What it does once it has read a request, or before.
#[derive(Clone, Debug)]
pub enum Manner {
    /// These bytes, and then the end.
    Says(String),
    /// These bytes, and then nothing more; the connection stays.
    SaysAndStays(String),
    /// Headers without end, a line each second.
    SlowHeaders,
    /// An answer whose body comes byte by byte, one each second.
    Drips,
    /// A success with a body of ten gigabytes, as fast as they are taken.
    Floods,
    /// A single header of a megabyte.
    HugeHeader,
    /// Short headers without end, as fast as they are taken.
    EndlessHeaders,
    /// The end of the connection, with an error, before an answer.
    Resets,
    /// Takes the connection and reads nothing.
    ReadsNothing,
}

/// A running one.
pub struct Rogue {
    pub address: SocketAddr,
    scheme: &'static str,
    connections: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

const BODY_LENGTH: u64 = 10 * 1024 * 1024 * 1024;
/// So much is written at once; how much was taken is known to that.
static CHUNK: [u8; 64 * 1024] = [b'x'; 64 * 1024];

impl Rogue {
    pub fn start(manner: Manner) -> Rogue {
        Rogue::serve(manner, None)
    }

    /// With TLS, whatever its certificate is worth.
    pub fn with_tls(manner: Manner, config: Arc<rustls::ServerConfig>) -> Rogue {
        Rogue::serve(manner, Some(TlsAcceptor::from(config)))
    }

    fn serve(manner: Manner, tls: Option<TlsAcceptor>) -> Rogue {
        let port = Port::reserve();
        let (address, listener) = (port.address, port.listen());
        let (connections, sent) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (counted, noted) = (connections.clone(), sent.clone());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let task = runtime().spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let (manner, sent, tls) = (manner.clone(), noted.clone(), tls.clone());
                open.spawn(async move {
                    // That the other side goes away is what the tests are about.
                    let _ = meet(stream, &manner, &sent, tls).await;
                });
            }
        });
        Rogue { address, scheme, connections, sent, task }
    }

    pub fn url(&self) -> String {
        format!("{}://{}/hook", self.scheme, self.address)
    }

    /// How many connections there were.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many bytes of a flood were taken, buffers of the system included.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn meet(stream: TcpStream, manner: &Manner, sent: &AtomicU64, tls: Option<TlsAcceptor>) -> std::io::Result<()> {
    if matches!(manner, Manner::Resets) {
        let mut stream = stream;
        read_request(&mut stream).await?;
        // With this, closing sends a reset instead of an end.
        set_socket_linger(&stream, Some(Duration::ZERO))?;
        return Ok(());
    }
    match tls {
        Some(tls) => misbehave(tls.accept(stream).await?, manner, sent).await,
        None => misbehave(stream, manner, sent).await,
    }
}

async fn misbehave(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    manner: &Manner,
    sent: &AtomicU64,
) -> std::io::Result<()> {
    if matches!(manner, Manner::ReadsNothing) {
        return std::future::pending().await;
    }
    read_request(&mut stream).await?;
    match manner {
        Manner::Says(answer) => {
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await
        }
        Manner::SaysAndStays(answer) => {
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
            std::future::pending().await
        }
        Manner::SlowHeaders => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            drip(stream, b"x-more: y\r\n").await
        }
        Manner::Drips => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await?;
            drip(stream, b"x").await
        }
        Manner::Floods => {
            stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY_LENGTH}\r\n\r\n").as_bytes()).await?;
            flood(stream, &CHUNK, sent).await
        }
        Manner::HugeHeader => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx-huge: ").await?;
            for _ in 0..16 {
                stream.write_all(&CHUNK).await?;
            }
            stream.write_all(b"\r\ncontent-length: 0\r\n\r\n").await?;
            std::future::pending().await
        }
        Manner::EndlessHeaders => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            flood(stream, b"x-more: y\r\n", sent).await
        }
        Manner::Resets | Manner::ReadsNothing => Ok(()),
    }
}

async fn drip(mut stream: impl AsyncWrite + Unpin, piece: &[u8]) -> std::io::Result<()> {
    loop {
        stream.write_all(piece).await?;
        stream.flush().await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn flood(mut stream: impl AsyncWrite + Unpin, piece: &[u8], sent: &AtomicU64) -> std::io::Result<()> {
    let mut total = 0;
    while total < BODY_LENGTH {
        stream.write_all(piece).await?;
        total += piece.len() as u64;
        sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
    stream.flush().await
}

/// Reads to the end of the headers; what is there of the body with them is enough.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<()> {
    let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut chunk).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => request.extend_from_slice(&chunk[..length]),
        }
    }
    Ok(())
}
