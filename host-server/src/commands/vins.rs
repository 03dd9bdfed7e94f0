//! The VINs of a file, one on a line.

use std::fmt::{self, Write as _};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use vinbus_protocol::id::{IdError, Vin};

/// Lines that are named if they are no VINs; of more, it is told how many there are.
const NAMED_MAX: usize = 20;

/// So much of a line is shown, in characters.
const SHOWN_CHARS_MAX: usize = 40;

/// Why a file names no vehicles.
#[derive(Debug, thiserror::Error)]
pub enum VinsError {
    /// It cannot be read.
    #[error("--vins: {path:?} cannot be read: {source}")]
    Read {
        /// The file; `-` is standard input.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing stands in it.
    #[error("--vins: {path:?} names no vehicle: write a VIN on each line")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Some lines are no VINs.
    #[error(
        "--vins: in {path:?}, {count} of {lines} lines {}; nothing was sent{wrong}",
        if *count == 1 { "is no VIN" } else { "are no VINs" }
    )]
    Wrong {
        /// The file.
        path: PathBuf,
        /// How many.
        count: usize,
        /// Of how many that are not empty.
        lines: usize,
        /// The first of them.
        wrong: WrongLines,
    },
}

/// Lines that are no VINs, each as a line of its own.
#[derive(Debug, Default)]
pub struct WrongLines {
    shown: String,
    more: usize,
}

impl WrongLines {
    fn add(&mut self, number: usize, line: &str, error: &IdError) {
        if self.shown.matches('\n').count() >= NAMED_MAX {
            self.more += 1;
            return;
        }
        let mut shown: String = line.chars().take(SHOWN_CHARS_MAX).collect();
        if shown.len() < line.len() {
            shown.push('…');
        }
        // Writing to a String cannot fail.
        let _ = write!(self.shown, "\n  line {number}: {shown:?}: {error}");
    }
}

impl fmt::Display for WrongLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)?;
        match self.more {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// Reads the VINs of a file, or of standard input for `-`.
///
/// # Errors
/// A [`VinsError`].
pub(super) fn read(path: &Path) -> Result<Vec<Vin>, VinsError> {
    let bytes = match path.as_os_str() == "-" {
        true => {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
        }
        false => std::fs::read(path),
    };
    let bytes = bytes.map_err(|source| VinsError::Read {
        path: path.to_owned(),
        source,
    })?;
    // What is no text is no VIN, and is told with its line.
    parse(path, &String::from_utf8_lossy(&bytes))
}

fn parse(path: &Path, text: &str) -> Result<Vec<Vin>, VinsError> {
    let (mut vins, mut wrong, mut count) = (Vec::new(), WrongLines::default(), 0);
    // Some editors begin a text with a mark.
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        match Vin::parse(line) {
            Ok(vin) => vins.push(vin),
            Err(error) => {
                count += 1;
                wrong.add(index + 1, line, &error);
            }
        }
    }
    let path = path.to_owned();
    match (count, vins.is_empty()) {
        (0, false) => Ok(vins),
        (0, true) => Err(VinsError::Empty { path }),
        _ => Err(VinsError::Wrong {
            path,
            count,
            lines: count + vins.len(),
            wrong,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIN: &str = "0123456789ABCDEFG";

    fn refused(text: &str) -> String {
        let error = parse(Path::new("vins.txt"), text).unwrap_err();
        error.to_string()
    }

    #[test]
    fn lines_of_any_editor_are_read() {
        let text = format!("\u{FEFF}{VIN}\r\n\r\n  {VIN}  \n");
        let vins = parse(Path::new("-"), &text).unwrap();
        assert_eq!(vins, [Vin::parse(VIN).unwrap(); 2]);
    }

    #[test]
    fn all_lines_that_are_no_vins_are_told_with_their_numbers() {
        let shown = refused(&format!("{VIN}\n\nshort\n{VIN}x\n{VIN}\n"));
        assert_eq!(
            shown,
            "--vins: in \"vins.txt\", 2 of 4 lines are no VINs; nothing was sent\n  \
             line 3: \"short\": it has 5 bytes, a VIN has exactly 17 letters and digits\n  \
             line 4: \"0123456789ABCDEFGx\": it has 18 bytes, a VIN has exactly 17 letters and digits"
        );
        let shown = refused("short");
        assert!(shown.contains("1 of 1 lines is no VIN"), "{shown}");
    }

    #[test]
    fn a_file_of_something_else_is_told_in_bounds() {
        let line = format!("{}\n", "\u{1b}x".repeat(1_000));
        let shown = refused(&line.repeat(10_000));
        assert!(
            shown.contains("10000 of 10000 lines are no VINs"),
            "{shown}"
        );
        assert!(shown.ends_with("\n  and 9980 more"), "{shown}");
        assert!(shown.len() < 10_000 && !shown.contains('\u{1b}'));
    }

    #[test]
    fn a_file_without_any_line_names_nobody() {
        assert!(refused("\n \n").contains("names no vehicle"));
    }
}
