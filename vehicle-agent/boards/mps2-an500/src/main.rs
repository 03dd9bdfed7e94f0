//! The vehicle agent on a Cortex-M7: ARM's MPS2+ board with the AN500 image, as QEMU plays it.
//!
//! One image serves all vehicles: who it is stands in a block of memory that
//! `vehicle-agent provision` writes. Begin at `firmware.rs`.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod firmware;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this program runs on a board: build it with `cargo xtask firmware`");
}
