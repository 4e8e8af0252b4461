#![no_main]

#[path = "../properties/demo.rs"]
mod demo;
#[path = "../properties/edits.rs"]
mod edits;
#[path = "../properties/written.rs"]
mod written;

libfuzzer_sys::fuzz_target!(|data: &[u8]| edits::check(data));
