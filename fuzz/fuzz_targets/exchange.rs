//! Messages of Envoy's external processing filter.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| forebay_gateway::fuzzing::exchange(data));
