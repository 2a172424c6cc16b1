//! The pages that are taken. All are made here, so that nothing but this program is needed, and all are served from this
//! machine with a length and no cache.

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use snaphook_tests::serve::{Body, Port, Server, full};

/// The view of every contender.
pub(super) const WIDTH: u32 = 1280;
pub(super) const HEIGHT: u32 = 1024;
const PHOTOS: u32 = 24;
const TALL: u32 = 20_000;

/// What is made of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The view, as PNG.
    View,
    /// All of the page, as PNG.
    Full,
    Pdf,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::View => "view",
            Kind::Full => "full",
            Kind::Pdf => "pdf",
        }
    }
}

/// One thing to measure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) kind: Kind,
}

pub(super) const TRIVIAL: Page = Page { name: "trivial", path: "/trivial", kind: Kind::View };
pub(super) const TEXT: Page = Page { name: "text", path: "/text", kind: Kind::View };
pub(super) const IMAGES: Page = Page { name: "images", path: "/images", kind: Kind::View };
pub(super) const TALL_PAGE: Page = Page { name: "tall", path: "/tall", kind: Kind::Full };
pub(super) const PDF: Page = Page { name: "pdf", path: "/text", kind: Kind::Pdf };

/// Serves them.
pub(super) fn start() -> Server {
    let photos: Vec<Bytes> = (0..PHOTOS).map(|seed| Bytes::from(photo(seed))).collect();
    Server::start(Port::reserve(), move |request: Request<Incoming>| {
        let path = request.uri().path();
        let (kind, body): (_, Body) = match path {
            "/trivial" => (HTML, full("<!doctype html><title>Trivial</title><h1>Hello</h1>")),
            "/text" => (HTML, full(text())),
            "/images" => (HTML, full(images())),
            "/tall" => (HTML, full(tall())),
            _ => match path.strip_prefix("/photo/").and_then(|at| photos.get(at.parse::<usize>().ok()?)) {
                Some(photo) => ("image/jpeg", full(photo.clone())),
                None => (HTML, full("")),
            },
        };
        let response = Response::builder().header("content-type", kind).header("cache-control", "no-store").body(body);
        async move { response.expect("a response") }
    })
}

const HTML: &str = "text/html; charset=utf-8";

/// Numbers that look random and are the same at every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }
}

/// Words of two to nine letters.
fn words(noise: &mut Noise, count: usize) -> String {
    let word = |noise: &mut Noise| -> String {
        let letters = 2 + noise.next() % 8;
        (0..letters).map(|_| char::from(b"etaoinshrdlucmfw"[noise.next() as usize % 16])).collect()
    };
    (0..count).map(|_| word(noise)).collect::<Vec<_>>().join(" ")
}

fn text() -> String {
    let mut noise = Noise(1);
    let sections: String = (0..12)
        .map(|_| format!("<h2>{}</h2><p>{}<p>{}", words(&mut noise, 5), words(&mut noise, 90), words(&mut noise, 70)))
        .collect();
    format!(
        "<!doctype html><title>Text</title><style>body{{font:16px/1.5 sans-serif;margin:40px;columns:3}}\
         h2{{font-family:serif}}</style><h1>{}</h1>{sections}",
        words(&mut noise, 6)
    )
}

fn images() -> String {
    let photos: String = (0..PHOTOS).map(|at| format!("<img src='/photo/{at}' width=305 height=165>")).collect();
    format!("<!doctype html><title>Images</title><style>body{{margin:10px}}img{{margin:2px}}</style>{photos}")
}

fn tall() -> String {
    let mut noise = Noise(2);
    let rows: String = (0..TALL / 100)
        .map(|at| format!("<p style='background:hsl({},60%,80%)'>{at} {}", at * 37 % 360, words(&mut noise, 30)))
        .collect();
    format!(
        "<!doctype html><title>Tall</title><style>body{{margin:0}}p{{margin:0;height:100px;overflow:hidden;\
         box-sizing:border-box;padding:10px;font:20px sans-serif}}</style>{rows}"
    )
}

/// A JPEG that compresses about as a photograph does: slopes, edges and grain.
fn photo(seed: u32) -> Vec<u8> {
    const SIDES: (u16, u16) = (610, 330);
    let mut noise = Noise(u64::from(seed) + 3);
    let [a, b, c] = [(); 3].map(|()| f64::from(noise.next() % 100) / 1500.0 + 0.005);
    let mut pixels = Vec::with_capacity(usize::from(SIDES.0) * usize::from(SIDES.1) * 3);
    for y in 0..SIDES.1 {
        for x in 0..SIDES.0 {
            let (x, y) = (f64::from(x), f64::from(y));
            let grain = f64::from(noise.next() % 24);
            for (wave, phase) in [(a, 0.0), (b, 1.0), (c, 2.0)] {
                let slope = ((x * wave + phase).sin() + (y * wave * 1.7 + phase).cos()) * 55.0 + 115.0;
                pixels.push((slope + grain).clamp(0.0, 255.0) as u8);
            }
        }
    }
    let mut file = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut file, 80);
    encoder.encode(&pixels, SIDES.0, SIDES.1, jpeg_encoder::ColorType::Rgb).expect("a picture");
    file
}
