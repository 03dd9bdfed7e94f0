//! Starts other programs: always in the workspace's root, printed before they run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The folder that holds the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// The cargo that started us, or the one on the `PATH`.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    program(cargo, args)
}

/// Any other program.
pub(crate) fn program(name: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(args).current_dir(root());
    // What cargo tells a running package about itself would make build scripts that watch these
    // variables (ring's does) run again, and everything above them be compiled again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let about_us = [
            "CARGO_MANIFEST_",
            "CARGO_PKG_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ];
        if about_us.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

/// Prints the command, runs it and fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    eprintln!("\n$ {line}");
    let status = command
        .status()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Whether the command can be started and succeeds; shows nothing of it.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// What the command prints, when it succeeds.
pub(crate) fn stdout(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Where a program is: on the `PATH`, or in `/usr/sbin`, where Debian keeps daemons.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let variables = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_string_lossy(), value?.to_string_lossy())))
        .map(|(name, value)| format!("{name}={}", quoted(&value)));
    let program = command.get_program().to_string_lossy();
    // The cargo that started us has a long path that tells the reader nothing.
    let program = match program.rsplit_once("/bin/cargo") {
        Some((toolchain, "")) if toolchain.contains("toolchains") => "cargo".into(),
        _ => program,
    };
    let arguments = command
        .get_args()
        .map(|word| quoted(&word.to_string_lossy()));
    variables
        .chain([program.into_owned()])
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(word: &str) -> String {
    if word.contains([' ', '"', '$', '*']) {
        format!("'{word}'")
    } else {
        word.to_owned()
    }
}
