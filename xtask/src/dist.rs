//! Builds `vehicle-agent` for boards in the car that run Linux: small, and linked against the C
//! library of Debian's cross compiler.

mod program;
mod trial;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{find, root, run};
use crate::setup::{self, Need};
use crate::toolchain::{self, DEBIAN_PACKAGES, Toolchain};

/// An architecture, as Rust, Debian and QEMU call it.
struct Architecture {
    target: &'static str,
    /// How the C compiler, its libraries' folder below `/usr` and its tools are called.
    triplet: &'static str,
    emulator: &'static str,
    to_build: &'static [Need],
    to_try: &'static [Need],
}

const AARCH64: Architecture = Architecture {
    target: "aarch64-unknown-linux-gnu",
    triplet: "aarch64-linux-gnu",
    emulator: "qemu-aarch64",
    to_build: &[
        Need {
            purpose: "the standard library for ARM, 64 bits",
            packages: DEBIAN_PACKAGES,
            instead: "`rustup target add aarch64-unknown-linux-gnu`",
            is_met: || Toolchain::of(AARCH64.target).is_some(),
        },
        Need {
            purpose: "a C compiler and linker for ARM, 64 bits",
            packages: &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
            instead: "aarch64-linux-gnu-gcc on the PATH",
            is_met: || find("aarch64-linux-gnu-gcc").is_some(),
        },
    ],
    to_try: &[Need {
        purpose: "to run a program for ARM, 64 bits",
        packages: &["qemu-user"],
        instead: "qemu-aarch64 on the PATH",
        is_met: || find(AARCH64.emulator).is_some(),
    }],
};

const ARMV7: Architecture = Architecture {
    target: "armv7-unknown-linux-gnueabihf",
    triplet: "arm-linux-gnueabihf",
    emulator: "qemu-arm",
    to_build: &[
        Need {
            purpose: "the standard library for ARM, 32 bits",
            packages: DEBIAN_PACKAGES,
            instead: "`rustup target add armv7-unknown-linux-gnueabihf`",
            is_met: || Toolchain::of(ARMV7.target).is_some(),
        },
        Need {
            purpose: "a C compiler and linker for ARM, 32 bits",
            packages: &["gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross"],
            instead: "arm-linux-gnueabihf-gcc on the PATH",
            is_met: || find("arm-linux-gnueabihf-gcc").is_some(),
        },
    ],
    to_try: &[Need {
        purpose: "to run a program for ARM, 32 bits",
        packages: &["qemu-user"],
        instead: "qemu-arm on the PATH",
        is_met: || find(ARMV7.emulator).is_some(),
    }],
};

/// What is built for if nobody says otherwise.
pub(crate) const DEFAULT: &str = AARCH64.target;

const ARCHITECTURES: &[&Architecture] = &[&AARCH64, &ARMV7];

/// Every target that the agent can be built for.
pub(crate) fn targets() -> Vec<&'static str> {
    ARCHITECTURES.iter().map(|known| known.target).collect()
}

/// Makes what it takes to build the agent for `target` and to try it available, or fails with what to
/// install.
pub(crate) fn ensure(target: &str) -> Result<()> {
    let architecture = architecture(target)?;
    setup::ensure_all(architecture.to_build)?;
    setup::ensure_all(architecture.to_try)
}

/// Builds the agent for `target`; with `test`, runs it in an emulator against the host server.
pub(crate) fn agent(target: &str, test: bool) -> Result<()> {
    let architecture = architecture(target)?;
    setup::ensure_all(architecture.to_build)?;
    let agent = architecture.build()?;
    if test {
        setup::ensure_all(architecture.to_try)?;
        trial::try_out(&architecture.emulated(&agent))?;
    }
    Ok(())
}

fn architecture(target: &str) -> Result<&'static Architecture> {
    ARCHITECTURES
        .iter()
        .find(|known| known.target == target)
        .copied()
        .with_context(|| format!("`{target}` is none of {:?}", targets()))
}

impl Architecture {
    /// Returns where the program is.
    fn build(&self) -> Result<PathBuf> {
        let toolchain =
            Toolchain::of(self.target).with_context(|| toolchain::advice(self.target))?;
        let arguments = [
            "build",
            "--locked",
            "--profile=dist",
            "--package=vinbus-vehicle-agent",
            "--bin=vehicle-agent",
            "--target-dir=target",
        ];
        let mut build = toolchain.cargo(self.target, &arguments);
        for (name, value) in self.tools() {
            // Who has set one of them knows better.
            if std::env::var_os(&name).is_none() {
                build.env(name, value);
            }
        }
        run(&mut build)?;
        self.place()
    }

    /// What tells cargo its linker, and the build script of `ring` its C compiler.
    fn tools(&self) -> [(String, String); 2] {
        let compiler = format!("{}-gcc", self.triplet);
        let target = self.target.replace('-', "_");
        let linker = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase());
        [
            (linker, compiler.clone()),
            (format!("CC_{target}"), compiler),
        ]
    }

    /// Copies the program to where the user looks for it, and tells its size.
    fn place(&self) -> Result<PathBuf> {
        let target_folder = root().join("target");
        let built = target_folder.join(self.target).join("dist/vehicle-agent");
        let folder = target_folder.join("dist").join(self.target);
        let placed = folder.join("vehicle-agent");
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::copy(&built, &placed))
            .with_context(|| format!("cannot copy {} to {}", built.display(), placed.display()))?;
        let bytes = placed.metadata()?.len();
        println!(
            "target/dist/{}/vehicle-agent: {bytes} bytes, {:.1} MB",
            self.target,
            bytes as f64 / 1e6
        );
        Ok(placed)
    }

    /// The words that start `program` here.
    fn emulated(&self, program: &Path) -> Vec<String> {
        vec![
            self.emulator.into(),
            "-L".into(),
            format!("/usr/{}", self.triplet),
            program.display().to_string(),
        ]
    }
}
