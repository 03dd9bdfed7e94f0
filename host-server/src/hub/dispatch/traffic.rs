//! What the host's ends of all channels count of what goes over the wire: what was repeated, and what came and
//! was not used.

use vinbus_protocol::delivery::EndpointCounters;

use crate::metrics::{Counter, Metrics};

/// A figure of an end, which never goes back, and its name.
type Figure = (&'static str, fn(&EndpointCounters) -> u32);

const FIGURES: [Figure; 8] = [
    ("sent", |end| end.sender.sent),
    ("sent_again", |end| end.sender.repeated),
    ("forged_receipt", |end| end.sender.forged),
    ("came_again", |end| end.receiver.repeated),
    ("stale", |end| end.receiver.stale),
    ("busy", |end| end.receiver.busy),
    ("forged_acknowledgement", |end| end.receiver.forged),
    ("misdirected", |end| end.misdirected),
];

/// The figures of all ends together.
pub(super) struct Traffic([Counter; FIGURES.len()]);

impl Traffic {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self(FIGURES.map(|(what, _)| {
            metrics.counter(
                "vinbus_delivery_total",
                "Messages with receipts on the wire, each repetition of its own, and what vehicles sent of them \
                 that was not used: what came again, is too old (stale) or found no place (busy), of other lives \
                 (misdirected), and what nobody can have said (forged).",
                &[("what", what)],
            )
        }))
    }

    /// Counts what an end has done since `before`, which is what it has done now.
    pub(super) fn count(&self, before: &mut EndpointCounters, now: EndpointCounters) {
        for (counter, (_, figure)) in self.0.iter().zip(FIGURES) {
            // They go on at 0 behind their greatest number.
            let more = figure(&now).wrapping_sub(figure(before));
            counter.add(u64::from(more));
        }
        *before = now;
    }
}
