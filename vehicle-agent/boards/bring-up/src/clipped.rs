//! Texts that lose their end where there is no room for all of them.

use core::fmt::{self, Write};

use heapless::String;

/// As much of `text` as `N` bytes hold. Whatever is left out is the end: neither a piece in the middle
/// nor a part of a character.
#[must_use]
pub fn clipped<const N: usize>(text: fmt::Arguments<'_>) -> String<N> {
    let mut clip = Clip(String::new());
    // It fails once there is no room any more, which ends the formatting.
    let _ = clip.write_fmt(text);
    clip.0
}

struct Clip<const N: usize>(String<N>);

impl<const N: usize> Write for Clip<N> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let room = N - self.0.len();
        let (fits, rest) = piece.split_at(piece.floor_char_boundary(room));
        let fitted = self.0.push_str(fits);
        debug_assert!(fitted.is_ok(), "there is room");
        if rest.is_empty() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out_at_the_end() {
        let check = |expected: &str, text: fmt::Arguments<'_>| {
            assert_eq!(clipped::<8>(text), expected);
        };
        check("", format_args!(""));
        check("12345678", format_args!("{}{}", "1234", "5678"));
        check("12345678", format_args!("{}{}", "12345678", ""));
        // A piece longer than the room: its beginning is there, and nothing that comes after it.
        check("a: 12345", format_args!("a: {}{}", "123456789", "x"));
        check("12345678", format_args!("{}{}", "12345678", "9"));
        // A character is there whole or not at all, and no later one takes its place.
        check("1234567", format_args!("{}{}", "1234567\u{e9}", "x"));
        check("123456\u{e9}", format_args!("{}", "123456\u{e9}x"));
        check("12345", format_args!("12345{}", "\u{1f697}"));
    }
}
