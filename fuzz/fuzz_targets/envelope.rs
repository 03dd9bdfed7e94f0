//! Any payload is judged as serde_json judges it, in every shape.
#![no_main]

#[path = "../../protocol/tests/oracle/mod.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|payload: &[u8]| oracle::check(payload));
