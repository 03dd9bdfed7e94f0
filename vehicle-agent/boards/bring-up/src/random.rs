//! Random numbers that nobody can guess who does not know the seed: `HMAC_DRBG` with SHA-256 (NIST SP
//! 800-90A). TLS has all parts of it anyway, for its signatures; another generator takes 4 KB of flash.

use core::fmt;

use rand_core::{CryptoRng, Error, RngCore};
use rfc6979::HmacDrbg;
use sha2::Sha256;

/// A generator.
pub(crate) struct Random(HmacDrbg<Sha256>);

impl Random {
    /// Draws from `seed`, which has to be random and used for this alone.
    pub(crate) fn from_seed(seed: [u8; 32]) -> Self {
        Self(HmacDrbg::new(&seed, &[], b"vinbus"))
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Random").finish_non_exhaustive()
    }
}

impl RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Random {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_draws_are_equal_and_the_seed_decides_them() {
        let draws = |seed| {
            let mut random = Random::from_seed([seed; 32]);
            [(); 100].map(|()| random.next_u64())
        };
        let mut all = [draws(1), draws(2)].concat();
        assert_eq!(draws(1), all[..100]);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 200);
    }
}
