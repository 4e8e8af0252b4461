#![no_main]

#[path = "../properties/demo.rs"]
mod demo;
#[path = "../properties/diffs.rs"]
mod diffs;
#[path = "../properties/written.rs"]
mod written;

libfuzzer_sys::fuzz_target!(|data: &[u8]| diffs::check(data));
