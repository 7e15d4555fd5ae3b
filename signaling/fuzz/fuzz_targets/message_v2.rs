//! A message of a peer that speaks v2, the first one or a later one.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| berth_signaling::fuzzing::message_v2(bytes));
