//! How much flash and RAM an image takes, step by step, against a budget that is committed beside the
//! board.
//!
//! A step is an image with one part more: the network alone, the agent and MQTT, TLS, the portal. All
//! is read from the image itself: a section that is loaded and not writable is flash, one that is
//! writable is RAM, and the initial values of RAM are in flash as well. The stack is what is left;
//! how much of it is used, `cargo xtask qemu-test` measures.

mod budget;
mod elf;

use anyhow::{Result, bail};

use crate::firmware::{self, Board, Step};

pub(crate) use budget::Budget;
use elf::Image;

/// Statics that only hold messages, records of TLS and what is in sockets, by the end of their
/// names. `sizes.rs` of a board names their sizes.
const BUFFERS: &[&str] = &[
    "BUFFERS",
    "FRAME",
    "KEPT_TEXTS",
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
    "SCREEN_OUTBOX",
    "SCREEN_RECEIVE",
    "SEND",
    "SOCKETS",
    "TCP_RECEIVE",
    "TCP_SEND",
    "UPLINKS",
    "UPLINKS_WITH_RECEIPTS",
    "WITH_RECEIPTS",
    "WRITE",
    "WRITE_RECORD",
];

/// The smallest published figure of a client in C, and what is in it: FreeRTOS/coreMQTT 5.0,
/// `docs/doxygen/include/size_table.md`.
const BEST_IN_C: &str = "coreMQTT 5.0, in C, for Cortex-M with -Os: 18.9 KB of flash for MQTT 5 alone, without TCP/IP, \
     TLS, agent or portal";

/// Prints what the images of the boards take, and fails if one takes more than its budget.
pub(crate) fn check(boards: &[Board]) -> Result<()> {
    let boards = if boards.is_empty() {
        Board::ALL
    } else {
        boards
    };
    let mut rows = Vec::new();
    for board in boards {
        let budget = Budget::of(*board)?;
        let mut before = 0;
        for step in Step::ALL {
            let image = Image::read(&firmware::build_step(*board, *step)?)?;
            rows.extend(rows_of(*board, *step, &image, &budget)?);
            rows.extend(added_row(
                *board,
                *step,
                image.flash.saturating_sub(before),
                &budget,
            )?);
            before = image.flash;
        }
    }
    print(&rows);
    let exceeded: Vec<_> = rows.iter().filter_map(Row::excess).collect();
    if !exceeded.is_empty() {
        bail!(
            "{}; make it smaller, or raise the budget in its budget.txt and say why",
            exceeded.join("; ")
        );
    }
    Ok(())
}

fn rows_of(board: Board, step: Step, image: &Image, budget: &Budget) -> Result<[Row; 3]> {
    let beside_buffers = image.ram - image.statics_named(BUFFERS);
    let row = |what, bytes| {
        let row = Row {
            board: board.name(),
            step: step.name(),
            what,
            bytes,
            most: budget.bytes(step.name(), what)?,
        };
        anyhow::Ok(row)
    };
    Ok([
        row("flash", image.flash)?,
        row("ram", image.ram)?,
        row("ram-beside-buffers", beside_buffers)?,
    ])
}

/// What a step adds to the flash of the one before, where the budget has a line for that.
fn added_row(board: Board, step: Step, bytes: u64, budget: &Budget) -> Result<Option<Row>> {
    let what = "flash-added";
    let most = budget.find(step.name(), what)?;
    Ok(most.map(|most| Row {
        board: board.name(),
        step: step.name(),
        what,
        bytes,
        most,
    }))
}

/// A line of the table.
struct Row {
    board: &'static str,
    step: &'static str,
    what: &'static str,
    bytes: u64,
    most: u64,
}

impl Row {
    fn excess(&self) -> Option<String> {
        let Self {
            board,
            step,
            what,
            bytes,
            most,
        } = self;
        (bytes > most).then(|| {
            format!("{board} takes {bytes} bytes of {what} with {step}, its budget is {most}")
        })
    }
}

/// Prints the rows, each with what it takes more than the step before.
fn print(rows: &[Row]) {
    let line = |cells: [&str; 6]| {
        let [board, step, what, bytes, more, most] = cells;
        println!("{board:<14} {step:<9} {what:<19} {bytes:>9} {more:>9} {most:>9}");
    };
    line(["board", "with", "what", "bytes", "more", "budget"]);
    for (at, row) in rows.iter().enumerate() {
        let mut before = rows[..at].iter().rev();
        let more = before
            .find(|before| before.board == row.board && before.what == row.what)
            .map_or(String::new(), |before| {
                format!("{:+}", row.bytes as i64 - before.bytes as i64)
            });
        let (bytes, most) = (row.bytes.to_string(), row.most.to_string());
        line([row.board, row.step, row.what, &bytes, &more, &most]);
    }
    println!("beside it: {BEST_IN_C}");
}
