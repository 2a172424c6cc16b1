//! The page on paper.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chromiumoxide::cdp::browser_protocol::io::ReadParams;
use chromiumoxide::cdp::browser_protocol::page::{GetLayoutMetricsParams, PrintToPdfParams, PrintToPdfTransferMode};
use serde_json::Value;
use snaphook_shared::code::Code;
use snaphook_shared::options::model::Format;

use super::capture::{self, Area};
use super::page::{HIDE_AND_STYLE, Page, json};
use crate::domain::artifact::Artifact;
use crate::domain::failure::Failure;

const CSS_PIXELS_PER_INCH: f64 = 96.0;
/// Read at once. A whole document in one protocol message would be held three times over.
const CHUNK_BYTES: i64 = 1024 * 1024;
/// The largest document.
const BYTES_MAX: usize = 512 * 1024 * 1024;

const PIN_HEIGHTS: &str = include_str!("js/pin_heights.js");

/// Prints the page.
pub(super) async fn print(page: &Page<'_>) -> Result<Artifact, Failure> {
    let pdf = &page.options.pdf;
    let [top, right, bottom, left] = pdf.margin.inches();
    let clip = capture::clip(page).await?;
    let (width, height) = match clip {
        Some(clip) => one_area(page, clip, top + bottom, left + right).await?,
        None if pdf.fit_one_page => one_page(page, top + bottom, left + right).await?,
        None => pdf.paper_inches(),
    };
    let is_own_size = clip.is_some() || pdf.fit_one_page;
    let print = PrintToPdfParams {
        print_background: Some(pdf.print_background),
        paper_width: Some(width),
        paper_height: Some(height),
        margin_top: Some(top),
        margin_right: Some(right),
        margin_bottom: Some(bottom),
        margin_left: Some(left),
        // A page may know its own paper, and is right where the caller has said nothing.
        prefer_css_page_size: Some(pdf.paper.is_none() && !pdf.landscape && !is_own_size),
        // What stands still stands on every page.
        page_ranges: clip.map(|_| "1".to_owned()),
        transfer_mode: Some(PrintToPdfTransferMode::ReturnAsStream),
        ..PrintToPdfParams::default()
    };
    let refused = |failure: Failure| match failure.cause.contains("invalid print parameters") {
        true => Failure::invalid("pdf_margin", "the margins leave no room on the paper"),
        false => failure,
    };
    let stream = page.call(print).await.map_err(refused)?.stream;
    let stream = stream.ok_or_else(|| Failure::internal("Chromium printed and gave no stream"))?;
    let read = || page.call(ReadParams { handle: stream.clone(), offset: None, size: Some(CHUNK_BYTES) });
    let mut bytes = Vec::new();
    let mut next = read();
    loop {
        // The end is only told to one who asks for more, so that is asked for at once.
        let following = read();
        let chunk = next.await?;
        match chunk.base64_encoded {
            Some(true) => BASE64
                .decode_vec(&chunk.data, &mut bytes)
                .map_err(|error| Failure::internal(format!("printing: {error}")))?,
            _ => bytes.extend_from_slice(chunk.data.as_bytes()),
        }
        if bytes.len() > BYTES_MAX {
            return Err(Failure::new(Code::ResultingImageTooLarge, "the document has more than 512 MiB"));
        }
        if chunk.eof {
            break;
        }
        next = following;
    }
    // The context goes in a moment, and the stream with it.
    if bytes.is_empty() {
        return Err(Failure::retryable(Code::InternalApplicationError, "Chromium printed nothing"));
    }
    Ok(Artifact::new(Bytes::from(bytes), Format::Pdf, None))
}

/// The paper that an area of the page fills. The page is laid out as wide as on the screen and moved under the paper; what
/// has a fixed position is neither cut into pages nor made smaller to fit their width.
async fn one_area(page: &Page<'_>, area: Area, above_and_below: f64, beside: f64) -> Result<(f64, f64), Failure> {
    let Area { x, y, width, height } = area;
    let columns = page.options.viewport.width;
    let style = format!(
        "html{{position:fixed!important;left:{}px!important;top:{}px!important;width:{columns}px!important;margin:0!important}}",
        -x, -y
    );
    page.evaluate::<Value>(format!("({HIDE_AND_STYLE})({}, [])", json(&style))).await?;
    let inches = |pixels: f64| pixels / CSS_PIXELS_PER_INCH;
    Ok((inches(width) + beside, inches(height) + above_and_below))
}

/// Paper in inches, as wide as the viewport (or the paper that was named) and as tall as the content.
async fn one_page(page: &Page<'_>, above_and_below: f64, beside: f64) -> Result<(f64, f64), Failure> {
    let pdf = &page.options.pdf;
    let viewport = &page.options.viewport;
    let (width, columns) = match &pdf.paper {
        None => (f64::from(viewport.width) / CSS_PIXELS_PER_INCH + beside, viewport.width),
        Some(_) => {
            let (width, _) = pdf.paper_inches();
            (width, ((width - beside) * CSS_PIXELS_PER_INCH).round().max(1.0) as u32)
        }
    };
    // Paper is the view when Chromium prints: on a page as tall as the content a block of 100vh would be just as tall, and
    // push the rest out of it. So what depends on the view is found, by changing it, and fixed.
    let pin_heights = async |after: bool| page.evaluate::<Value>(format!("({PIN_HEIGHTS})({after})")).await;
    page.set_screen(columns, viewport.height).await?;
    pin_heights(false).await?;
    page.set_screen(columns, viewport.height + 500).await?;
    pin_heights(true).await?;
    // In a view of no height the content is no taller than it has to be.
    page.set_screen(columns, 1).await?;
    let content = page.call(GetLayoutMetricsParams::default()).await?.css_content_size;
    // A pixel more, or rounding makes a second page of nothing.
    let height = (content.height.ceil() + 1.0) / CSS_PIXELS_PER_INCH + above_and_below;
    Ok((width, height))
}
