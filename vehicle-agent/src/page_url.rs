//! Where the pages of an app are that a board does not serve itself.

/// Longest address, in bytes.
pub const PAGE_URL_BYTES_MAX: usize = 200;

/// The address of an app's first page: `http://` or `https://`, a host by name or IPv4 address, a port
/// where it needs one, and a path.
///
/// It has none of the characters that mean something in JSON, or in a content-security policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageUrl<'u>(&'u str);

impl<'u> PageUrl<'u> {
    /// Reads an address; `None` if it is none of a page.
    #[must_use]
    pub fn parse(text: &'u str) -> Option<Self> {
        let url = Self(text);
        let authority = without_scheme(url.origin())?;
        let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !br#""'\<>;,`{}|^"#.contains(&byte);
        let is_one = text.len() <= PAGE_URL_BYTES_MAX
            && !host.is_empty()
            && host.bytes().all(is_name)
            && port.parse::<u16>().is_ok_and(|port| port > 0)
            && text.bytes().all(is_plain);
        is_one.then_some(url)
    }

    /// All of it.
    #[must_use]
    pub fn as_str(&self) -> &'u str {
        self.0
    }

    /// Scheme, host and port: what the browser keeps apart from others. Empty for what is no address.
    #[must_use]
    pub fn origin(&self) -> &'u str {
        let path = without_scheme(self.0).and_then(|rest| {
            let at = rest.find(['/', '?', '#']);
            rest.get(at.unwrap_or(rest.len())..)
        });
        path.and_then(|path| self.0.strip_suffix(path))
            .unwrap_or_default()
    }
}

/// What stands behind the scheme.
fn without_scheme(url: &str) -> Option<&str> {
    let schemes = ["http://", "https://"];
    schemes.iter().find_map(|scheme| url.strip_prefix(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn address_of_a_page_has_an_origin() {
        for (text, origin) in [
            ("http://app.localhost:8091/", "http://app.localhost:8091"),
            ("https://h/a/b?c=d", "https://h"),
            ("http://10.0.0.2?x", "http://10.0.0.2"),
            ("http://h", "http://h"),
        ] {
            let url = PageUrl::parse(text).unwrap();
            assert_eq!((url.as_str(), url.origin()), (text, origin));
        }
    }

    #[test]
    fn what_could_be_taken_for_something_else_is_none() {
        let long = String::from("http://h/") + &"x".repeat(PAGE_URL_BYTES_MAX);
        for text in [
            "",
            "h",
            "//h/",
            "ftp://h/",
            "javascript:alert(1)",
            "http://",
            "http:///x",
            "http://h:0/",
            "http://h:x/",
            "http://user@h/",
            "http://h:80:80/",
            "http://h/;script-src",
            "http://h/'",
            "http://h/\"",
            "http://h/ x",
            "http://h/\n",
            "http://h/ä",
            "http://*/",
            &long,
        ] {
            assert_eq!(PageUrl::parse(text), None, "{text:?}");
        }
    }
}
