//! Which compiler can build for a target that is not this machine's.
//!
//! A target that is installed beside the compiler needs nothing special. Otherwise Debian's
//! `rustc-web`, `cargo-web` and `rust-web-src` hold a compiler with the sources of the standard
//! library, of which as much as the target has is then built on the way. Nothing of that stands in
//! a committed configuration.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{cargo, find, program, stdout};

/// The Debian packages of a compiler, the sources and a linker.
pub(crate) const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "lld"];

/// The oldest Debian compiler that will do: the workspace's `rust-version`.
const MINOR_VERSION_MIN: u32 = 95;

/// A way to build for a target.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The default compiler has the target's libraries.
    Installed,
    /// Debian's compiler builds the library from its sources.
    DebianSources,
}

impl Toolchain {
    /// The way to build for `target`, if there is one.
    pub(crate) fn of(target: &str) -> Option<Self> {
        if is_installed(target) {
            Some(Self::Installed)
        } else if has_debian_sources() {
            Some(Self::DebianSources)
        } else {
            None
        }
    }

    /// Cargo with `args` for `target`.
    pub(crate) fn cargo(self, target: &str, args: &[&str]) -> Command {
        let mut command = match self {
            Self::Installed => cargo(args),
            Self::DebianSources => {
                let mut command = program("/usr/bin/cargo", args);
                let library: &[_] = if target.contains("-linux-") {
                    &["-Zbuild-std=std,panic_abort"]
                } else {
                    &[
                        "-Zbuild-std=core,alloc",
                        "-Zbuild-std-features=optimize_for_size",
                    ]
                };
                command
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("RUSTC", "/usr/bin/rustc")
                    .args(library);
                command
            }
        };
        command.args(["--target", target]);
        command
    }

    /// Options for the compiler that name a linker, where it brings none.
    pub(crate) fn linker(self) -> &'static [&'static str] {
        match self {
            Self::Installed => &[],
            Self::DebianSources => &["-Clinker=ld.lld", "-Clinker-flavor=ld.lld"],
        }
    }

    /// Where the sources of the standard library are, if it is built on the way.
    pub(crate) fn library_sources(self) -> Option<PathBuf> {
        match self {
            Self::Installed => None,
            Self::DebianSources => debian_sources(),
        }
    }
}

/// What to install for `target`.
pub(crate) fn advice(target: &str) -> String {
    format!(
        "no compiler for {target}: `rustup target add {target}`, or on Debian `apt-get install {}`",
        DEBIAN_PACKAGES.join(" ")
    )
}

fn is_installed(target: &str) -> bool {
    let libraries = stdout(&mut program(
        "rustc",
        &["--print", "target-libdir", "--target", target],
    ));
    let Some(Ok(mut entries)) = libraries.map(std::fs::read_dir) else {
        return false;
    };
    entries.any(|entry| {
        entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libcore"))
    })
}

fn has_debian_sources() -> bool {
    debian_sources().is_some_and(|library| library.join("core/src/lib.rs").is_file())
        && Path::new("/usr/bin/cargo").is_file()
        && find("ld.lld").is_some()
        && minor_version().is_some_and(|minor| minor >= MINOR_VERSION_MIN)
}

fn debian_sources() -> Option<PathBuf> {
    let sysroot = stdout(&mut program("/usr/bin/rustc", &["--print", "sysroot"]))?;
    Some(Path::new(&sysroot).join("lib/rustlib/src/rust/library"))
}

/// 96 of `rustc 1.96.0 (…)`.
fn minor_version() -> Option<u32> {
    let version = stdout(&mut program("/usr/bin/rustc", &["--version"]))?;
    version
        .strip_prefix("rustc 1.")?
        .split('.')
        .next()?
        .parse()
        .ok()
}
