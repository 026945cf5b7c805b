//! Bodies of requests and answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| forebay_gateway::fuzzing::body(data));
