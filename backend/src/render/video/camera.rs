//! Frames as Chromium sends them, whenever something changes, into frames at a constant rate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chromiumoxide::cdp::browser_protocol::page::{
    ScreencastFrameAckParams, StartScreencastFormat, StartScreencastParams, StopScreencastParams,
};
use serde::Deserialize;
use snaphook_shared::code::Code;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::SHORTEST;
use super::encoder::{Feed, Frame};
use crate::domain::failure::Failure;
use crate::render::cdp::{CdpError, Event, Session};
use crate::render::page::{Page, failure};

/// A page that shows itself does so at once.
const FIRST_FRAME_LIMIT: Duration = Duration::from_secs(10);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Chromium drops frames while two of its last ones are on their way. When it then falls silent, the last one it sent may
/// not be the last there was: so it is asked once more.
const SILENCE: Duration = Duration::from_millis(200);
/// How late a frame may come that was in time.
const GRACE: Duration = Duration::from_millis(150);
/// Frames that wait for the encoder. Above it Chromium waits for the answer to its last frame, and so sends fewer.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// For formats that lose.
const QUALITY: i64 = 92;

/// When the recording began; None before.
pub(super) type Rolling = watch::Receiver<Option<Instant>>;

pub(super) struct Camera {
    session: Arc<Session>,
    events: mpsc::UnboundedReceiver<Event>,
    image: StartScreencastFormat,
    frames_per_100_s: u32,
    rolling: watch::Sender<Option<Instant>>,
    room: Arc<Semaphore>,
}

/// What matters of `Page.screencastFrame`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent<'a> {
    data: &'a str,
    metadata: Metadata,
    session_id: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    /// Seconds of a clock that nobody sets; older browsers do not tell it.
    monotonic_timestamp: Option<f64>,
    timestamp: Option<f64>,
}

/// A picture and when it was seen, in seconds.
struct Shot {
    frame: Frame,
    at: f64,
}

impl Camera {
    pub(super) fn new(
        page: &mut Page<'_>,
        image: StartScreencastFormat,
        frames_per_100_s: u32,
    ) -> Result<Camera, Failure> {
        let events = page.take_frames().ok_or_else(|| Failure::internal("the page was recorded before"))?;
        let (rolling, room) = (watch::Sender::new(None), Arc::new(Semaphore::new(WAITING_BYTES_MAX)));
        Ok(Camera { session: page.session(), events, image, frames_per_100_s, rolling, room })
    }

    pub(super) fn rolling(&self) -> Rolling {
        self.rolling.subscribe()
    }

    /// Records until `longest` is over, or until it is told to end.
    pub(super) async fn shoot(mut self, longest: Duration, end: CancellationToken, feed: Feed) -> Result<(), Failure> {
        self.start().await?;
        let silent = |_| Failure::retryable(Code::InternalApplicationError, "Chromium sent no frame");
        let mut shown = tokio::time::timeout(FIRST_FRAME_LIMIT, self.next()).await.map_err(silent)??;
        let (first_at, began) = (shown.at, Instant::now());
        self.rolling.send_replace(Some(began));
        let (mut length, mut ending) = (longest, false);
        let mut written = 0;
        let mut asked = Asked::Not;
        let mut last = began;
        loop {
            tokio::select! {
                shot = self.next() => {
                    let shot = shot?;
                    // Each frame of the video shows what was seen last at its own time.
                    let due = self.ticks(shot.at - first_at).min(self.ticks(length.as_secs_f64()));
                    feed.send(&shown.frame, due.saturating_sub(written));
                    written = written.max(due);
                    shown = shot;
                    last = Instant::now();
                    asked = if matches!(asked, Asked::Now) { Asked::Already } else { Asked::Not };
                }
                () = tokio::time::sleep_until((last + SILENCE).into()), if matches!(asked, Asked::Not) => {
                    self.ask_again().await?;
                    asked = Asked::Now;
                }
                () = tokio::time::sleep_until((began + length + GRACE).into()) => break,
                () = end.cancelled(), if !ending => {
                    ending = true;
                    length = began.elapsed().max(SHORTEST).min(longest);
                }
            }
        }
        let all = self.ticks(length.as_secs_f64()).max(1);
        feed.send(&shown.frame, all.saturating_sub(written));
        Ok(())
    }

    /// Frames of the video that begin before this time.
    fn ticks(&self, seconds: f64) -> u32 {
        // What falls on a frame's own time, but for rounding, belongs to it.
        (seconds * f64::from(self.frames_per_100_s) / 100.0 - 1e-6).ceil().max(0.0) as u32
    }

    async fn start(&self) -> Result<(), Failure> {
        let start = StartScreencastParams {
            format: Some(self.image.clone()),
            quality: Some(QUALITY),
            ..StartScreencastParams::default()
        };
        self.session.call(start, ANSWER_LIMIT).await.map(|_| ()).map_err(failure)
    }

    /// A screencast that starts shows what there is.
    async fn ask_again(&self) -> Result<(), Failure> {
        match self.session.call(StopScreencastParams::default(), ANSWER_LIMIT).await {
            Ok(_) => self.start().await,
            Err(error) => Err(failure(error)),
        }
    }

    /// The next frame, answered, so that another one comes.
    async fn next(&mut self) -> Result<Shot, Failure> {
        loop {
            let event = self.events.recv().await.ok_or_else(|| failure(CdpError::Disconnected))?;
            let Some(sent) = event.read::<Sent<'_>>() else { continue };
            let Some(at) = sent.metadata.monotonic_timestamp.or(sent.metadata.timestamp) else { continue };
            let bytes = BASE64.decode(sent.data).map_err(|error| Failure::internal(format!("a frame: {error}")))?;
            let room = bytes.len().min(WAITING_BYTES_MAX) as u32;
            let closed = |_| Failure::internal("the recording is over");
            let room = self.room.clone().acquire_many_owned(room).await.map_err(closed)?;
            let (session, answer) = (self.session.clone(), ScreencastFrameAckParams::new(sent.session_id));
            // Nobody waits for the answer to an answer.
            tokio::spawn(async move { session.call(answer, ANSWER_LIMIT).await.map(|_| ()) });
            return Ok(Shot { frame: Frame::new(bytes, room), at });
        }
    }
}

/// Whether Chromium has been asked for what there is since the page last changed.
enum Asked {
    Not,
    Now,
    Already,
}
