//! Questions to the webhook.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| forebay_gateway::fuzzing::question(data));
