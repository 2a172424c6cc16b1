#![no_main]
//! `sh fuzz/run.sh route`; what must hold stands in `../src/properties.rs`.

#[path = "../src/properties.rs"]
#[allow(dead_code)]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::route(data));
