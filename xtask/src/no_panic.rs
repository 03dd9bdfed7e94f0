//! The proof that nothing public in the protocol crate can panic.
//!
//! `protocol/no-panic/` calls every public entry on inputs that the optimiser cannot know, and has
//! a panic handler that calls a function which does not exist. As long as one panic survives
//! optimisation, the handler is needed and the program does not link. That the proof can fail is
//! shown in the same run: with code that does panic, linking must fail.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::cargo;

const MANIFEST: &str = "protocol/no-panic/Cargo.toml";

/// The function that the panic handler calls and that nobody defines.
const UNDEFINED: &str = "vinbus_protocol_can_panic";

/// The parts of the protocol crate, each a feature of the proof.
const PARTS: &[&str] = &["id", "topic", "envelope", "queues", "portal", "backoff"];

/// Links the proof, and its counter-proof.
pub(crate) fn prove() -> Result<()> {
    eprintln!(
        "\nproving that the protocol cannot panic: {}",
        PARTS.join(", ")
    );
    if links("control")? {
        bail!("the proof proves nothing: code that can panic was linked");
    }
    if links(&PARTS.join(","))? {
        return Ok(());
    }
    let mut guilty = Vec::new();
    for part in PARTS {
        if !links(part)? {
            guilty.push(*part);
        }
    }
    bail!(
        "can panic: {}. To see where, link with `-Wl,--unresolved-symbols=ignore-all` and look for \
         callers of `core::panicking` in `objdump --disassemble --demangle`",
        guilty.join(", ")
    );
}

/// Whether the proof links with these features; any other failure than a panic is an error.
fn links(features: &str) -> Result<bool> {
    let mut command = build(features);
    let output = command.output().context("cannot start cargo")?;
    if output.status.success() {
        return Ok(true);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains(UNDEFINED) {
        return Ok(false);
    }
    bail!("the proof does not build:\n{text}");
}

fn build(features: &str) -> Command {
    // The C library brings `memcpy` and its like; nothing else of it is used, and the C start-up
    // code is left out because the program has its own `_start` and is never run.
    let mut command = cargo(&["rustc", "--release", "--bin", "no-panic"]);
    command
        .args([
            "--manifest-path",
            MANIFEST,
            "--target-dir",
            "target/no-panic",
        ])
        .args(["--features", features])
        .args(["--", "-Clink-args=-nostartfiles -lc -Wl,--gc-sections"]);
    command
}
