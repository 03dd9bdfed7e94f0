//! What the programs in `docs/examples/` import: packages of Python and JavaScript, put below
//! `target/examples/`, where the tests that run them look.

use std::path::{Path, PathBuf};

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

/// Installs what the examples import, unless it is there.
pub(crate) fn prepare() -> Result<()> {
    ensure_all(NEEDS)?;
    in_folder("python", PYTHON, |folder| {
        let place = folder.display().to_string();
        run(&mut program("python3", &["-m", "venv", "--clear", &place]))?;
        let wanted = root().join("docs/examples/requirements.txt");
        let wanted = wanted.display().to_string();
        let install = [
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--requirement",
            &wanted,
        ];
        run(&mut program(folder.join("bin/pip"), &install))
    })?;
    in_folder("javascript", JAVASCRIPT, |folder| {
        for file in JAVASCRIPT {
            std::fs::copy(root().join("docs/examples").join(file), folder.join(file))?;
        }
        let install = [
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--silent",
        ];
        run(program("npm", &install).current_dir(folder))
    })
}

/// Fills a folder below `target/examples/`, unless it was filled from the same `inputs` already.
fn in_folder(name: &str, inputs: &[&str], fill: impl Fn(&Path) -> Result<()>) -> Result<()> {
    let folder = root().join("target/examples").join(name);
    let filled_from = folder.join("filled-from");
    let wanted = contents(inputs)?;
    if std::fs::read_to_string(&filled_from).is_ok_and(|contents| contents == wanted) {
        return Ok(());
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    fill(&folder)?;
    std::fs::write(&filled_from, wanted)
        .with_context(|| format!("cannot write {}", filled_from.display()))
}

fn contents(files: &[&str]) -> Result<String> {
    let path = |file: &&str| -> PathBuf { root().join("docs/examples").join(file) };
    files
        .iter()
        .map(path)
        .map(|path| {
            std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))
        })
        .collect()
}
