//! The formats a render can have, and everything that depends on the format alone.

use serde::{Deserialize, Serialize};

/// What the result of a render is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Png,
    #[default]
    Jpeg,
    Webp,
    Gif,
    Tiff,
    Avif,
    Jp2,
    Heif,
    Pdf,
    Html,
    Markdown,
    Mp4,
    Webm,
    Mov,
    Avi,
}

/// What is made of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Pixels.
    Image,
    /// Paper.
    Document,
    /// The page's own content.
    Text,
    /// Pixels that move.
    Video,
}

impl Format {
    pub const ALL: [Format; 15] = [
        Format::Png,
        Format::Jpeg,
        Format::Webp,
        Format::Gif,
        Format::Tiff,
        Format::Avif,
        Format::Jp2,
        Format::Heif,
        Format::Pdf,
        Format::Html,
        Format::Markdown,
        Format::Mp4,
        Format::Webm,
        Format::Mov,
        Format::Avi,
    ];

    pub const fn medium(self) -> Medium {
        match self {
            Format::Pdf => Medium::Document,
            Format::Html | Format::Markdown => Medium::Text,
            Format::Mp4 | Format::Webm | Format::Mov | Format::Avi => Medium::Video,
            _ => Medium::Image,
        }
    }

    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Png => "image/png",
            Format::Jpeg => "image/jpeg",
            Format::Webp => "image/webp",
            Format::Gif => "image/gif",
            Format::Tiff => "image/tiff",
            Format::Avif => "image/avif",
            Format::Jp2 => "image/jp2",
            Format::Heif => "image/heif",
            Format::Pdf => "application/pdf",
            Format::Html => "text/html; charset=utf-8",
            Format::Markdown => "text/markdown; charset=utf-8",
            Format::Mp4 => "video/mp4",
            Format::Webm => "video/webm",
            Format::Mov => "video/quicktime",
            Format::Avi => "video/x-msvideo",
        }
    }

    pub const fn extension(self) -> &'static str {
        match self {
            Format::Png => "png",
            Format::Jpeg => "jpg",
            Format::Webp => "webp",
            Format::Gif => "gif",
            Format::Tiff => "tiff",
            Format::Avif => "avif",
            Format::Jp2 => "jp2",
            Format::Heif => "heif",
            Format::Pdf => "pdf",
            Format::Html => "html",
            Format::Markdown => "md",
            Format::Mp4 => "mp4",
            Format::Webm => "webm",
            Format::Mov => "mov",
            Format::Avi => "avi",
        }
    }

    /// The most pixels that a side may have. Chromium answers a larger WebP or JPEG with success and no data.
    pub const fn side_pixels_max(self) -> u32 {
        match self {
            Format::Jpeg | Format::Gif => 65_535,
            Format::Webp => 16_383,
            Format::Avif => 65_536,
            _ => u32::MAX,
        }
    }

    /// Whether a pixel may be transparent.
    pub const fn is_transparent(self) -> bool {
        matches!(self, Format::Png | Format::Webp | Format::Gif | Format::Tiff | Format::Avif | Format::Mov)
    }

    /// Whether ScreenshotOne takes an `image_quality` with it. Those that lose nothing take it and stay as they are.
    pub const fn takes_quality(self) -> bool {
        matches!(self.medium(), Medium::Image) && !matches!(self, Format::Gif)
    }

    /// Why it cannot be had. The vendor renders it, and there is no encoder for it that we would put our name to.
    pub const fn missing(self) -> Option<&'static str> {
        match self {
            Format::Jp2 => Some("there is no well-kept JPEG 2000 encoder to build on; webp or avif serve the same end"),
            Format::Heif => Some("HEVC is encumbered by patents; avif is the same container with a free codec"),
            _ => None,
        }
    }

    /// The format of a name in a vendor's list.
    pub(crate) fn from_name(name: &str) -> Format {
        let name = match name {
            "jpeg" => "jpg",
            "markdown" => "md",
            name => name,
        };
        Format::ALL.into_iter().find(|format| format.extension() == name).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_its_format() {
        for format in Format::ALL {
            assert_eq!(Format::from_name(format.extension()), format);
        }
        assert_eq!(Format::from_name("jpeg"), Format::Jpeg);
        assert_eq!(Format::from_name("markdown"), Format::Markdown);
    }
}
