//! A text that must not be seen: passwords, tokens, private keys.

use std::fmt;

use ring::rand::{SecureRandom, SystemRandom};

use super::enroll::IdentityError;
use super::secret_checks;

/// Bytes of randomness in a generated secret.
const SECRET_RANDOM_BYTES: usize = 32;

/// A secret text. Its `Debug` shows nothing of it and it has no `Display`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// A fresh secret of 256 random bits, `prefix` followed by 64 hexadecimal digits; `None` when
    /// the operating system has no randomness to give.
    #[must_use]
    pub fn generate(prefix: &str) -> Option<Self> {
        let mut bytes = [0; SECRET_RANDOM_BYTES];
        SystemRandom::new().fill(&mut bytes).ok()?;
        Some(Self(format!("{prefix}{}", hex(&bytes))))
    }

    /// Its slow hash with a salt of its own, as a login's secret is kept. Takes tens of milliseconds:
    /// call it off the async threads.
    ///
    /// # Errors
    /// [`IdentityError::NoRandomness`], or [`IdentityError::Issue`] of the hash function.
    pub fn hash(&self) -> Result<String, IdentityError> {
        secret_checks::hash(self)
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Lower-case hexadecimal digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|nibble| char::from(DIGITS[usize::from(nibble)]))
        .collect()
}

/// The bytes that hexadecimal digits stand for; `None` for anything else.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_secret() {
        let secret = Secret::generate("x.").unwrap();
        assert_eq!(secret.expose().len(), 66);
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn two_generated_secrets_differ() {
        let [one, two] = [(); 2].map(|()| Secret::generate("").unwrap());
        assert_ne!(one.expose(), two.expose());
    }

    #[test]
    fn hexadecimal_goes_both_ways() {
        assert_eq!(hex(&[0, 0x9f, 0xff]), "009fff");
        assert_eq!(from_hex("009fFF"), Some(vec![0, 0x9f, 0xff]));
        for bad in ["0", "0g", "é"] {
            assert_eq!(from_hex(bad), None, "{bad}");
        }
    }
}
