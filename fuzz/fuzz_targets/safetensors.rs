#![no_main]

#[path = "../properties/safetensors.rs"]
mod safetensors;
#[path = "../properties/scratch.rs"]
mod scratch;

libfuzzer_sys::fuzz_target!(|data: &[u8]| safetensors::check(data));
