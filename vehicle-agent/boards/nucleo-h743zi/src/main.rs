//! The vehicle agent on ST's Nucleo-144 board with the STM32H743ZI.
//!
//! One image serves all vehicles: who it is stands in the last sector of the flash, which
//! `cargo xtask flash` writes beside the image. Begin at `firmware.rs`.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod firmware;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this program runs on a board: build it with `cargo xtask firmware nucleo-h743zi`");
}
