//! `budget.txt` of a board: one `name bytes` a line, `#` begins a comment.

use anyhow::{Context, Result};

use crate::command::root;
use crate::firmware::Board;

/// The most that an image may take, in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) flash: u64,
    pub(super) ram: u64,
    pub(super) ram_beside_buffers: u64,
}

impl Budget {
    pub(super) fn of(board: Board) -> Result<Self> {
        let path = format!("vehicle-agent/boards/{}/budget.txt", board.name());
        let text = std::fs::read_to_string(root().join(&path))
            .with_context(|| format!("cannot read {path}"))?;
        Self::parse(&text).with_context(|| format!("{path} is no budget"))
    }

    fn parse(text: &str) -> Result<Self> {
        let bytes = |name: &str| {
            let mut lines = text
                .lines()
                .filter_map(|line| line.split('#').next()?.split_once(' '));
            let (_, bytes) = lines
                .find(|(found, _)| *found == name)
                .with_context(|| format!("there is no line `{name} BYTES`"))?;
            let bytes = bytes.trim();
            bytes
                .parse()
                .with_context(|| format!("{name}: {bytes:?} is no number of bytes"))
        };
        Ok(Self {
            flash: bytes("flash")?,
            ram: bytes("ram")?,
            ram_beside_buffers: bytes("ram-beside-buffers")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_a_budget_is_needed() {
        let text = "# why\nflash 3 # as measured\nram 2\nram-beside-buffers 1\n";
        let budget = Budget {
            flash: 3,
            ram: 2,
            ram_beside_buffers: 1,
        };
        assert_eq!(Budget::parse(text).unwrap(), budget);
        let error = format!("{:#}", Budget::parse("flash 3\nram 2\n").unwrap_err());
        assert!(error.contains("ram-beside-buffers"), "{error}");
        let error = format!("{:#}", Budget::parse("flash three").unwrap_err());
        assert!(error.contains("three"), "{error}");
    }
}
