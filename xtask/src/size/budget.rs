//! `budget.txt` of a board: one `step what bytes` a line, `#` begins a comment.

use anyhow::{Context, Result};

use crate::command::root;
use crate::firmware::Board;

/// The most that images may take, in bytes.
pub(crate) struct Budget {
    path: String,
    text: String,
}

impl Budget {
    pub(crate) fn of(board: Board) -> Result<Self> {
        let path = format!("vehicle-agent/boards/{}/budget.txt", board.name());
        let text = std::fs::read_to_string(root().join(&path))
            .with_context(|| format!("cannot read {path}"))?;
        Ok(Self { path, text })
    }

    /// The most of `what` that the image with `step` may take.
    pub(crate) fn bytes(&self, step: &str, what: &str) -> Result<u64> {
        let path = &self.path;
        self.find(step, what)?
            .with_context(|| format!("{path} has no line `{step} {what} BYTES`"))
    }

    /// The same of what need not have a line.
    pub(crate) fn find(&self, step: &str, what: &str) -> Result<Option<u64>> {
        let lines = self.text.lines().filter_map(|line| line.split('#').next());
        let mut lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
        let found = lines.find(|words| words.get(..2) == Some(&[step, what]));
        let Some(bytes) = found.as_deref().and_then(|words| words.get(2)) else {
            return Ok(None);
        };
        let path = &self.path;
        let bytes = bytes
            .parse()
            .with_context(|| format!("{path}: {step} {what}: {bytes:?} is no number of bytes"))?;
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_a_budget_that_is_asked_for_has_to_be_there() {
        let budget = Budget {
            path: "budget.txt".into(),
            text: "# why\nnet  flash 3 # as measured\ntls flash three\n".into(),
        };
        assert_eq!(budget.bytes("net", "flash").unwrap(), 3);
        let error = |step, what| format!("{:#}", budget.bytes(step, what).unwrap_err());
        assert!(error("net", "ram").contains("net ram BYTES"));
        assert!(error("tls", "flash").contains("three"));
        assert_eq!(budget.find("net", "flash-added").unwrap(), None);
    }
}
