//! The head of an HTTP request (RFC 9112, 3 and 5), as far as the portal needs it.

/// A request without a body that wants to read something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request<'h> {
    path: &'h str,
    query: &'h str,
    /// One a line.
    headers: &'h str,
}

impl<'h> Request<'h> {
    /// The request whose head this is, up to its empty line. One with a body is none, and so is one
    /// with another method than GET.
    pub(super) fn parse(head: &'h [u8]) -> Option<Self> {
        let head = core::str::from_utf8(head).ok()?;
        let (line, headers) = head.split_once('\n')?;
        let (target, version) = line.strip_prefix("GET ")?.split_once(' ')?;
        let well_formed = headers.ends_with('\n')
            && version.trim_ascii_end() == "HTTP/1.1"
            && target.starts_with('/')
            && lines(headers).all(is_header);
        if !well_formed {
            return None;
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Self {
            path,
            query,
            headers,
        };
        let body = ["content-length", "transfer-encoding"];
        body.iter()
            .all(|header| request.header(header).is_none())
            .then_some(request)
    }

    pub(super) fn path(&self) -> &'h str {
        self.path
    }

    /// The first header of this name.
    pub(super) fn header(&self, name: &str) -> Option<&'h str> {
        self.values(name).next()
    }

    /// Whether the list in a header names `word`.
    pub(super) fn names(&self, header: &str, word: &str) -> bool {
        let mut words = self.values(header).flat_map(|value| value.split(','));
        words.any(|named| named.trim_ascii().eq_ignore_ascii_case(word))
    }

    /// The first parameter of this name, as it stands in the address.
    pub(super) fn parameter(&self, name: &str) -> Option<&'h str> {
        let mut parameters = self.query.split('&');
        parameters.find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix('='))
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &'h str> {
        let headers = lines(self.headers).filter_map(|line| line.split_once(':'));
        let named = headers.filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.trim_ascii())
    }
}

/// The lines before the empty one.
fn lines(headers: &str) -> impl Iterator<Item = &str> {
    headers.lines().take_while(|line| !line.is_empty())
}

/// Whether a line is `name: value`. White space in or around a name is how requests are smuggled past
/// whoever reads them otherwise.
fn is_header(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default();
    let graphic = name.bytes().all(|byte| byte.is_ascii_graphic());
    !name.is_empty() && name.len() < line.len() && graphic
}

/// A part of an address without its escapes (`%41` for `A`, `+` for a space); `None` if that is not
/// text, or more than `N` bytes.
pub(super) fn decoded<const N: usize>(part: &str) -> Option<heapless::String<N>> {
    let mut text = heapless::Vec::new();
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'+' => b' ',
            b'%' => (hex(bytes.next()?)? << 4) | hex(bytes.next()?)?,
            byte => byte,
        };
        text.push(byte).ok()?;
    }
    heapless::String::from_utf8(text).ok()
}

fn hex(digit: u8) -> Option<u8> {
    let digit = char::from(digit).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn request_is_taken_apart() {
        let head = b"GET /portal?app=demo&x=1 HTTP/1.1\r\nHost: a:80\r\nConnection: keep-alive, Upgrade\r\n\r\n";
        let request = Request::parse(head).unwrap();
        assert_eq!(request.path(), "/portal");
        assert_eq!(request.parameter("app"), Some("demo"));
        assert_eq!(request.parameter("ap"), None);
        assert_eq!(request.header("HOST"), Some("a:80"));
        assert!(request.names("connection", "upgrade"));
        assert!(!request.names("connection", "up"));
        assert!(Request::parse(b"GET / HTTP/1.1\n\n").is_some());
    }

    #[test]
    fn what_is_no_request_or_has_a_body_is_none() {
        for head in [
            "",
            "\r\n",
            "GET / HTTP/1.1",
            "GET / HTTP/1.1\r\nHost: cut off",
            "GET / HTTP/1.0\r\n\r\n",
            "GET  HTTP/1.1\r\n\r\n",
            "GET http://x/ HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "GET / HTTP/1.1\r\n: no name\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nCONTENT-length: 0\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(Request::parse(head.as_bytes()), None, "{head:?}");
        }
        assert_eq!(Request::parse(b"GET / HTTP/1.1\r\nX: \xFF\r\n\r\n"), None);
    }

    #[test]
    fn escapes_are_taken_out_once() {
        for (part, expected) in [
            ("", Some("")),
            ("a+b%20c", Some("a b c")),
            ("%C3%BC%2541", Some("ü%41")),
            ("%", None),
            ("%4", None),
            ("%+1", None),
            ("%C3", None),
        ] {
            let text = decoded::<8>(part);
            assert_eq!(text.as_deref(), expected, "{part:?}");
        }
        assert_eq!(decoded::<2>("abc"), None);
        assert_eq!(decoded::<2>("abc").or(decoded("ab")).as_deref(), Some("ab"));
    }

    #[test]
    fn heads_with_any_byte_changed_do_no_harm() {
        let head = b"GET /portal?app=%41 HTTP/1.1\r\nHost: x\r\nOrigin: y\r\n\r\n";
        for at in 0..head.len() {
            for byte in 0..=u8::MAX {
                let mut changed = *head;
                changed[at] = byte;
                if let Some(request) = Request::parse(&changed) {
                    let app = request.parameter("app").and_then(decoded::<4>);
                    let _ = format!("{app:?} {:?}", request.header("origin"));
                }
            }
        }
    }
}
