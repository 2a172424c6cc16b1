//! What of the screen is recorded, how large the video is, and how ffmpeg makes the one of the other.

use snaphook_shared::code::Code;
use snaphook_shared::limits::{VIDEO_PIXELS_MAX, VIDEO_SIDE_PIXELS_MAX};
use snaphook_shared::options::model::{Animation, Format, Options};

use crate::domain::artifact::Size;
use crate::domain::failure::Failure;

/// Pixels of a GIF's frames that may wait for its palette.
const HELD_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// All in device pixels, but for the screen.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    /// The screen to record, in CSS pixels, where it is not the viewport.
    pub(super) screen: Option<(u32, u32)>,
    /// A frame as it comes.
    surface: Size,
    /// The part of it that counts.
    part: Part,
    /// That part as it is shown, and the picture around it.
    shown: Size,
    pub(super) output: Size,
    pub(super) transparent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Part {
    x: u32,
    y: u32,
    size: Size,
}

impl Layout {
    pub(super) fn of(options: &Options) -> Result<Layout, Failure> {
        let animation = options.animation.clone().unwrap_or_default();
        let (viewport, clip) = (&options.viewport, &options.capture.clip);
        let scale = viewport.device_scale_factor;
        let pixels = |css: u32| (f64::from(css) * scale).round() as u32;
        let (x, y) = (clip.x.unwrap_or(0), clip.y.unwrap_or(0));
        let (right, bottom) = (
            x.saturating_add(clip.width.unwrap_or(viewport.width.saturating_sub(x))),
            y.saturating_add(clip.height.unwrap_or(viewport.height.saturating_sub(y))),
        );
        // What is outside of the viewport is not seen, unless the caller wants to see that too.
        let (width, height) = match options.capture.beyond_viewport {
            Some(true) => (viewport.width.max(right), viewport.height.max(bottom)),
            _ => (viewport.width, viewport.height),
        };
        let (right, bottom) = (right.min(width), bottom.min(height));
        if x >= right || y >= bottom {
            return Err(Failure::invalid("clip_x", "the clip lies outside the viewport"));
        }
        let surface = Size { width: pixels(width), height: pixels(height) };
        let (left, top) = (pixels(x), pixels(y));
        let size = Size { width: pixels(right).saturating_sub(left), height: pixels(bottom).saturating_sub(top) };
        let part = Part { x: left, y: top, size };
        let halves = halves_colour(options.output.format, options.output.omit_background);
        let (part, shown, output) = arrange(part, &animation, scale, halves);
        for size in [surface, output] {
            let side_max = size.width.max(size.height);
            if side_max > VIDEO_SIDE_PIXELS_MAX || size.pixels() > u64::from(VIDEO_PIXELS_MAX) {
                let cause = format!("{}x{} pixels in a video", size.width, size.height);
                return Err(Failure::new(Code::ResultingImageTooLarge, cause));
            }
        }
        let screen = ((width, height) != (viewport.width, viewport.height)).then_some((width, height));
        Ok(Layout { screen, surface, part, shown, output, transparent: options.output.omit_background })
    }

    /// Whether the video says that its colours are those of high definition. MPEG-4 in an AVI cannot, and is taken for the
    /// older ones.
    pub(super) fn is_bt709(&self, format: Format) -> bool {
        halves_colour(format, self.transparent) && format != Format::Avi
    }

    /// All frames of a GIF as pixels.
    fn held_bytes(&self, duration_ms: u32) -> u64 {
        let frames = u64::from(duration_ms) * u64::from(Animation::frames_per_100_s(Format::Gif)) / 100_000;
        self.output.pixels() * 4 * frames
    }

    /// As ffmpeg writes them.
    pub(super) fn filters(&self, format: Format, duration_ms: u32) -> String {
        let Size { width, height } = self.surface;
        // Frames are of this size already. If a page manages to change that, the video must not break.
        let mut filters = vec![format!("scale={width}:{height}")];
        if halves_colour(format, self.transparent) {
            // JPEGs are in full range and the older colours.
            let matrix = if self.is_bt709(format) { "bt709" } else { "bt601" };
            filters = vec![format!(
                "scale={width}:{height}:in_range=full:in_color_matrix=bt601:out_range=limited:out_color_matrix={matrix}"
            )];
        }
        if (self.part.x, self.part.y, self.part.size) != (0, 0, self.surface) {
            let Part { x, y, size: Size { width, height } } = self.part;
            filters.push(format!("crop={width}:{height}:{x}:{y}:exact=1"));
        }
        if self.shown != self.part.size {
            filters.push(format!("scale={}:{}:flags=lanczos", self.shown.width, self.shown.height));
        }
        if self.output != self.shown {
            let Size { width, height } = self.output;
            let background = if self.transparent { "black@0" } else { "black" };
            filters.push(format!("pad={width}:{height}:(ow-iw)/2:(oh-ih)/2:{background}"));
        }
        filters.push(match format {
            // One palette for all frames is known when the last has come, and until then all of them are held. Where that
            // is too much, each has a palette of its own, for more bytes and time.
            Format::Gif if self.held_bytes(duration_ms) <= HELD_BYTES_MAX => {
                "split[a][b];[a]palettegen=stats_mode=diff:reserve_transparent=0[p];\
                 [b][p]paletteuse=dither=bayer:bayer_scale=5"
                    .to_owned()
            }
            Format::Gif => "split[a][b];[a]palettegen=stats_mode=single:reserve_transparent=0[p];\
                            [b][p]paletteuse=new=1:dither=bayer:bayer_scale=5"
                .to_owned(),
            Format::Mov if self.transparent => "format=argb".to_owned(),
            _ => "format=yuv420p".to_owned(),
        });
        filters.join(",")
    }
}

/// Whether two pixels beside and two below each other share their colour, so that sides must be even.
fn halves_colour(format: Format, transparent: bool) -> bool {
    match format {
        Format::Gif => false,
        Format::Mov => !transparent,
        _ => true,
    }
}

/// The part, how large it is shown, and the picture that it is shown in.
fn arrange(mut part: Part, animation: &Animation, scale: f64, even: bool) -> (Part, Size, Size) {
    let down = |side: u32| if even { (side & !1).max(2) } else { side.max(1) };
    let up = |side: u32| if even { side.next_multiple_of(2) } else { side };
    if let Some(ratio) = animation.aspect_ratio {
        let (wide, high) = (u64::from(ratio.width.max(1)), u64::from(ratio.height.max(1)));
        let Size { width, height } = part.size;
        // As wide as it is, if it is flatter than the proportions; else as high.
        let side = |long: u32, of: u64, to: u64| up((u64::from(long) * to).div_ceil(of) as u32);
        let output = match u64::from(width) * high >= u64::from(height) * wide {
            true => Size { width: up(width), height: side(width, wide, high) },
            false => Size { width: side(height, high, wide), height: up(height) },
        };
        return (part, part.size, output);
    }
    if let (Some(width), Some(height)) = (animation.width, animation.height) {
        let pixels = |css: u32| down((f64::from(css) * scale).round() as u32);
        let output = Size { width: pixels(width), height: pixels(height) };
        return (part, fit(part.size, output), output);
    }
    // A row or column less is seen by nobody; one of black is.
    let output = Size { width: down(part.size.width), height: down(part.size.height) };
    part.size = Size { width: part.size.width.min(output.width), height: part.size.height.min(output.height) };
    (part, part.size, output)
}

/// As large as it can be in there with its own proportions.
fn fit(size: Size, within: Size) -> Size {
    let ratio = |side: u32, limit: u32| f64::from(limit) / f64::from(side.max(1));
    let ratio = ratio(size.width, within.width).min(ratio(size.height, within.height));
    let scaled = |side: u32, limit: u32| ((f64::from(side) * ratio).round() as u32).clamp(1, limit);
    Size { width: scaled(size.width, within.width), height: scaled(size.height, within.height) }
}

#[cfg(test)]
mod tests {
    use snaphook_shared::options::model::{AspectRatio, Clip, Viewport};

    use super::*;

    fn options(width: u32, height: u32, scale: f64, format: Format) -> Options {
        let mut options = Options {
            animation: Some(Animation::default()),
            viewport: Viewport { width, height, device_scale_factor: scale, ..Viewport::default() },
            ..Options::default()
        };
        options.output.format = format;
        options
    }

    fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    #[test]
    fn sides_are_even_where_they_must_be() {
        let output = |format| Layout::of(&options(333, 241, 1.0, format)).unwrap().output;
        for format in [Format::Mp4, Format::Webm, Format::Mov, Format::Avi] {
            assert_eq!(output(format), size(332, 240), "{format:?}");
        }
        assert_eq!(output(Format::Gif), size(333, 241));
        assert_eq!(Layout::of(&options(1, 1, 1.0, Format::Mp4)).unwrap().output, size(2, 2));
        assert_eq!(Layout::of(&options(101, 50, 1.5, Format::Mp4)).unwrap().output, size(152, 74));
    }

    #[test]
    fn a_given_size_holds_the_whole_page() {
        let mut options = options(200, 100, 2.0, Format::Mp4);
        options.animation.as_mut().unwrap().width = Some(120);
        options.animation.as_mut().unwrap().height = Some(120);
        let layout = Layout::of(&options).unwrap();
        assert_eq!((layout.surface, layout.shown, layout.output), (size(400, 200), size(240, 120), size(240, 240)));
        options.animation.as_mut().unwrap().aspect_ratio = Some(AspectRatio { width: 4, height: 3 });
        let layout = Layout::of(&options).unwrap();
        assert_eq!((layout.shown, layout.output), (size(400, 200), size(400, 300)));
        options.animation.as_mut().unwrap().aspect_ratio = Some(AspectRatio { width: 16, height: 9 });
        options.viewport.width = 100;
        assert_eq!(Layout::of(&options).unwrap().output, size(356, 200));
    }

    #[test]
    fn a_clip_is_cut_at_the_viewport_or_enlarges_it() {
        let mut options = options(200, 100, 1.0, Format::Gif);
        options.capture.clip = Clip { x: Some(150), y: None, width: Some(100), height: Some(20) };
        let layout = Layout::of(&options).unwrap();
        assert_eq!((layout.screen, layout.output), (None, size(50, 20)));
        options.capture.beyond_viewport = Some(true);
        let layout = Layout::of(&options).unwrap();
        assert_eq!((layout.screen, layout.surface, layout.output), (Some((250, 100)), size(250, 100), size(100, 20)));
        options.capture.clip.x = Some(5_000);
        assert!(Layout::of(&options).is_err(), "too large a screen");
        options.capture.beyond_viewport = None;
        assert!(Layout::of(&options).is_err(), "nothing in sight");
    }
}
