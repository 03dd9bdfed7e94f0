//! The reference model: what really happened, and so what may be said of it.

use std::collections::BTreeMap;

use vinbus_protocol::delivery::Step;

use super::content::is_long;

/// What is true of a message, whatever the ends believe.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    /// Times that an app, or the host's log, got it.
    pub(crate) delivered: u32,
    /// Times that it may be repeated: memories lost by its receiver, if it is repeatable.
    pub(crate) allowed_again: u32,
    pub(crate) repeatable: bool,
    pub(crate) key: Option<u32>,
    /// Its sender was told, or has decided itself, that nothing is known of it.
    pub(crate) told_lost: bool,
    /// It was on its way, or came, after a copy was taken that an end of it goes on from now. What it did
    /// since is known to nobody, so it may come again, and nothing but its end is told of it.
    pub(crate) is_undone: bool,
}

/// Times that each message was delivered, and the last ones of the keys.
pub(crate) struct Delivered {
    times: BTreeMap<u64, u32>,
    last_of_key: BTreeMap<u32, u64>,
}

/// All messages of one direction of one channel, by their identity, which grows.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) truths: BTreeMap<u64, Truth>,
    last_of_key: BTreeMap<u32, u64>,
}

impl Ledger {
    /// An app gets a message.
    pub(crate) fn deliver(&mut self, message: u64) {
        let truth = self.truths.get_mut(&message).expect("it was accepted");
        truth.delivered += 1;
        let allowed = 1 + truth.allowed_again;
        assert!(
            truth.delivered <= allowed,
            "message {message} was delivered {} times, {allowed} are allowed",
            truth.delivered
        );
        if let Some(key) = truth.key
            && !truth.repeatable
            && !truth.told_lost
            && !truth.is_undone
        {
            let last = self.last_of_key.insert(key, message).unwrap_or_default();
            assert!(
                last < message,
                "an older value of key {key} came last: {message}"
            );
        }
    }

    /// Long messages that were delivered.
    pub(crate) fn long_delivered(&self) -> u64 {
        let all = self.truths.iter();
        all.filter(|(message, truth)| is_long(**message) && truth.delivered > 0)
            .count() as u64
    }

    /// The receiver has lost its memory, of all messages or of their sender.
    pub(crate) fn receiver_forgot(&mut self) {
        for truth in self.truths.values_mut().filter(|truth| truth.repeatable) {
            truth.allowed_again += 1;
        }
    }

    /// What has come to its end so far.
    pub(crate) fn delivered(&self) -> Delivered {
        let all = self.truths.iter();
        let times = all.map(|(message, truth)| (*message, truth.delivered));
        Delivered {
            times: times.collect(),
            last_of_key: self.last_of_key.clone(),
        }
    }

    /// The sender goes on from an older copy of its memory, in which these messages had no end yet.
    pub(crate) fn sender_put_back(&mut self, unsettled: impl Iterator<Item = u64>) {
        for message in unsettled {
            let truth = self.truths.get_mut(&message).expect("it was accepted");
            truth.is_undone = true;
            truth.allowed_again += 1;
        }
    }

    /// The receiver goes on from an older copy of its memory, in which these messages wait.
    pub(crate) fn may_come_late(&mut self, held: impl Iterator<Item = u64>) {
        for message in held {
            self.truths
                .get_mut(&message)
                .expect("it was accepted")
                .is_undone = true;
        }
    }

    /// The receiver goes on from an older copy of its memory, from when so much had been delivered. What came
    /// to a log is gone from it; an app has seen it, and may see it again.
    pub(crate) fn receiver_put_back(&mut self, then: Delivered, is_log: bool) {
        if is_log {
            self.last_of_key = then.last_of_key;
        }
        for (message, truth) in &mut self.truths {
            let since = truth.delivered - then.times.get(message).copied().unwrap_or_default();
            if is_log {
                truth.delivered -= since;
            } else {
                truth.allowed_again += since;
                truth.is_undone |= since > 0;
            }
        }
    }

    /// The sender is told of a message for the first time that nothing follows.
    pub(crate) fn check_told(&self, message: u64, step: Step) {
        let truth = &self.truths[&message];
        let delivered = truth.delivered > 0;
        let right = match step {
            Step::Known | Step::Expired | Step::Evicted | Step::UnknownApp if truth.is_undone => {
                true
            }
            Step::Known | Step::Taken | Step::Confirmed | Step::RefusedByApp => delivered,
            Step::Expired | Step::Evicted | Step::UnknownApp => !delivered || truth.repeatable,
            _ => panic!("{step} is not what receivers of the simulation tell last"),
        };
        assert!(right, "message {message} is {step}, and {truth:?}");
    }
}
