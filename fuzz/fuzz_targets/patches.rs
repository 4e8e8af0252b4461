#![no_main]

#[path = "../properties/patches.rs"]
mod patches;
#[path = "../properties/written.rs"]
mod written;

libfuzzer_sys::fuzz_target!(|data: &[u8]| patches::check(data));
