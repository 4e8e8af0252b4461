#![no_main]

#[path = "../properties/completions.rs"]
mod completions;
#[path = "../properties/demo.rs"]
mod demo;
#[path = "../properties/written.rs"]
mod written;

libfuzzer_sys::fuzz_target!(|data: &[u8]| completions::check(data));
