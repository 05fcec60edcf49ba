//! See `conformance::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| conformance::fuzz::run("segment_fields", data));
