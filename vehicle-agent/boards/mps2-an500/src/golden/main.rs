//! The golden vectors of the protocol on a Cortex-M7: the files and the comparison of
//! `protocol/tests/golden.rs`, compiled for the board. It says what it finds of each file, and ends the
//! emulator with success if all are, byte for byte, what the processor makes of their inputs.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod on_board;

#[cfg(target_os = "none")]
#[path = "../../../../../protocol/tests/vectors/mod.rs"]
mod vectors;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this program runs on a board: `cargo xtask qemu-test golden` builds and runs it");
}
