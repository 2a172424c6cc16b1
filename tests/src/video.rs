//! Looking at videos: ffprobe says what they are, ffmpeg decodes every frame.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;

use crate::picture::Picture;

/// A decoded video.
#[derive(Clone, Debug)]
pub struct Video {
    pub container: String,
    pub codec: String,
    /// As ffmpeg names them (`yuv420p`).
    pub pixels: String,
    pub seconds: f64,
    /// When each begins, and what it shows.
    pub frames: Vec<(f64, Picture)>,
}

impl Video {
    /// # Panics
    /// If ffmpeg cannot decode it, or is not there.
    pub fn decode(bytes: &[u8]) -> Video {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bytes).expect("a disk");
        let entries = "stream=codec_name,width,height,pix_fmt:frame=pts_time:format=duration,format_name";
        let told =
            run(Command::new("ffprobe").args(["-v", "error", "-show_entries", entries, "-of", "json"]), file.path());
        let told: Json = serde_json::from_slice(&told).expect("JSON of ffprobe");
        let (stream, format) = (&told["streams"][0], &told["format"]);
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let side = |name: &str| u32::try_from(stream[name].as_u64().unwrap_or_default()).unwrap_or_default();
        let (width, height) = (side("width"), side("height"));
        let mut decode = Command::new("ffmpeg");
        decode.args(["-v", "error", "-xerror", "-i"]).arg(file.path());
        decode.args(["-vsync", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgba"]);
        let rgba = run(&mut decode, Path::new("pipe:1"));
        let pictures = rgba.chunks_exact((width * height * 4) as usize);
        let pictures = pictures.map(|rgba| Picture::of_pixels(width, height, rgba.to_vec()));
        let times = told["frames"].as_array().cloned().unwrap_or_default();
        let times = times.iter().filter_map(|frame| text(&frame["pts_time"]).parse::<f64>().ok());
        Video {
            container: text(&format["format_name"]),
            codec: text(&stream["codec_name"]),
            pixels: text(&stream["pix_fmt"]),
            seconds: text(&format["duration"]).parse().unwrap_or_default(),
            frames: times.zip(pictures).collect(),
        }
    }

    pub fn size(&self) -> (u32, u32) {
        self.frames.first().map_or((0, 0), |(_, picture)| picture.size())
    }

    /// What is seen at a time.
    pub fn at(&self, seconds: f64) -> &Picture {
        let frame = self.frames.iter().rev().find(|(begins, _)| *begins <= seconds + 1e-6).or(self.frames.first());
        &frame.expect("a frame").1
    }

    /// The pure colours that a pixel takes, one after the other, and when each begins. Others are what a lossy format makes
    /// of an edge that passes.
    pub fn colours(&self, x: u32, y: u32) -> Vec<(f64, String)> {
        let mut found: Vec<(f64, String)> = Vec::new();
        for (begins, picture) in &self.frames {
            let colour = picture.colour(x, y);
            let is_pure = [1, 3, 5].iter().all(|at| matches!(&colour[*at..at + 2], "00" | "ff"));
            if is_pure && found.last().is_none_or(|(_, last)| *last != colour) {
                found.push((*begins, colour));
            }
        }
        found
    }
}

fn run(command: &mut Command, last: &Path) -> Vec<u8> {
    let output = command.arg(last).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
