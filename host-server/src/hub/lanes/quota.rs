//! How much may wait: messages and bytes, of each partner and of all.

use std::collections::HashMap;

use vinbus_protocol::id::Uid;

use crate::hub::SubmitError;

/// What an unsent message counts beside the bytes of its envelope: about what the store keeps of it.
const MESSAGE_COST: u64 = 512;

/// How many messages may wait.
#[derive(Clone, Copy, Debug)]
pub(in crate::hub) struct Bounds {
    /// Of one partner for one vehicle.
    pub(in crate::hub) lane_messages: usize,
    /// Of one partner for all vehicles.
    pub(in crate::hub) partner: Load,
    /// Of all partners.
    pub(in crate::hub) all: Load,
}

/// Messages that wait, and their bytes, [`MESSAGE_COST`] included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::hub) struct Load {
    pub(in crate::hub) messages: usize,
    pub(in crate::hub) bytes: u64,
}

impl Load {
    pub(super) fn of(messages: usize, envelope_bytes: u64) -> Self {
        Self {
            messages,
            bytes: envelope_bytes + MESSAGE_COST * messages as u64,
        }
    }

    /// At least one message.
    fn half(self) -> Self {
        Self {
            messages: self.messages.div_ceil(2),
            bytes: self.bytes.div_ceil(2),
        }
    }

    fn plus(self, more: Self) -> Self {
        Self {
            messages: self.messages + more.messages,
            bytes: self.bytes + more.bytes,
        }
    }

    fn minus(self, less: Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(less.messages),
            bytes: self.bytes.saturating_sub(less.bytes),
        }
    }
}

/// What waits, of each partner that has any and of all.
pub(super) struct Quota {
    partners: HashMap<Uid, Load>,
    all: Load,
    bounds: Bounds,
}

impl Quota {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            partners: HashMap::new(),
            all: Load::default(),
            bounds,
        }
    }

    pub(super) fn all(&self) -> Load {
        self.all
    }

    /// Whether a partner may have more.
    pub(super) fn check(&self, uid: &Uid, more: Load) -> Result<(), SubmitError> {
        self.check_within(self.bounds, uid, more)
    }

    /// Whether a partner may have more within half of the bounds.
    pub(super) fn check_half(&self, uid: &Uid, more: Load) -> Result<(), SubmitError> {
        let bounds = Bounds {
            partner: self.bounds.partner.half(),
            all: self.bounds.all.half(),
            ..self.bounds
        };
        self.check_within(bounds, uid, more)
    }

    fn check_within(&self, bounds: Bounds, uid: &Uid, more: Load) -> Result<(), SubmitError> {
        let (all, max) = (self.all.plus(more), bounds.all);
        if all.messages > max.messages {
            return Err(SubmitError::QueueFull { max: max.messages });
        }
        if all.bytes > max.bytes {
            return Err(SubmitError::QueueBytesFull { max: max.bytes });
        }
        let partner = self.partners.get(uid).copied().unwrap_or_default();
        let (partner, max) = (partner.plus(more), bounds.partner);
        if partner.messages > max.messages {
            let (uid, max) = (uid.clone(), max.messages);
            return Err(SubmitError::PartnerQueueFull { uid, max });
        }
        if partner.bytes > max.bytes {
            let (uid, max) = (uid.clone(), max.bytes);
            return Err(SubmitError::PartnerBytesFull { uid, max });
        }
        Ok(())
    }

    pub(super) fn add(&mut self, uid: &Uid, load: Load) {
        self.all = self.all.plus(load);
        let partner = self.partners.entry(uid.clone()).or_default();
        *partner = partner.plus(load);
    }

    pub(super) fn subtract(&mut self, uid: &Uid, load: Load) {
        self.all = self.all.minus(load);
        if let Some(partner) = self.partners.get_mut(uid) {
            *partner = partner.minus(load);
            if partner.messages == 0 {
                self.partners.remove(uid);
            }
        }
    }

    /// Whether nothing waits and nobody is remembered.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.partners.is_empty() && self.all == Load::default()
    }
}
