#![no_main]

#[path = "../properties/sources.rs"]
mod sources;

libfuzzer_sys::fuzz_target!(|data: &[u8]| sources::check(data));
