//! What tests need of others' packages: those of Python and JavaScript that the programs in
//! `docs/examples/` import, and axe-core, which looks at pages as people with disabilities meet them.
//! They are put below `target/examples/`, where the tests look.

use std::path::Path;

use anyhow::{Context, Result};

use crate::command::{program, root, run, succeeds};
use crate::setup::{Need, ensure_all};

/// The files that say what is imported, from which everything is installed anew when they change.
const PYTHON: &[&str] = &["requirements.txt"];
const JAVASCRIPT: &[&str] = &["package.json", "package-lock.json"];

const NEEDS: &[Need] = &[
    Need {
        purpose: "the examples in Python",
        packages: &["python3", "python3-venv"],
        instead: "Python 3.9 or newer with the modules venv and ensurepip as `python3` on the PATH",
        is_met: || succeeds(&mut program("python3", &["-c", "import venv, ensurepip"])),
    },
    Need {
        purpose: "the examples in JavaScript",
        packages: &["nodejs", "npm"],
        instead: "Node.js 18 or newer and npm on the PATH",
        is_met: || {
            ["node", "npm"]
                .iter()
                .all(|name| succeeds(&mut program(name, &["--version"])))
        },
    },
];

/// Installs them, unless they are there.
pub(crate) fn prepare() -> Result<()> {
    ensure_all(NEEDS)?;
    in_folder("python", "docs/examples", PYTHON, |folder, from| {
        let place = folder.display().to_string();
        run(&mut program("python3", &["-m", "venv", "--clear", &place]))?;
        let wanted = from.join("requirements.txt").display().to_string();
        let install = [
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--requirement",
            &wanted,
        ];
        run(&mut program(folder.join("bin/pip"), &install))
    })?;
    in_folder(
        "javascript",
        "docs/examples",
        JAVASCRIPT,
        install_javascript,
    )?;
    in_folder("axe", "xtask/chromium", JAVASCRIPT, install_javascript)
}

fn install_javascript(folder: &Path, from: &Path) -> Result<()> {
    for file in JAVASCRIPT {
        std::fs::copy(from.join(file), folder.join(file))?;
    }
    let install = [
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--silent",
    ];
    run(program("npm", &install).current_dir(folder))
}

/// Fills a folder below `target/examples/`, unless it was filled from the same `inputs` of the folder
/// `from` already.
fn in_folder(
    name: &str,
    from: &str,
    inputs: &[&str],
    fill: impl Fn(&Path, &Path) -> Result<()>,
) -> Result<()> {
    let (folder, from) = (root().join("target/examples").join(name), root().join(from));
    let filled_from = folder.join("filled-from");
    let wanted = contents(&from, inputs)?;
    if std::fs::read_to_string(&filled_from).is_ok_and(|contents| contents == wanted) {
        return Ok(());
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    fill(&folder, &from)?;
    std::fs::write(&filled_from, wanted)
        .with_context(|| format!("cannot write {}", filled_from.display()))
}

fn contents(folder: &Path, files: &[&str]) -> Result<String> {
    let read = |file: &&str| {
        let path = folder.join(file);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    files.iter().map(read).collect()
}
