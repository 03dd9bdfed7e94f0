//! The JSON text frames between an app and the portal (SPEC 8); the only file that spells their
//! names.
//!
//! A frame is `{"type": …, "value"?: …, "subtopic"?: …, "id"?: …}`. `value` of a data message is
//! carried as its exact span of bytes, in both directions.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// What a program sends to the portal, taken out of its frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ClientFrame {
    /// The first frame: who is there.
    Hello(Role),
    /// `WebPortal.onApplicationLoaded`.
    Loaded,
    /// `WebPortal.onSendNotificationRequest`: `content` is valid JSON as it was written.
    Send {
        /// The content.
        content: String,
        /// Where below the vehicle's topic it goes.
        subtopic: Option<String>,
        /// The frame's `id`, as JSON.
        id: Option<String>,
    },
    /// `WebPortal.getPendingNotifications`.
    TakePending {
        /// Keep the messages until they are confirmed.
        confirm: bool,
        /// The frame's `id`, as JSON.
        id: Option<String>,
    },
    /// `WebPortal.confirmPendingNotifications`.
    ConfirmPending {
        /// The highest number that the app has taken.
        upto: u64,
    },
    /// `WebPortal.onApplicationShow`, `…Hide` or `…Unloaded`, of the named app or the own one.
    Lifecycle {
        /// What happens to the app.
        event: Lifecycle,
        /// The app; `None` for the own one.
        app: Option<String>,
    },
    /// The driver's answer to the popup on screen.
    PopupAnswer {
        /// OK rather than back.
        ok: bool,
    },
    /// `WebPortal.onNacActive`: whether the head unit is active.
    Nac {
        /// It is.
        active: bool,
    },
}

/// Who a socket belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// An app.
    App {
        /// Its identifier.
        app: String,
        /// It starts without the screen.
        background: bool,
    },
    /// The screen: the driver's hand and eye.
    Screen,
}

/// What the driver does to an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    /// Brought to the foreground.
    Show,
    /// Sent to the background.
    Hide,
    /// Closed.
    Unload,
}

impl Lifecycle {
    /// The `type` of its frame.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Show => "WebPortal.onApplicationShow",
            Self::Hide => "WebPortal.onApplicationHide",
            Self::Unload => "WebPortal.onApplicationUnloaded",
        }
    }
}

/// A frame that the portal does not take, and what its sender is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// One of the reasons of SPEC 8, for programs.
    pub(crate) reason: &'static str,
    /// What happened and what to do, for people.
    pub(crate) message: String,
    /// The refused frame's `id`, as JSON.
    pub(crate) id: Option<String>,
}

impl Refusal {
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            id: None,
        }
    }

    pub(crate) fn with_id(self, id: Option<String>) -> Self {
        Self { id, ..self }
    }
}

#[derive(Deserialize)]
struct Frame<'f> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'f, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'f RawValue>,
    #[serde(borrow)]
    subtopic: Option<Cow<'f, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'f RawValue>,
}

/// A member that is there, `null` or not: that is JSON like any other.
fn present<'f, D: Deserializer<'f>>(member: D) -> Result<Option<&'f RawValue>, D::Error> {
    <&RawValue>::deserialize(member).map(Some)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HelloValue<'f> {
    #[serde(borrow)]
    app_id: Option<Cow<'f, str>>,
    #[serde(borrow)]
    role: Option<Cow<'f, str>>,
    #[serde(default)]
    background: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ConfirmValue {
    confirm: bool,
}

#[derive(Deserialize)]
struct UptoValue {
    upto: u64,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AppValue<'f> {
    #[serde(borrow)]
    app_id: Option<Cow<'f, str>>,
}

#[derive(Deserialize)]
struct NacValue {
    active: bool,
}

/// Longest `id` of a frame, in bytes of JSON.
pub(crate) const FRAME_ID_BYTES_MAX: usize = 128;

impl ClientFrame {
    /// Takes a text frame apart.
    ///
    /// # Errors
    /// A [`Refusal`] that says which part is wrong; it carries the frame's `id` if that was readable.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let frame: Frame<'_> = serde_json::from_str(text).map_err(|error| {
            Refusal::new(
                "bad-frame",
                format!("the frame is not a JSON object with a \"type\": {error}"),
            )
        })?;
        let id = frame.id.map(|id| id.get().to_owned());
        if id.as_ref().is_some_and(|id| id.len() > FRAME_ID_BYTES_MAX) {
            let message =
                format!("\"id\" has more than {FRAME_ID_BYTES_MAX} bytes; use a short one");
            return Err(Refusal::new("bad-frame", message));
        }
        Self::of(&frame, id.clone()).map_err(|refusal| refusal.with_id(id))
    }

    fn of(frame: &Frame<'_>, id: Option<String>) -> Result<Self, Refusal> {
        let lifecycle = |event| {
            let app = optional::<AppValue<'_>>(frame)?.app_id.map(Cow::into_owned);
            Ok(Self::Lifecycle { event, app })
        };
        match frame.kind.as_ref() {
            "hello" => hello(&required(frame)?),
            "WebPortal.onApplicationLoaded" => Ok(Self::Loaded),
            "WebPortal.onSendNotificationRequest" => {
                let value = frame.value.ok_or_else(|| missing_value(frame))?;
                Ok(Self::Send {
                    content: value.get().to_owned(),
                    subtopic: frame
                        .subtopic
                        .as_ref()
                        .map(|text| text.clone().into_owned()),
                    id,
                })
            }
            "WebPortal.getPendingNotifications" => Ok(Self::TakePending {
                confirm: optional::<ConfirmValue>(frame)?.confirm,
                id,
            }),
            "WebPortal.confirmPendingNotifications" => Ok(Self::ConfirmPending {
                upto: required::<UptoValue>(frame)?.upto,
            }),
            "WebPortal.onApplicationShow" => lifecycle(Lifecycle::Show),
            "WebPortal.onApplicationHide" => lifecycle(Lifecycle::Hide),
            "WebPortal.onApplicationUnloaded" => lifecycle(Lifecycle::Unload),
            "WebPortal.okBtnPopupRequestClicked" => Ok(Self::PopupAnswer { ok: true }),
            "WebPortal.cancelBtnPopupRequestClicked" => Ok(Self::PopupAnswer { ok: false }),
            "WebPortal.onNacActive" => Ok(Self::Nac {
                active: required::<NacValue>(frame)?.active,
            }),
            other => {
                let shown: String = other.chars().take(64).collect();
                Err(Refusal::new(
                    "unknown-type",
                    format!("the portal knows no type {shown:?}"),
                ))
            }
        }
    }
}

fn hello(value: &HelloValue<'_>) -> Result<ClientFrame, Refusal> {
    match (&value.app_id, value.role.as_deref()) {
        (Some(app), None | Some("app")) => Ok(ClientFrame::Hello(Role::App {
            app: app.clone().into_owned(),
            background: value.background,
        })),
        (None, Some("screen")) => Ok(ClientFrame::Hello(Role::Screen)),
        _ => Err(Refusal::new(
            "bad-frame",
            r#"the value of "hello" is {"appId":"…"} or {"role":"screen"}"#,
        )),
    }
}

fn missing_value(frame: &Frame<'_>) -> Refusal {
    Refusal::new("bad-frame", format!("{:?} needs a \"value\"", frame.kind))
}

fn required<'f, T: Deserialize<'f>>(frame: &Frame<'f>) -> Result<T, Refusal> {
    let value = frame.value.ok_or_else(|| missing_value(frame))?;
    serde_json::from_str(value.get()).map_err(|error| {
        Refusal::new(
            "bad-frame",
            format!("the \"value\" of {:?} is wrong: {error}", frame.kind),
        )
    })
}

fn optional<'f, T: Deserialize<'f> + Default>(frame: &Frame<'f>) -> Result<T, Refusal> {
    // `"value": null` counts as none, as the first apps wrote it.
    match frame.value.map(RawValue::get) {
        None | Some("null") => Ok(T::default()),
        Some(_) => required(frame),
    }
}

/// A frame to a program: `{"type":…,"id"?:…,"value"?:…}`. The parts are JSON already.
pub(crate) fn server_frame(kind: &str, id: Option<&str>, value: Option<&str>) -> String {
    let room = kind.len() + id.map_or(0, str::len) + value.map_or(0, str::len) + 32;
    let mut text = String::with_capacity(room);
    text.push_str("{\"type\":\"");
    text.push_str(kind);
    text.push('"');
    if let Some(id) = id {
        text.push_str(",\"id\":");
        text.push_str(id);
    }
    if let Some(value) = value {
        text.push_str(",\"value\":");
        text.push_str(value);
    }
    text.push('}');
    text
}

/// `WebPortal.onCurrentNotificationReceived` with an encoded app message.
pub(crate) fn message_frame(message: &str) -> String {
    server_frame(
        "WebPortal.onCurrentNotificationReceived",
        None,
        Some(message),
    )
}

/// The reply to `WebPortal.getPendingNotifications`: encoded app messages, oldest first, and the
/// number of the last one for a confirmation.
pub(crate) fn pending_frame(id: Option<&str>, messages: &[Box<str>], upto: Option<u64>) -> String {
    let mut value = String::with_capacity(messages.iter().map(|m| m.len() + 1).sum::<usize>() + 2);
    value.push('[');
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            value.push(',');
        }
        value.push_str(message);
    }
    value.push(']');
    let mut text = server_frame("WebPortal.getPendingNotifications", id, Some(&value));
    if let Some(upto) = upto {
        text.pop();
        // Writing to a String cannot fail.
        let _ = write!(text, ",\"upto\":{upto}}}");
    }
    text
}

/// A refusal as the frame of type `kind`.
pub(crate) fn refusal_frame(kind: &str, refusal: &Refusal) -> String {
    let value = serde_json::json!({ "reason": refusal.reason, "message": refusal.message });
    server_frame(kind, refusal.id.as_deref(), Some(&value.to_string()))
}

/// The `error` frame: a frame was refused or the socket is about to close.
pub(crate) fn error_frame(refusal: &Refusal) -> String {
    refusal_frame("error", refusal)
}

/// `WebPortal.MQTT.evt.messageNotDelivered`: a message of the app was refused or dropped.
pub(crate) fn not_delivered_frame(refusal: &Refusal) -> String {
    refusal_frame("WebPortal.MQTT.evt.messageNotDelivered", refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Refusal {
        ClientFrame::parse(text).unwrap_err()
    }

    #[test]
    fn content_is_the_exact_span_of_the_value() {
        let frame = r#"{"type":"WebPortal.onSendNotificationRequest", "value" : { "b":1.0e2, "a":"\u00e9" } ,"id":7}"#;
        assert_eq!(
            ClientFrame::parse(frame),
            Ok(ClientFrame::Send {
                content: r#"{ "b":1.0e2, "a":"\u00e9" }"#.into(),
                subtopic: None,
                id: Some("7".into()),
            })
        );
    }

    #[test]
    fn any_json_can_be_content() {
        for value in ["null", "\"text\"", "[]", "-1.5", "true"] {
            let frame =
                format!(r#"{{"type":"WebPortal.onSendNotificationRequest","value":{value}}}"#);
            let expected = ClientFrame::Send {
                content: value.to_owned(),
                subtopic: None,
                id: None,
            };
            assert_eq!(ClientFrame::parse(&frame), Ok(expected));
        }
    }

    #[test]
    fn hello_names_an_app_or_the_screen() {
        let app = |background| {
            Ok(ClientFrame::Hello(Role::App {
                app: "demo".into(),
                background,
            }))
        };
        let front = r#"{"type":"hello","value":{"appId":"demo"}}"#;
        assert_eq!(ClientFrame::parse(front), app(false));
        let back = r#"{"type":"hello","value":{"appId":"demo","background":true}}"#;
        assert_eq!(ClientFrame::parse(back), app(true));
        let screen = r#"{"type":"hello","value":{"role":"screen"}}"#;
        assert_eq!(
            ClientFrame::parse(screen),
            Ok(ClientFrame::Hello(Role::Screen))
        );
        assert_eq!(
            refused(r#"{"type":"hello","value":{"role":"root"}}"#).reason,
            "bad-frame"
        );
        assert_eq!(refused(r#"{"type":"hello"}"#).reason, "bad-frame");
    }

    #[test]
    fn refusal_names_what_is_wrong_and_keeps_the_id() {
        assert_eq!(refused("[1]").reason, "bad-frame");
        assert_eq!(refused("{\"type\":\"x\"").reason, "bad-frame");
        let unknown = refused(r#"{"type":"WebPortal.nope","id":"a"}"#);
        assert_eq!(
            (unknown.reason, unknown.id.as_deref()),
            ("unknown-type", Some("\"a\""))
        );
        let frame = format!(
            r#"{{"type":"x","id":"{}"}}"#,
            "i".repeat(FRAME_ID_BYTES_MAX)
        );
        assert_eq!(refused(&frame).id, None);
    }

    #[test]
    fn getting_pending_messages_needs_no_value() {
        for value in ["", r#","value":null"#, r#","value":{}"#] {
            let frame = format!(r#"{{"type":"WebPortal.getPendingNotifications"{value}}}"#);
            let expected = ClientFrame::TakePending {
                confirm: false,
                id: None,
            };
            assert_eq!(ClientFrame::parse(&frame), Ok(expected), "{frame}");
        }
    }

    #[test]
    fn pending_reply_is_a_list_with_the_number_to_confirm() {
        let messages: [Box<str>; 2] = [r#"{"content":1}"#.into(), r#"{"content":2}"#.into()];
        assert_eq!(
            pending_frame(Some("3"), &messages, Some(9)),
            r#"{"type":"WebPortal.getPendingNotifications","id":3,"value":[{"content":1},{"content":2}],"upto":9}"#
        );
        assert_eq!(
            pending_frame(None, &[], None),
            r#"{"type":"WebPortal.getPendingNotifications","value":[]}"#
        );
    }
}
