//! Compares the golden files of the host server with what the crate does (`--check`), or writes them
//! anew (`--write`). `cargo xtask golden` runs it.

use std::path::Path;
use std::process::ExitCode;

use vinbus_host_server::api::asyncapi;

fn main() -> ExitCode {
    let write = match std::env::args().nth(1).as_deref() {
        Some("--check") => false,
        Some("--write") => true,
        _ => {
            eprintln!("usage: golden --check | --write");
            return ExitCode::from(2);
        }
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/asyncapi.json");
    let text = asyncapi::text();
    if std::fs::read_to_string(&path).is_ok_and(|current| current == text) {
        return ExitCode::SUCCESS;
    }
    if !write {
        println!("differs: {}", path.display());
        return ExitCode::FAILURE;
    }
    match std::fs::write(&path, text) {
        Ok(()) => {
            println!("written: {}", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{} cannot be written: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}
