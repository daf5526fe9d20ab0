//! libFuzzer's driver of the target of this name in `targets.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::session(data));
