//! Requests, answers and orders as they are written and found.
//!
//! ```text
//! {"vinbus":{"q":"00000000000000a7","w":1},"content":{"unlock":true}}   a request, inside a message with receipts
//! {"vinbus":{"q":"00000000000000a7"},"content":"done"}                  its answer, on `vinbus/answer`
//! {"vinbus":{"q":"00000000000000a7","do":"cancel"}}                     an order, to the `idApp` `vinbus`
//! ```

use super::RequestId;
use crate::delivery::CONTROL_APP;
use crate::delivery::reserved::{self, DownlinkOf, RESERVED_MEMBER_BEGIN, UplinkOf};
use crate::envelope::encode::{Encode, Out, encode, encoded_len};
use crate::envelope::{Content, EncodeError};
use crate::id::AppId;
use crate::json::{Object, Value};

/// The uplink subtopic of answers.
pub const ANSWER_SUBTOPIC: &str = "vinbus/answer";

/// What becomes of a request whose app is not in the foreground, or whose vehicle is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Absent {
    /// It is refused at once.
    Refuse,
    /// It waits until its deadline.
    Wait,
}

/// A request, as the content of a message with receipts. `Debug` does not tell what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Its name.
    pub id: RequestId,
    /// What becomes of it if nobody is there.
    pub absent: Absent,
    /// What the app is asked.
    pub content: Content<'a>,
}

/// An answer, as the content of an uplink message. `Debug` does not tell what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The request's name.
    pub id: RequestId,
    /// What the app says.
    pub content: Content<'a>,
}

/// What a vehicle is told of a request beside the request itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nobody waits for its answer any more: it is not to be carried out.
    Cancel(RequestId),
    /// It is answered, and the answer has not come: it is to be sent again.
    Repeat(RequestId),
}

impl<'a> Request<'a> {
    /// Reads a content; `None` for any that is no request.
    #[must_use]
    pub fn read(content: Content<'a>) -> Option<Self> {
        let found = Found::read(content)?;
        let absent = match found.wait?.text {
            "0" => Absent::Refuse,
            "1" => Absent::Wait,
            _ => return None,
        };
        Some(Self {
            id: found.id,
            absent,
            content: found.content?,
        })
    }

    /// Writes it in a downlink envelope for an app, to be marked with receipts.
    ///
    /// # Errors
    /// An [`EncodeError`]; then nothing is written.
    pub fn encode_downlink<'b>(
        &self,
        app: &AppId,
        buffer: &'b mut [u8],
    ) -> Result<&'b [u8], EncodeError> {
        encode(&DownlinkOf(app.as_str(), self), buffer)
    }
}

impl Encode for Request<'_> {
    fn write(&self, out: &mut Out<'_>) {
        let wait = match self.absent {
            Absent::Refuse => ",\"w\":0",
            Absent::Wait => ",\"w\":1",
        };
        named(self.id, out);
        out.text(wait);
        out.text("},\"content\":");
        out.text(self.content.as_str());
        out.text("}");
    }
}

impl<'a> Answer<'a> {
    /// Reads the content of an uplink message on [`ANSWER_SUBTOPIC`].
    #[must_use]
    pub fn read(content: Content<'a>) -> Option<Self> {
        let found = Found::read(content)?;
        Some(Self {
            id: found.id,
            content: found.content?,
        })
    }

    /// Bytes that [`encode_uplink`](Self::encode_uplink) writes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        encoded_len(&UplinkOf(self))
    }

    /// Writes it in an uplink envelope.
    ///
    /// # Errors
    /// An [`EncodeError`]; then nothing is written.
    pub fn encode_uplink<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        encode(&UplinkOf(self), buffer)
    }
}

impl Encode for Answer<'_> {
    fn write(&self, out: &mut Out<'_>) {
        named(self.id, out);
        out.text("},\"content\":");
        out.text(self.content.as_str());
        out.text("}");
    }
}

impl Order {
    /// Reads the content of a message to [`CONTROL_APP`].
    #[must_use]
    pub fn read(content: Content<'_>) -> Option<Self> {
        let found = Found::read(content)?;
        let order = found.order?.as_string()?;
        if order.is("cancel") {
            Some(Self::Cancel(found.id))
        } else if order.is("repeat") {
            Some(Self::Repeat(found.id))
        } else {
            None
        }
    }

    /// Writes it in a downlink envelope.
    ///
    /// # Errors
    /// An [`EncodeError`]; then nothing is written.
    pub fn encode_downlink<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        encode(&DownlinkOf(CONTROL_APP, self), buffer)
    }
}

impl Encode for Order {
    fn write(&self, out: &mut Out<'_>) {
        let (id, order) = match self {
            Self::Cancel(id) => (id, ",\"do\":\"cancel\"}}"),
            Self::Repeat(id) => (id, ",\"do\":\"repeat\"}}"),
        };
        named(*id, out);
        out.text(order);
    }
}

/// Writes what each of these forms begins with.
fn named(id: RequestId, out: &mut Out<'_>) {
    out.text(RESERVED_MEMBER_BEGIN);
    out.text("{\"q\":\"");
    id.write(out);
    out.text("\"");
}

/// What stands in a content of any of these forms.
struct Found<'a> {
    id: RequestId,
    wait: Option<Value<'a>>,
    order: Option<Value<'a>>,
    content: Option<Content<'a>>,
}

impl<'a> Found<'a> {
    fn read(content: Content<'a>) -> Option<Self> {
        let outer = reserved::find(content)?;
        let mut members = Object::open(outer.value.text)?;
        let (mut id, mut wait, mut order) = (None, None, None);
        while let Some(member) = members.next_member().ok()? {
            match () {
                () if member.name.is("q") => id = member.value.as_string(),
                () if member.name.is("w") => wait = Some(member.value),
                () if member.name.is("do") => order = Some(member.value),
                () => {}
            }
        }
        Some(Self {
            id: RequestId::read(id?)?,
            wait,
            order,
            content: outer.content.map(Content::of_valid),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{self, Received};
    use crate::limits::REQUEST_ADDED_BYTES_MAX;

    const ID: RequestId = RequestId::new(0xa7);

    fn content(json: &str) -> Content<'_> {
        Content::parse(json.as_bytes()).unwrap()
    }

    fn content_of<'e>(envelope: &'e [u8], head: &str) -> Content<'e> {
        let text = core::str::from_utf8(envelope).unwrap();
        let inside = text.strip_prefix(head).unwrap().strip_suffix('}').unwrap();
        content(inside)
    }

    #[test]
    fn all_forms_are_found_again_and_are_ordinary_to_delivery() {
        let mut buffer = [0xa5; 256];
        for absent in [Absent::Refuse, Absent::Wait] {
            for json in ["{ \"a\" : 1 }", "\"text\"", "null", r#"{"content":1}"#] {
                let request = Request {
                    id: ID,
                    absent,
                    content: content(json),
                };
                let app = AppId::parse("demo").unwrap();
                let written = request.encode_downlink(&app, &mut buffer).unwrap();
                let head = r#"{"idApp":"demo","popup":false,"content":"#;
                let inside = content_of(written, head);
                assert_eq!(Request::read(inside), Some(request));
                assert!(matches!(delivery::read(inside), Received::Plain));
                assert!(inside.as_str().len() - json.len() <= REQUEST_ADDED_BYTES_MAX);
            }
        }
        let answer = Answer {
            id: ID,
            content: content("[1, 2]"),
        };
        let len = answer.encoded_len();
        let written = answer.encode_uplink(&mut buffer).unwrap();
        assert_eq!(written.len(), len);
        let inside = content_of(written, r#"{"content":"#);
        assert_eq!(Answer::read(inside), Some(answer));
        assert_eq!(Request::read(inside), None);
        for order in [Order::Cancel(ID), Order::Repeat(ID)] {
            let written = order.encode_downlink(&mut buffer).unwrap();
            let head = r#"{"idApp":"vinbus","popup":false,"content":"#;
            let inside = content_of(written, head);
            assert_eq!(Order::read(inside), Some(order));
            assert!(matches!(delivery::read(inside), Received::Plain));
        }
    }

    #[test]
    fn what_is_not_exactly_of_a_form_is_none() {
        for json in [
            "1",
            "{}",
            r#"{"vinbus":[1,2,3,4],"content":1}"#,
            r#"{"vinbus":{"q":"a7","w":1},"content":1}"#,
            r#"{"vinbus":{"q":167,"w":1},"content":1}"#,
            r#"{"vinbus":{"q":"00000000000000a7","w":2},"content":1}"#,
            r#"{"vinbus":{"q":"00000000000000a7"},"content":1}"#,
            r#"{"vinbus":{"q":"00000000000000a7","w":1}}"#,
            r#"{"vinbus":{"q":"00000000000000a7","w":1},"content":1,"vinbus":{}}"#,
        ] {
            assert_eq!(Request::read(content(json)), None, "{json}");
            assert_eq!(Order::read(content(json)), None, "{json}");
        }
        let unknown = r#"{"vinbus":{"q":"00000000000000a7","do":"more"}}"#;
        assert_eq!(Order::read(content(unknown)), None);
    }
}
