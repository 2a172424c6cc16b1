//! What passes on one connection is counted, and cut off at a limit.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::{Failure, ProxyLimits};

/// Counts what passes on one connection to a target.
#[derive(Debug)]
pub(super) struct Meter {
    moved: AtomicU64,
    total: Arc<AtomicU64>,
    stalled: AtomicBool,
    limits: ProxyLimits,
}

impl Meter {
    /// Counts one connection, and into a total.
    pub(super) fn new(total: Arc<AtomicU64>, limits: ProxyLimits) -> Meter {
        Meter { moved: AtomicU64::new(0), total, stalled: AtomicBool::new(false), limits }
    }

    fn count(&self, bytes: usize) -> io::Result<()> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        self.total.fetch_add(bytes, Ordering::Relaxed);
        if self.is_over() {
            return Err(io::Error::other("byte limit of the egress proxy"));
        }
        Ok(())
    }

    pub(super) fn is_over(&self) -> bool {
        self.moved.load(Ordering::Relaxed) > self.limits.max_bytes
            || self.total.load(Ordering::Relaxed) > self.limits.max_total_bytes
    }

    /// Returns when nothing has moved for the idle time, give or take an eighth of it.
    pub(super) async fn stalled(&self) {
        let tick = (self.limits.idle / 8).max(Duration::from_millis(1));
        let (mut seen, mut since) = (self.moved.load(Ordering::Relaxed), tokio::time::Instant::now());
        loop {
            tokio::time::sleep(tick).await;
            let moved = self.moved.load(Ordering::Relaxed);
            if moved != seen {
                (seen, since) = (moved, tokio::time::Instant::now());
            } else if since.elapsed() >= self.limits.idle {
                self.stalled.store(true, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Why the connection ended before its answer began.
    pub(super) fn failure(&self) -> Failure {
        if self.stalled.load(Ordering::Relaxed) {
            Failure::TimedOut
        } else if self.is_over() {
            Failure::OverLimit
        } else {
            Failure::UpstreamFailed
        }
    }
}

/// A connection to a target, with its meter.
#[derive(Debug)]
pub(super) struct Metered {
    stream: TcpStream,
    meter: Arc<Meter>,
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Poll::Ready(Ok(())) = result {
            self.meter.count(buffer.filled().len().saturating_sub(before))?;
        }
        result
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.counted(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.counted(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Metered {
    pub(super) fn new(stream: TcpStream, meter: Arc<Meter>) -> Metered {
        Metered { stream, meter }
    }

    fn counted(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = result {
            self.meter.count(written)?;
        }
        result
    }
}
