//! Manifests.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| forebay_core::manifest::fuzzing::manifests(data));
