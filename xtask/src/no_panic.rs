//! The proof that nothing public in the protocol crate can panic.
//!
//! `protocol/no-panic/` calls every public entry on inputs that the optimiser cannot know, and has
//! a panic handler that calls a function which does not exist. As long as one panic survives
//! optimisation, the handler is needed and the program does not link. That the proof can fail is
//! shown in the same run: with code that does panic, linking must fail.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::cargo;
use crate::toolchain::{self, Toolchain};

const MANIFEST: &str = "protocol/no-panic/Cargo.toml";

/// The function that the panic handler calls and that nobody defines.
const UNDEFINED: &str = "vinbus_protocol_can_panic";

/// The parts of the protocol crate, each a feature of the proof.
const PARTS: &[&str] = &[
    "id", "topic", "json", "envelope", "presence", "health", "bus", "queues", "portal", "backoff",
    "delivery", "request",
];

/// A board. What is compiled there differs from what is compiled here: wide instructions of this
/// machine do part of the work, for one.
const BOARD: &str = "thumbv7em-none-eabihf";

/// Where a proof holds.
#[derive(Clone, Copy)]
enum Place {
    Here,
    Board(Toolchain),
}

/// Links the proof for this machine and, unless `host_only`, for a board.
pub(crate) fn prove(host_only: bool) -> Result<()> {
    prove_at(Place::Here)?;
    if host_only {
        return Ok(());
    }
    let toolchain = Toolchain::of(BOARD).with_context(|| toolchain::advice(BOARD))?;
    prove_at(Place::Board(toolchain))
}

fn prove_at(place: Place) -> Result<()> {
    let name = place.name();
    eprintln!(
        "\nproving that the protocol cannot panic on {name}: {}",
        PARTS.join(", ")
    );
    if place.links("control")? {
        bail!("the proof proves nothing: code that can panic was linked");
    }
    if place.links(&PARTS.join(","))? {
        return Ok(());
    }
    let mut guilty = Vec::new();
    for part in PARTS {
        if !place.links(part)? {
            guilty.push(*part);
        }
    }
    bail!(
        "can panic on {name}: {}. To see where, link with `--unresolved-symbols=ignore-all` and \
         look for callers of `core::panicking` in `objdump --disassemble --demangle`",
        guilty.join(", ")
    );
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Here => "this machine",
            Self::Board(_) => BOARD,
        }
    }

    /// Whether the proof links with these features; any other failure than a panic is an error.
    fn links(self, features: &str) -> Result<bool> {
        let output = self
            .build(features)
            .output()
            .context("cannot start cargo")?;
        if output.status.success() {
            return Ok(true);
        }
        let text = String::from_utf8_lossy(&output.stderr);
        if text.contains(UNDEFINED) {
            return Ok(false);
        }
        bail!("the proof does not build:\n{text}");
    }

    fn build(self, features: &str) -> Command {
        let build = ["rustc", "--release", "--bin", "no-panic"];
        let mut command = match self {
            Self::Here => cargo(&build),
            Self::Board(toolchain) => toolchain.cargo(BOARD, &build),
        };
        command
            .args([
                "--manifest-path",
                MANIFEST,
                "--target-dir",
                "target/no-panic",
            ])
            .args(["--features", features, "--"]);
        match self {
            // The C library brings `memcpy` and its like; nothing else of it is used, and its
            // start-up code is left out because the program has its own `_start` and is never run.
            Self::Here => command.arg("-Clink-args=-nostartfiles -lc -Wl,--gc-sections"),
            Self::Board(toolchain) => command
                .args(toolchain.linker())
                .arg("-Clink-args=--gc-sections"),
        };
        command
    }
}
