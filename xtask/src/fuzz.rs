//! Runs the fuzz targets of the `fuzz/` folder.

use anyhow::{Context, Result, bail};

use crate::command::{program, root, run, succeeds};

/// Runs one target, or all, for `seconds` each.
pub(crate) fn run_targets(target: Option<&str>, seconds: u32) -> Result<()> {
    ensure_tools()?;
    let known = targets()?;
    let chosen = match target {
        None => known,
        Some(name) if known.iter().any(|target| target == name) => vec![name.to_owned()],
        Some(name) => bail!(
            "there is no fuzz target `{name}`; there are: {}",
            known.join(", ")
        ),
    };
    for target in &chosen {
        let limit = format!("-max_total_time={seconds}");
        let arguments = [
            "run", "nightly", "cargo", "fuzz", "run", target, "--", &limit,
        ];
        run(&mut program("rustup", &arguments))?;
    }
    eprintln!(
        "\nfuzzed {} for {seconds} s each: nothing found",
        chosen.join(", ")
    );
    Ok(())
}

fn ensure_tools() -> Result<()> {
    if !succeeds(&mut program(
        "rustup",
        &["run", "nightly", "rustc", "--version"],
    )) {
        bail!("fuzzing needs the nightly compiler: `rustup toolchain install nightly`");
    }
    if !succeeds(&mut program("cargo-fuzz", &["--version"])) {
        bail!("fuzzing needs cargo-fuzz: `cargo install cargo-fuzz`");
    }
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder)
        .with_context(|| format!("cannot list the fuzz targets in {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if let (Some("rs"), Some(stem)) = (
            path.extension().and_then(|extension| extension.to_str()),
            path.file_stem().and_then(|stem| stem.to_str()),
        ) {
            names.push(stem.to_owned());
        }
    }
    names.sort();
    Ok(names)
}
