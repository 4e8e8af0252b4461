#![no_main]

#[path = "../properties/configuration.rs"]
mod configuration;
#[path = "../properties/scratch.rs"]
mod scratch;

libfuzzer_sys::fuzz_target!(|data: &[u8]| configuration::check(data));
