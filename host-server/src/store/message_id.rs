//! Names for messages: ULIDs, 26 characters of Crockford's base 32 (<https://github.com/ulid/spec>).
//!
//! 48 bits of milliseconds come first, so that names sort by the time of acceptance; 80 random bits
//! follow, so that nobody can guess the name of another partner's message.

use std::time::{SystemTime, UNIX_EPOCH};

use ring::rand::{SecureRandom as _, SystemRandom};

use crate::model::MessageId;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CHARACTERS: u32 = 26;

impl MessageId {
    /// A new name for something that happened at `now`; `None` when the system has no randomness.
    #[must_use]
    pub fn new_at(now: SystemTime) -> Option<Self> {
        let mut random = [0; 10];
        SystemRandom::new().fill(&mut random).ok()?;
        let millis = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| age.as_millis());
        Some(encode(millis, random))
    }
}

fn encode(millis: u128, random: [u8; 10]) -> MessageId {
    let bits = random
        .iter()
        .fold(millis, |bits, byte| bits << 8 | u128::from(*byte));
    let character = |place| char::from(ALPHABET[(bits >> (5 * place) & 31) as usize]);
    MessageId((0..CHARACTERS).rev().map(character).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn known_ulid_is_encoded_as_its_specification_shows() {
        let id = encode(1_469_918_176_385, [0xFF; 10]);
        assert_eq!(id.0, "01ARYZ6S41ZZZZZZZZZZZZZZZZ");
    }

    #[test]
    fn names_sort_by_time_and_differ_within_a_millisecond() {
        let at = |ms| {
            MessageId::new_at(UNIX_EPOCH + Duration::from_millis(ms))
                .unwrap()
                .0
        };
        assert!(at(1_700_000_000_000) < at(1_700_000_000_001));
        assert_ne!(at(1_700_000_000_000), at(1_700_000_000_000));
    }
}
