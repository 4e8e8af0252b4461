#![no_main]

#[path = "../properties/demo.rs"]
mod demo;
#[path = "../properties/logs.rs"]
mod logs;

libfuzzer_sys::fuzz_target!(|data: &[u8]| logs::check(data));
