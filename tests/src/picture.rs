//! Looking at pictures: the pixels of a PNG, the size of a JPEG and a WebP.

/// The pixels of a PNG.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    pub width: u32,
    pub height: u32,
    /// Red, green, blue and alpha of each.
    rgba: Vec<u8>,
}

impl Picture {
    /// # Panics
    /// If it is no PNG, or a broken one.
    pub fn decode(bytes: &[u8]) -> Picture {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::normalize_to_color8() | png::Transformations::ALPHA);
        let mut reader = decoder.read_info().unwrap_or_else(|error| panic!("not a PNG: {error}"));
        let mut rgba = vec![0; reader.output_buffer_size().expect("a size that fits")];
        let info = reader.next_frame(&mut rgba).unwrap_or_else(|error| panic!("a broken PNG: {error}"));
        assert_eq!(info.color_type, png::ColorType::Rgba);
        Picture { width: info.width, height: info.height, rgba }
    }

    /// Red, green, blue and alpha of each pixel, row by row.
    pub fn of_pixels(width: u32, height: u32, rgba: Vec<u8>) -> Picture {
        Picture { width, height, rgba }
    }

    /// As it was before a lossy format: what is nearly full or nearly empty is so again.
    pub fn purified(&self) -> Picture {
        let pure = |channel: &u8| match *channel {
            0..=24 => 0,
            231..=255 => 255,
            other => other,
        };
        Picture { rgba: self.rgba.iter().map(pure).collect(), ..*self }
    }

    /// A pixel as `#rrggbb`, [purified](Picture::purified).
    #[track_caller]
    pub fn colour(&self, x: u32, y: u32) -> String {
        let [red, green, blue, _] = self.rgba(x, y);
        let pixel = Picture { width: 1, height: 1, rgba: vec![red, green, blue, 255] }.purified();
        format!("#{:06x}", pixel.pixel(0, 0))
    }

    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Red, green, blue and alpha.
    ///
    /// # Panics
    /// If there is no such pixel.
    #[track_caller]
    pub fn rgba(&self, x: u32, y: u32) -> [u8; 4] {
        assert!(x < self.width && y < self.height, "({x}, {y}) of {}x{}", self.width, self.height);
        let start = (y as usize * self.width as usize + x as usize) * 4;
        [self.rgba[start], self.rgba[start + 1], self.rgba[start + 2], self.rgba[start + 3]]
    }

    /// Red, green and blue as in CSS: `0xff8800`.
    #[track_caller]
    pub fn pixel(&self, x: u32, y: u32) -> u32 {
        let [red, green, blue, _] = self.rgba(x, y);
        u32::from_be_bytes([0, red, green, blue])
    }

    /// All pixels, for comparison with another picture.
    pub fn rgba_bytes(&self) -> &[u8] {
        &self.rgba
    }

    /// How many different colours there are, counted up to a thousand: a blank page has one.
    pub fn colours(&self) -> usize {
        let mut seen = std::collections::HashSet::new();
        for pixel in self.rgba.chunks_exact(4) {
            seen.insert(pixel);
            if seen.len() >= 1000 {
                break;
            }
        }
        seen.len()
    }
}

/// Width and height of a JPEG, from its frame header. None if it is none.
pub fn jpeg_size(bytes: &[u8]) -> Option<(u32, u32)> {
    if !bytes.starts_with(&[0xff, 0xd8, 0xff]) || !bytes.ends_with(&[0xff, 0xd9]) {
        return None;
    }
    let mut at = 2;
    loop {
        let [0xff, marker, high, low] = *bytes.get(at..at + 4)? else { return None };
        if matches!(marker, 0xc0..=0xc2) {
            let [h1, h0, w1, w0] = *bytes.get(at + 5..at + 9)? else { return None };
            return Some((u32::from(u16::from_be_bytes([w1, w0])), u32::from(u16::from_be_bytes([h1, h0]))));
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
    }
}

/// Width and height of a WebP, from the header of its first chunk. None if it is none.
pub fn webp_size(bytes: &[u8]) -> Option<(u32, u32)> {
    if bytes.get(0..4)? != b"RIFF" || bytes.get(8..12)? != b"WEBP" {
        return None;
    }
    let word = |at: usize| Some(u32::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
    let three = |at: usize| Some(word(at)? | u32::from(*bytes.get(at + 2)?) << 16);
    match bytes.get(12..16)? {
        b"VP8 " => Some((word(26)? & 0x3fff, word(28)? & 0x3fff)),
        b"VP8X" => Some((three(24)? + 1, three(27)? + 1)),
        b"VP8L" => {
            let bits = word(21)? | word(23)? << 16;
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        _ => None,
    }
}
