//! The fuzzer: libFuzzer makes the bytes, and takes every panic, overflow and endless loop for a find.
#![no_main]

mod decode;

libfuzzer_sys::fuzz_target!(|data: &[u8]| decode::anything(data));
