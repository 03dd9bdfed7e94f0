//! Writes firmware and the provisioned block to a board, with `probe-rs`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::command::{line, program, root, run, stdout, succeeds};
use crate::firmware::{self, Board};
use crate::provision::inspection;

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
    /// Looks at the block, builds the image, writes both, and starts it.
    pub(crate) fn run(&self) -> Result<()> {
        let Some(chip) = self.board.chip() else {
            bail!(
                "{} has no debugger to write through: QEMU plays it, see `cargo xtask qemu-test`",
                self.board.name()
            );
        };
        // Neither a wrong block nor a missing tool is worth a build.
        let block = self.block.as_deref().map(std::path::absolute).transpose()?;
        let mut writes = Vec::new();
        if let Some(block) = &block {
            let place = Place::of(self.board)?;
            place.ensure_room(block)?;
            println!("this block is to be written:");
            run(&mut inspection(self.board, block))?;
            writes.push(self.probe_rs(chip, &place.write(block)));
        }
        let image = firmware::image(self.board)?;
        let shown = image.display().to_string();
        writes.push(self.probe_rs(chip, &["download".into(), shown.clone()]));
        writes.push(self.probe_rs(chip, &["reset".into()]));
        if self.dry_run {
            println!("these commands would build and write:");
            for line in self.lines(&writes) {
                println!("{line}");
            }
        } else {
            ensure_probe_rs()?;
            ensure_probe()?;
            firmware::build(self.board)?;
            for mut write in writes {
                run(&mut write)?;
            }
        }
        println!("its log: probe-rs attach --chip {chip} {shown}");
        Ok(())
    }

    /// What one would type instead: the build of the image, then what writes it.
    fn lines(&self, writes: &[Command]) -> Vec<String> {
        let build = format!("cargo xtask firmware {}", self.board.name());
        [build].into_iter().chain(writes.iter().map(line)).collect()
    }

    /// `probe-rs` with these words, for the chip and the debugger.
    fn probe_rs(&self, chip: &str, words: &[String]) -> Command {
        let mut command = program("probe-rs", &[&words[0], "--chip", chip]);
        command.args(self.probe.iter().flat_map(|probe| ["--probe", probe]));
        command.args(&words[1..]);
        command
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

/// Before it takes minutes to build what cannot be written.
fn ensure_probe() -> Result<()> {
    let probes = stdout(&mut program("probe-rs", &["list"])).unwrap_or_default();
    ensure!(
        !probes.contains("No debug probes were found"),
        "there is no debugger: plug the board in at its USB connector for ST-LINK, and see to it that \
         you may use it (https://probe.rs/docs/getting-started/probe-setup/); `probe-rs list` shows it"
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

    fn ensure_room(&self, block: &Path) -> Result<()> {
        let file = std::fs::metadata(block);
        let bytes = file
            .with_context(|| format!("cannot read {}", block.display()))?
            .len();
        ensure!(
            bytes <= self.length as u64,
            "{} has {bytes} bytes; the board has room for {}",
            block.display(),
            self.length
        );
        Ok(())
    }

    /// What tells `probe-rs` to write the block.
    fn write(&self, block: &Path) -> [String; 4] {
        [
            "download".into(),
            "--binary-format=bin".into(),
            format!("--base-address={:#x}", self.origin),
            block.display().to_string(),
        ]
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
    fn image_is_built_before_it_is_written() {
        let flash = Flash {
            board: Board::NucleoH743zi,
            block: None,
            probe: None,
            dry_run: true,
        };
        let write = flash.probe_rs("CHIP", &["download".into(), "IMAGE".into()]);
        let told = flash.lines(&[write]);
        let expected = [
            "cargo xtask firmware nucleo-h743zi",
            "probe-rs download --chip CHIP IMAGE",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn file_that_is_larger_than_its_place_is_refused() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = folder.path().join("block.bin");
        std::fs::write(&file, [0; 101]).expect("a file can be written");
        let place = |length| Place { origin: 0, length };
        assert!(place(101).ensure_room(&file).is_ok());
        let error = place(100).ensure_room(&file).expect_err("it is larger");
        assert!(error.to_string().contains("has 101 bytes"), "{error:#}");
        assert!(place(100).ensure_room(&folder.path().join("none")).is_err());
    }
}
