//! How much flash and RAM an image takes, against a budget that is committed beside the board.
//!
//! Read from the image itself: a section that is loaded and not writable is flash, one that is
//! writable is RAM, and the initial values of RAM are in flash as well. The stack is what is left.

mod budget;
mod elf;

use anyhow::{Result, bail};

use crate::firmware::{self, Board};

use budget::Budget;
use elf::Image;

/// Statics that only hold messages, records of TLS and what is in sockets, by the end of their
/// names. `sizes.rs` of a board names their sizes.
const BUFFERS: &[&str] = &[
    "LINE",
    "OUTBOXES",
    "PACKETS",
    "PENDING",
    "POPUPS",
    "PORTAL_OUTBOX",
    "PORTAL_RECEIVE",
    "READ",
    "READ_RECORD",
    "RECEIVE",
    "SEND",
    "TCP_RECEIVE",
    "TCP_SEND",
    "UPLINKS",
    "WRITE",
    "WRITE_RECORD",
];

/// Prints what the images of the boards take, and fails if one takes more than its budget.
pub(crate) fn check(boards: &[Board]) -> Result<()> {
    let boards = if boards.is_empty() {
        Board::ALL
    } else {
        boards
    };
    let mut rows = vec![Row::head()];
    let mut exceeded = Vec::new();
    for board in boards {
        let image = Image::read(&firmware::build(*board)?)?;
        let budget = Budget::of(*board)?;
        let buffers = image.statics_named(BUFFERS);
        let sizes = [
            ("flash", image.flash, budget.flash),
            ("ram", image.ram, budget.ram),
            (
                "ram-beside-buffers",
                image.ram - buffers,
                budget.ram_beside_buffers,
            ),
        ];
        for (what, bytes, most) in sizes {
            rows.push(Row::new(board.name(), what, bytes, most));
            if bytes > most {
                exceeded.push(format!(
                    "{} takes {bytes} bytes of {what}, its budget is {most}",
                    board.name()
                ));
            }
        }
    }
    for Row([board, what, bytes, most]) in rows {
        println!("{board:<16} {what:<20} {bytes:>10} {most:>10}");
    }
    if !exceeded.is_empty() {
        bail!(
            "{}; make it smaller, or raise the budget in its budget.txt and say why",
            exceeded.join("; ")
        );
    }
    Ok(())
}

/// A line of the table.
struct Row([String; 4]);

impl Row {
    fn head() -> Self {
        Self(["board", "what", "bytes", "budget"].map(Into::into))
    }

    fn new(board: &str, what: &str, bytes: u64, most: u64) -> Self {
        Self([
            board.into(),
            what.into(),
            bytes.to_string(),
            most.to_string(),
        ])
    }
}
