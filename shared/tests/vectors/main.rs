//! The golden signature vectors and what must hold around them, natively and as wasm: the same file runs under
//! `cargo test` and `cargo test --target wasm32-unknown-unknown`, since the edge and the backend must agree on every bit.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod body;
mod hand_over;
mod junk;
mod links;
mod standard;

use serde_json::Value;
use snaphook_shared::secret::Secret;

const NOW: u64 = 1_764_000_000;

fn golden(section: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("../../golden/signature_vectors.json")).unwrap();
    all.get(section).unwrap().clone()
}

fn rows(section: &str) -> Vec<Value> {
    golden(section).as_array().unwrap().clone()
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row.get(field).and_then(Value::as_str).unwrap_or_else(|| panic!("no `{field}` in {row}"))
}

fn secret(text: &str) -> Secret {
    Secret::new(text)
}

/// The headers as a receiver looks them up.
fn lookup(headers: &[(&str, String)]) -> impl Fn(&str) -> Option<String> + use<> {
    let headers: Vec<(String, String)> = headers.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
    move |name| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
}

fn flip_hex_digit(hex: &str, at: usize) -> String {
    let flip = |c: char| if c == '0' { '1' } else { '0' };
    hex.chars().enumerate().map(|(i, c)| if i == at { flip(c) } else { c }).collect()
}
