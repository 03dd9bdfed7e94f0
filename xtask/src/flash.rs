//! Writes firmware and the provisioned block to a board, with `probe-rs`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::command::{line, program, root, run, succeeds};
use crate::firmware::{self, Board};

/// How a provisioned block begins.
const MAGIC: &[u8] = b"VINBUS";

/// What is to be written, and to which board.
#[derive(clap::Args)]
pub(crate) struct Flash {
    /// The board.
    #[arg(long)]
    board: Board,
    /// The block that makes the board one vehicle, as `cargo xtask provision` writes it; without
    /// one, the board keeps the one that it has.
    #[arg(long, value_name = "FILE")]
    block: Option<PathBuf>,
    /// The debugger, as `probe-rs list` names it; needed where there are several.
    #[arg(long, value_name = "VID:PID:SERIAL")]
    probe: Option<String>,
    /// Build and write nothing: print the commands that would do it.
    #[arg(long)]
    dry_run: bool,
}

impl Flash {
    /// Builds the image, writes the block and the image, and starts it.
    pub(crate) fn run(&self) -> Result<()> {
        let Some(chip) = self.board.chip() else {
            bail!(
                "{} has no debugger to write through: QEMU plays it, see `cargo xtask qemu-test`",
                self.board.name()
            );
        };
        let writes_block = match &self.block {
            Some(block) => Some(self.write_block(block)?),
            None => None,
        };
        let image = firmware::image(self.board)?;
        let mut commands: Vec<Vec<String>> = Vec::new();
        commands.extend(writes_block);
        commands.push(vec!["download".into(), image.display().to_string()]);
        commands.push(vec!["reset".into()]);
        if !self.dry_run {
            ensure_probe_rs()?;
            firmware::build(self.board)?;
        }
        for words in commands {
            let mut command = program("probe-rs", &[&words[0], "--chip", chip]);
            command.args(self.probe.iter().flat_map(|probe| ["--probe", probe]));
            command.args(&words[1..]);
            if self.dry_run {
                println!("{}", line(&command));
            } else {
                run(&mut command)?;
            }
        }
        println!("its log: probe-rs attach --chip {chip} {}", image.display());
        Ok(())
    }

    fn write_block(&self, block: &Path) -> Result<Vec<String>> {
        let place = Place::of(self.board)?;
        let bytes =
            std::fs::read(block).with_context(|| format!("cannot read {}", block.display()))?;
        ensure!(
            bytes.starts_with(MAGIC),
            "{} is no provisioned block; `cargo xtask provision` writes one",
            block.display()
        );
        ensure!(
            bytes.len() <= place.length,
            "{} has {} bytes; the board has room for {}",
            block.display(),
            bytes.len(),
            place.length
        );
        let block = std::path::absolute(block)?;
        Ok(vec![
            "download".into(),
            "--binary-format=bin".into(),
            format!("--base-address={:#x}", place.origin),
            block.display().to_string(),
        ])
    }
}

fn ensure_probe_rs() -> Result<()> {
    ensure!(
        succeeds(&mut program("probe-rs", &["--version"])),
        "probe-rs is missing: `cargo install probe-rs-tools --locked`, on Debian after \
         `apt-get install pkg-config libudev-dev`; `--dry-run` shows what it would do"
    );
    Ok(())
}

/// Where a board keeps its block.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    origin: usize,
    length: usize,
}

impl Place {
    /// As the board's `memory.x` says.
    fn of(board: Board) -> Result<Self> {
        let script = root().join(format!("vehicle-agent/boards/{}/memory.x", board.name()));
        let text = std::fs::read_to_string(&script)
            .with_context(|| format!("cannot read {}", script.display()))?;
        Self::parse(&text)
            .with_context(|| format!("{} has no region PROVISIONED", script.display()))
    }

    /// Of `PROVISIONED : ORIGIN = 0x081E0000, LENGTH = 128K`.
    fn parse(script: &str) -> Option<Self> {
        let line = script
            .lines()
            .find(|line| line.trim_start().starts_with("PROVISIONED "))?;
        let (_, origin) = line.split_once("ORIGIN = 0x")?;
        let (origin, length) = origin.split_once(", LENGTH = ")?;
        let kilobytes: usize = length.trim().strip_suffix('K')?.parse().ok()?;
        Some(Self {
            origin: usize::from_str_radix(origin, 16).ok()?,
            length: kilobytes * 1024,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_board_has_a_place_for_its_block() {
        for &board in Board::ALL {
            let place = Place::of(board).unwrap_or_else(|error| panic!("{error:#}"));
            assert!(place.length >= 16 * 1024, "{place:?}");
        }
        let script = "  PROVISIONED : ORIGIN = 0x081E0000, LENGTH = 128K\n";
        let place = Place {
            origin: 0x081E_0000,
            length: 131_072,
        };
        assert_eq!(Place::parse(script), Some(place));
        assert_eq!(Place::parse("FLASH : ORIGIN = 0x0, LENGTH = 4M"), None);
    }

    #[test]
    fn what_is_no_block_is_refused() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = folder.path().join("block.bin");
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----").expect("a file can be written");
        let flash = Flash {
            board: Board::NucleoH743zi,
            block: Some(file),
            probe: None,
            dry_run: true,
        };
        let error = flash.run().expect_err("it is none");
        assert!(
            error.to_string().contains("no provisioned block"),
            "{error:#}"
        );
    }
}
