//! The members of an object, one after the other.

use core::fmt;

use super::scanner::Scanner;
use super::{JsonReason, JsonString, Value};
use crate::limits::JSON_DEPTH_MAX;

/// Where and why a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Why.
    pub reason: JsonReason,
    /// Offset in bytes at which it shows.
    pub offset: usize,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.reason, self.offset)
    }
}

impl core::error::Error for JsonError {}

/// A member of an object.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its name.
    pub name: JsonString<'a>,
    /// Its value, which nests at most [`JSON_DEPTH_MAX`]` - 1` deep.
    pub value: Value<'a>,
}

/// A text that is one object, read member by member; all of it is checked once the last is read.
///
/// ```
/// use vinbus_protocol::json::Object;
///
/// let mut object = Object::open(r#"{"a" : [1, 2]}"#).unwrap();
/// let member = object.next_member()?.unwrap();
/// assert!(member.name.is("a"));
/// assert_eq!(member.value.text, "[1, 2]");
/// assert!(object.next_member()?.is_none());
/// # Ok::<(), vinbus_protocol::json::JsonError>(())
/// ```
pub struct Object<'a> {
    scanner: Scanner<'a>,
    at: At,
}

/// What is next.
enum At {
    FirstMember,
    NextMember,
    End,
}

impl<'a> Object<'a> {
    /// The object that `text` begins with; `None` when it begins with something else.
    #[must_use]
    pub fn open(text: &'a str) -> Option<Self> {
        let mut scanner = Scanner::new(text);
        scanner.eat(b'{').then_some(Self {
            scanner,
            at: At::FirstMember,
        })
    }

    /// The next member; `None` when there is none and nothing but white space follows.
    ///
    /// # Errors
    /// A [`JsonError`]; the object is of no use then.
    pub fn next_member(&mut self) -> Result<Option<Member<'a>>, JsonError> {
        self.read().map_err(|reason| JsonError {
            reason,
            offset: self.scanner.offset(),
        })
    }

    fn read(&mut self) -> Result<Option<Member<'a>>, JsonReason> {
        let more = match self.at {
            At::FirstMember => self.scanner.peek() != Some(b'}'),
            At::NextMember => self.scanner.eat(b','),
            At::End => return Ok(None),
        };
        if more {
            let name = JsonString::new(self.scanner.name()?);
            let value = self.scanner.value(JSON_DEPTH_MAX - 1)?;
            self.at = At::NextMember;
            return Ok(Some(Member { name, value }));
        }
        if !self.scanner.eat(b'}') {
            return Err(match self.scanner.peek() {
                None => JsonReason::UnexpectedEnd,
                Some(_) => JsonReason::ExpectedCommaOrBrace,
            });
        }
        self.scanner.end()?;
        self.at = At::End;
        Ok(None)
    }
}

impl fmt::Debug for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object(at byte {})", self.scanner.offset())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};
    use std::vec::Vec;

    fn members(text: &str) -> Result<Vec<(String, &str)>, JsonError> {
        let mut object = Object::open(text).expect("an object");
        let mut members = Vec::new();
        while let Some(Member { name, value }) = object.next_member()? {
            members.push((name.to_string(), value.text));
        }
        Ok(members)
    }

    #[test]
    fn members_come_in_order_with_their_exact_spans() {
        let text = r#" { "a" : { "b":1.0e2 } ,"\u0061":"\u00e9", "c":[ ] } "#;
        let expected = [
            ("a".into(), r#"{ "b":1.0e2 }"#),
            ("a".into(), r#""\u00e9""#),
            ("c".into(), "[ ]"),
        ];
        assert_eq!(members(text), Ok(expected.into()));
        assert_eq!(members("{}"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_offset() {
        for (text, reason, offset) in [
            (r#"{"a":1"#, JsonReason::UnexpectedEnd, 6),
            (r#"{"a":1 2}"#, JsonReason::ExpectedCommaOrBrace, 7),
            (r#"{"a":1,}"#, JsonReason::ExpectedName, 7),
            (r#"{"a":1} x"#, JsonReason::TrailingBytes, 8),
            (r#"{"#, JsonReason::UnexpectedEnd, 1),
        ] {
            assert_eq!(members(text), Err(JsonError { reason, offset }), "{text}");
        }
        assert!(Object::open("[1]").is_none());
    }

    #[test]
    fn name_with_escapes_is_the_name_it_stands_for() {
        let mut object = Object::open(r#"{"\u0074ype":"x\ny"}"#).unwrap();
        let member = object.next_member().unwrap().unwrap();
        assert!(member.name.is("type") && !member.name.is("typ"));
        assert_eq!(member.value.as_string().unwrap().to_string(), "x\ny");
    }
}
