//! The properties that libFuzzer hunts (`fuzz/run.sh`), tried on a fixed number of inputs: known good ones, bent at random. The
//! randomness is the same each time, so that a failure can be had again.

#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[path = "../../fuzz/src/properties.rs"]
mod properties;

const ROUNDS: usize = 10_000;

/// Pieces that mean something somewhere.
const PIECES: [&str; 35] = [
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
    "\n\n",
    "\n",
    "html=",
    "async=true",
    "ｅxample.com",
    "\u{202e}",
    "99999999999999999999",
    "-1",
];

/// The inputs that libFuzzer starts from as well.
fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    let entries =
        |folder: &Path| folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect::<BTreeSet<_>>();
    entries(&folder).iter().flat_map(|target| entries(target)).map(|seed| fs::read(seed).unwrap()).collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).unwrap()
    }

    fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
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
    let (mut random, seeds) = (Random(seed), seeds());
    for _ in 0..ROUNDS {
        let input = random.input(&seeds);
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

#[test]
fn routes() {
    try_all(6, properties::route);
}

#[test]
fn json() {
    try_all(5, properties::json);
}
