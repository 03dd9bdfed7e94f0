//! What an app or the screen says, taken out of its frame.
//!
//! A frame is `{"type": …, "value"?: …, "subtopic"?: …, "receipts"?: …, "id"?: …}`. The content of a message is
//! carried as its exact span of bytes.

use vinbus_protocol::json::{JsonReason, JsonString, Kind, Member, Object, Value};

use vinbus_protocol::request::RequestId;

use super::refusal::Refusal;
use crate::apps::Numbers;

/// Longest `id` of a frame, in bytes of JSON.
pub(crate) const FRAME_ID_BYTES_MAX: usize = 128;

/// Most numbers in one confirmation: many times what the agent keeps for an app.
pub(crate) const NUMBERS_MAX: usize = 256;

const SEND: &str = "WebPortal.onSendNotificationRequest";

/// What a program sends to the portal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ClientFrame<'f> {
    /// The first frame: who is there.
    Hello(Role<'f>),
    /// `WebPortal.onApplicationLoaded`.
    Loaded,
    /// `WebPortal.onSendNotificationRequest`: `content` is valid JSON as it was written.
    Send {
        /// The content.
        content: Value<'f>,
        /// Where below the vehicle's topic it goes.
        subtopic: Option<JsonString<'f>>,
        /// It is to go with receipts.
        receipts: bool,
        /// Which request it answers.
        request: Option<RequestId>,
    },
    /// `WebPortal.getPendingNotifications`.
    TakePending {
        /// Keep the messages until they are confirmed.
        confirm: bool,
        /// Only those with greater numbers than this, if they are kept.
        after: Option<u64>,
    },
    /// `WebPortal.confirmPendingNotifications`.
    ConfirmPending {
        /// The highest number that the app has taken.
        upto: u64,
    },
    /// The same for single messages, which need not be the oldest.
    ConfirmEach {
        /// Their numbers.
        numbers: Numbers<'f>,
        /// Where in the frame they begin.
        offset: usize,
    },
    /// `WebPortal.onApplicationShow`, `…Hide` or `…Unloaded`, of the named app or the own one.
    Lifecycle {
        /// What happens to the app.
        event: Lifecycle,
        /// The app; `None` for the own one.
        app: Option<JsonString<'f>>,
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
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role<'f> {
    /// An app.
    App {
        /// Its identifier.
        app: JsonString<'f>,
        /// It starts without the screen.
        background: bool,
        /// It confirms every message, those that it gets at once included.
        confirm: bool,
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

/// A frame and the `id` that it carries, as JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WithId<'f, T> {
    /// What was in the frame, or why nothing was.
    pub(crate) item: T,
    /// The `id`.
    pub(crate) id: Option<&'f str>,
}

/// The members of a frame, each the last of its name.
struct Parts<'f> {
    kind: JsonString<'f>,
    value: Option<Value<'f>>,
    subtopic: Option<Value<'f>>,
    receipts: Option<Value<'f>>,
    request: Option<Value<'f>>,
}

impl<'f> ClientFrame<'f> {
    /// Takes a text frame apart.
    pub(crate) fn parse(text: &'f str) -> WithId<'f, Result<Self, Refusal>> {
        let mut members = [None; 6];
        let names = ["type", "value", "subtopic", "receipts", "id", "requestId"];
        let read = pick(text, names, &mut members);
        let [kind, value, subtopic, receipts, id, request] = members;
        let id = id.map(|id| id.text);
        if id.is_some_and(|id| id.len() > FRAME_ID_BYTES_MAX) {
            let item = Err(Refusal::LongId);
            return WithId { item, id: None };
        }
        let kind = kind.and_then(|kind| kind.as_string());
        let item = match (read, kind) {
            (Ok(()), Some(kind)) => Self::of(&Parts {
                kind,
                value,
                subtopic,
                receipts,
                request,
            }),
            (Ok(()), None) => Err(Refusal::NotAFrame),
            (Err(Refusal::Json(error)), Some(kind))
                if error.reason == JsonReason::TooDeep && kind.is(SEND) =>
            {
                Err(Refusal::DeepContent(error))
            }
            (Err(refusal), _) => Err(refusal),
        };
        WithId { item, id }
    }

    fn of(frame: &Parts<'f>) -> Result<Self, Refusal> {
        if frame.kind.is(SEND) {
            return Self::send(frame);
        }
        for event in [Lifecycle::Show, Lifecycle::Hide, Lifecycle::Unload] {
            if frame.kind.is(event.name()) {
                let [app] = frame.optional(["appId"])?;
                let app = app.map(string).transpose()?;
                return Ok(Self::Lifecycle { event, app });
            }
        }
        if frame.kind.is("hello") {
            return hello(frame).map(Self::Hello);
        }
        if frame.kind.is("WebPortal.onApplicationLoaded") {
            return Ok(Self::Loaded);
        }
        if frame.kind.is("WebPortal.getPendingNotifications") {
            let [confirm, after] = frame.optional(["confirm", "after"])?;
            let confirm = confirm.map(flag).transpose()?.unwrap_or(false);
            let after = after.map(number).transpose()?.filter(|_| confirm);
            return Ok(Self::TakePending { confirm, after });
        }
        if frame.kind.is("WebPortal.confirmPendingNotifications") {
            return Self::confirm(frame);
        }
        if frame.kind.is("WebPortal.okBtnPopupRequestClicked") {
            return Ok(Self::PopupAnswer { ok: true });
        }
        if frame.kind.is("WebPortal.cancelBtnPopupRequestClicked") {
            return Ok(Self::PopupAnswer { ok: false });
        }
        if frame.kind.is("WebPortal.onNacActive") {
            let [active] = frame.required(["active"])?;
            let active = active.ok_or(Refusal::Value(r#"{"active": true or false}"#))?;
            let active = flag(active)?;
            return Ok(Self::Nac { active });
        }
        Err(Refusal::UnknownType(shown(frame.kind.chars())))
    }

    fn confirm(frame: &Parts<'f>) -> Result<Self, Refusal> {
        const EXPECTED: Refusal =
            Refusal::Value(r#"{"upto": a number} or {"numbers": [at most 256 numbers]}"#);
        let [upto, numbers] = frame.required(["upto", "numbers"])?;
        if let Some(list) = numbers {
            let numbers = few_numbers(list).ok_or(EXPECTED)?;
            // Behind the bracket.
            let offset = frame.value.map_or(0, |value| value.offset) + list.offset + 1;
            return Ok(Self::ConfirmEach { numbers, offset });
        }
        let upto = upto.and_then(|upto| upto.text.parse().ok());
        let upto = upto.ok_or(EXPECTED)?;
        Ok(Self::ConfirmPending { upto })
    }

    fn send(frame: &Parts<'f>) -> Result<Self, Refusal> {
        let content = frame.value.ok_or(Refusal::NoValue)?;
        let subtopic = frame.subtopic.filter(|value| value.kind != Kind::Null);
        let subtopic = subtopic.map(string).transpose()?;
        let receipts = frame.receipts.map(flag).transpose()?.unwrap_or(false);
        let request = frame.request.filter(|value| value.kind != Kind::Null);
        let request = request.map(|value| {
            let id = RequestId::read(string(value)?);
            id.ok_or(Refusal::Value("the requestId of a message"))
        });
        Ok(Self::Send {
            content,
            subtopic,
            receipts,
            request: request.transpose()?,
        })
    }
}

impl<'f> Parts<'f> {
    /// These members of the value, which must be an object.
    fn required<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<Value<'f>>; N], Refusal> {
        let value = self.value.ok_or(Refusal::NoValue)?;
        let mut members = [None; N];
        match pick(value.text, names, &mut members) {
            Ok(()) => Ok(members),
            Err(_) => Err(Refusal::Value("an object")),
        }
    }

    /// The same, none of which are there if there is no value. `"value": null` counts as none, as
    /// the first apps wrote it.
    fn optional<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<Value<'f>>; N], Refusal> {
        match self.value {
            None => Ok([None; N]),
            Some(value) if value.kind == Kind::Null => Ok([None; N]),
            Some(_) => self.required(names),
        }
    }
}

/// The numbers of a list; `None` if it is something else, or has too many.
fn few_numbers(value: Value<'_>) -> Option<Numbers<'_>> {
    let inside = value.text.strip_prefix('[')?.strip_suffix(']')?;
    let numbers = Numbers(inside);
    let few = numbers.each().take(NUMBERS_MAX + 1).count() <= NUMBERS_MAX;
    (few && numbers.each().all(|number| number.is_some())).then_some(numbers)
}

fn hello<'f>(frame: &Parts<'f>) -> Result<Role<'f>, Refusal> {
    let [app, role, background, confirm] =
        frame.required(["appId", "role", "background", "confirm"])?;
    let app = app.map(string).transpose()?;
    let role = role.map(string).transpose()?;
    let background = background.map(flag).transpose()?.unwrap_or(false);
    let confirm = confirm.map(flag).transpose()?.unwrap_or(false);
    let is = |name| role.is_none_or(|role| role.is(name));
    match app {
        Some(app) if is("app") => Ok(Role::App {
            app,
            background,
            confirm,
        }),
        None if role.is_some() && is("screen") => Ok(Role::Screen),
        _ => Err(Refusal::Value(r#"{"appId":"…"} or {"role":"screen"}"#)),
    }
}

/// Fills in the members of an object that have these names, the last of each.
fn pick<'f, const N: usize>(
    text: &'f str,
    names: [&str; N],
    members: &mut [Option<Value<'f>>; N],
) -> Result<(), Refusal> {
    let mut object = Object::open(text).ok_or(Refusal::NotAFrame)?;
    while let Some(Member { name, value }) = object.next_member().map_err(Refusal::Json)? {
        let known = names.iter().zip(members.iter_mut());
        for (_, place) in known.filter(|(known, _)| name.is(known)) {
            *place = Some(value);
        }
    }
    Ok(())
}

fn string(value: Value<'_>) -> Result<JsonString<'_>, Refusal> {
    value.as_string().ok_or(Refusal::Value("a string"))
}

fn number(value: Value<'_>) -> Result<u64, Refusal> {
    value.text.parse().map_err(|_| Refusal::Value("a number"))
}

fn flag(value: Value<'_>) -> Result<bool, Refusal> {
    match value.kind {
        Kind::True => Ok(true),
        Kind::False => Ok(false),
        _ => Err(Refusal::Value("true or false")),
    }
}

/// The first characters of a text, to be shown to the one who sent it.
pub(crate) fn shown(text: impl Iterator<Item = char>) -> heapless::String<64> {
    let mut shown = heapless::String::new();
    for c in text {
        if shown.push(c).is_err() {
            break;
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::ToString;
    use std::vec::Vec;

    fn parsed(text: &str) -> ClientFrame<'_> {
        ClientFrame::parse(text).item.unwrap()
    }

    fn refused(text: &str) -> &'static str {
        ClientFrame::parse(text).item.unwrap_err().reason()
    }

    #[test]
    fn content_is_the_exact_span_of_the_value() {
        let text = r#"{"type":"WebPortal.onSendNotificationRequest", "value" : { "b":1.0e2, "a":"\u00e9" } ,"id":7}"#;
        let WithId { item, id } = ClientFrame::parse(text);
        let Ok(ClientFrame::Send {
            content, subtopic, ..
        }) = item
        else {
            panic!("{item:?}");
        };
        assert_eq!(content.text, r#"{ "b":1.0e2, "a":"\u00e9" }"#);
        assert!(subtopic.is_none());
        assert_eq!(id, Some("7"));
    }

    #[test]
    fn answer_names_its_request() {
        let answer = |id| format!(r#"{{"type":"{SEND}","value":1,"requestId":{id}}}"#);
        let request = |id| match parsed(&answer(id)) {
            ClientFrame::Send { request, .. } => request,
            other => panic!("{other:?}"),
        };
        assert_eq!(request("null"), None);
        let id = RequestId::new(0xa7);
        assert_eq!(request(r#""00000000000000a7""#), Some(id));
        for bad in ["167", r#""a7""#, r#""00000000000000A7""#] {
            assert_eq!(refused(&answer(bad)), "bad-frame", "{bad}");
        }
    }

    #[test]
    fn any_json_can_be_content() {
        for value in ["null", "\"text\"", "[]", "-1.5", "true"] {
            let frame = format!(r#"{{"type":"{SEND}","value":{value}}}"#);
            let ClientFrame::Send { content, .. } = parsed(&frame) else {
                panic!("{value}");
            };
            assert_eq!(content.text, value);
        }
    }

    #[test]
    fn names_and_types_may_be_written_with_escapes() {
        let text = r#"{"\u0074ype":"h\u0065llo","value":{"appI\u0064":"d\u0065mo"}}"#;
        let ClientFrame::Hello(Role::App { app, .. }) = parsed(text) else {
            panic!("no hello");
        };
        assert!(app.is("demo"));
    }

    #[test]
    fn hello_names_an_app_or_the_screen() {
        let background = |text| match parsed(text) {
            ClientFrame::Hello(Role::App {
                app, background, ..
            }) => {
                assert!(app.is("demo"));
                background
            }
            other => panic!("{other:?}"),
        };
        assert!(!background(r#"{"type":"hello","value":{"appId":"demo"}}"#));
        assert!(background(
            r#"{"type":"hello","value":{"appId":"demo","background":true}}"#
        ));
        let screen = parsed(r#"{"type":"hello","value":{"role":"screen"}}"#);
        assert!(matches!(screen, ClientFrame::Hello(Role::Screen)));
        for bad in [
            r#"{"type":"hello","value":{"role":"root"}}"#,
            r#"{"type":"hello","value":{"appId":1}}"#,
            r#"{"type":"hello","value":[]}"#,
            r#"{"type":"hello"}"#,
        ] {
            assert_eq!(refused(bad), "bad-frame", "{bad}");
        }
    }

    #[test]
    fn refusal_names_what_is_wrong_and_keeps_the_id() {
        for bad in ["", "[1]", "{}", "{\"type\":\"x\"", "{\"type\":1}"] {
            assert_eq!(refused(bad), "bad-frame", "{bad}");
        }
        let WithId { item, id } = ClientFrame::parse(r#"{"type":"WebPortal.nope","id":"a"}"#);
        assert_eq!(item.unwrap_err().reason(), "unknown-type");
        assert_eq!(id, Some("\"a\""));
        let long = "i".repeat(FRAME_ID_BYTES_MAX);
        let frame = format!(r#"{{"type":"x","id":"{long}"}}"#);
        assert!(ClientFrame::parse(&frame).id.is_none());
    }

    #[test]
    fn content_that_nests_too_deep_is_a_message_not_delivered() {
        let deep = "[".repeat(500) + &"]".repeat(500);
        let frame = format!(r#"{{"type":"{SEND}","id":1,"value":{deep}}}"#);
        let WithId { item, id } = ClientFrame::parse(&frame);
        let refusal = item.unwrap_err();
        assert_eq!((refusal.reason(), id), ("bad-content", Some("1")));
        assert!(refusal.to_string().contains("nest"), "{refusal}");
    }

    #[test]
    fn getting_pending_messages_needs_no_value() {
        for value in ["", r#","value":null"#, r#","value":{}"#] {
            let frame = format!(r#"{{"type":"WebPortal.getPendingNotifications"{value}}}"#);
            let ClientFrame::TakePending {
                confirm: false,
                after: None,
            } = parsed(&frame)
            else {
                panic!("{frame}");
            };
        }
    }

    #[test]
    fn messages_are_confirmed_up_to_a_number_or_each_by_its_own() {
        let confirm = |value: &str| {
            format!(r#"{{"type":"WebPortal.confirmPendingNotifications","value":{value}}}"#)
        };
        let each = confirm(r#"{"numbers":[3, 1 ,2]}"#);
        let ClientFrame::ConfirmEach { numbers, offset } = parsed(&each) else {
            panic!("numbers");
        };
        assert_eq!(each[offset..][..numbers.0.len()], *numbers.0);
        let numbers: Vec<_> = numbers.each().flatten().collect();
        assert_eq!(numbers, [3, 1, 2]);
        let many = "1,".repeat(NUMBERS_MAX) + "1";
        let many = confirm(&format!(r#"{{"numbers":[{many}]}}"#));
        assert_eq!(refused(&many), "bad-frame");
        let upto = confirm(r#"{"upto":7}"#);
        assert!(matches!(
            parsed(&upto),
            ClientFrame::ConfirmPending { upto: 7 }
        ));
        for bad in [
            r#"{"upto":-1}"#,
            r#"{"numbers":7}"#,
            r#"{"numbers":[1,"2"]}"#,
            "{}",
        ] {
            assert_eq!(refused(&confirm(bad)), "bad-frame", "{bad}");
        }
    }
}
