//! What passes on a connection is counted, exchange by exchange, and cut off at a limit.

use std::io;
use std::net::SocketAddr;
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
    /// What had moved before the exchange that is under way.
    before: AtomicU64,
    cut_off: AtomicBool,
    total: Arc<AtomicU64>,
    stalled: AtomicBool,
    limits: ProxyLimits,
}

impl Meter {
    /// Counts one connection, and into a total.
    pub(super) fn new(total: Arc<AtomicU64>, limits: ProxyLimits) -> Meter {
        Meter {
            moved: AtomicU64::new(0),
            before: AtomicU64::new(0),
            cut_off: AtomicBool::new(false),
            total,
            stalled: AtomicBool::new(false),
            limits,
        }
    }

    /// Begins an exchange, whose bytes are counted by themselves.
    pub(super) fn begin(&self) {
        self.before.store(self.moved.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn count(&self, bytes: usize) -> io::Result<()> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let moved = self.moved.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let total = self.total.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let of_exchange = moved.saturating_sub(self.before.load(Ordering::Relaxed));
        if of_exchange > self.limits.max_bytes || total > self.limits.max_total_bytes {
            self.cut_off.store(true, Ordering::Relaxed);
            return Err(io::Error::other("byte limit of the egress proxy"));
        }
        Ok(())
    }

    /// Whether a limit ended the exchange.
    pub(super) fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Relaxed)
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
        } else if self.is_cut_off() {
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
    pub(super) fn new(stream: TcpStream, meter: Meter) -> Metered {
        Metered { stream, meter: Arc::new(meter) }
    }

    pub(super) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    pub(super) fn peer(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    fn counted(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = result {
            self.meter.count(written)?;
        }
        result
    }
}
