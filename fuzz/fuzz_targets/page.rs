//! Pages of engines.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| forebay_telemetry::scrape::fuzzing::page(data));
