#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| serin_serving_fuzz::description::pbtxt(data));
