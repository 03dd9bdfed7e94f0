//! Builds and runs the fuzz targets of the `fuzz/` folder: libFuzzer, with the stable compiler.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, program, root, run, stdout};
use crate::setup;

/// What has LLVM count the branches taken and show libFuzzer what is compared, as `cargo fuzz` does.
/// The protocol has no `unsafe` that the address sanitizer could watch over, so the stable compiler
/// will do.
const INSTRUMENTED: &str = "--cfg fuzzing -Cdebug-assertions -Coverflow-checks -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Runs one target, or all, for `seconds` each.
pub(crate) fn run_targets(target: Option<&str>, seconds: u32) -> Result<()> {
    let known = targets()?;
    let chosen = match target {
        None => known,
        Some(name) if known.iter().any(|target| target == name) => vec![name.to_owned()],
        Some(name) => bail!(
            "there is no fuzz target `{name}`; there are: {}",
            known.join(", ")
        ),
    };
    setup::ensure_for_fuzz()?;
    // With a target named, build scripts are compiled without the flags.
    let host = host()?;
    let manifest = ["build", "--release", "--manifest-path", "fuzz/Cargo.toml"];
    run(cargo(&manifest)
        .args(["--locked", "--target", &host])
        .env("RUSTFLAGS", INSTRUMENTED))?;
    let programs = root().join("fuzz/target").join(&host).join("release");
    for target in &chosen {
        run_target(&programs, target, seconds)?;
    }
    eprintln!(
        "\nfuzzed {} for {seconds} s each: nothing found",
        chosen.join(", ")
    );
    Ok(())
}

/// Starts from the inputs in `fuzz/corpus/`, and keeps new ones below `target/`: what is worth
/// keeping for good is copied by hand.
fn run_target(programs: &Path, target: &str, seconds: u32) -> Result<()> {
    let found = format!("target/fuzz-corpus/{target}");
    let artifacts = format!("fuzz/artifacts/{target}");
    for folder in [&found, &artifacts] {
        std::fs::create_dir_all(root().join(folder))
            .with_context(|| format!("cannot make the folder {folder}"))?;
    }
    eprintln!("\nfuzzing {target} for {seconds} s");
    let mut fuzz = program(programs.join(target), &[]);
    fuzz.arg(found);
    let seeds = format!("fuzz/corpus/{target}");
    if root().join(&seeds).is_dir() {
        fuzz.arg(seeds);
    }
    fuzz.arg(format!("-max_total_time={seconds}"));
    fuzz.arg(format!("-artifact_prefix={artifacts}/"));
    run(&mut fuzz).with_context(|| {
        format!(
            "`{target}` failed; run its program again with the file in {artifacts}/ that is named above"
        )
    })
}

/// The triple of this machine.
fn host() -> Result<String> {
    stdout(&mut program("rustc", &["--print", "host-tuple"]))
        .context("`rustc` does not name its host")
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
