//! The self-test of a browser: a page that tries to get past the proxy, and listeners that nobody may reach.
//!
//! Switches change their names and their meaning between versions of Chromium, and a switch that is not known is ignored
//! without a word. So it is not assumed that they hold: before a browser renders anything, a page in it tries the ways out
//! that they close, in the browser's own context and in one like each render has. The proxy it is given lets nothing
//! through, so that whatever arrives has gone round it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chromiumoxide::cdp::browser_protocol::page::NavigateParams;
use chromiumoxide::cdp::browser_protocol::target::CloseTargetParams;
use chromiumoxide::cdp::js_protocol::runtime::{EvaluateParams, RunIfWaitingForDebuggerParams};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

use super::browser::Browser;
use super::cdp::CdpError;
use crate::egress::EgressProxy;

/// For everything together. A browser that is slower than this on its own page is not fit to work.
const LIMIT: Duration = Duration::from_secs(15);
/// What was sent at the very end may take a moment to arrive.
const SETTLE: Duration = Duration::from_millis(30);

/// A page asks for itself and then, by each of two names, for a text, a picture and a socket.
const REFUSED_MIN: u32 = 7;

const SCRIPT: &str = include_str!("js/canary.js");

/// What the self-test found.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    #[error("{0} went past the egress proxy: this Chromium does not obey the switches that keep it in")]
    Escaped(&'static str),
    #[error("the page of the self-test did not try what it was to try")]
    NotTried,
    #[error("the self-test could not be run: {0}")]
    Broken(String),
}

/// Tries to get out, from a page of the browser's own context and from one like a render's.
///
/// # Errors
/// When something did, or when not everything was tried.
pub(super) async fn check(browser: &Arc<Browser>, proxy: &EgressProxy) -> Result<(), CanaryError> {
    tokio::try_join!(check_page(browser, true, proxy), check_page(browser, false, proxy)).map(|_| ())
}

async fn check_page(browser: &Arc<Browser>, own_context: bool, proxy: &EgressProxy) -> Result<(), CanaryError> {
    let broken = |error: &dyn std::fmt::Display| CanaryError::Broken(error.to_string());
    let (listeners, began) = (Canaries::listen().await.map_err(|error| broken(&error))?, Instant::now());
    let ended = tokio::time::timeout(LIMIT, attempt(browser, own_context, &listeners)).await;
    tokio::time::sleep(SETTLE).await;
    if let Some(way) = listeners.reached() {
        return Err(CanaryError::Escaped(way));
    }
    let ran_through = ended.map_err(|error| broken(&error))?.map_err(|error| broken(&error))?;
    let refused = proxy.failures_since(began);
    let refused = refused.iter().filter(|failed| failed.port == listeners.tcp_port).map(|failed| failed.count).sum();
    judge(ran_through, refused)
}

/// Whether a page has tried what it was to try, by what became of its script and what was refused to it.
fn judge(ran_through: bool, refused: u32) -> Result<(), CanaryError> {
    match ran_through && refused >= REFUSED_MIN {
        true => Ok(()),
        false => Err(CanaryError::NotTried),
    }
}

/// Gives whether the script came to its end.
async fn attempt(browser: &Arc<Browser>, own_context: bool, listeners: &Canaries) -> Result<bool, CdpError> {
    let tab = match own_context {
        true => browser.open_tab(browser.make_context(None).await?, None).await?,
        false => browser.open_bare_tab().await?,
    };
    let Canaries { tcp_port, udp_port, .. } = listeners;
    if own_context {
        // As every render does.
        tab.session.call(RunIfWaitingForDebuggerParams::default(), LIMIT).await?;
    }
    // The proxy's refusal is a page too, and one with the canary's own origin.
    let navigate = NavigateParams::new(format!("http://127.0.0.1:{tcp_port}/"));
    tab.session.call(navigate, LIMIT).await?;
    let mut evaluate = EvaluateParams::new(format!("({SCRIPT})({tcp_port}, {udp_port})"));
    evaluate.await_promise = Some(true);
    let returned = tab.session.call(evaluate, LIMIT).await?;
    if let Some(exception) = &returned.exception_details {
        tracing::warn!(exception = exception.text, "the script of the self-test broke off");
    }
    if !own_context {
        let close = CloseTargetParams::new(tab.main_frame.clone());
        browser.call(close).await?;
    }
    tab.close().await;
    Ok(returned.exception_details.is_none())
}

/// One listener of each kind on loopback, which a browser reaches most easily when nothing stops it.
struct Canaries {
    tcp_port: u16,
    udp_port: u16,
    tcp: Arc<AtomicBool>,
    udp: Arc<AtomicBool>,
    tasks: [JoinHandle<()>; 2],
}

impl Canaries {
    async fn listen() -> std::io::Result<Canaries> {
        let (listener, socket) =
            tokio::try_join!(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)), UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let (tcp_port, udp_port) = (listener.local_addr()?.port(), socket.local_addr()?.port());
        let (tcp, udp) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (tcp_seen, udp_seen) = (tcp.clone(), udp.clone());
        let tasks = [
            tokio::spawn(async move {
                while listener.accept().await.is_ok() {
                    tcp_seen.store(true, Ordering::Relaxed);
                }
            }),
            tokio::spawn(async move {
                while socket.recv(&mut [0; 16]).await.is_ok() {
                    udp_seen.store(true, Ordering::Relaxed);
                }
            }),
        ];
        Ok(Canaries { tcp_port, udp_port, tcp, udp, tasks })
    }

    fn reached(&self) -> Option<&'static str> {
        match (self.tcp.load(Ordering::Relaxed), self.udp.load(Ordering::Relaxed)) {
            (true, _) => Some("a TCP connection"),
            (_, true) => Some("a UDP packet"),
            _ => None,
        }
    }
}

impl Drop for Canaries {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_did_not_try_everything_proves_nothing() {
        assert!(judge(true, REFUSED_MIN).is_ok());
        for (ran_through, refused) in [(false, REFUSED_MIN), (true, REFUSED_MIN - 1), (true, 0)] {
            assert!(matches!(judge(ran_through, refused), Err(CanaryError::NotTried)), "{ran_through} {refused}");
        }
    }
}
