//! Several bytes at a time: how far a run of plain string bytes or digits goes.
//!
//! In a word of eight bytes, each test sets the top bit of every byte that ends the run. A borrow or
//! carry can only disturb bytes behind the first hit, and only the first hit is read, so the answer
//! is exact.

#[cfg(all(
    target_arch = "x86_64",
    target_feature = "sse2",
    not(vinbus_scanner_alone)
))]
use super::vectors::special_bits;

const LANES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x80 * LANES;

/// `text` in two: what stands for itself in a JSON string, and what begins with the first byte that
/// does not.
#[inline(always)]
pub(crate) fn split_plain(text: &str) -> (&str, &str) {
    let behind = after_plain(text.as_bytes()).len();
    text.split_at_checked(text.len().saturating_sub(behind))
        .unwrap_or((text, ""))
}

/// What follows the bytes that stand for themselves in a JSON string: it begins with a quote, a
/// backslash or a control character, or is empty.
#[inline(always)]
pub(super) fn after_plain(mut rest: &[u8]) -> &[u8] {
    #[cfg(all(
        target_arch = "x86_64",
        target_feature = "sse2",
        not(vinbus_scanner_alone)
    ))]
    while let Some((chunk, tail)) = rest.split_first_chunk() {
        let special = special_bits(chunk);
        if special != 0 {
            let run = special.trailing_zeros();
            return rest.get(run as usize..).unwrap_or_default();
        }
        rest = tail;
    }
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let quotes = (word ^ (0x22 * LANES)).wrapping_sub(LANES);
        let backslashes = (word ^ (0x5c * LANES)).wrapping_sub(LANES);
        let controls = word.wrapping_sub(0x20 * LANES);
        let hits = (quotes | backslashes | controls) & !word & TOPS;
        if hits != 0 {
            return behind(rest, hits);
        }
        rest = tail;
    }
    while let [byte, tail @ ..] = rest
        && !matches!(byte, b'"' | b'\\' | 0..0x20)
    {
        rest = tail;
    }
    rest
}

/// What follows a run of decimal digits, which may be empty.
#[inline(always)]
pub(super) fn after_digits(mut rest: &[u8]) -> &[u8] {
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        // Digits become 0 to 9; adding 0x76 lifts everything from 10 on into the top bit.
        let word = u64::from_le_bytes(*chunk) ^ (0x30 * LANES);
        let hits = ((word & !TOPS).wrapping_add(0x76 * LANES) | word) & TOPS;
        if hits != 0 {
            return behind(rest, hits);
        }
        rest = tail;
    }
    while let [b'0'..=b'9', tail @ ..] = rest {
        rest = tail;
    }
    rest
}

/// `rest` without the bytes before the first hit.
#[inline(always)]
fn behind(rest: &[u8], hits: u64) -> &[u8] {
    let run = hits.trailing_zeros() / 8;
    rest.get(run as usize..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn check(run: fn(&[u8]) -> &[u8], ends: fn(u8) -> bool) {
        for length in 0..40 {
            for end in 0..=255_u8 {
                for before in [b'5', b'9', b'0'] {
                    let mut text: Vec<u8> = std::vec![before; length];
                    text.extend([end, b'7', b'"', 0x80, b'8', 0xff, b'1', b'2', b'3']);
                    let expected = text.iter().position(|&byte| ends(byte)).unwrap();
                    let rest = run(&text);
                    assert_eq!(text.len() - rest.len(), expected, "{text:x?}");
                }
            }
        }
    }

    #[test]
    fn plain_run_ends_exactly_at_quote_backslash_or_control() {
        check(after_plain, |byte| {
            byte == b'"' || byte == b'\\' || byte < 0x20
        });
    }

    #[test]
    fn digit_run_ends_exactly_at_the_first_other_byte() {
        check(after_digits, |byte| !byte.is_ascii_digit());
    }

    #[test]
    fn run_to_the_end_leaves_nothing() {
        for length in 0..40 {
            assert_eq!(after_digits(&std::vec![b'1'; length]), b"");
            assert_eq!(after_plain(&std::vec![0xc3; length]), b"");
        }
    }
}
