//! What a tool gives back: the picture itself, within what clients take, and words about it.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use rmcp::model::{ContentBlock, ResourceContents};
use serde_json::Value as Json;
use snaphook_shared::options::model::{Format, Medium};

use super::Refusal;
use crate::cli::shot;
use crate::domain::artifact::Size;

/// Models refuse pictures with a longer side, and with them the conversation that they have become a part of.
const SIDE_PIXELS_MAX: u32 = 8000;
/// Of a text. What a client takes is counted in tokens, of which this is some 25,000.
const TEXT_CHARACTERS_MAX: usize = 100_000;

/// A picture, a document or a text.
pub(super) struct Taken {
    pub(super) bytes: Bytes,
    pub(super) format: Format,
    /// Of a picture.
    pub(super) size: Option<Size>,
    pub(super) took: Duration,
    /// Connections that the page did not get, as far as that is known.
    pub(super) refused: usize,
}

/// What a result may hold.
pub(super) struct Bounds {
    /// Of a picture or document, as base64.
    pub(super) result_bytes_max: usize,
}

impl Bounds {
    /// What was taken, as content. Of a text, what begins at this character.
    ///
    /// # Errors
    /// When it is more than a result may hold; says how to get less, or all of it in a file where there may be files.
    pub(super) fn answer(
        &self,
        taken: &Taken,
        first_character: usize,
        has_files: bool,
    ) -> Result<Vec<ContentBlock>, Refusal> {
        let elsewhere = if has_files { " Or give \"file\", and it is written there." } else { "" };
        match taken.format.medium() {
            Medium::Text => Ok(text(taken, first_character)),
            Medium::Image | Medium::Video => {
                self.check_size(
                    taken,
                    "Ask for jpeg or webp, less image_quality or image_width, or a selector.",
                    elsewhere,
                )?;
                if let Some(size) = taken.size.filter(|size| size.width.max(size.height) > SIDE_PIXELS_MAX) {
                    return Err(Refusal(format!(
                        "the picture is {} × {} pixels, and clients take no side of more than {SIDE_PIXELS_MAX}. \
                         Cut it with full_page_max_height, or scale it with image_height.{elsewhere}",
                        size.width, size.height
                    )));
                }
                let image = ContentBlock::image(BASE64.encode(&taken.bytes), taken.format.content_type());
                Ok(vec![image, ContentBlock::text(line(taken))])
            }
            Medium::Document => {
                self.check_size(taken, "Take less of the page, or leave its backgrounds out.", elsewhere)?;
                let uri = format!("snaphook:///page.{}", taken.format.extension());
                let blob = ResourceContents::blob(BASE64.encode(&taken.bytes), uri);
                let blob = blob.with_mime_type(taken.format.content_type());
                Ok(vec![ContentBlock::resource(blob), ContentBlock::text(line(taken))])
            }
        }
    }

    fn check_size(&self, taken: &Taken, advice: &str, elsewhere: &str) -> Result<(), Refusal> {
        let (bytes, max) = (taken.bytes.len().div_ceil(3).saturating_mul(4), self.result_bytes_max);
        if bytes <= max {
            return Ok(());
        }
        Err(Refusal(format!(
            "{}: that is {bytes} bytes as base64, and a result may have {max} (--result-bytes-max). {advice}{elsewhere}",
            line(taken)
        )))
    }
}

/// Where a file was written, and what it holds.
pub(super) fn file(taken: &Taken, path: &Path) -> Vec<ContentBlock> {
    vec![ContentBlock::text(format!("{}: {}", path.display(), line(taken)))]
}

pub(super) fn json(json: &Json) -> Vec<ContentBlock> {
    vec![ContentBlock::text(format!("{json:#}"))]
}

fn text(taken: &Taken, first_character: usize) -> Vec<ContentBlock> {
    let whole = String::from_utf8_lossy(&taken.bytes);
    let part: String = whole.chars().skip(first_character).take(TEXT_CHARACTERS_MAX).collect();
    let next = first_character.saturating_add(part.chars().count());
    let characters = whole.chars().count();
    let mut content = vec![ContentBlock::text(part)];
    if next < characters {
        let rest = format!("{next} of {characters} characters so far; the rest begins at first_character={next}");
        content.push(ContentBlock::text(rest));
    }
    content
}

/// `1280 × 1024 pixels, jpeg, 81234 bytes, 0.9 s`.
fn line(taken: &Taken) -> String {
    let size = taken.size.map(|size| format!("{} × {} pixels, ", size.width, size.height)).unwrap_or_default();
    let (format, bytes) = (shot::parameter_value(taken.format), taken.bytes.len());
    let refused = match taken.refused {
        0 => String::new(),
        count => format!("; the page asked for {count} addresses that it may not reach"),
    };
    format!("{size}{format}, {bytes} bytes, {:.1} s{refused}", taken.took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(format: Format, bytes: usize, size: Option<(u32, u32)>) -> Taken {
        let size = size.map(|(width, height)| Size { width, height });
        Taken { bytes: vec![b'x'; bytes].into(), format, size, took: Duration::from_millis(1500), refused: 0 }
    }

    fn refused(taken: &Taken, has_files: bool) -> String {
        Bounds { result_bytes_max: 1000 }.answer(taken, 0, has_files).map(|_| ()).unwrap_err().0
    }

    #[test]
    fn what_is_too_large_is_refused_with_the_bound_and_a_way_out() {
        let bounds = Bounds { result_bytes_max: 1000 };
        assert_eq!(bounds.answer(&taken(Format::Png, 750, Some((10, 8000))), 0, false).map(|c| c.len()).ok(), Some(2));
        let said = refused(&taken(Format::Png, 751, Some((10, 10))), false);
        assert!(said.contains("751 bytes") && said.contains("1004") && said.contains("1000"), "{said}");
        assert!(!said.contains("\"file\"") && refused(&taken(Format::Pdf, 900, None), true).contains("\"file\""));
        let said = refused(&taken(Format::Png, 10, Some((10, 8001))), false);
        assert!(said.contains("10 × 8001") && said.contains("8000"), "{said}");
    }

    #[test]
    fn a_long_text_comes_in_parts() {
        let long = Taken { bytes: "ä".repeat(150_000).into(), ..taken(Format::Markdown, 0, None) };
        let part =
            |from| text(&long, from).iter().map(|block| block.as_text().unwrap().text.clone()).collect::<Vec<_>>();
        let first = part(0);
        assert_eq!(first[0].chars().count(), 100_000);
        assert!(first[1].ends_with("first_character=100000"), "{}", first[1]);
        let last = part(100_000);
        assert_eq!((last.len(), last[0].chars().count()), (1, 50_000));
    }
}
