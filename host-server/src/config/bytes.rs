//! A number of bytes as people write it: `1048576`, `10GB` or `10GiB`.

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};

/// The units and their bytes; a name without `i` counts in thousands, as the SI has it.
const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("kB", 1000),
    ("MB", 1000 * 1000),
    ("GB", 1000 * 1000 * 1000),
    ("TB", 1000 * 1000 * 1000 * 1000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Why a text says no number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BytesError {
    #[error(
        "expected a whole number of bytes, with or without a unit, such as 10737418240 or 10GiB"
    )]
    Form,
    #[error("expected at most {} bytes", i64::MAX)]
    TooMany,
}

pub(super) fn parse(text: &str) -> Result<u64, BytesError> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, bytes) = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit.trim_start()))
        .ok_or(BytesError::Form)?;
    if number.is_empty() {
        return Err(BytesError::Form);
    }
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*bytes))
        .filter(|&bytes| i64::try_from(bytes).is_ok())
        .ok_or(BytesError::TooMany)
}

/// From the configuration file, as a number or a text.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    from.deserialize_any(Bytes).map(Some)
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes, or a text such as \"10GiB\"")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        u64::try_from(number).map_err(|_| E::custom(BytesError::Form))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        parse(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_count_in_thousands_or_powers_of_two() {
        assert_eq!(parse("1048576"), Ok(1_048_576));
        assert_eq!(parse("10GB"), Ok(10_000_000_000));
        assert_eq!(parse("10 gib"), Ok(10 << 30));
        assert_eq!(parse("0"), Ok(0));
    }

    #[test]
    fn what_is_no_number_of_bytes_is_refused() {
        for text in ["", "GB", "-1", "1.5GB", "10 apples", "10G", "٣"] {
            assert_eq!(parse(text), Err(BytesError::Form), "{text}");
        }
        for text in ["9223372036854775808", "99999999TiB", "99999999999999999999"] {
            assert_eq!(parse(text), Err(BytesError::TooMany), "{text}");
        }
    }
}
