//! A message of a peer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| berth_signaling::fuzzing::message(bytes));
