//! Where in a text something is, as people count: lines and columns from 1.

/// A line and a column in characters, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The line.
    pub(crate) line: usize,
    /// The column.
    pub(crate) column: usize,
}

impl Place {
    /// The place of the byte at `offset` of `text`, which need not be valid UTF-8.
    pub(crate) fn of(text: &[u8], offset: usize) -> Self {
        let before = &text[..offset.min(text.len())];
        let newline = before.iter().rposition(|&byte| byte == b'\n');
        let start = newline.map_or(0, |newline| newline + 1);
        let begins_character = |byte: &&u8| **byte & 0b1100_0000 != 0b1000_0000;
        Self {
            line: before.iter().filter(|&&byte| byte == b'\n').count() + 1,
            column: before[start..].iter().filter(begins_character).count() + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_characters_are_counted_from_one() {
        let text = "{\n  \"é\": x".as_bytes();
        let place = |offset| {
            let place = Place::of(text, offset);
            (place.line, place.column)
        };
        assert_eq!(place(0), (1, 1));
        assert_eq!(place(1), (1, 2));
        assert_eq!(place(2), (2, 1));
        assert_eq!(place(text.len() - 1), (2, 8));
        assert_eq!(place(999), (2, 9));
    }
}
