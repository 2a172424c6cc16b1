//! From a page that is ready to a picture.
//!
//! The viewport is not resized for a full page, unless the caller asks for it: that would stretch what is `100vh` tall. A
//! clip with `captureBeyondViewport` takes what lies below instead. What is too tall for one shot is taken in strips, which
//! are put together here.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chromiumoxide::cdp::browser_protocol::page::{
    CaptureScreenshotFormat, CaptureScreenshotParams, GetLayoutMetricsParams, Viewport as ClipRectangle,
};
use chromiumoxide::types::MethodId;
use chromiumoxide::{Command, Method};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use snaphook_shared::code::Code;
use snaphook_shared::options::model::Format;

use super::encode::{Assembly, EncodeError, Encoding};
use super::page::{FIND, Page, json};
use crate::domain::artifact::{Artifact, Size, Slice};
use crate::domain::failure::Failure;

/// The tallest page that is taken, in CSS pixels: what an endless page is cut at.
pub(super) const HEIGHT_PIXELS_MAX: u32 = 150_000;
/// The most device pixels of a picture that Chromium encodes itself, or that is put together as it is compressed.
const PIXELS_MAX: u64 = 300_000_000;
/// The most device pixels that are held at once (four bytes each) to be encoded here.
const PIXELS_HELD_MAX: u64 = 120_000_000;
/// AVIF takes its time, even at its fastest: this is what one may be made of within an ordinary time limit.
const PIXELS_AVIF_MAX: u64 = 16_000_000;
/// The most device rows of one shot by graphics hardware, which has textures of this height and repeats the page below it.
const SHOT_ROWS_MAX: f64 = 16_384.0;
/// The most device pixels of one shot of more rows than that, where there is no such hardware: 128 MiB, of which Chromium
/// holds a few copies.
const SHOT_PIXELS_MAX: f64 = 32.0 * 1024.0 * 1024.0;
/// The tallest strip, in CSS pixels.
const STRIP_HEIGHT_MAX: f64 = 8_000.0;
/// More slices than anybody could want, so that a small height on an endless page comes to an end.
const SLICES_MAX: usize = 500;

const ELEMENT_AREA: &str = include_str!("js/element_area.js");
const SHOW_SECTION: &str = include_str!("js/show_section.js");

/// A rectangle of the page in CSS pixels.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Area {
    fn bottom(self) -> f64 {
        self.y + self.height
    }

    /// Whole pixels, so that sizes can be foretold and edges are sharp.
    fn rounded(self) -> Area {
        let (x, y) = (self.x.round(), self.y.round());
        Area { x, y, width: (self.x + self.width - x).round().max(1.0), height: (self.bottom() - y).round().max(1.0) }
    }

    fn intersection(self, other: Area) -> Option<Area> {
        let (x, y) = (self.x.max(other.x), self.y.max(other.y));
        let width = (self.x + self.width).min(other.x + other.width) - x;
        let height = self.bottom().min(other.bottom()) - y;
        (width >= 1.0 && height >= 1.0).then_some(Area { x, y, width, height })
    }
}

pub(super) async fn take(page: &Page<'_>) -> Result<Artifact, Failure> {
    let options = page.options;
    let capture = &options.capture;
    let viewport = view(page);
    let clip = area(page, viewport).await?.map(Area::rounded);
    if let (Some(area), true) = (clip, capture.full_page && capture.beyond_viewport == Some(false)) {
        page.set_screen(options.viewport.width, area.height as u32).await?;
    }
    let covered = clip.unwrap_or(viewport);
    let (bytes, size) = picture(page, clip, covered).await?;
    let mut slices = Vec::new();
    if capture.full_page_slices {
        let cuts = slice_areas(covered, capture.full_page_slice_height, capture.full_page_slice_overlap);
        if cuts.len() > SLICES_MAX {
            let message = format!("\"full_page_slice_height\" would cut this page into more than {SLICES_MAX} slices");
            return Err(Failure::invalid("full_page_slice_height", &message));
        }
        // A thumbnail is smaller than what it shows, and so are its slices.
        let ratio = f64::from(size.height) / covered.height;
        for cut in cuts {
            let (bytes, size) = picture(page, Some(cut), cut).await?;
            slices.push(Slice { bytes, offset_y: ((cut.y - covered.y) * ratio).round() as u32, size });
        }
    }
    Ok(Artifact { slices, ..Artifact::new(bytes, options.output.format, Some(size)) })
}

/// The part to take; None for the viewport as it is.
async fn area(page: &Page<'_>, viewport: Area) -> Result<Option<Area>, Failure> {
    let capture = &page.options.capture;
    if let Some(selector) = &capture.selector {
        let found = element_area(page, selector, capture.selector_scroll_into_view).await?;
        let nothing = || Failure::new(Code::SelectorNotFound, "no element, or one without size");
        match found {
            Some(area) => return seen(page, area, viewport).await?.map(Some).ok_or_else(nothing),
            None if capture.error_on_selector_not_found => return Err(nothing()),
            None => {}
        }
    }
    if let Some(clip) = clip(page).await? {
        return Ok(Some(clip));
    }
    if !capture.full_page {
        return Ok(None);
    }
    let content = page.call(GetLayoutMetricsParams::default()).await?.css_content_size;
    let height_max = f64::from(capture.full_page_max_height.unwrap_or(HEIGHT_PIXELS_MAX));
    let width = match capture.full_page_by_sections {
        // Sections are views, and no wider than those.
        true => viewport.width,
        false => content.width.max(viewport.width),
    };
    Ok(Some(Area { width, height: content.height.max(1.0).min(height_max), ..viewport }))
}

/// The viewport before anything is scrolled.
fn view(page: &Page<'_>) -> Area {
    let viewport = &page.options.viewport;
    Area { x: 0.0, y: 0.0, width: f64::from(viewport.width), height: f64::from(viewport.height) }
}

/// The area that was asked for by its edges, if one was.
pub(super) async fn clip(page: &Page<'_>) -> Result<Option<Area>, Failure> {
    let (clip, viewport) = (&page.options.capture.clip, view(page));
    if !clip.is_given() {
        return Ok(None);
    }
    let side = |given: Option<u32>, default: f64| given.map_or(default, f64::from);
    let area = Area {
        x: side(clip.x, 0.0),
        y: side(clip.y, 0.0),
        width: side(clip.width, viewport.width),
        height: side(clip.height, viewport.height),
    };
    let outside = || Failure::invalid("clip_y", "the clip lies outside the viewport");
    seen(page, area, viewport).await?.map(Some).ok_or_else(outside)
}

/// Where an element is, from the top of the page. None if nothing matches, or what matches has no size.
async fn element_area(page: &Page<'_>, selector: &str, scroll: bool) -> Result<Option<Area>, Failure> {
    let script = format!("({ELEMENT_AREA})({FIND}, {}, {scroll})", json(selector));
    page.evaluate(script).await.map_err(|failure| failure.blame("selector"))
}

/// What there is to be taken of an area: all of it, or the part within the viewport if the caller wants no more.
async fn seen(page: &Page<'_>, area: Area, viewport: Area) -> Result<Option<Area>, Failure> {
    if page.options.capture.beyond_viewport != Some(false) {
        return Ok(Some(area));
    }
    let scrolled: [f64; 2] = page.evaluate("[window.scrollX, window.scrollY]").await?;
    Ok(area.intersection(Area { x: scrolled[0], y: scrolled[1], ..viewport }))
}

/// Takes an area (`clip` None: the viewport as it is, which is `covered`) and makes the file that was asked for.
async fn picture(page: &Page<'_>, clip: Option<Area>, covered: Area) -> Result<(Bytes, Size), Failure> {
    let options = page.options;
    let scale = options.viewport.device_scale_factor;
    let encoding = Encoding {
        format: options.output.format,
        quality: options.output.quality,
        transparent: options.output.omit_background,
    };
    let by_sections = options.capture.full_page && options.capture.full_page_by_sections;
    let strips = match by_sections {
        true => cut(covered, f64::from(options.viewport.height)),
        false => strips(page, covered, scale).await?,
    };
    let captured = Size {
        width: device_pixels(covered.width, scale),
        height: strips.iter().map(|strip| device_pixels(strip.height, scale)).sum(),
    };
    let size = captured.fit(options.output.width_max, options.output.height_max);
    let by_chromium = native(encoding.format).filter(|_| size == captured && !by_sections && strips.len() == 1);
    let streamed = encoding.format == Format::Png && size == captured;
    check_size(encoding.format, captured, size, by_chromium.is_none() && !streamed)?;
    if let Some(format) = by_chromium {
        return Ok((Bytes::from(shoot(page, clip, format).await?), size));
    }
    let mut assembly = match streamed {
        true => Assembly::of_png(captured, encoding.transparent).map_err(Failure::internal)?,
        false => Assembly::of_pixels(captured),
    };
    for strip in strips {
        let rows = device_pixels(strip.height, scale);
        let (strip, skip) = match by_sections {
            true => section(page, strip, scale).await?,
            false => (shoot(page, clip.map(|_| strip), CaptureScreenshotFormat::Png).await?, 0),
        };
        assembly = off_the_async_threads(move || {
            assembly.add(&strip, skip, rows)?;
            Ok(assembly)
        })
        .await?;
    }
    let bytes = off_the_async_threads(move || match streamed {
        true => assembly.into_png(),
        false => assembly.into_pixels()?.resize(size)?.encode(encoding),
    });
    Ok((Bytes::from(bytes.await?), size))
}

/// Formats that Chromium encodes.
fn native(format: Format) -> Option<CaptureScreenshotFormat> {
    match format {
        Format::Png => Some(CaptureScreenshotFormat::Png),
        Format::Jpeg => Some(CaptureScreenshotFormat::Jpeg),
        Format::Webp => Some(CaptureScreenshotFormat::Webp),
        _ => None,
    }
}

/// One capture by Chromium.
async fn shoot(page: &Page<'_>, clip: Option<Area>, format: CaptureScreenshotFormat) -> Result<Vec<u8>, Failure> {
    let is_png = format == CaptureScreenshotFormat::Png;
    let is_final = page.options.output.format == Format::Png;
    let capture = CaptureScreenshotParams {
        format: Some(format),
        quality: (!is_png).then_some(i64::from(page.options.output.quality)),
        optimize_for_speed: Some(is_png && !(is_final && page.means.small_pngs)),
        from_surface: Some(true),
        capture_beyond_viewport: Some(clip.is_some()),
        clip: clip.map(|Area { x, y, width, height }| ClipRectangle { x, y, width, height, scale: 1.0 }),
    };
    let bytes = page.call(Shoot(capture)).await?.data.0;
    if bytes.is_empty() {
        // Chromium calls this success; a caller would get a picture of no bytes.
        return Err(Failure::retryable(Code::InternalApplicationError, "Chromium captured nothing"));
    }
    Ok(bytes)
}

/// As the command has it, but that the answer is decoded where it is read, and no copy is made of its text.
#[derive(Serialize)]
#[serde(transparent)]
struct Shoot(CaptureScreenshotParams);

impl Method for Shoot {
    fn identifier(&self) -> MethodId {
        self.0.identifier()
    }
}

impl Command for Shoot {
    type Response = Shot;
}

#[derive(Debug, Deserialize)]
struct Shot {
    data: Decoded,
}

/// What came as base64.
#[derive(Debug)]
struct Decoded(Vec<u8>);

impl<'de> Deserialize<'de> for Decoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Decoded, D::Error> {
        struct Decoder;

        impl Visitor<'_> for Decoder {
            type Value = Decoded;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Decoded, E> {
                BASE64.decode(text).map(Decoded).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Decoder)
    }
}

/// Scrolls to a section and takes the viewport. Also gives how many rows above the section are in it, since the last one
/// cannot be scrolled to the top.
async fn section(page: &Page<'_>, section: Area, scale: f64) -> Result<(Vec<u8>, u32), Failure> {
    let top: f64 = page.evaluate(format!("({SHOW_SECTION})({})", section.y)).await?;
    let shot = shoot(page, None, CaptureScreenshotFormat::Png).await?;
    Ok((shot, device_pixels((section.y - top).max(0.0), scale)))
}

/// What is shot at once: all of it where that is safe, since strips have to be read and written once more.
async fn strips(page: &Page<'_>, area: Area, scale: f64) -> Result<Vec<Area>, Failure> {
    let is_safe = area.height * scale <= SHOT_ROWS_MAX
        || area.width * scale * area.height * scale <= SHOT_PIXELS_MAX && page.is_drawn_by_software().await?;
    Ok(if is_safe { vec![area] } else { cut_into_strips(area, scale) })
}

fn cut_into_strips(area: Area, scale: f64) -> Vec<Area> {
    // A multiple of eight, so that the usual fractional scales make whole device pixels of it and no seam is seen.
    let height = ((SHOT_ROWS_MAX / scale).min(STRIP_HEIGHT_MAX) / 8.0).floor() * 8.0;
    cut(area, height.max(8.0))
}

/// Cuts an area into pieces of this height, the last of what is left.
fn cut(area: Area, height: f64) -> Vec<Area> {
    slice_areas(area, height as u32, 0)
}

/// As [`cut`], each piece repeating `overlap` of the one before.
fn slice_areas(area: Area, height: u32, overlap: u32) -> Vec<Area> {
    let advance = f64::from(height.saturating_sub(overlap).max(1));
    let mut pieces = Vec::new();
    let mut top = area.y;
    loop {
        let piece = Area { y: top, height: f64::from(height).min(area.bottom() - top), ..area };
        pieces.push(piece);
        if piece.bottom() >= area.bottom() {
            return pieces;
        }
        top += advance;
    }
}

fn device_pixels(css: f64, scale: f64) -> u32 {
    (css * scale).round() as u32
}

/// Refuses what the format cannot hold, before Chromium would answer with success and no data; and what we would not hold.
fn check_size(format: Format, captured: Size, size: Size, held: bool) -> Result<(), Failure> {
    let captured_max = if held { PIXELS_HELD_MAX } else { PIXELS_MAX };
    let size_max = if format == Format::Avif { PIXELS_AVIF_MAX } else { PIXELS_MAX };
    let Size { width, height } = size;
    if width.max(height) > format.side_pixels_max() || captured.pixels() > captured_max || size.pixels() > size_max {
        return Err(Failure::new(Code::ResultingImageTooLarge, format!("{width}x{height} pixels of {format:?}")));
    }
    Ok(())
}

async fn off_the_async_threads<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EncodeError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| Failure::internal(error.to_string()))?;
    done.map_err(|error| Failure::internal(format!("encoding: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tall(height: f64) -> Area {
        Area { x: 0.0, y: 0.0, width: 100.0, height }
    }

    #[test]
    fn formats_have_their_limits() {
        let fits = |format, height| {
            let size = Size { width: 100, height };
            check_size(format, size, size, native(format).is_none()).is_ok()
        };
        assert!(fits(Format::Webp, 16_383) && !fits(Format::Webp, 16_384));
        assert!(fits(Format::Jpeg, 65_535) && !fits(Format::Jpeg, 65_536));
        assert!(fits(Format::Gif, 65_535) && !fits(Format::Gif, 65_536));
        assert!(fits(Format::Avif, 65_536) && !fits(Format::Avif, 65_537));
        assert!(fits(Format::Png, 140_000) && fits(Format::Tiff, 140_000));
        // A thumbnail is what counts.
        let (page, thumbnail) = (Size { width: 1000, height: 20_000 }, Size { width: 100, height: 2_000 });
        assert!(check_size(Format::Webp, page, thumbnail, true).is_ok());
        let huge = Size { width: 2_000, height: 65_000 };
        assert!(check_size(Format::Gif, huge, thumbnail, true).is_err());
    }

    #[test]
    fn strips_cover_the_page_without_gaps() {
        for (height, scale) in [(16_385.0, 1.0), (40_000.0, 2.0), (40_001.0, 2.625), (9_999.0, 5.0)] {
            let strips = cut_into_strips(tall(height), scale);
            let mut top = 0.0;
            for strip in &strips {
                assert_eq!(strip.y, top);
                assert!(strip.height * scale <= SHOT_ROWS_MAX && strip.height <= STRIP_HEIGHT_MAX);
                top = strip.bottom();
            }
            assert_eq!(top, height);
        }
    }

    #[test]
    fn slices_overlap_and_end_with_the_page() {
        let tops = |height, overlap| slice_areas(tall(10_000.0), height, overlap);
        let plain: Vec<_> = tops(4_000, 0).iter().map(|slice| (slice.y, slice.height)).collect();
        assert_eq!(plain, [(0.0, 4_000.0), (4_000.0, 4_000.0), (8_000.0, 2_000.0)]);
        let overlapping: Vec<_> = tops(4_000, 1_000).iter().map(|slice| (slice.y, slice.height)).collect();
        assert_eq!(overlapping, [(0.0, 4_000.0), (3_000.0, 4_000.0), (6_000.0, 4_000.0)]);
    }

    #[test]
    fn edges_are_whole_pixels() {
        let area = Area { x: 10.4, y: 20.6, width: 100.2, height: 50.0 }.rounded();
        assert_eq!(area, Area { x: 10.0, y: 21.0, width: 101.0, height: 50.0 });
        let view = Area { x: 0.0, y: 0.0, width: 50.0, height: 50.0 };
        assert_eq!(area.intersection(view), Some(Area { x: 10.0, y: 21.0, width: 40.0, height: 29.0 }));
        assert_eq!(Area { x: 60.0, ..area }.intersection(view), None);
    }
}
