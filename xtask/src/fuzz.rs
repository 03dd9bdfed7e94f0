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
        run_target(target, seconds)?;
    }
    eprintln!(
        "\nfuzzed {} for {seconds} s each: nothing found",
        chosen.join(", ")
    );
    Ok(())
}

/// Starts from the inputs in `fuzz/corpus/`, and keeps new ones below `target/`: what is worth
/// keeping for good is copied by hand.
fn run_target(target: &str, seconds: u32) -> Result<()> {
    let found = format!("target/fuzz-corpus/{target}");
    std::fs::create_dir_all(root().join(&found))
        .with_context(|| format!("cannot make the folder {found}"))?;
    let seeds = format!("fuzz/corpus/{target}");
    let limit = format!("-max_total_time={seconds}");
    let cargo = ["run", "nightly", "cargo", "fuzz", "run", target];
    let mut fuzz = program("rustup", &cargo);
    fuzz.arg(found);
    if root().join(&seeds).is_dir() {
        fuzz.arg(seeds);
    }
    run(fuzz.args(["--", &limit]))
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
