//! Formatting, lints, dependency policy and documentation.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::Result;

use crate::command::{cargo, program, run, succeeds};
use crate::{qemu_test, soak};

/// What cannot be a member of the workspace: code with compiler flags, or a panic handler, of its own.
const OWN_WORKSPACES: &[&str] = &["fuzz/Cargo.toml", "protocol/no-panic/Cargo.toml"];

/// Checks all of it and stops at the first thing that is wrong.
pub(crate) fn all() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    for manifest in OWN_WORKSPACES {
        run(&mut cargo(&["fmt", "--manifest-path", manifest, "--check"]))?;
    }
    // All targets are not all: what `cargo test` does not run by itself has to be named.
    let all = &["--workspace", "--all-targets"][..];
    for targets in [all, qemu_test::PROGRAM, soak::PROGRAM] {
        let mut clippy = cargo(&["clippy"]);
        run(clippy.args(targets).args(["--", "--deny", "warnings"]))?;
    }
    dependency_policy()?;
    let mut docs = cargo(&["doc", "--workspace", "--no-deps"]);
    run(docs.env("RUSTDOCFLAGS", "--deny warnings"))
}

/// Licences, banned crates and sources need the lock file only; security advisories need their
/// database from the network, so they are checked where it can be reached.
fn dependency_policy() -> Result<()> {
    if !succeeds(&mut program("cargo-deny", &["--version"])) {
        eprintln!(
            "\nskipped: the dependency policy (`cargo install cargo-deny` to check deny.toml)"
        );
        return Ok(());
    }
    run(&mut cargo(&[
        "deny",
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ]))?;
    if can_reach_advisories() {
        run(&mut cargo(&["deny", "check", "advisories"]))
    } else {
        eprintln!("\nskipped: security advisories (their database cannot be reached from here)");
        Ok(())
    }
}

fn can_reach_advisories() -> bool {
    let Ok(addresses) = "github.com:443".to_socket_addrs() else {
        return false;
    };
    addresses
        .take(2)
        .any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(3)).is_ok())
}
