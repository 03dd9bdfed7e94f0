//! What a board tells browsers of an app that has pages: where they are, and what it is called.

use crate::page_url::PageUrl;

/// Longest title, in bytes: a launcher has no room for more.
pub const APP_TITLE_BYTES_MAX: usize = 64;

/// An app's page on a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppPage<'p> {
    /// The address of its first page.
    pub url: PageUrl<'p>,
    /// What the launcher calls it; `None`: its identifier.
    pub title: Option<AppTitle<'p>>,
}

impl<'p> AppPage<'p> {
    /// An app at this address, without a title.
    #[must_use]
    pub const fn at(url: PageUrl<'p>) -> Self {
        Self { url, title: None }
    }
}

/// What people call an app: a line of text that is not empty, does not begin or end with a space, and
/// has no control characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppTitle<'t>(&'t str);

impl<'t> AppTitle<'t> {
    /// Reads a title; `None` if it is none.
    #[must_use]
    pub fn parse(text: &'t str) -> Option<Self> {
        let is_one = (1..=APP_TITLE_BYTES_MAX).contains(&text.len())
            && !text.starts_with(' ')
            && !text.ends_with(' ')
            && !text.contains(char::is_control);
        is_one.then_some(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &'t str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn title_is_a_line_of_text_of_any_language() {
        for text in ["Next stop", "Prochain arrêt", "次の停留所", "\"<b>\"", "x"] {
            assert_eq!(AppTitle::parse(text).unwrap().as_str(), text);
        }
        assert!(AppTitle::parse(&"x".repeat(APP_TITLE_BYTES_MAX)).is_some());
    }

    #[test]
    fn what_a_launcher_could_not_show_is_no_title() {
        let long = "x".repeat(APP_TITLE_BYTES_MAX + 1);
        for text in ["", " ", " x", "x ", "a\nb", "a\u{7f}", "a\u{85}", &long] {
            assert_eq!(AppTitle::parse(text), None, "{text:?}");
        }
    }
}
