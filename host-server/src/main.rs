//! The `host-server` program.
fn main() {}
