//! The tour of the README, run as it is written.
//!
//! Each block of the README with a marker `<!-- tour: … -->` above it is a step:
//!
//! - `NAME keeps running`: the block's commands run in a terminal of their own, until the end or until
//!   others run under that name;
//! - `NAME ends`: they run to their end and must succeed;
//! - `NAME prints`: the terminal NAME prints the block's lines, `…` standing for any text;
//! - `type into NAME`: the block is typed into the terminal NAME.
//!
//! Three things differ from what a reader does. `cargo` is a stand-in that starts the programs which
//! the tests were built with, because a release build takes minutes; what the Python program imports
//! is what `cargo xtask examples` has installed; and ports are replaced by free
//! ones, in the text of the commands and, for defaults, through the environment.

mod ports;
mod script;
mod terminal;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use script::Step;
use terminal::Terminal;

#[test]
fn tour_of_the_readme_works_as_written() {
    let programs = build_programs();
    let folder = tempfile::tempdir().expect("a folder can be made");
    stand_in_for_release_build(folder.path(), &programs);
    lay_out_examples(folder.path());
    let ports = ports::free();
    let mut terminals = BTreeMap::new();

    let readme = include_str!("../../../README.md");
    let steps = script::steps(readme);
    assert!(steps.len() > 5, "the README has lost its tour: {steps:#?}");
    for step in steps {
        match step {
            Step::Keep { name, commands } => {
                let commands = ports::replace(&commands, &ports);
                // What ran under that name is stopped first.
                drop(terminals.remove(&name));
                terminals.insert(name, Terminal::open(folder.path(), &commands, &ports));
            }
            Step::Run { name, commands } => {
                let commands = ports::replace(&commands, &ports);
                let terminal = Terminal::open(folder.path(), &commands, &ports);
                terminal.succeeds(&name);
                terminals.insert(name, terminal);
            }
            Step::Prints { name, lines } => {
                for line in lines.lines() {
                    terminals[&name].prints(&name, &ports::replace(line, &ports));
                }
            }
            Step::Type { name, text } => {
                let terminal = terminals.get_mut(&name).expect("the terminal is open");
                terminal.type_in(&text);
            }
        }
    }
}

/// Builds the programs as the tests are built, so that within a run of all tests nothing is left
/// to do; returns their folder.
fn build_programs() -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    build.args(["test", "--workspace", "--no-run", "--quiet"]);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let about_us = [
            "CARGO_MANIFEST_",
            "CARGO_PKG_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ];
        if about_us.iter().any(|prefix| text.starts_with(prefix)) {
            build.env_remove(name);
        }
    }
    let built = build.status().expect("cargo can be started");
    assert!(built.success(), "the programs do not build");
    let own = std::env::current_exe().expect("a test knows where it is");
    let programs = own
        .ancestors()
        .nth(2)
        .expect("tests are in `deps`, programs above");
    programs.to_owned()
}

/// Puts the examples, and the Python that they run with, where the README has them.
fn lay_out_examples(folder: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = root.join("target/examples/python");
    assert!(
        python.exists(),
        "{} is missing: run `cargo xtask examples`",
        python.display()
    );
    for (there, here) in [(root.join("docs"), "docs"), (python, "venv")] {
        std::os::unix::fs::symlink(there, folder.join(here)).expect("a link can be made");
    }
}

/// Puts the programs where a release build would put them, and a `cargo` on the path that runs them.
fn stand_in_for_release_build(folder: &Path, programs: &Path) {
    let release = folder.join("target/release");
    std::fs::create_dir_all(&release).expect("a folder can be made");
    for name in ["host-server", "vehicle-agent"] {
        std::os::unix::fs::symlink(programs.join(name), release.join(name))
            .expect("a link can be made");
    }
    let cargo = folder.join("target/cargo");
    std::fs::write(&cargo, include_str!("cargo.sh")).expect("a file can be written");
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755))
        .expect("a file can be made executable");
}
