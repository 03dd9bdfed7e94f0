//! Puts `memory.x` where the linker looks for it, and asks for the sections of defmt.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=memory.x");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names a folder"));
    fs::write(out.join("memory.x"), include_bytes!("memory.x")).expect("the folder can be written");
    println!("cargo::rustc-link-search={}", out.display());
    if env::var_os("CARGO_CFG_TARGET_OS").is_some_and(|os| os == "none") {
        println!("cargo::rustc-link-arg-bins=-Tdefmt.x");
    }
}
