//! A Chrome DevTools Protocol client over a pipe, typed by chromiumoxide's protocol definitions.
//!
//! The pipe, rather than a WebSocket on a port, leaves no listener that a page could reach. chromiumoxide's own handler is
//! not used: it needs a port, panics when a target it expects is gone, and enables domains on every page that most renders
//! do not need. What it would do for us is this file.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chromiumoxide::Command;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};

/// A page that rewrites the functions by which it is read can make a text of any length of it.
const MESSAGE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Why a command has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum CdpError {
    #[error("the browser is gone")]
    Disconnected,
    #[error("the page crashed")]
    Crashed,
    #[error("{method} was not answered within {seconds} s")]
    TimedOut { method: String, seconds: u64 },
    #[error("{method}: {message}")]
    Refused { method: String, message: String },
    #[error("{method}: {message}")]
    Malformed { method: String, message: String },
}

/// An event of one session, its parameters still JSON text.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) method: String,
    params: Box<RawValue>,
}

impl Event {
    /// Reads the parameters; None when they are not what the method promises, which newer browsers may do.
    pub(super) fn read<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_str(self.params.get()).ok()
    }
}

/// The whole message, which whoever asked reads: a picture in it is not copied on its way.
type Answer = Result<Vec<u8>, CdpError>;

struct Pending {
    session: Option<String>,
    answer: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct Shared {
    pending: HashMap<u64, Pending>,
    sessions: HashMap<String, mpsc::UnboundedSender<Event>>,
    closed: bool,
}

/// Stands for the session that the browser's own events have none of.
const BROWSER: &str = "";

/// The connection to one browser. Clones share it.
#[derive(Clone)]
pub(super) struct Cdp {
    next_id: Arc<AtomicU64>,
    outgoing: mpsc::UnboundedSender<Vec<u8>>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outgoing<'a, C> {
    id: u64,
    method: &'a str,
    params: &'a C,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
}

/// What is no answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notification<'a> {
    method: String,
    #[serde(borrow)]
    params: &'a RawValue,
    session_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "R: Deserialize<'de>"))]
struct Reply<R> {
    result: Option<R>,
    error: Option<ErrorBody>,
}

#[derive(Deserialize)]
struct ErrorBody {
    message: String,
    data: Option<String>,
}

impl<R> Reply<R> {
    fn of(self, method: &str) -> Result<R, CdpError> {
        let method = method.to_owned();
        match (self.result, self.error) {
            (Some(result), _) => Ok(result),
            (None, Some(ErrorBody { message, data })) => {
                let message = data.map_or(message.clone(), |data| format!("{message} {data}"));
                Err(CdpError::Refused { method, message })
            }
            (None, None) => Err(CdpError::Malformed { method, message: "no result".to_owned() }),
        }
    }
}

/// Whose answer a message is; None for what is none. Chromium begins each answer with the number of its command.
fn answered(message: &[u8]) -> Option<u64> {
    let number = message.strip_prefix(br#"{"id":"#)?;
    let digits = number.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&number[..digits]).ok()?.parse().ok()
}

impl Cdp {
    /// Starts the two tasks that read and write; they end with the pipes.
    pub(super) fn start(to_browser: pipe::Sender, from_browser: pipe::Receiver) -> Cdp {
        let (outgoing, messages) = mpsc::unbounded_channel();
        let cdp = Cdp { next_id: Arc::default(), outgoing, shared: Arc::default() };
        tokio::spawn(write(to_browser, messages));
        let reader = cdp.clone();
        tokio::spawn(async move { reader.read(from_browser).await });
        cdp
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Sends a command to the browser itself.
    pub(super) fn browser<C: Command>(
        &self,
        command: C,
        limit: Duration,
    ) -> impl Future<Output = Result<C::Response, CdpError>> + use<C> {
        self.call(None, command, limit)
    }

    /// The events of the browser itself; there is one taker.
    pub(super) fn browser_events(&self) -> mpsc::UnboundedReceiver<Event> {
        let (sender, events) = mpsc::unbounded_channel();
        self.lock().sessions.insert(BROWSER.to_owned(), sender);
        events
    }

    /// Opens the event stream of a session. Events that come before it are dropped.
    pub(super) fn session(&self, id: impl Into<String>) -> (Session, mpsc::UnboundedReceiver<Event>) {
        let id = id.into();
        let (sender, events) = mpsc::unbounded_channel();
        self.lock().sessions.insert(id.clone(), sender);
        (Session { cdp: self.clone(), id }, events)
    }

    /// Sends a command at once, so that several go in the order in which they were called for; what is given back waits
    /// for the answer.
    fn call<C: Command>(
        &self,
        session: Option<&str>,
        command: C,
        limit: Duration,
    ) -> impl Future<Output = Result<C::Response, CdpError>> + use<C> {
        let method = command.identifier();
        let sent = self.send(session, &method, &command);
        async move {
            // Dropped with this call, so that a render which gives up leaves nothing behind.
            let (_forget, answer) = sent?;
            match tokio::time::timeout(limit, answer).await {
                Err(_) => Err(CdpError::TimedOut { method: method.to_string(), seconds: limit.as_secs() }),
                Ok(Err(_)) => Err(CdpError::Disconnected),
                Ok(Ok(Err(error))) => Err(error),
                Ok(Ok(Ok(message))) => {
                    let reply: Reply<C::Response> =
                        serde_json::from_slice(&message).map_err(|error| malformed(&method, &error))?;
                    reply.of(&method)
                }
            }
        }
    }

    fn send<C: Command>(
        &self,
        session: Option<&str>,
        method: &str,
        command: &C,
    ) -> Result<(Forget, oneshot::Receiver<Answer>), CdpError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let message = Outgoing { id, method, params: command, session_id: session };
        let mut bytes = serde_json::to_vec(&message).map_err(|error| malformed(method, &error))?;
        bytes.push(0);
        let (sender, answer) = oneshot::channel();
        {
            let mut shared = self.lock();
            if shared.closed {
                return Err(CdpError::Disconnected);
            }
            shared.pending.insert(id, Pending { session: session.map(str::to_owned), answer: sender });
        }
        // What it says may be a secret.
        tracing::trace!(method, "sent");
        let forget = Forget { shared: self.shared.clone(), id };
        self.outgoing.send(bytes).map_err(|_| CdpError::Disconnected)?;
        Ok((forget, answer))
    }

    async fn read(&self, pipe: pipe::Receiver) {
        let mut reader = BufReader::with_capacity(256 * 1024, pipe);
        let mut message = Vec::new();
        while let Ok(length) = (&mut reader).take(MESSAGE_BYTES_MAX).read_until(0, &mut message).await {
            if message.pop_if(|last| *last == 0).is_none() {
                if length > 0 {
                    tracing::error!(
                        "the browser sent a message of more than {MESSAGE_BYTES_MAX} bytes, and is given up"
                    );
                }
                break;
            }
            match answered(&message) {
                Some(id) => self.answer(id, std::mem::take(&mut message)),
                None => self.notify(&message),
            }
            message.clear();
        }
        let mut shared = self.lock();
        shared.closed = true;
        shared.sessions.clear();
        for (_, pending) in shared.pending.drain() {
            let _ = pending.answer.send(Err(CdpError::Disconnected));
        }
    }

    fn answer(&self, id: u64, message: Vec<u8>) {
        let pending = self.lock().pending.remove(&id);
        // Nobody waits any more for what a render asked that has given up.
        if let Some(pending) = pending {
            let _ = pending.answer.send(Ok(message));
        }
    }

    fn notify(&self, message: &[u8]) {
        let Ok(Notification { method, params, session_id }) = serde_json::from_slice(message) else {
            tracing::warn!(bytes = message.len(), "the browser sent something that is no protocol message");
            return;
        };
        let mut shared = self.lock();
        let session = session_id.unwrap_or_else(|| BROWSER.to_owned());
        if method == "Inspector.targetCrashed" {
            // The browser never answers what was asked of a crashed page.
            let stuck: Vec<u64> = shared
                .pending
                .iter()
                .filter(|(_, pending)| pending.session.as_deref() == Some(&session))
                .map(|(id, _)| *id)
                .collect();
            for id in stuck {
                if let Some(pending) = shared.pending.remove(&id) {
                    let _ = pending.answer.send(Err(CdpError::Crashed));
                }
            }
        }
        if let Some(events) = shared.sessions.get(&session) {
            let _ = events.send(Event { method, params: params.to_owned() });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session with one target. Dropping it ends its event stream.
pub(super) struct Session {
    cdp: Cdp,
    id: String,
}

impl Session {
    pub(super) fn call<C: Command>(
        &self,
        command: C,
        limit: Duration,
    ) -> impl Future<Output = Result<C::Response, CdpError>> + use<C> {
        self.cdp.call(Some(&self.id), command, limit)
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The session of a target that was attached to on this one's behalf (a frame, a worker, a popup).
    pub(super) fn child(&self, id: &str) -> (Session, mpsc::UnboundedReceiver<Event>) {
        self.cdp.session(id)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.cdp.lock().sessions.remove(&self.id);
    }
}

fn malformed(method: &str, error: &serde_json::Error) -> CdpError {
    CdpError::Malformed { method: method.to_owned(), message: error.to_string() }
}

struct Forget {
    shared: Arc<Mutex<Shared>>,
    id: u64,
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).pending.remove(&self.id);
    }
}

async fn write(mut pipe: pipe::Sender, mut messages: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(message) = messages.recv().await {
        if pipe.write_all(&message).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use chromiumoxide::cdp::browser_protocol::browser::GetVersionParams;
    use chromiumoxide::cdp::browser_protocol::page::{CaptureScreenshotParams, NavigateParams};
    use chromiumoxide::cdp::js_protocol::runtime::EvaluateParams;

    use super::*;

    const SOON: Duration = Duration::from_millis(100);

    /// A client, and the two ends that a browser would have.
    fn client() -> (Cdp, std::io::PipeReader, std::io::PipeWriter) {
        let (theirs_in, ours_out) = std::io::pipe().unwrap();
        let (ours_in, theirs_out) = std::io::pipe().unwrap();
        let sender = pipe::Sender::from_owned_fd(ours_out.into()).unwrap();
        let receiver = pipe::Receiver::from_owned_fd(ours_in.into()).unwrap();
        (Cdp::start(sender, receiver), theirs_in, theirs_out)
    }

    #[tokio::test]
    async fn no_command_waits_longer_than_its_time() {
        let (cdp, _in, _out) = client();
        let (session, _events) = cdp.session("a");
        let timed_out = |error: CdpError| matches!(error, CdpError::TimedOut { .. });
        assert!(timed_out(cdp.browser(GetVersionParams::default(), SOON).await.unwrap_err()));
        assert!(timed_out(session.call(NavigateParams::new("https://example.com/"), SOON).await.unwrap_err()));
        assert!(timed_out(session.call(EvaluateParams::new("1"), SOON).await.unwrap_err()));
        assert!(timed_out(session.call(CaptureScreenshotParams::default(), SOON).await.unwrap_err()));
        assert!(cdp.lock().pending.is_empty(), "nothing is remembered of them");
    }

    #[tokio::test]
    async fn a_crashed_page_answers_at_once_and_the_others_are_not_disturbed() {
        let (cdp, mut commands, mut out) = client();
        let ((one, _), (other, _)) = (cdp.session("one"), cdp.session("other"));
        let crash = async {
            // Both commands are on their way before the page crashes.
            let read = tokio::task::spawn_blocking(move || {
                let mut text = Vec::new();
                let mut byte = [0];
                while text.iter().filter(|byte| **byte == 0).count() < 2 {
                    commands.read_exact(&mut byte).unwrap();
                    text.push(byte[0]);
                }
            });
            read.await.unwrap();
            out.write_all(b"{\"method\":\"Inspector.targetCrashed\",\"params\":{},\"sessionId\":\"one\"}\0").unwrap();
            out
        };
        let long = Duration::from_secs(1);
        let (crashed, waiting, _out) =
            tokio::join!(one.call(EvaluateParams::new("1"), long), other.call(EvaluateParams::new("1"), long), crash);
        assert!(matches!(crashed, Err(CdpError::Crashed)), "{crashed:?}");
        assert!(matches!(waiting, Err(CdpError::TimedOut { .. })), "{waiting:?}");
    }

    #[tokio::test]
    async fn a_browser_that_goes_takes_every_wait_with_it() {
        let (cdp, _in, out) = client();
        let gone = async { drop(out) };
        let (answer, ()) = tokio::join!(cdp.browser(GetVersionParams::default(), Duration::from_secs(5)), gone);
        assert!(matches!(answer, Err(CdpError::Disconnected)), "{answer:?}");
        assert!(cdp.is_closed());
    }
}
