//! What a start found of the journal that an earlier one had, where that is not whole: for the log, once.

use std::fmt;
use std::path::PathBuf;

/// What is wrong with the journal of an earlier start, and what was done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The file is there, and not all of it can be read.
    Damaged {
        /// Lines that cannot be read; none where only the first one is missing.
        lines: u64,
        /// The first of them, counted from 1.
        first: u64,
        /// Messages that waited for apps, of those that could be read.
        to_apps: usize,
        /// Messages of apps that could be read.
        from_apps: usize,
        /// Where the file is kept.
        kept: PathBuf,
    },
    /// The file is gone, or empty.
    Missing {
        /// Where it was.
        file: PathBuf,
    },
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged {
                lines,
                first,
                to_apps,
                from_apps,
                kept,
            } => {
                let kept = kept.display();
                f.write_str("the journal of messages with receipts is damaged: ")?;
                match lines {
                    0 => f.write_str("it does not say whose it is")?,
                    1 => write!(f, "line {first} cannot be read")?,
                    _ => write!(f, "{lines} lines cannot be read, the first is line {first}")?,
                }
                write!(
                    f,
                    "; it is kept as {kept}, and the agent begins a new one. Lost are {to_apps} messages that waited for apps, and whatever else the damage hit: senders are told so of those to apps, nobody of those from apps. Sent again are {from_apps} messages from apps"
                )
            }
            Self::Missing { file } => {
                let file = file.display();
                write!(
                    f,
                    "{file}, the journal of messages with receipts, is gone or empty, though an agent has run with this folder: the agent begins a new one. Lost is what it had, and how much that was is not known: senders are told so of messages to apps, nobody of those from apps that were not delivered yet"
                )
            }
        }
    }
}
