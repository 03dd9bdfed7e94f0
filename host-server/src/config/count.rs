//! A bound on how many of something there may be.

/// Why a text says no count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a whole number of at most {}, without a unit", u32::MAX)]
pub(super) struct CountError;

pub(super) fn parse(text: &str) -> Result<u32, CountError> {
    text.trim().parse().map_err(|_| CountError)
}
