//! What an image takes, read from its ELF file: 32 bits, little-endian, as all Cortex-M have it.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// Header of the file: magic, 32 bits, little-endian.
const IDENTITY: &[u8] = b"\x7FELF\x01\x01";
/// Offsets in it: where the section headers are, and how many.
const SECTION_OFFSET: usize = 0x20;
const SECTION_COUNT: usize = 0x30;
const SECTION_BYTES: usize = 40;

/// Types of sections: symbols; memory without contents in the file.
const SYMBOLS: u32 = 2;
const NO_BITS: u32 = 8;
/// Flags of sections: written by the program; in memory when it runs.
const WRITE: u32 = 1;
const ALLOCATE: u32 = 2;

const SYMBOL_BYTES: usize = 16;
/// The low bits of a symbol's kind: data.
const OBJECT: u8 = 1;

/// What an image takes, in bytes.
pub(super) struct Image {
    /// Code, constants and initial values.
    pub(super) flash: u64,
    /// Everything that is not the stack.
    pub(super) ram: u64,
    /// Statics: their mangled names and sizes.
    statics: Vec<(String, u64)>,
}

impl Image {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let file =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&file).with_context(|| format!("{} is damaged", path.display()))
    }

    fn parse(file: &[u8]) -> Result<Self> {
        if !file.starts_with(IDENTITY) {
            bail!("it is no ELF file of 32 bits, little-endian");
        }
        let mut image = Self {
            flash: 0,
            ram: 0,
            statics: Vec::new(),
        };
        let sections = sections(file)?;
        for section in &sections {
            if section.kind == SYMBOLS {
                let names = sections
                    .get(section.link as usize)
                    .context("symbols without names")?;
                image.statics = statics(section.bytes(file)?, names.bytes(file)?)?;
            }
            if section.flags & ALLOCATE == 0 {
                continue;
            }
            if section.flags & WRITE != 0 {
                image.ram += u64::from(section.size);
            }
            if section.kind != NO_BITS {
                image.flash += u64::from(section.size);
            }
        }
        Ok(image)
    }

    /// The bytes of all statics whose paths end with one of `names`.
    pub(super) fn statics_named(&self, names: &[&str]) -> u64 {
        let is_named = |symbol: &str| names.iter().any(|name| ends_with(symbol, name));
        let named = self.statics.iter().filter(|(symbol, _)| is_named(symbol));
        named.map(|(_, bytes)| bytes).sum()
    }
}

/// Whether the last part of a mangled path is `name`, with its length before it. In the legacy
/// scheme a hash follows, `17h` and 16 digits and `E`.
fn ends_with(symbol: &str, name: &str) -> bool {
    const HASH_BYTES: usize = 20;
    let legacy = symbol.strip_suffix('E').and_then(|path| {
        let at = path.len().checked_sub(HASH_BYTES - 1)?;
        path.get(at..)?.starts_with("17h").then(|| path.get(..at))?
    });
    let path = legacy.unwrap_or(symbol);
    path.ends_with(&format!("{}{name}", name.len()))
}

/// The header of a section.
struct Section {
    kind: u32,
    flags: u32,
    offset: u32,
    size: u32,
    link: u32,
}

impl Section {
    fn bytes<'f>(&self, file: &'f [u8]) -> Result<&'f [u8]> {
        let start = self.offset as usize;
        let end = start
            .checked_add(self.size as usize)
            .context("a section without an end")?;
        file.get(start..end)
            .context("a section that the file does not have")
    }
}

fn sections(file: &[u8]) -> Result<Vec<Section>> {
    let start = word(file, SECTION_OFFSET)? as usize;
    let count = word(file, SECTION_COUNT)? & 0xFFFF;
    let section = |index: u32| {
        let at = start + index as usize * SECTION_BYTES;
        Ok(Section {
            kind: word(file, at + 4)?,
            flags: word(file, at + 8)?,
            offset: word(file, at + 16)?,
            size: word(file, at + 20)?,
            link: word(file, at + 24)?,
        })
    };
    (0..count).map(section).collect()
}

fn statics(symbols: &[u8], names: &[u8]) -> Result<Vec<(String, u64)>> {
    let mut statics = Vec::new();
    for symbol in symbols.chunks_exact(SYMBOL_BYTES) {
        if symbol[12] & 0xF == OBJECT {
            let name = names
                .get(word(symbol, 0)? as usize..)
                .context("a symbol without a name")?;
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            statics.push((name, u64::from(word(symbol, 8)?)));
        }
    }
    Ok(statics)
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    Ok(u32::from_le_bytes(*word.context("the file is cut off")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_is_known_by_the_end_of_its_path() {
        for symbol in [
            "_ZN10mps2_an5008firmware7vehicle7RECEIVE17h0123456789abcdefE",
            "_RNvNtNtCs1cO_10mps2_an5008firmware7vehicle7RECEIVE",
        ] {
            assert!(ends_with(symbol, "RECEIVE"), "{symbol}");
            assert!(!ends_with(symbol, "SEND"), "{symbol}");
            assert!(!ends_with(symbol, "CEIVE"), "{symbol}");
        }
    }

    #[test]
    fn file_that_is_cut_off_is_an_error() {
        assert!(Image::parse(b"MZ").is_err());
        assert!(Image::parse(b"\x7FELF\x01\x01\x01").is_err());
    }
}
