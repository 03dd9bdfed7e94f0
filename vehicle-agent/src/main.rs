//! The `vehicle-agent` program.
fn main() {}
