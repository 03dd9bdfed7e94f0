//! Steps of messages on their way to the disk.

use std::time::{Duration, SystemTime};

use tokio::time;

use super::Dispatch;
use crate::hub::lanes::LaneId;
use crate::model::{Cursor, Downlink, Step};
use crate::store::Pending;
use crate::store::awaited::written;
use crate::store::channels::Appended;

/// A note that the store did not take is tried again after this time.
pub(super) const NOTE_AGAIN: Duration = Duration::from_secs(1);

/// A step of a message on its way to the disk.
pub(super) struct Note<'p> {
    pub(super) downlink: &'p Downlink,
    pub(super) step: Step,
    at: SystemTime,
    pending: Pending<Option<Cursor>>,
}

impl Dispatch {
    /// Waits until the notes are on disk; then the messages are no longer unsent.
    pub(super) async fn note_finished(&self, lane: &LaneId, notes: Vec<Note<'_>>) {
        let finished = self.settle(notes).await;
        for (_, step) in &finished {
            self.figures.of(*step).increment();
        }
        self.change_lanes(|lanes| {
            for (downlink, _) in finished {
                let bytes = downlink.message.envelope.len() as u64;
                lanes.finished(lane, downlink.sequence, bytes);
            }
        });
    }

    /// Waits for notes, and repeats those that failed until they are on disk or the server stops: to
    /// send on without them could send all of it again after a restart. Gives back the messages and their
    /// steps, those left out that a newer one of their key has superseded meanwhile.
    pub(super) async fn settle<'p>(&self, notes: Vec<Note<'p>>) -> Vec<(&'p Downlink, Step)> {
        let mut settled = Vec::with_capacity(notes.len());
        for mut note in notes {
            let is_on_disk = loop {
                let error = match written(note.pending).await {
                    // It has receipts: a step of it that is not told was none.
                    Ok(None) if note.downlink.message.coalesces_by().is_some() => break None,
                    Ok(told) => {
                        self.tell_changes(told);
                        break Some(true);
                    }
                    Err(error) => error,
                };
                self.log_error(&error, "a step of a message could not be noted");
                if self.is_stopping() {
                    break Some(false);
                }
                // A stop ends the wait.
                let mut stopping = self.stopping.subscribe();
                let _ = time::timeout(NOTE_AGAIN, stopping.wait_for(|stop| *stop)).await;
                note = self.note(note.downlink, note.step);
            };
            let Some(is_on_disk) = is_on_disk else {
                continue;
            };
            settled.push((note.downlink, note.step));
            if is_on_disk {
                let sequence = note.downlink.sequence;
                self.requests.step(self.now_ms(), sequence, note.step);
                self.events.step(note.downlink, note.step, note.at);
            }
        }
        settled
    }

    /// A message with a key was appended, and older ones that waited are over.
    pub(in crate::hub) fn tell_superseded(&self, appended: &Appended, at: SystemTime) {
        self.tell_changes(appended.told);
        for older in &appended.superseded {
            self.figures.of(Step::Superseded).increment();
            self.events.step(older, Step::Superseded, at);
        }
    }

    pub(super) fn note<'p>(&self, downlink: &'p Downlink, step: Step) -> Note<'p> {
        let at = SystemTime::now();
        Note {
            downlink,
            step,
            at,
            pending: self.store.note(&downlink.id, step, at),
        }
    }
}
