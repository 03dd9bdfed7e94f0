//! Golden files: what the code promised, as files that any language can read.

use anyhow::Result;

use crate::command::{cargo, run};

/// Examples that write golden files with `--write` and compare them with `--check`.
const WRITERS: &[(&str, &str)] = &[
    ("vinbus-protocol", "golden"),
    ("vinbus-host-server", "golden"),
];

/// Rewrites the golden files, or only compares them.
pub(crate) fn all(check: bool) -> Result<()> {
    let mode = if check { "--check" } else { "--write" };
    for (package, example) in WRITERS {
        let arguments = ["run", "--quiet", "--package", package, "--example", example];
        run(cargo(&arguments).args(["--", mode]))?;
    }
    Ok(())
}
