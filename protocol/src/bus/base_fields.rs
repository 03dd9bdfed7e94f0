//! What payloads of the bus say about themselves.

use crate::envelope::{self, EnvelopeError, EnvelopeReason};
use crate::json::{JsonString, Object};
use crate::limits::{JSON_DEPTH_MAX, PAYLOAD_BYTES_MAX};

/// The fields that every JSON payload of the bus may have, as its sender wrote them (SPEC 12.6).
///
/// Of several members with the same name the last counts. A field that is no string counts as
/// missing: JavaScript writes `null` for what it does not know. What else a payload holds is checked
/// to be JSON and passed over.
#[derive(Clone, Copy, Debug, Default)]
pub struct BaseFields<'a> {
    /// `appId`: the application; the topic names it as well.
    pub app_id: Option<JsonString<'a>>,
    /// `clientId`: the program that sent it.
    pub client_id: Option<JsonString<'a>>,
    /// `requestId`: what an answer repeats.
    pub request_id: Option<JsonString<'a>>,
    /// `userId`: the user on whose behalf it was sent.
    pub user_id: Option<JsonString<'a>>,
    /// `ts`: when, as ISO 8601 text; not checked.
    pub ts: Option<JsonString<'a>>,
    /// `sessionId`: the user's session that it belongs to.
    pub session_id: Option<JsonString<'a>>,
}

impl<'a> BaseFields<'a> {
    /// Reads them from a payload of at most [`PAYLOAD_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// An [`EnvelopeError`] when the payload is too large, empty, not UTF-8, not JSON or not an
    /// object.
    ///
    /// ```
    /// use vinbus_protocol::bus::BaseFields;
    ///
    /// let fields = BaseFields::read(br#"{"appId":"myapp","requestId":"r-7","randomInfo":1}"#)?;
    /// assert!(fields.request_id.is_some_and(|id| id.is("r-7")));
    /// # Ok::<(), vinbus_protocol::envelope::EnvelopeError>(())
    /// ```
    pub fn read(payload: &'a [u8]) -> Result<Self, EnvelopeError> {
        let text = envelope::text(payload, PAYLOAD_BYTES_MAX)?;
        let Some(mut object) = Object::open(text) else {
            let value = envelope::only_value(text, JSON_DEPTH_MAX)?;
            return Err(EnvelopeReason::NotAnObject.at(value.offset));
        };
        let mut fields = Self::default();
        while let Some(member) = object
            .next_member()
            .map_err(|error| EnvelopeReason::Json(error.reason).at(error.offset))?
        {
            fields.take(member.name, member.value.as_string());
        }
        Ok(fields)
    }

    fn take(&mut self, name: JsonString<'_>, value: Option<JsonString<'a>>) {
        let fields = [
            ("appId", &mut self.app_id),
            ("clientId", &mut self.client_id),
            ("requestId", &mut self.request_id),
            ("userId", &mut self.user_id),
            ("ts", &mut self.ts),
            ("sessionId", &mut self.session_id),
        ];
        for (field, slot) in fields {
            if name.is(field) {
                *slot = value;
            }
        }
    }
}
