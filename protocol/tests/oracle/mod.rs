//! What serde_json says about a payload, compared with what the crate says.
//!
//! Shared by the property tests and the fuzz target. The two differ in what they are meant to
//! differ in, and only there:
//!
//! - Nesting: `RawValue` is not bounded, the crate stops at `JSON_DEPTH_MAX`.
//! - Names: serde_json refuses a name with an escaped lone surrogate as text; to the crate it is
//!   one more unknown name.
//! - UTF-8: the crate checks the whole payload, serde_json only the strings that are read.
//!
//! Lone surrogates and numbers of any range inside of values are no difference: `RawValue` passes
//! them on as well.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use vinbus_protocol::envelope::{
    AppMessage, Content, Downlink, DownlinkBody, EnvelopeError, EnvelopeReason, JsonReason, Popup,
    PopupAction, Uplink,
};
use vinbus_protocol::id::AppId;
use vinbus_protocol::limits::{
    APP_MESSAGE_BYTES_MAX, JSON_DEPTH_MAX, PAYLOAD_BYTES_MAX, POPUP_TEXT_BYTES_MAX,
};

/// Panics unless the crate and serde_json agree on `payload` in every shape.
pub(crate) fn check(payload: &[u8]) {
    let downlink = Downlink::decode(payload);
    let uplink = Uplink::decode(payload);
    let app = AppMessage::decode(payload);
    match Model::of(payload) {
        Err(expected) => {
            // What an app gets may be a little longer than a payload.
            let fits_app = PAYLOAD_BYTES_MAX + 1..=APP_MESSAGE_BYTES_MAX;
            let app = (!fits_app.contains(&payload.len())).then_some(app.err());
            for error in [downlink.err(), uplink.err()].into_iter().chain(app) {
                let error = error.expect("refused in every shape");
                expected.check(error, payload);
            }
        }
        Ok(model) => {
            assert_eq!(downlink.is_ok(), model.accepts_downlink(), "{downlink:?}");
            assert_eq!(uplink.is_ok(), model.content().is_some(), "{uplink:?}");
            assert_eq!(app.is_ok(), model.accepts_app(), "{app:?}");
            for error in [
                downlink.as_ref().err(),
                uplink.as_ref().err(),
                app.as_ref().err(),
            ] {
                let at = error.map_or(0, |error| error.offset);
                assert!(at < payload.len(), "{error:?} points into the payload");
            }
            if let Ok(message) = downlink {
                model.check_downlink(&message);
                survives_encoding(
                    &message,
                    |buffer| message.encode(buffer).ok().map(<[u8]>::to_vec),
                    |bytes| assert_eq!(Downlink::decode(bytes).as_ref(), Ok(&message)),
                );
            }
            if let Ok(message) = uplink {
                model.check_content(Some(message.content));
                survives_encoding(
                    &message,
                    |buffer| message.encode(buffer).ok().map(<[u8]>::to_vec),
                    |bytes| assert_eq!(Uplink::decode(bytes), Ok(message)),
                );
            }
            if let Ok(message) = app {
                survives_encoding(
                    &message,
                    |buffer| message.encode(buffer).ok().map(<[u8]>::to_vec),
                    |bytes| assert_eq!(AppMessage::decode(bytes), Ok(message)),
                );
            }
        }
    }
    check_content(payload);
    check_behind_space(payload);
}

/// A space in front keeps a message from being canonical, and changes nothing but offsets.
fn check_behind_space(payload: &[u8]) {
    if payload.len() >= PAYLOAD_BYTES_MAX {
        return;
    }
    let spaced = [b" ", payload].concat();
    let moved = |mut error: EnvelopeError| {
        error.offset += 1;
        error
    };
    assert_eq!(
        Downlink::decode(payload).map_err(moved),
        Downlink::decode(&spaced)
    );
    assert_eq!(
        Uplink::decode(payload).map_err(moved),
        Uplink::decode(&spaced)
    );
    assert_eq!(
        AppMessage::decode(payload).map_err(moved),
        AppMessage::decode(&spaced)
    );
}

/// Encoding is deterministic, writes over every byte, and decodes to the same message.
fn survives_encoding(
    message: &dyn fmt::Debug,
    encode: impl Fn(&mut [u8]) -> Option<Vec<u8>>,
    decode: impl Fn(&[u8]),
) {
    let once = encode(&mut vec![0xa5; APP_MESSAGE_BYTES_MAX]);
    let again = encode(&mut vec![0x5a; APP_MESSAGE_BYTES_MAX]);
    assert_eq!(once, again, "{message:?}");
    if let Some(bytes) = once {
        decode(&bytes);
    }
}

/// What a payload is refused for before its members are looked at.
enum Fault {
    TooLarge,
    Utf8 { offset: usize },
    Empty,
    Json,
    TooDeep,
    NotAnObject,
}

impl Fault {
    fn check(&self, error: EnvelopeError, payload: &[u8]) {
        let reason = error.reason;
        let agrees = match self {
            Self::TooLarge => matches!(reason, EnvelopeReason::TooLarge { .. }),
            Self::Utf8 { offset } => reason == EnvelopeReason::Utf8 && error.offset == *offset,
            Self::Empty => reason == EnvelopeReason::Empty,
            Self::Json => matches!(reason, EnvelopeReason::Json(_)),
            Self::TooDeep => reason == EnvelopeReason::Json(JsonReason::TooDeep),
            Self::NotAnObject => reason == EnvelopeReason::NotAnObject,
        };
        let payload = String::from_utf8_lossy(payload);
        assert!(agrees, "{error:?} for {payload}");
        assert!(error.offset <= payload.len(), "{error:?} for {payload}");
    }
}

/// The members of an object as serde_json reads them, the last of each name.
struct Model<'a>(HashMap<String, &'a RawValue>);

impl<'a> Model<'a> {
    fn of(payload: &'a [u8]) -> Result<Self, Fault> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        let text = std::str::from_utf8(payload).map_err(|error| Fault::Utf8 {
            offset: error.valid_up_to(),
        })?;
        let trimmed = text.trim_matches([' ', '\t', '\r', '\n']);
        if trimmed.is_empty() {
            return Err(Fault::Empty);
        }
        if serde_json::from_str::<&RawValue>(text).is_err() {
            return Err(Fault::Json);
        }
        if depth(text) > JSON_DEPTH_MAX {
            return Err(Fault::TooDeep);
        }
        if !trimmed.starts_with('{') {
            return Err(Fault::NotAnObject);
        }
        Ok(serde_json::from_str(text).expect("a valid object"))
    }

    fn member<T: Deserialize<'a>>(&self, name: &str) -> Option<Option<T>> {
        let raw: &'a RawValue = self.0.get(name).copied()?;
        Some(serde_json::from_str(raw.get()).ok())
    }

    fn content(&self) -> Option<&'a RawValue> {
        self.0.get("content").copied()
    }

    fn app(&self) -> Option<AppId> {
        let text: String = self.member("idApp")??;
        AppId::parse(&text).ok()
    }

    fn accepts_downlink(&self) -> bool {
        let flag = |name| self.member::<bool>(name).unwrap_or(Some(false));
        self.app().is_some()
            && match flag("popup") {
                None => false,
                Some(false) => self.content().is_some(),
                Some(true) => flag("popupBtn").is_some() && self.accepts_text(),
            }
    }

    fn accepts_text(&self) -> bool {
        self.0.get("popupText").is_some_and(|raw| {
            raw.get().starts_with('"') && raw.get().len() - 2 <= POPUP_TEXT_BYTES_MAX
        })
    }

    fn accepts_app(&self) -> bool {
        let known = [PopupAction::Ok, PopupAction::Cancel, PopupAction::Timeout];
        match self.member::<String>("popupAction") {
            None => self.content().is_some(),
            Some(action) => known
                .iter()
                .any(|known| action.as_deref() == Some(known.name())),
        }
    }

    fn check_downlink(&self, message: &Downlink<'_>) {
        assert_eq!(Some(&message.app), self.app().as_ref());
        match message.body {
            DownlinkBody::Data(content) => self.check_content(Some(content)),
            DownlinkBody::Popup(popup) => self.check_popup(popup),
        }
    }

    fn check_popup(&self, popup: Popup<'_>) {
        self.check_content(popup.content);
        let button = self.member::<bool>("popupBtn").flatten();
        assert_eq!(popup.button, button.unwrap_or(false));
        let raw = self.0.get("popupText").expect("accepted");
        assert_eq!(popup.text.as_json(), raw.get());
        // A text with a lone surrogate is no Rust string.
        if let Ok(text) = serde_json::from_str::<String>(raw.get()) {
            assert!(popup.text.chars().eq(text.chars()), "{text:?}");
        }
    }

    /// The same bytes at the same place, so nothing was copied.
    fn check_content(&self, content: Option<Content<'_>>) {
        let ours = content.map(|content| content.as_bytes().as_ptr_range());
        let theirs = self
            .content()
            .map(|raw| raw.get().as_bytes().as_ptr_range());
        assert_eq!(ours, theirs);
    }
}

/// `Content::parse` accepts what `RawValue` accepts, up to its own depth, and finds its span.
fn check_content(payload: &[u8]) {
    let ours = Content::parse(payload);
    let theirs = std::str::from_utf8(payload)
        .ok()
        .filter(|text| text.len() <= PAYLOAD_BYTES_MAX)
        .and_then(|text| serde_json::from_str::<&RawValue>(text).ok())
        .filter(|raw| depth(raw.get()) < JSON_DEPTH_MAX);
    assert_eq!(
        ours.ok().map(|content| content.as_str()),
        theirs.map(RawValue::get)
    );
}

/// The deepest nesting of a text that is JSON.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

impl<'de: 'a, 'a> Deserialize<'de> for Model<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = HashMap<String, &'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = HashMap::new();
                while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    if let Ok(name) = serde_json::from_str(name.get()) {
                        members.insert(name, value);
                    }
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Members).map(Model)
    }
}
