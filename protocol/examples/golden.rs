//! Compares the golden vectors with what the crate does (`--check`), or writes them anew
//! (`--write`). `cargo xtask golden` runs it.

extern crate alloc;

#[path = "../tests/vectors/mod.rs"]
mod vectors;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mode = std::env::args().nth(1);
    let write = match mode.as_deref() {
        Some("--check") => false,
        Some("--write") => true,
        _ => {
            eprintln!("usage: golden --check | --write");
            return ExitCode::from(2);
        }
    };
    let mut stale = false;
    for file in vectors::files::compare_all() {
        if file.current == file.derived {
            continue;
        }
        if !write {
            println!("differs: {}", file.path.display());
            stale = true;
        } else if let Err(error) = std::fs::write(&file.path, &file.derived) {
            eprintln!("{} cannot be written: {error}", file.path.display());
            return ExitCode::FAILURE;
        } else {
            println!("written: {}", file.path.display());
        }
    }
    ExitCode::from(u8::from(stale))
}
