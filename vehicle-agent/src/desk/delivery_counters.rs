//! What of messages with receipts goes over the wire, counted for all partners together.

#[cfg(feature = "receipts")]
use vinbus_protocol::delivery::EndpointCounters;

/// Messages with receipts on the wire, each repetition of its own, and what partners sent of them that was not
/// used (SPEC 16), since the agent started. Each goes on at 0 behind its greatest number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryCounters {
    /// Messages sent, repetitions left out.
    pub sent: u32,
    /// Repetitions.
    pub sent_again: u32,
    /// Runs of receipts for messages that were never sent.
    pub forged_receipt: u32,
    /// Messages that came again.
    pub came_again: u32,
    /// Messages too old to know.
    pub stale: u32,
    /// Messages for which there was no place.
    pub busy: u32,
    /// Acknowledgements of receipts that were never told.
    pub forged_acknowledgement: u32,
    /// Frames of other lives of either end.
    pub misdirected: u32,
}

impl DeliveryCounters {
    /// Adds what the end for a partner has counted.
    #[cfg(feature = "receipts")]
    pub(crate) fn add(&mut self, end: &EndpointCounters) {
        let EndpointCounters {
            sender,
            receiver,
            misdirected,
        } = end;
        for (sum, more) in [
            (&mut self.sent, sender.sent),
            (&mut self.sent_again, sender.repeated),
            (&mut self.forged_receipt, sender.forged),
            (&mut self.came_again, receiver.repeated),
            (&mut self.stale, receiver.stale),
            (&mut self.busy, receiver.busy),
            (&mut self.forged_acknowledgement, receiver.forged),
            (&mut self.misdirected, *misdirected),
        ] {
            *sum = sum.wrapping_add(more);
        }
    }
}
