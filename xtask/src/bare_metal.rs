//! Compiles what must run on a board or in a browser for its targets.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::command::run;
use crate::toolchain::{self, Toolchain};

const CORTEX_M7: &str = "thumbv7em-none-eabihf";
const CORTEX_M0: &str = "thumbv6m-none-eabi";
const WASM: &str = "wasm32-unknown-unknown";

/// A library, its features, and where it must compile.
struct Check {
    package: &'static str,
    features: &'static [&'static str],
    targets: &'static [&'static str],
}

const CHECKS: &[Check] = &[
    Check {
        package: "vinbus-protocol",
        features: &[],
        targets: &[CORTEX_M7, CORTEX_M0, WASM],
    },
    Check {
        package: "vinbus-transport-embedded",
        features: &["--features=nal,net,tls"],
        targets: &[CORTEX_M7],
    },
    Check {
        package: "vinbus-vehicle-agent",
        features: &[
            "--no-default-features",
            "--features=embedded-link,board-portal",
        ],
        targets: &[CORTEX_M7],
    },
];

/// Every target that something must compile for.
pub(crate) fn targets() -> BTreeSet<&'static str> {
    CHECKS
        .iter()
        .flat_map(|check| check.targets)
        .copied()
        .collect()
}

/// Compiles each library for each of its targets.
pub(crate) fn check() -> Result<()> {
    for check in CHECKS {
        for target in check.targets {
            let toolchain = Toolchain::of(target).with_context(|| toolchain::advice(target))?;
            let arguments = ["check", "--lib", "--package", check.package];
            let mut command = toolchain.cargo(target, &arguments);
            run(command.args(check.features))?;
        }
    }
    Ok(())
}
