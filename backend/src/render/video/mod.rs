//! A page that moves: recorded by Chromium's screencast, put to a constant rate by the frames' own times, encoded by ffmpeg.
//!
//! The screencast gives a frame when the page has changed, with the time at which it did, forty and more a second where
//! single captures come to ten. So what takes two seconds takes two seconds in the video, however slow the machine is: it
//! has fewer different frames then.

mod camera;
mod encoder;
mod layout;
mod scenario;

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use chromiumoxide::cdp::browser_protocol::page::StartScreencastFormat;
use chromiumoxide::{Command, Method};
use serde::{Deserialize, Serialize};
use snaphook_shared::code::Code;
use snaphook_shared::options::model::{Animation, Format};
use tokio_util::sync::CancellationToken;

use super::page::Page;
use crate::domain::artifact::Artifact;
use crate::domain::failure::Failure;
use camera::Camera;
use encoder::Encoder;
pub use encoder::find_ffmpeg;
use layout::Layout;

/// No recording is shorter, whatever its scenario.
const SHORTEST: Duration = Duration::from_secs(1);

/// What recordings are made with.
pub(super) struct Studio {
    pub(super) ffmpeg: Option<PathBuf>,
    /// Where files may be for a while.
    pub(super) scratch: PathBuf,
}

/// `Emulation.setVisibleSize`, which the protocol's definitions call deprecated and leave out. Nothing else makes the view
/// larger than the page believes it to be.
#[derive(Debug, Serialize)]
pub(super) struct SetVisibleSize {
    pub(super) width: u32,
    pub(super) height: u32,
}

/// Its answer, which says nothing.
#[derive(Debug, Deserialize)]
pub(super) struct Nothing {}

impl Method for SetVisibleSize {
    fn identifier(&self) -> chromiumoxide::types::MethodId {
        "Emulation.setVisibleSize".into()
    }
}

impl Command for SetVisibleSize {
    type Response = Nothing;
}

/// Records the page, which is ready.
pub(super) async fn record(page: &mut Page<'_>, studio: &Studio) -> Result<Artifact, Failure> {
    let options = page.options;
    let animation = options.animation.as_ref().ok_or_else(|| Failure::internal("there is nothing to record"))?;
    let missing = || Failure::new(Code::VideoNotAvailable, "there is no ffmpeg");
    let ffmpeg = studio.ffmpeg.as_ref().ok_or_else(missing)?;
    let format = options.output.format;
    scenario::check(page, animation).await?;
    let layout = Layout::of(options)?;
    if let Some((width, height)) = layout.screen {
        page.set_screen(width, height).await?;
    }
    // What loses little is enough for what is going to lose more. A palette is made of what is really there.
    let image = match format == Format::Gif || layout.transparent {
        true => StartScreencastFormat::Png,
        false => StartScreencastFormat::Jpeg,
    };
    let (mut encoder, feed) = Encoder::start(ffmpeg, &studio.scratch, &layout, format, animation.duration_ms)?;
    let camera = Camera::new(page, image, Animation::frames_per_100_s(format))?;
    let filming = film(page, animation, camera, feed);
    let bytes = encoder.run(filming).await?;
    Ok(Artifact::new(bytes, format, Some(layout.output)))
}

/// Lets the scenario play before the camera, until either of them is at its end.
async fn film(page: &mut Page<'_>, animation: &Animation, camera: Camera, feed: encoder::Feed) -> Result<(), Failure> {
    let (rolling, end) = (camera.rolling(), CancellationToken::new());
    let longest = Duration::from_millis(u64::from(animation.duration_ms));
    let mut shooting = pin!(camera.shoot(longest, end.clone(), feed));
    let mut playing = pin!(scenario::play(page, animation, rolling));
    tokio::select! {
        shot = &mut shooting => return shot,
        played = &mut playing => played?,
    }
    if animation.scroll.complete {
        end.cancel();
    }
    shooting.await
}
