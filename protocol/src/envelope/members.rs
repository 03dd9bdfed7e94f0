//! One pass over a payload that finds the members which any envelope may have.

use super::{EnvelopeError, EnvelopeReason, Member};
use crate::id::{AppId, IdError};
use crate::json::{JsonReason, JsonString, Kind, Scanner, Value, unescape};
use crate::limits::{APP_ID_BYTES_MAX, JSON_DEPTH_MAX};

/// How deep a value inside an envelope may nest: the envelope itself is one level.
pub(super) const VALUE_DEPTH_MAX: usize = JSON_DEPTH_MAX - 1;

/// The members of an envelope, each the last of its name; not yet interpreted.
pub(super) struct Members<'a> {
    pub(super) app: Option<Value<'a>>,
    pub(super) popup: Option<Value<'a>>,
    pub(super) button: Option<Value<'a>>,
    pub(super) text: Option<Value<'a>>,
    pub(super) action: Option<Value<'a>>,
    pub(super) request: Option<Value<'a>>,
    pub(super) content: Option<Value<'a>>,
    /// Offset of the envelope's closing brace.
    end: usize,
}

/// A payload of at most `max` bytes as text, if its size and encoding allow.
pub(crate) fn text(payload: &[u8], max: usize) -> Result<&str, EnvelopeError> {
    let len = payload.len();
    if len > max {
        return Err(EnvelopeReason::TooLarge { len, max }.at(max));
    }
    core::str::from_utf8(payload).map_err(|error| EnvelopeReason::Utf8.at(error.valid_up_to()))
}

/// The one value that a text consists of.
pub(crate) fn only_value(text: &str, depth_max: usize) -> Result<Value<'_>, EnvelopeError> {
    let mut scanner = Scanner::new(text);
    if scanner.peek().is_none() {
        return Err(EnvelopeReason::Empty.at(scanner.offset()));
    }
    scanner
        .value(depth_max)
        .and_then(|value| scanner.end().map(|()| value))
        .map_err(|reason| EnvelopeReason::Json(reason).at(scanner.offset()))
}

impl<'a> Members<'a> {
    #[inline]
    pub(super) fn of(text: &'a str) -> Result<Self, EnvelopeError> {
        let mut scanner = Scanner::new(text);
        if !scanner.eat(b'{') {
            let value = only_value(text, JSON_DEPTH_MAX)?;
            return Err(EnvelopeReason::NotAnObject.at(value.offset));
        }
        Self::scan(&mut scanner).map_err(|reason| EnvelopeReason::Json(reason).at(scanner.offset()))
    }

    /// Reads the members behind the opening brace, to the end of the text.
    #[inline]
    fn scan(scanner: &mut Scanner<'a>) -> Result<Self, JsonReason> {
        let mut members = Self {
            app: None,
            popup: None,
            button: None,
            text: None,
            action: None,
            request: None,
            content: None,
            end: 0,
        };
        if scanner.peek() != Some(b'}') {
            loop {
                let name = scanner.name()?;
                let value = scanner.value(VALUE_DEPTH_MAX)?;
                if let Some(member) = member(name) {
                    *members.slot(member) = Some(value);
                }
                if !scanner.eat(b',') {
                    break;
                }
            }
        }
        members.end = scanner.offset();
        if !scanner.eat(b'}') {
            return Err(match scanner.peek() {
                None => JsonReason::UnexpectedEnd,
                Some(_) => JsonReason::ExpectedCommaOrBrace,
            });
        }
        scanner.end()?;
        Ok(members)
    }

    fn slot(&mut self, member: Member) -> &mut Option<Value<'a>> {
        match member {
            Member::AppId => &mut self.app,
            Member::Popup => &mut self.popup,
            Member::PopupButton => &mut self.button,
            Member::PopupText => &mut self.text,
            Member::PopupAction => &mut self.action,
            Member::RequestId => &mut self.request,
            Member::Content => &mut self.content,
        }
    }

    /// The error that `member` is missing.
    pub(super) fn missing(&self, member: Member) -> EnvelopeError {
        EnvelopeReason::Missing(member).at(self.end)
    }

    /// `idApp`, which must be there.
    #[inline]
    pub(super) fn app_id(&self) -> Result<AppId, EnvelopeError> {
        let value = self.app.ok_or_else(|| self.missing(Member::AppId))?;
        let raw = string(&value, Member::AppId)?;
        let parsed = if raw.bytes().any(|byte| byte == b'\\') {
            escaped_app_id(raw)
        } else {
            AppId::parse(raw).map_err(EnvelopeReason::AppId)
        };
        parsed.map_err(|reason| reason.at(value.offset))
    }
}

/// The member of this name, which may be written with escapes.
#[inline]
fn member(name: &str) -> Option<Member> {
    match name.as_bytes() {
        b"idApp" => Some(Member::AppId),
        b"popup" => Some(Member::Popup),
        b"popupBtn" => Some(Member::PopupButton),
        b"popupText" => Some(Member::PopupText),
        b"popupAction" => Some(Member::PopupAction),
        b"requestId" => Some(Member::RequestId),
        b"content" => Some(Member::Content),
        _ if name.contains('\\') => Member::ALL
            .into_iter()
            .find(|member| JsonString::new(name).is(member.name())),
        _ => None,
    }
}

/// A member that is `true` or `false`; a missing one is `false`.
pub(super) fn flag(value: Option<Value<'_>>, member: Member) -> Result<bool, EnvelopeError> {
    match value {
        None => Ok(false),
        Some(Value {
            kind: Kind::False, ..
        }) => Ok(false),
        Some(Value {
            kind: Kind::True, ..
        }) => Ok(true),
        Some(value) => Err(EnvelopeReason::WrongType(member).at(value.offset)),
    }
}

/// The inside of a member that is a string.
pub(super) fn string<'a>(value: &Value<'a>, member: Member) -> Result<&'a str, EnvelopeError> {
    value
        .string()
        .ok_or_else(|| EnvelopeReason::WrongType(member).at(value.offset))
}

#[cold]
fn escaped_app_id(raw: &str) -> Result<AppId, EnvelopeReason> {
    let mut text = heapless::String::<APP_ID_BYTES_MAX>::new();
    let mut len = 0_usize;
    for c in unescape(raw) {
        let c = c.map_err(|_| EnvelopeReason::AppIdSurrogate)?;
        len = len.saturating_add(c.len_utf8());
        if len <= APP_ID_BYTES_MAX {
            // It fits: `len` counts what has been pushed.
            let _ = text.push(c);
        }
    }
    if len > APP_ID_BYTES_MAX {
        let max = APP_ID_BYTES_MAX;
        return Err(EnvelopeReason::AppId(IdError::TooLong { len, max }));
    }
    AppId::parse(&text).map_err(EnvelopeReason::AppId)
}
