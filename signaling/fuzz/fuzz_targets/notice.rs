//! A notice of another instance.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| berth_signaling::fuzzing::notice(bytes));
