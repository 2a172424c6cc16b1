//! What a render yields, before anything is done with it.

use bytes::Bytes;
use snaphook_shared::metadata::Metadata;
use snaphook_shared::options::model::Format;

use super::refused::Refused;

/// A size in device pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

impl Size {
    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// The size of a thumbnail that fits inside, with the same proportions. Never larger than this.
    pub fn fit(self, width_max: Option<u32>, height_max: Option<u32>) -> Size {
        let ratio = |side: u32, max: Option<u32>| max.map_or(1.0, |max| f64::from(max) / f64::from(side.max(1)));
        let ratio = ratio(self.width, width_max).min(ratio(self.height, height_max)).min(1.0);
        let scaled = |side: u32| ((f64::from(side) * ratio).round() as u32).max(1);
        Size { width: scaled(self.width), height: scaled(self.height) }
    }
}

/// A rendered file: a picture, a document or a text.
#[derive(Clone, Debug)]
pub struct Artifact {
    pub bytes: Bytes,
    pub format: Format,
    /// Of a picture.
    pub size: Option<Size>,
    /// The same picture in pieces, from top to bottom, where that was asked for.
    pub slices: Vec<Slice>,
    /// What was asked about the page.
    pub metadata: Metadata,
    /// The page's content, if that was asked for: it becomes a file of its own.
    pub content: Option<String>,
    /// Connections that the page did not get.
    pub refused: Vec<Refused>,
}

impl Artifact {
    /// One file and nothing beside it.
    pub fn new(bytes: Bytes, format: Format, size: Option<Size>) -> Artifact {
        let (slices, metadata, content, refused) = Default::default();
        Artifact { bytes, format, size, slices, metadata, content, refused }
    }
}

/// A piece of a tall picture, in the picture's own format.
#[derive(Clone, Debug)]
pub struct Slice {
    pub bytes: Bytes,
    /// From the top of the picture, in its pixels.
    pub offset_y: u32,
    pub size: Size,
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn thumbnails_fit_and_never_grow() {
        let full = Size { width: 1280, height: 1024 };
        assert_eq!(full.fit(None, None), full);
        assert_eq!(full.fit(Some(640), None), Size { width: 640, height: 512 });
        assert_eq!(full.fit(Some(640), Some(100)), Size { width: 125, height: 100 });
        assert_eq!(full.fit(Some(5000), None), full);
        assert_eq!(Size { width: 10, height: 40_000 }.fit(None, Some(10)), Size { width: 1, height: 10 });
    }
}
