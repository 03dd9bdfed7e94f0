//! What an app or the screen is told: JSON texts as `Display`, so that they are written in place.

use core::fmt::{self, Display, Write};

use crate::apps::{Fate, Kept};

/// The types of frames.
pub(crate) mod kind {
    pub(crate) const WELCOME: &str = "welcome";
    pub(crate) const ERROR: &str = "error";
    pub(crate) const MESSAGE: &str = "WebPortal.onCurrentNotificationReceived";
    pub(crate) const KEPT: &str = "WebPortal.onPendingNotification";
    pub(crate) const PENDING: &str = "WebPortal.getPendingNotifications";
    pub(crate) const POPUP_SHOW: &str = "WebPortal.onPopupShow";
    pub(crate) const POPUP_CLOSE: &str = "WebPortal.onPopupClose";
    pub(crate) const POPUP_OVERFLOW: &str = "WebPortal.OverflowPopup";
    #[cfg(feature = "linux")]
    pub(crate) const REQUEST_OVER: &str = "WebPortal.onRequestOver";
    pub(crate) const STATUS: &str = "WebPortal.MQTT.evt.status";
    pub(crate) const ACCEPTED: &str = "WebPortal.MQTT.evt.messageAccepted";
    pub(crate) const DELIVERED: &str = "WebPortal.MQTT.evt.messageDelivered";
    pub(crate) const NOT_DELIVERED: &str = "WebPortal.MQTT.evt.messageNotDelivered";
}

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

    /// A message that went with receipts is with its partner; or with the broker, without them: as its app did
    /// not ask for them, or nobody answered who knows them.
    pub(crate) fn settled(fate: Fate) -> Self {
        const WITHOUT_RECEIPTS: &str = r#"{"receipts":false}"#;
        let frame = Self::new(kind::DELIVERED);
        if fate == Fate::WithBroker {
            return frame.with_value(&WITHOUT_RECEIPTS);
        }
        frame
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

/// Whether a frame that tells what became of a message says that it is with its partner.
#[cfg(feature = "linux")]
pub(crate) fn is_good(frame: &str) -> bool {
    let rest = frame.strip_prefix(r#"{"type":""#);
    rest.is_some_and(|rest| rest.starts_with(kind::DELIVERED))
}

/// An encoded app message to be confirmed: [`kind::MESSAGE`] or [`kind::KEPT`] with its number, that
/// of the oldest message still kept, and how many were dropped so far.
pub(crate) struct NumberedFrame<'a> {
    pub(crate) kind: &'static str,
    pub(crate) message: &'a str,
    pub(crate) number: u64,
    pub(crate) oldest: u64,
    pub(crate) lost: u64,
}

impl<'a> NumberedFrame<'a> {
    /// The frame for a message that is kept, whose text this is.
    pub(crate) fn of(kept: &Kept<'_>, message: &'a str) -> Self {
        Self {
            kind: if kept.current {
                kind::MESSAGE
            } else {
                kind::KEPT
            },
            message,
            number: kept.record.number,
            oldest: kept.oldest,
            lost: kept.lost,
        }
    }
}

impl Display for NumberedFrame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            message,
            number,
            oldest,
            lost,
        } = self;
        write!(
            f,
            r#"{{"type":"{kind}","number":{number},"oldest":{oldest}"#
        )?;
        if *lost > 0 {
            write!(f, r#","lost":{lost}"#)?;
        }
        write!(f, r#","value":{message}}}"#)
    }
}

/// [`kind::PENDING`] with encoded app messages, oldest first.
pub(crate) struct PendingFrame<'a, I> {
    pub(crate) id: Option<&'a str>,
    /// The number of each, and its text.
    pub(crate) messages: I,
    /// The app confirms them, by their numbers.
    pub(crate) confirm: bool,
    /// There are more for which there was no room.
    pub(crate) more: bool,
}

impl<'m, I: Iterator<Item = (u64, &'m str)> + Clone> Display for PendingFrame<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"{{"type":"{}""#, kind::PENDING)?;
        if let Some(id) = self.id {
            write!(f, r#","id":{id}"#)?;
        }
        f.write_str(r#","value":["#)?;
        for (index, (_, message)) in self.messages.clone().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            f.write_str(message)?;
        }
        f.write_char(']')?;
        if self.confirm {
            let numbers = self.messages.clone().map(|(number, _)| number);
            if let Some(upto) = numbers.clone().last() {
                write!(f, r#","upto":{upto}"#)?;
            }
            f.write_str(r#","numbers":["#)?;
            for (index, number) in numbers.enumerate() {
                f.write_str(if index == 0 { "" } else { "," })?;
                write!(f, "{number}")?;
            }
            f.write_char(']')?;
        }
        f.write_str(if self.more { r#","more":true}"# } else { "}" })
    }
}

/// The value of a refusal: the reason, for programs, and the text, for people.
pub(crate) struct Explained<D>(pub(crate) &'static str, pub(crate) D);

impl<D: Display> Display for Explained<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(reason, message) = self;
        let message = Quoted(message);
        write!(f, r#"{{"reason":"{reason}","message":{message}}}"#)
    }
}

/// The value of an app's welcome.
pub(crate) struct Welcome<'a> {
    pub(crate) app: &'a str,
    pub(crate) vin: &'a str,
    pub(crate) link_up: bool,
    /// Longest frame that the app may send, and in which life of the agent numbers mean something,
    /// for an app that confirms.
    pub(crate) confirming: Option<(usize, u64)>,
}

impl Display for Welcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (app, vin, link) = (Quoted(self.app), self.vin, link_name(self.link_up));
        write!(f, r#"{{"appId":{app},"vin":"{vin}","link":"{link}""#)?;
        if let Some((frame_bytes_max, life)) = self.confirming {
            write!(
                f,
                r#","frameBytesMax":{frame_bytes_max},"life":"{life:016x}""#
            )?;
        }
        f.write_char('}')
    }
}

/// The value of the screen's welcome.
pub(crate) struct ScreenWelcome<'a, I> {
    pub(crate) vin: &'a str,
    pub(crate) link_up: bool,
    /// The installed apps: which are running, and which are shown.
    pub(crate) apps: I,
}

impl<'a, I: Iterator<Item = (&'a str, bool, bool)> + Clone> Display for ScreenWelcome<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (vin, link) = (self.vin, link_name(self.link_up));
        write!(f, r#"{{"vin":"{vin}","link":"{link}","apps":["#)?;
        for (index, (app, running, shown)) in self.apps.clone().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            let app = Quoted(app);
            write!(
                f,
                r#"{{"appId":{app},"running":{running},"shown":{shown}}}"#
            )?;
        }
        f.write_str("]}")
    }
}

/// The value of [`kind::POPUP_SHOW`]; text and content are JSON already.
pub(crate) struct PopupShown<'a> {
    pub(crate) app: &'a str,
    pub(crate) button: bool,
    pub(crate) text: &'a str,
    pub(crate) content: Option<&'a str>,
}

impl Display for PopupShown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (app, button, text) = (Quoted(self.app), self.button, self.text);
        write!(
            f,
            r#"{{"appId":{app},"popupBtn":{button},"popupText":{text}"#
        )?;
        if let Some(content) = self.content {
            write!(f, r#","content":{content}"#)?;
        }
        f.write_char('}')
    }
}

/// The value of [`kind::POPUP_CLOSE`]: the app and the action.
pub(crate) struct PopupClosed<'a>(pub(crate) &'a str, pub(crate) &'static str);

impl Display for PopupClosed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(app, action) = self;
        let app = Quoted(app);
        write!(f, r#"{{"appId":{app},"popupAction":"{action}"}}"#)
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
    use std::format;
    use std::string::{String, ToString};

    #[test]
    fn parts_stand_in_the_order_of_the_specification() {
        let frame = ServerFrame::new("x").with_value(&1).with_id(Some("\"a\""));
        assert_eq!(frame.to_string(), r#"{"type":"x","id":"a","value":1}"#);
        assert_eq!(ServerFrame::new("x").to_string(), r#"{"type":"x"}"#);
    }

    #[test]
    fn answer_is_a_list_with_the_number_to_confirm() {
        let frame = |id, messages: &[(u64, &'static str)], confirm, more| {
            let messages = messages.iter().copied();
            let frame = PendingFrame {
                id,
                messages,
                confirm,
                more,
            };
            frame.to_string()
        };
        let kind = "WebPortal.getPendingNotifications";
        assert_eq!(
            frame(Some("3"), &[(7, "{}"), (9, "[]")], true, false),
            format!(r#"{{"type":"{kind}","id":3,"value":[{{}},[]],"upto":9,"numbers":[7,9]}}"#)
        );
        assert_eq!(
            frame(None, &[(7, "{}")], false, true),
            format!(r#"{{"type":"{kind}","value":[{{}}],"more":true}}"#)
        );
        assert_eq!(
            frame(None, &[], true, false),
            format!(r#"{{"type":"{kind}","value":[],"numbers":[]}}"#)
        );
        assert_eq!(
            frame(None, &[], false, false),
            format!(r#"{{"type":"{kind}","value":[]}}"#)
        );
    }

    #[test]
    fn texts_are_escaped_as_json_wants() {
        let text = "a\"b\\c\n\u{1}é";
        let quoted = Quoted(text).to_string();
        assert_eq!(quoted, "\"a\\\"b\\\\c\\u000a\\u0001é\"");
        assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
    }
}
