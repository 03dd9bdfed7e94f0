//! Builds the images of boards, smallest first: the profile `firmware` of the workspace.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::Value;

use crate::command::{cargo, root, run, stdout};
use crate::toolchain::{self, Toolchain};

/// A board that there is firmware for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Board {
    /// ARM's MPS2+ with the AN500 image, a Cortex-M7: what QEMU plays.
    #[value(name = "mps2-an500")]
    Mps2An500,
    /// ST's Nucleo-144 with the STM32H743ZI, a Cortex-M7.
    #[value(name = "nucleo-h743zi")]
    NucleoH743zi,
}

impl Board {
    /// Every board.
    pub(crate) const ALL: &[Self] = &[Self::Mps2An500, Self::NucleoH743zi];

    /// Its name: of its folder, its program and on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mps2An500 => "mps2-an500",
            Self::NucleoH743zi => "nucleo-h743zi",
        }
    }

    /// The compile target.
    pub(crate) const fn target(self) -> &'static str {
        match self {
            Self::Mps2An500 | Self::NucleoH743zi => "thumbv7em-none-eabihf",
        }
    }

    /// What `probe-rs` calls its chip, where there is one.
    pub(crate) const fn chip(self) -> Option<&'static str> {
        match self {
            Self::Mps2An500 => None,
            Self::NucleoH743zi => Some("STM32H743ZITx"),
        }
    }

    /// Whether it has a clock that goes on without power.
    pub(crate) const fn has_clock(self) -> bool {
        match self {
            Self::Mps2An500 => true,
            Self::NucleoH743zi => false,
        }
    }

    /// The processor, whose instructions the compiler may use.
    const fn processor(self) -> &'static str {
        match self {
            Self::Mps2An500 | Self::NucleoH743zi => "cortex-m7",
        }
    }
}

/// What is in an image: each step has one part more than the one before.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    /// TCP/IP over the board's own network, with DHCP and DNS.
    Net,
    /// The agent over MQTT 5, with all its queues.
    Mqtt,
    /// TLS 1.3 with certificates both ways, and the time of day that it needs.
    Tls,
    /// The portal for apps.
    Portal,
    /// The portal's page for browsers.
    Page,
    /// Messages with receipts: all there is.
    Delivery,
}

impl Step {
    /// Every step, smallest first.
    pub(crate) const ALL: &[Self] = &[
        Self::Net,
        Self::Mqtt,
        Self::Tls,
        Self::Portal,
        Self::Page,
        Self::Delivery,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Mqtt => "+mqtt",
            Self::Tls => "+tls",
            Self::Portal => "+portal",
            Self::Page => "+page",
            Self::Delivery => "+delivery",
        }
    }

    /// The options of cargo for the features of the board's crate.
    const fn features(self) -> &'static [&'static str] {
        match self {
            Self::Net => &["--no-default-features"],
            Self::Mqtt => &["--no-default-features", "--features", "agent"],
            Self::Tls => &["--no-default-features", "--features", "tls"],
            Self::Portal => &["--no-default-features", "--features", "portal,tls"],
            Self::Page => &["--no-default-features", "--features", "page,tls"],
            Self::Delivery => &[],
        }
    }
}

/// Where the image of a board is, once it is built.
pub(crate) fn image(board: Board) -> Result<PathBuf> {
    program(board, board.name())
}

/// Builds the image of a board; where it is.
pub(crate) fn build(board: Board) -> Result<PathBuf> {
    run(&mut build_program(board, board.name())?)?;
    image(board)
}

/// Builds the image of a board as it is at a step; where it is, until the next one is built. Fails if
/// the compiler warns of what the step leaves out.
pub(crate) fn build_step(board: Board, step: Step) -> Result<PathBuf> {
    let mut build = build_program(board, board.name())?;
    build.args(step.features());
    run(build.args(["--", "--deny", "warnings"]))?;
    image(board)
}

/// Builds the image that holds the protocol against its golden vectors; where it is.
pub(crate) fn build_golden() -> Result<PathBuf> {
    const NAME: &str = "mps2-an500-golden";
    run(build_program(Board::Mps2An500, NAME)?.args(["--features", "golden"]))?;
    program(Board::Mps2An500, NAME)
}

fn program(board: Board, name: &str) -> Result<PathBuf> {
    let folder = target_folder()?.join(board.target()).join("firmware");
    Ok(folder.join(name))
}

/// What builds a program of a board; options of the compiler may follow.
fn build_program(board: Board, name: &str) -> Result<Command> {
    let target = board.target();
    let toolchain = Toolchain::of(target).with_context(|| toolchain::advice(target))?;
    let package = format!("vinbus-board-{}", board.name());
    let flags = toolchain.linker().iter().map(ToString::to_string);
    let flags = flags.chain([
        "-Clink-arg=-Tlink.x".into(),
        // Functions and constants that are equal are kept once.
        "-Clink-arg=--icf=all".into(),
        "-Clink-arg=--ignore-data-address-equality".into(),
        format!("-Ctarget-cpu={}", board.processor()),
        // At opt-level z the compiler calls almost every function, which takes more than the function
        // itself where that is short: 6 KB less than with its own limit of 5. Found by trying: 20 and 75
        // take 4 KB more.
        "-Cllvm-args=-inline-threshold=45".into(),
    ]);
    let flags = flags.chain(shorter_paths(toolchain)?);
    let flags: Vec<String> = flags.map(|flag| format!("\"{flag}\"")).collect();
    let config = format!("target.{target}.rustflags=[{}]", flags.join(","));
    let arguments = ["rustc", "--package", &package, "--bin", name];
    let mut build = toolchain.cargo(target, &arguments);
    build.args(["--profile", "firmware", "--config", &config]);
    Ok(build)
}

/// Options for the compiler that leave out of the image where this machine keeps the sources of the
/// library and of other packages: a panic names the file that it is in, and so many long names take
/// 6 KB of flash.
fn shorter_paths(toolchain: Toolchain) -> Result<BTreeSet<String>> {
    let metadata = metadata(&["--locked"])?;
    let packages = metadata["packages"].as_array();
    let packages = packages.context("`cargo metadata` names no packages")?;
    let foreign = packages
        .iter()
        .filter(|package| !package["source"].is_null());
    let folders = foreign.filter_map(|package| {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        Some(manifest.parent()?.parent()?.to_owned())
    });
    let option = |folder: PathBuf| format!("--remap-path-prefix={}=", folder.display());
    Ok(folders
        .chain(toolchain.library_sources())
        .map(option)
        .collect())
}

/// Builds the images of the boards and says where they are.
pub(crate) fn build_all(boards: &[Board]) -> Result<()> {
    let boards = if boards.is_empty() {
        Board::ALL
    } else {
        boards
    };
    for board in boards {
        let image = build(*board)?;
        let shown = image.strip_prefix(root()).unwrap_or(&image);
        println!("{}", shown.display());
    }
    Ok(())
}

/// Where cargo puts what it builds.
pub(crate) fn target_folder() -> Result<PathBuf> {
    let metadata = metadata(&["--no-deps", "--offline"])?;
    let folder = metadata["target_directory"].as_str();
    Ok(Path::new(folder.context("`cargo metadata` names no target folder")?).to_owned())
}

fn metadata(arguments: &[&str]) -> Result<Value> {
    let arguments = [&["metadata", "--format-version", "1"], arguments].concat();
    let metadata = stdout(&mut cargo(&arguments)).context("`cargo metadata` failed")?;
    Ok(serde_json::from_str(&metadata)?)
}
