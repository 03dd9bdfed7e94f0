//! The agent's core in virtual time: a day of link losses, floods and reboots in a moment.
//!
//! `cabin` holds fake apps, `air` a fake link and broker, `drive` the journeys. A failure prints the
//! seed of its journey; set `VINBUS_SEED` to it to drive that one again.

mod air;
mod cabin;
mod dice;
mod drive;
mod health;
mod receipts;
