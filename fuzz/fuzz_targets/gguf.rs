#![no_main]

#[path = "../properties/gguf.rs"]
mod gguf;
#[path = "../properties/scratch.rs"]
mod scratch;

libfuzzer_sys::fuzz_target!(|data: &[u8]| gguf::check(data));
