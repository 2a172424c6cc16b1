//! The properties that `make fuzz` hunts for hours, tried on a fixed number of inputs: known good ones, bent at random. The
//! randomness is the same each time, so that a failure can be had again.

#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../fuzz/src/properties.rs"]
mod properties;

const ROUNDS: usize = 10_000;

/// Pieces that mean something somewhere.
const PIECES: [&str; 34] = [
    "access_key=key",
    "&",
    "=",
    "%",
    "%00",
    "%ff",
    "+",
    "url=",
    "http://",
    "https://",
    "127.0.0.1",
    "[::ffff:7f00:1]",
    "0x7f.1",
    "localhost",
    "@",
    ":80",
    "\\",
    "/../",
    "#",
    "?",
    "signature=",
    "expires=99",
    "\"",
    "{",
    "}",
    "[",
    "\u{0}",
    "\n",
    "html=",
    "async=true",
    "ｅxample.com",
    "\u{202e}",
    "99999999999999999999",
    "-1",
];

const SEEDS: [&str; 10] = [
    "\u{0}access_key=key&url=https%3A%2F%2Fexample.com%2F&format=png&viewport_width=800&full_page=true",
    "\u{2}\u{0}{\"access_key\":\"key\",\"url\":\"https://example.com/\",\"async\":true,\"webhook_url\":\"https://example.org/\"}",
    "\u{6}\u{0}{\"access_key\":\"key\",\"html\":\"<p>\",\"cookies\":[\"a=b\"],\"headers\":[\"X-A: b\"],\"clip_x\":1}",
    "access_key=key&url=https://example.com/%7e'x'|y+z&delay=0&signature=00",
    "https://user:pass@[2001:db8::1]:8443/a/../b?c=d#e",
    "http://0177.0.0.1/",
    "http://xn--e1afmkfd.xn--p1ai./",
    "1764000000\nnonce-of-sixteen-or-more\nk\n0000\n/internal/v1/requests\n\u{0}{}",
    "1764000000\nabcdefghijklmnop\nk\nff\n/x\ny\u{0}{\"request_id\":\"req_1\",\"received_at_ms\":1,\"access_key\":\"a\",\"method\":\"GET\",\"path\":\"/take\",\"query\":\"\",\"body\":\"\"}",
    "",
];

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).unwrap()
    }

    fn input(&mut self) -> Vec<u8> {
        let mut bytes = SEEDS[self.below(SEEDS.len())].as_bytes().to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len() + 1);
            match self.below(5) {
                0 => bytes.truncate(at),
                1 if at < bytes.len() => bytes[at] = u8::try_from(self.below(256)).unwrap(),
                2 if at < bytes.len() => drop(bytes.drain(at..(at + self.below(9)).min(bytes.len()))),
                3 => {
                    let (from, length) = (self.below(bytes.len() + 1), self.below(40));
                    let copy = bytes[from..(from + length).min(bytes.len())].to_vec();
                    bytes.splice(at..at, copy);
                }
                _ => drop(bytes.splice(at..at, PIECES[self.below(PIECES.len())].bytes())),
            }
        }
        bytes
    }
}

fn try_all(seed: u64, property: fn(&[u8])) {
    let mut random = Random(seed);
    for _ in 0..ROUNDS {
        let input = random.input();
        let held = std::panic::catch_unwind(|| property(&input));
        assert!(held.is_ok(), "for {:?}", String::from_utf8_lossy(&input));
    }
}

#[test]
fn requests() {
    try_all(1, properties::request);
}

#[test]
fn query_signatures() {
    try_all(2, properties::query_signature);
}

#[test]
fn envelopes() {
    try_all(3, properties::envelope);
}

#[test]
fn target_urls() {
    try_all(4, properties::target_url);
}
