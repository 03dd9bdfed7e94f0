//! Random UUIDs (RFC 9562, version 4), by which the SERMAS platform names things.

use ring::rand::{SecureRandom, SystemRandom};

use crate::identity::{IdentityError, hex};

/// A fresh one.
pub(super) fn random() -> Result<String, IdentityError> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| IdentityError::NoRandomness)?;
    Ok(format(bytes))
}

fn format(mut bytes: [u8; 16]) -> String {
    bytes[6] = 0x40 | bytes[6] & 0x0F;
    bytes[8] = 0x80 | bytes[8] & 0x3F;
    let digits = hex(&bytes);
    [0..8, 8..12, 12..16, 16..20, 20..32]
        .map(|part| &digits[part])
        .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_variant_are_marked() {
        assert_eq!(format([0xFF; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(format([0; 16]), "00000000-0000-4000-8000-000000000000");
    }
}
