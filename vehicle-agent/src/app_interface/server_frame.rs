//! What an app or the screen is told: JSON texts as `Display`, so that they are written in place.

use core::fmt::{self, Display, Write};

/// A frame `{"type":…,"id"?:…,"value"?:…}`; `id` and `value` are JSON already.
pub(crate) struct ServerFrame<'a> {
    kind: &'static str,
    id: Option<&'a str>,
    value: Option<&'a dyn Display>,
}

impl<'a> ServerFrame<'a> {
    /// A frame that is nothing but its type.
    pub(crate) fn new(kind: &'static str) -> Self {
        let (id, value) = (None, None);
        Self { kind, id, value }
    }

    /// The same with a value.
    pub(crate) fn with_value(self, value: &'a dyn Display) -> Self {
        let value = Some(value);
        Self { value, ..self }
    }

    /// The same with the `id` of the frame that it answers.
    pub(crate) fn with_id(self, id: Option<&'a str>) -> Self {
        Self { id, ..self }
    }
}

impl Display for ServerFrame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"{{"type":"{}""#, self.kind)?;
        if let Some(id) = self.id {
            write!(f, r#","id":{id}"#)?;
        }
        if let Some(value) = self.value {
            write!(f, r#","value":{value}"#)?;
        }
        f.write_char('}')
    }
}

/// `{"reason":…,"message":…}`, the value of a refusal.
pub(crate) struct Explained<D>(pub(crate) &'static str, pub(crate) D);

impl<D: Display> Display for Explained<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(reason, message) = self;
        let message = Quoted(message);
        write!(f, r#"{{"reason":"{reason}","message":{message}}}"#)
    }
}

/// `{"appId":…}`.
pub(crate) struct AppIdValue<'a>(pub(crate) &'a str);

impl Display for AppIdValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"{{"appId":{}}}"#, Quoted(self.0))
    }
}

/// A text as a JSON string.
pub(crate) struct Quoted<D>(pub(crate) D);

impl<D: Display> Display for Quoted<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        write!(Escaping(f), "{}", self.0)?;
        f.write_char('"')
    }
}

/// Escapes what must not stand in a JSON string.
struct Escaping<'f, 'b>(&'f mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '"' | '\\' => {
                    self.0.write_char('\\')?;
                    self.0.write_char(c)?;
                }
                '\0'..='\x1f' => write!(self.0, "\\u{:04x}", u32::from(c))?,
                _ => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// How the link is called.
pub(crate) fn link_name(up: bool) -> &'static str {
    if up { "connected" } else { "disconnected" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};

    #[test]
    fn parts_stand_in_the_order_of_the_specification() {
        let frame = ServerFrame::new("x").with_value(&1).with_id(Some("\"a\""));
        assert_eq!(frame.to_string(), r#"{"type":"x","id":"a","value":1}"#);
        assert_eq!(ServerFrame::new("x").to_string(), r#"{"type":"x"}"#);
    }

    #[test]
    fn texts_are_escaped_as_json_wants() {
        let text = "a\"b\\c\n\u{1}é";
        let quoted = Quoted(text).to_string();
        assert_eq!(quoted, "\"a\\\"b\\\\c\\u000a\\u0001é\"");
        assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
    }
}
