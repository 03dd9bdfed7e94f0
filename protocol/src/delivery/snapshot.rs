//! What an end keeps over a restart, so that it goes on in the same epoch.

use super::{Epoch, Window};

/// Bytes of a [`Snapshot`] that is written.
pub const SNAPSHOT_BYTES: usize = 36;

/// The memory of one end, but for its open messages, which its owner keeps with their numbers.
///
/// It is to be as new as the last message sent and the last message taken: an end that goes on from an
/// older one, as from a backup, would send numbers twice, and takes messages twice. That it is older is
/// found out before a message is sent, by what the other end says of itself, and such an end begins a
/// greater [`Epoch`]; what was in no copy is lost. So a host writes it in the transaction that stores a message; an agent with a disk notes each message before
/// anybody relies on it, and puts its memory together from these notes when it starts (SPEC 16.20). An
/// end without one begins a greater [`Epoch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The epoch that goes on.
    pub epoch: Epoch,
    /// The other end's epoch, if it was ever heard.
    pub peer: Option<Epoch>,
    /// The number of the next message: greater than each that was sent.
    pub next_number: u32,
    /// The number of the last batch of receipts. It need not be quite as new as the rest: an end that
    /// goes on leaves out as many numbers as it can have used since.
    pub batch: u32,
    /// Which messages came.
    pub window: Window,
}

impl Snapshot {
    /// An end without a memory.
    #[must_use]
    pub const fn fresh(epoch: Epoch) -> Self {
        Self {
            epoch,
            peer: None,
            next_number: 1,
            batch: 0,
            window: Window::new(0, 0),
        }
    }

    /// Its bytes: five numbers of 32 bits, the lowest byte first, and the window's bits.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; SNAPSHOT_BYTES] {
        let peer = self.peer.map_or(0, Epoch::number);
        let highest = self.window.highest();
        let epoch = self.epoch.number();
        let numbers = [epoch, peer, self.next_number, self.batch, highest];
        let mut bytes = [0; SNAPSHOT_BYTES];
        let (places, seen) = bytes.as_chunks_mut::<4>().0.split_at_mut(numbers.len());
        for (place, number) in places.iter_mut().zip(numbers) {
            *place = number.to_le_bytes();
        }
        let bits = self.window.seen().to_le_bytes();
        for (place, bits) in seen.iter_mut().zip(bits.as_chunks::<4>().0) {
            *place = *bits;
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for what it cannot have written. Whether the bytes
    /// are whole is for their keeper to check.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; SNAPSHOT_BYTES]) -> Option<Self> {
        let (numbers, seen) = bytes.split_first_chunk::<20>()?;
        let seen = u128::from_le_bytes(*seen.first_chunk::<16>()?);
        let (numbers, _) = numbers.as_chunks::<4>();
        let &[epoch, peer, next_number, batch, highest] = numbers else {
            return None;
        };
        let peer = u32::from_le_bytes(peer);
        let next_number = u32::from_le_bytes(next_number);
        Some(Self {
            epoch: Epoch::new(u32::from_le_bytes(epoch))?,
            peer: match peer {
                0 => None,
                _ => Some(Epoch::new(peer)?),
            },
            next_number: if next_number == 0 {
                return None;
            } else {
                next_number
            },
            batch: u32::from_le_bytes(batch),
            window: Window::new(u32::from_le_bytes(highest), seen),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_survives_being_written() {
        let snapshot = Snapshot {
            epoch: Epoch::new(170_000_001).unwrap(),
            peer: Epoch::new(3),
            next_number: 42,
            batch: 7,
            window: Window::new(999, u128::MAX - 4),
        };
        assert_eq!(Snapshot::from_bytes(&snapshot.to_bytes()), Some(snapshot));
        let fresh = Snapshot::fresh(Epoch::FIRST);
        assert_eq!(Snapshot::from_bytes(&fresh.to_bytes()), Some(fresh));
    }

    #[test]
    fn bytes_that_were_never_written_are_refused() {
        assert_eq!(Snapshot::from_bytes(&[0; SNAPSHOT_BYTES]), None);
        assert_eq!(Snapshot::from_bytes(&[0xff; SNAPSHOT_BYTES]), None);
    }
}
