//! From a page that is ready to the bytes of a picture.
//!
//! The viewport is never resized for a full page: that would stretch what is `100vh` tall and lose the device scale. A clip
//! with `captureBeyondViewport` takes what lies below instead.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chromiumoxide::cdp::browser_protocol::page::{
    CaptureScreenshotFormat, CaptureScreenshotParams, GetLayoutMetricsParams, Viewport as ClipRectangle,
};
use serde::Deserialize;
use snaphook_shared::code::Code;
use snaphook_shared::options::model::{Format, Output};

use super::page::{Page, json};
use crate::domain::failure::Failure;
use crate::domain::ports::Picture;

/// The tallest page that is taken, in CSS pixels: what an endless page is cut at.
pub(super) const HEIGHT_PIXELS_MAX: u32 = 150_000;
/// The most device pixels of one picture. Chromium holds about eight bytes for each while it captures.
const DEVICE_PIXELS_MAX: f64 = 300_000_000.0;

/// A rectangle of the page in CSS pixels.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

pub(super) async fn take(page: &Page<'_>) -> Result<Picture, Failure> {
    let options = page.options;
    let scale = options.viewport.device_scale_factor;
    let viewport =
        Area { x: 0.0, y: 0.0, width: f64::from(options.viewport.width), height: f64::from(options.viewport.height) };
    let clip = area(page, viewport).await?;
    let covered = clip.unwrap_or(viewport);
    check_size(covered, scale, options.output.format)?;
    let capture = CaptureScreenshotParams {
        format: Some(match options.output.format {
            Format::Png => CaptureScreenshotFormat::Png,
            Format::Jpeg => CaptureScreenshotFormat::Jpeg,
            Format::Webp => CaptureScreenshotFormat::Webp,
        }),
        quality: quality(&options.output),
        optimize_for_speed: Some(options.output.format == Format::Png),
        from_surface: Some(true),
        capture_beyond_viewport: Some(clip.is_some()),
        clip: clip.map(|Area { x, y, width, height }| ClipRectangle { x, y, width, height, scale: 1.0 }),
    };
    let returned = page.call(capture).await?;
    let base64: &str = returned.data.as_ref();
    let bytes = BASE64.decode(base64).map_err(|error| Failure::internal(format!("capture: {error}")))?;
    if bytes.is_empty() {
        // Chromium calls this success; a caller would get a picture of no bytes.
        return Err(Failure::retryable(Code::InternalApplicationError, "Chromium captured nothing"));
    }
    Ok(Picture {
        bytes: Bytes::from(bytes),
        format: options.output.format,
        width: device_pixels(covered.width, scale),
        height: device_pixels(covered.height, scale),
    })
}

fn quality(output: &Output) -> Option<i64> {
    (output.format != Format::Png).then_some(i64::from(output.quality))
}

/// The part to take; None for the viewport as it is.
async fn area(page: &Page<'_>, viewport: Area) -> Result<Option<Area>, Failure> {
    let capture = &page.options.capture;
    if let Some(selector) = &capture.selector {
        let found = element_area(page, selector).await?;
        if found.is_some() || capture.error_on_selector_not_found {
            return found
                .map(Some)
                .ok_or_else(|| Failure::new(Code::SelectorNotFound, "no element, or one without size"));
        }
    }
    if capture.clip.is_given() {
        let side = |given: Option<u32>, default: f64| given.map_or(default, f64::from);
        return Ok(Some(Area {
            x: side(capture.clip.x, 0.0),
            y: side(capture.clip.y, 0.0),
            width: side(capture.clip.width, viewport.width),
            height: side(capture.clip.height, viewport.height),
        }));
    }
    if !capture.full_page {
        return Ok(None);
    }
    let content = page.call(GetLayoutMetricsParams::default()).await?.css_content_size;
    let height_max = f64::from(capture.full_page_max_height.unwrap_or(HEIGHT_PIXELS_MAX));
    Ok(Some(Area {
        width: content.width.max(viewport.width),
        height: content.height.max(1.0).min(height_max),
        ..viewport
    }))
}

/// Where an element is, from the top of the page. None if nothing matches, or what matches has no size.
async fn element_area(page: &Page<'_>, selector: &str) -> Result<Option<Area>, Failure> {
    let script = format!("({})({})", include_str!("js/element_area.js"), json(selector));
    page.evaluate(script).await.map_err(|failure| failure.blame("selector"))
}

fn device_pixels(css: f64, scale: f64) -> u32 {
    (css * scale).round() as u32
}

/// Refuses what the format cannot hold, before Chromium would answer with success and no data.
fn check_size(area: Area, scale: f64, format: Format) -> Result<(), Failure> {
    let (width, height) = (device_pixels(area.width, scale), device_pixels(area.height, scale));
    let pixels = f64::from(width) * f64::from(height);
    if width.max(height) > format.side_pixels_max() || pixels > DEVICE_PIXELS_MAX {
        return Err(Failure::new(Code::ResultingImageTooLarge, format!("{width}x{height} pixels of {format:?}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_their_limits() {
        let tall = |height| Area { x: 0.0, y: 0.0, width: 100.0, height };
        assert!(check_size(tall(16_383.0), 1.0, Format::Webp).is_ok());
        assert!(check_size(tall(8_192.0), 2.0, Format::Webp).is_err());
        assert!(check_size(tall(65_535.0), 1.0, Format::Jpeg).is_ok());
        assert!(check_size(tall(65_536.0), 1.0, Format::Jpeg).is_err());
        assert!(check_size(tall(140_000.0), 1.0, Format::Png).is_ok());
    }
}
