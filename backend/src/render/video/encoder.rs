//! ffmpeg: pictures in at one end, a file out at the other, and nothing left of either.
//!
//! It is started without a shell, reads its pictures from a pipe, and writes into a file that has no name: containers want
//! to go back in what they write, which a pipe does not allow, and what has no name cannot be left behind. It goes with the
//! render that wanted it, however that ends.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use bytes::Bytes;
use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit, setpriority_process};
use snaphook_shared::code::Code;
use snaphook_shared::options::model::{Animation, Format};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::layout::Layout;
use crate::domain::failure::Failure;

/// The largest video.
const BYTES_MAX: u64 = 512 * 1024 * 1024;
/// It stops a packet before the limit.
const SAFETY_BYTES: u64 = 16 * 1024 * 1024;
/// All the memory that it may address; it needs a few hundred megabytes for the largest frames.
const ADDRESS_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// The browser comes first: a frame that it was too slow for is lost, one that waits for the encoder is not.
const NICENESS: i32 = 10;
const THREADS: &str = "2";
/// What is kept of its complaints.
const SAID_BYTES_MAX: u64 = 2_000;
/// Where it finds the file to write.
const OUTPUT_FD: i32 = 3;

/// An encoded picture, and its place among those that wait.
#[derive(Clone)]
pub(super) struct Frame(Arc<(Vec<u8>, OwnedSemaphorePermit)>);

impl Frame {
    pub(super) fn new(bytes: Vec<u8>, room: OwnedSemaphorePermit) -> Frame {
        Frame(Arc::new((bytes, room)))
    }
}

/// Takes the pictures; the video ends where it is dropped.
pub(super) struct Feed(mpsc::UnboundedSender<(Frame, u32)>);

impl Feed {
    /// Shows a picture for so many frames.
    pub(super) fn send(&self, frame: &Frame, times: u32) {
        if times > 0 {
            // Who no longer listens has failed, and says so.
            let _ = self.0.send((frame.clone(), times));
        }
    }
}

/// A running ffmpeg. Dropping it ends it.
pub(super) struct Encoder {
    child: Child,
    group: Option<Pid>,
    pictures: mpsc::UnboundedReceiver<(Frame, u32)>,
    output: File,
}

impl Encoder {
    pub(super) fn start(
        ffmpeg: &Path,
        scratch: &Path,
        layout: &Layout,
        format: Format,
        duration_ms: u32,
    ) -> Result<(Encoder, Feed), Failure> {
        let failed = |error: std::io::Error| Failure::internal(format!("{}: {error}", ffmpeg.display()));
        let output = tempfile::tempfile_in(scratch).map_err(failed)?;
        let handed = FdMapping { parent_fd: output.try_clone().map_err(failed)?.into(), child_fd: OUTPUT_FD };
        let mut command = Command::new(ffmpeg);
        command
            .args(arguments(layout, format, duration_ms))
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .current_dir(scratch)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .fd_mappings(vec![handed])
            .map_err(|error| failed(std::io::Error::other(error)))?;
        let child = command.spawn().map_err(failed)?;
        let group = child.id().and_then(|id| Pid::from_raw(id as i32));
        // Both are a matter of manners; a system that allows neither still gets its videos.
        let _ = setpriority_process(group, NICENESS);
        let limit = Rlimit { current: Some(ADDRESS_BYTES_MAX), maximum: Some(ADDRESS_BYTES_MAX) };
        let _ = prlimit(group, Resource::As, limit);
        let (sender, pictures) = mpsc::unbounded_channel();
        Ok((Encoder { child, group, pictures, output }, Feed(sender)))
    }

    /// Encodes what `filming` feeds, and gives the file when both have come to their end.
    pub(super) async fn run(&mut self, filming: impl Future<Output = Result<(), Failure>>) -> Result<Bytes, Failure> {
        let (stdin, stderr) = (self.child.stdin.take(), self.child.stderr.take());
        let (Some(stdin), Some(mut stderr)) = (stdin, stderr) else { return Err(Failure::internal("no pipes")) };
        let mut said = Vec::new();
        // Nothing: the encoder no longer listens, and will say why.
        let filming = async { filming.await.map_err(Some) };
        let feeding = async { pump(&mut self.pictures, stdin).await.map_err(|_| None) };
        let listening = async {
            listen(&mut stderr, &mut said).await;
            Ok(())
        };
        if let Err(Some(failure)) = tokio::try_join!(filming, feeding, listening) {
            return Err(failure);
        }
        listen(&mut stderr, &mut said).await;
        let status = self.child.wait().await.map_err(|error| Failure::internal(format!("ffmpeg: {error}")))?;
        if !status.success() {
            let said = String::from_utf8_lossy(&said).trim().replace('\n', " | ");
            return Err(Failure::internal(format!("ffmpeg: {status}: {said}")));
        }
        let mut output = self.output.try_clone().map_err(|error| Failure::internal(format!("the video: {error}")))?;
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            output.rewind()?;
            output.take(BYTES_MAX).read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>(bytes)
        });
        let bytes = read.await.map_err(|error| Failure::internal(error.to_string()))?;
        let bytes = bytes.map_err(|error| Failure::internal(format!("the video: {error}")))?;
        match bytes.len() as u64 {
            0 => Err(Failure::internal("ffmpeg wrote nothing")),
            // It stopped there, and would play to there.
            length if length + SAFETY_BYTES >= BYTES_MAX => {
                Err(Failure::new(Code::ResultingImageTooLarge, "the video has more than 512 MiB"))
            }
            _ => Ok(Bytes::from(bytes)),
        }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // Once it has been waited for, its number may be somebody else's.
        if let (Some(group), Some(_)) = (self.group, self.child.id()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn pump(pictures: &mut mpsc::UnboundedReceiver<(Frame, u32)>, mut stdin: ChildStdin) -> std::io::Result<()> {
    while let Some((Frame(frame), times)) = pictures.recv().await {
        for _ in 0..times {
            stdin.write_all(&frame.0).await?;
        }
    }
    stdin.shutdown().await
}

/// Reads to the end, and keeps the beginning.
async fn listen(stderr: &mut ChildStderr, said: &mut Vec<u8>) {
    let left = SAID_BYTES_MAX.saturating_sub(said.len() as u64);
    let _ = stderr.take(left).read_to_end(said).await;
    let _ = tokio::io::copy(stderr, &mut tokio::io::sink()).await;
}

fn arguments(layout: &Layout, format: Format, duration_ms: u32) -> Vec<String> {
    let (input, codec, container) = match format {
        Format::Gif => ("png", "gif -loop 0", "gif"),
        // The only one that may be transparent. Lossless, and six times as fast as ProRes.
        Format::Mov if layout.transparent => ("png", "qtrle", "mov"),
        Format::Webm => {
            // Twice the time of H.264, and a sixth of VP8's at the same quality.
            ("mjpeg", "libvpx-vp9 -deadline realtime -cpu-used 8 -row-mt 1 -crf 32 -b:v 0 -lag-in-frames 0", "webm")
        }
        Format::Avi => ("mjpeg", "mpeg4 -vtag xvid -q:v 3", "avi"),
        Format::Mov => ("mjpeg", "libx264 -preset veryfast -crf 21 -movflags +faststart", "mov"),
        _ => ("mjpeg", "libx264 -preset veryfast -crf 21 -movflags +faststart", "mp4"),
    };
    let rate = Animation::frames_per_100_s(format);
    let filters = layout.filters(format, duration_ms);
    let mut arguments: Vec<String> = Vec::new();
    let mut add = |words: &str| arguments.extend(words.split_whitespace().map(str::to_owned));
    add("-hide_banner -loglevel error -nostdin -y -filter_threads 1");
    add(&format!("-threads {THREADS} -protocol_whitelist pipe,file -f image2pipe -framerate {rate}/100 -c:v {input}"));
    add(&format!("-i pipe:0 -an -vf {filters} -threads {THREADS} -c:v {codec}"));
    if layout.is_bt709(format) {
        add("-color_range tv -colorspace bt709 -color_primaries bt709 -color_trc bt709");
    }
    // Neither who made it nor with what.
    add("-map_metadata -1 -fflags +bitexact -flags:v +bitexact");
    add(&format!("-fs {BYTES_MAX} -f {container} /proc/self/fd/{OUTPUT_FD}"));
    arguments
}

/// The ffmpeg to use: the operator's choice, else the one in PATH. None if it is not there.
pub fn find_ffmpeg(configured: &str) -> Option<PathBuf> {
    let is_there = |file: &PathBuf| file.is_file();
    if !configured.is_empty() {
        return Some(PathBuf::from(configured)).filter(is_there);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("ffmpeg")).find(is_there)
}
