//! Pixels to files, and strips of pixels to pictures. Nothing here waits for anything: it runs on blocking threads.

use std::io::{Cursor, Write};
use std::sync::{Arc, Mutex, PoisonError};

use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use snaphook_shared::options::model::Format;

use crate::domain::artifact::Size;

/// RGBA, eight bits each, row by row.
pub(super) struct Pixels {
    size: Size,
    rgba: Vec<u8>,
}

/// How a file is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoding {
    pub(super) format: Format,
    /// 0..=100, for formats that lose.
    pub(super) quality: u8,
    /// Whether pixels may be transparent; if not, alpha is dropped.
    pub(super) transparent: bool,
}

/// Why there is no file: a text for the log.
pub(super) type EncodeError = String;

/// A picture that grows from top to bottom by strips, each a PNG of the picture's width.
pub(super) struct Assembly {
    size: Size,
    rows_left: u32,
    sink: Sink,
}

enum Sink {
    /// Kept for what needs all of them at once.
    Pixels(Vec<u8>),
    /// Compressed as they come: memory holds a strip and the file, however tall the picture is.
    Png { stream: Box<png::StreamWriter<'static, Buffer>>, file: Buffer, transparent: bool, row: Vec<u8> },
}

/// Bytes that can still be reached when a writer that owns its target has been finished.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Assembly {
    /// For [`Assembly::into_pixels`].
    pub(super) fn of_pixels(size: Size) -> Assembly {
        let bytes = row_bytes(size) * size.height as usize;
        Assembly { size, rows_left: size.height, sink: Sink::Pixels(Vec::with_capacity(bytes)) }
    }

    /// For [`Assembly::into_png`].
    pub(super) fn of_png(size: Size, transparent: bool) -> Result<Assembly, EncodeError> {
        let file = Buffer::default();
        let stream = png_encoder(file.clone(), size, transparent).write_header().map_err(text)?;
        let stream = Box::new(stream.into_stream_writer().map_err(text)?);
        Ok(Assembly { size, rows_left: size.height, sink: Sink::Png { stream, file, transparent, row: Vec::new() } })
    }

    /// Adds rows of a strip, those before `skip` left out. What the strip lacks (the page may have shrunk since it was
    /// measured) stays empty.
    pub(super) fn add(&mut self, strip: &[u8], skip: u32, rows: u32) -> Result<(), EncodeError> {
        let mut decoder = png::Decoder::new(Cursor::new(strip));
        decoder.set_transformations(png::Transformations::normalize_to_color8() | png::Transformations::ALPHA);
        let mut reader = decoder.read_info().map_err(text)?;
        if reader.output_color_type() != (png::ColorType::Rgba, png::BitDepth::Eight) {
            return Err(format!("a strip of {:?}", reader.output_color_type()));
        }
        if reader.info().width != self.size.width {
            return Err(format!("a strip {} wide in a picture {} wide", reader.info().width, self.size.width));
        }
        for _ in 0..skip {
            reader.next_row().map_err(text)?;
        }
        let rows = rows.min(self.rows_left);
        for _ in 0..rows {
            let Some(row) = reader.next_row().map_err(text)? else { break };
            self.sink.push(row.data()).map_err(text)?;
            self.rows_left -= 1;
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<(), EncodeError> {
        let empty = vec![255; row_bytes(self.size)];
        for _ in 0..std::mem::take(&mut self.rows_left) {
            self.sink.push(&empty).map_err(text)?;
        }
        Ok(())
    }

    pub(super) fn into_pixels(mut self) -> Result<Pixels, EncodeError> {
        self.fill()?;
        match self.sink {
            Sink::Pixels(rgba) => Ok(Pixels { size: self.size, rgba }),
            Sink::Png { .. } => Err("a PNG was assembled".to_owned()),
        }
    }

    pub(super) fn into_png(mut self) -> Result<Vec<u8>, EncodeError> {
        self.fill()?;
        match self.sink {
            Sink::Png { stream, file, .. } => {
                stream.finish().map_err(text)?;
                Ok(file.take())
            }
            Sink::Pixels(_) => Err("pixels were assembled".to_owned()),
        }
    }
}

impl Sink {
    fn push(&mut self, rgba: &[u8]) -> std::io::Result<()> {
        match self {
            Sink::Pixels(pixels) => {
                pixels.extend_from_slice(rgba);
                Ok(())
            }
            Sink::Png { stream, transparent: true, .. } => stream.write_all(rgba),
            Sink::Png { stream, row, .. } => {
                row.clear();
                row.extend(opaque(rgba));
                stream.write_all(row)
            }
        }
    }
}

impl Pixels {
    /// Scaled down with a filter that keeps text readable.
    pub(super) fn resize(self, size: Size) -> Result<Pixels, EncodeError> {
        if size == self.size {
            return Ok(self);
        }
        let source = Image::from_vec_u8(self.size.width, self.size.height, self.rgba, PixelType::U8x4).map_err(text)?;
        let mut target = Image::new(size.width, size.height, PixelType::U8x4);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
        Resizer::new().resize(&source, &mut target, &options).map_err(text)?;
        Ok(Pixels { size, rgba: target.into_vec() })
    }

    /// Makes the file.
    pub(super) fn encode(self, encoding: Encoding) -> Result<Vec<u8>, EncodeError> {
        let Encoding { format, quality, transparent } = encoding;
        match format {
            Format::Png => self.png(transparent),
            Format::Jpeg => self.jpeg(quality),
            Format::Webp => self.webp(quality),
            Format::Gif => self.gif(),
            Format::Tiff => self.tiff(transparent),
            Format::Avif => self.avif(quality, transparent),
            Format::Jp2 | Format::Heif | Format::Pdf | Format::Html | Format::Markdown => {
                Err(format!("pixels cannot become {format:?}"))
            }
            Format::Mp4 | Format::Webm | Format::Mov | Format::Avi => Err(format!("{format:?} is recorded")),
        }
    }

    fn png(self, transparent: bool) -> Result<Vec<u8>, EncodeError> {
        let mut file = Vec::new();
        let mut writer = png_encoder(&mut file, self.size, transparent).write_header().map_err(text)?;
        let data = if transparent { self.rgba } else { opaque(&self.rgba).collect() };
        writer.write_image_data(&data).map_err(text)?;
        writer.finish().map_err(text)?;
        Ok(file)
    }

    fn jpeg(self, quality: u8) -> Result<Vec<u8>, EncodeError> {
        let side = |pixels: u32| u16::try_from(pixels).map_err(text);
        let (width, height) = (side(self.size.width)?, side(self.size.height)?);
        let mut file = Vec::new();
        let encoder = jpeg_encoder::Encoder::new(&mut file, quality.clamp(1, 100));
        encoder.encode(&self.rgba, width, height, jpeg_encoder::ColorType::Rgba).map_err(text)?;
        Ok(file)
    }

    fn webp(self, quality: u8) -> Result<Vec<u8>, EncodeError> {
        let encoder = webp::Encoder::from_rgba(&self.rgba, self.size.width, self.size.height);
        let file = encoder.encode_simple(false, f32::from(quality));
        file.map(|file| file.to_vec()).map_err(|error| format!("WebP: {error:?}"))
    }

    fn gif(mut self) -> Result<Vec<u8>, EncodeError> {
        let side = |pixels: u32| u16::try_from(pixels).map_err(text);
        let (width, height) = (side(self.size.width)?, side(self.size.height)?);
        // From 1 (slow and good) to 30. Up to 256 colours are kept as they are, at any speed.
        let frame = gif::Frame::from_rgba_speed(width, height, &mut self.rgba, 10);
        let mut file = Vec::new();
        let mut encoder = gif::Encoder::new(&mut file, width, height, &[]).map_err(text)?;
        encoder.write_frame(&frame).map_err(text)?;
        drop(encoder);
        Ok(file)
    }

    fn tiff(self, transparent: bool) -> Result<Vec<u8>, EncodeError> {
        use tiff::encoder::colortype::{RGB8, RGBA8};
        use tiff::encoder::compression::DeflateLevel;
        use tiff::encoder::{Compression, Predictor, TiffEncoder};
        let Size { width, height } = self.size;
        let mut file = Cursor::new(Vec::new());
        let encoder = TiffEncoder::new(&mut file).map_err(text)?;
        let mut encoder =
            encoder.with_compression(Compression::Deflate(DeflateLevel::Fast)).with_predictor(Predictor::Horizontal);
        match transparent {
            true => encoder.write_image::<RGBA8>(width, height, &self.rgba).map_err(text)?,
            false => {
                let rgb: Vec<u8> = opaque(&self.rgba).collect();
                encoder.write_image::<RGB8>(width, height, &rgb).map_err(text)?;
            }
        }
        Ok(file.into_inner())
    }

    fn avif(self, quality: u8, transparent: bool) -> Result<Vec<u8>, EncodeError> {
        // From 1 (slow) to 10; below 8 a screen takes tens of seconds.
        let encoder = ravif::Encoder::new().with_quality(f32::from(quality.clamp(1, 100))).with_speed(10);
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let encoded = if transparent {
            let pixels: Vec<ravif::RGBA8> =
                self.rgba.chunks_exact(4).map(|p| ravif::RGBA8::new(p[0], p[1], p[2], p[3])).collect();
            encoder.encode_rgba(ravif::Img::new(pixels.as_slice(), width, height))
        } else {
            let pixels: Vec<ravif::RGB8> =
                self.rgba.chunks_exact(4).map(|p| ravif::RGB8::new(p[0], p[1], p[2])).collect();
            encoder.encode_rgb(ravif::Img::new(pixels.as_slice(), width, height))
        };
        encoded.map(|encoded| encoded.avif_file).map_err(text)
    }
}

fn png_encoder<'a, W: Write>(target: W, size: Size, transparent: bool) -> png::Encoder<'a, W> {
    let mut encoder = png::Encoder::new(target, size.width, size.height);
    encoder.set_color(if transparent { png::ColorType::Rgba } else { png::ColorType::Rgb });
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    encoder
}

fn row_bytes(size: Size) -> usize {
    size.width as usize * 4
}

/// RGBA without its alpha.
fn opaque(rgba: &[u8]) -> impl Iterator<Item = u8> {
    rgba.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
}

fn text(error: impl std::fmt::Display) -> EncodeError {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 40, height: 30 };

    /// Red at the top, half transparent blue below.
    fn pixels() -> Pixels {
        let rgba = (0..SIZE.pixels()).flat_map(|at| if at < 600 { [255, 0, 0, 255] } else { [0, 0, 255, 128] });
        Pixels { size: SIZE, rgba: rgba.collect() }
    }

    fn encode(format: Format, transparent: bool) -> Vec<u8> {
        pixels().encode(Encoding { format, quality: 80, transparent }).unwrap()
    }

    fn decode(file: &[u8]) -> (Size, Vec<u8>) {
        let mut assembly = Assembly::of_pixels(SIZE);
        assembly.add(file, 0, SIZE.height).unwrap();
        let pixels = assembly.into_pixels().unwrap();
        (pixels.size, pixels.rgba)
    }

    #[test]
    fn every_format_starts_as_it_must() {
        let starts: [(Format, usize, &[u8]); 6] = [
            (Format::Png, 0, b"\x89PNG\r\n\x1a\n"),
            (Format::Jpeg, 0, b"\xff\xd8\xff"),
            (Format::Webp, 8, b"WEBPVP8"),
            (Format::Gif, 0, b"GIF89a(\0\x1e\0"),
            (Format::Tiff, 0, b"II*\0"),
            (Format::Avif, 4, b"ftypavif"),
        ];
        for (format, at, magic) in starts {
            for transparent in [false, true] {
                let file = encode(format, transparent);
                assert_eq!(file.get(at..at + magic.len()), Some(magic), "{format:?}");
            }
        }
        assert!(pixels().encode(Encoding { format: Format::Jp2, quality: 80, transparent: false }).is_err());
    }

    #[test]
    fn alpha_is_kept_or_dropped() {
        assert_eq!(decode(&encode(Format::Png, true)).1, pixels().rgba);
        assert_eq!(decode(&encode(Format::Png, false)).1[2400..2404], [0, 0, 255, 255]);
    }

    #[test]
    fn strips_are_put_together_and_gaps_stay_white() {
        let strip = encode(Format::Png, true);
        let tall = Size { height: 70, ..SIZE };
        let (mut png, mut pixels) = (Assembly::of_png(tall, false).unwrap(), Assembly::of_pixels(tall));
        for assembly in [&mut png, &mut pixels] {
            assembly.add(&strip, 0, 30).unwrap();
            // The lower half of a strip, as where two of them overlap.
            assembly.add(&strip, 15, 15).unwrap();
            // More rows than are left in the strip.
            assembly.add(&strip, 20, 100).unwrap();
        }
        let rgba = pixels.into_pixels().unwrap().rgba;
        let row = |y: usize| &rgba[y * 160..y * 160 + 4];
        assert_eq!(
            [row(0), row(29), row(30), row(54), row(55)],
            [&[255, 0, 0, 255][..], &[0, 0, 255, 128], &[0, 0, 255, 128], &[0, 0, 255, 128], &[255, 255, 255, 255],]
        );
        let file = png.into_png().unwrap();
        let mut reader = png::Decoder::new(Cursor::new(&file)).read_info().unwrap();
        assert_eq!((reader.info().width, reader.info().height), (40, 70));
        let mut rgb = vec![0; 40 * 70 * 3];
        reader.next_frame(&mut rgb).unwrap();
        assert_eq!((&rgb[0..3], &rgb[69 * 120..69 * 120 + 3]), (&[255, 0, 0][..], &[255, 255, 255][..]));
    }

    #[test]
    fn a_strip_of_another_width_is_refused() {
        let narrow = Size { width: 39, height: 30 };
        assert!(Assembly::of_pixels(narrow).add(&encode(Format::Png, true), 0, 30).is_err());
        assert!(Assembly::of_pixels(SIZE).add(b"not a PNG", 0, 30).is_err());
    }

    #[test]
    fn colours_survive_a_resize() {
        let small = pixels().resize(Size { width: 20, height: 15 }).unwrap();
        assert_eq!((&small.rgba[0..4], small.rgba.len()), (&[255, 0, 0, 255][..], 20 * 15 * 4));
    }
}
