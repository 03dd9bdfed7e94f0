//! Message vectors: a payload, and what decoding it gives.

use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use vinbus_protocol::envelope::{
    AppMessage, Downlink, DownlinkBody, EncodeError, EnvelopeError, Uplink,
};
use vinbus_protocol::limits::APP_MESSAGE_BYTES_MAX;

use super::bytes::Bytes;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    about: String,
    cases: Vec<Case>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    shape: Shape,
    payload: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    decoded: Option<Decoded>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoded: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encode_error: Option<TooLarge>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Refusal>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Shape {
    Downlink,
    Uplink,
    App,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Decoded {
    #[serde(skip_serializing_if = "Option::is_none")]
    id_app: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    popup: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    popup_btn: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    popup_text: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    popup_action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Bytes>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TooLarge {
    reason: String,
    len: usize,
    max: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusal {
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<String>,
    offset: usize,
}

/// Derives everything but name, shape and payload.
pub(crate) fn derive(file: &mut File) {
    for case in &mut file.cases {
        case.derive();
    }
}

impl Case {
    fn derive(&mut self) {
        (self.decoded, self.encoded) = (None, None);
        (self.encode_error, self.error) = (None, None);
        let payload = self.payload.to_vec();
        let mut buffer = vec![0; APP_MESSAGE_BYTES_MAX];
        let result = match self.shape {
            Shape::Downlink => Downlink::decode(&payload)
                .map(|message| (downlink(&message), message.encode(&mut buffer))),
            Shape::Uplink => Uplink::decode(&payload)
                .map(|message| (uplink(&message), message.encode(&mut buffer))),
            Shape::App => AppMessage::decode(&payload)
                .map(|message| (app(&message), message.encode(&mut buffer))),
        };
        match result {
            Err(error) => self.error = Some(refusal(error)),
            Ok((decoded, encoded)) => {
                self.decoded = Some(decoded);
                match encoded {
                    Ok(bytes) => {
                        let text = core::str::from_utf8(bytes).expect("envelopes are text");
                        self.encoded = Some(Bytes::describe(text));
                    }
                    Err(EncodeError::TooLarge { len, max }) => {
                        let reason = "too_large".into();
                        self.encode_error = Some(TooLarge { reason, len, max });
                    }
                    Err(EncodeError::Buffer { .. }) => panic!("the buffer holds any payload"),
                }
            }
        }
    }
}

fn refusal(error: EnvelopeError) -> Refusal {
    Refusal {
        reason: error.reason.name().into(),
        member: error.reason.member().map(|member| member.name().into()),
        offset: error.offset,
    }
}

fn downlink(message: &Downlink<'_>) -> Decoded {
    let id_app = Some(message.app.as_str().into());
    match message.body {
        DownlinkBody::Data(content) => Decoded {
            id_app,
            popup: Some(false),
            content: Some(Bytes::describe(content.as_str())),
            ..Decoded::default()
        },
        DownlinkBody::Popup(popup) => Decoded {
            id_app,
            popup: Some(true),
            popup_btn: Some(popup.button),
            popup_text: Some(Bytes::describe(&popup.text.chars().collect::<String>())),
            content: popup
                .content
                .map(|content| Bytes::describe(content.as_str())),
            ..Decoded::default()
        },
    }
}

fn uplink(message: &Uplink<'_>) -> Decoded {
    Decoded {
        content: Some(Bytes::describe(message.content.as_str())),
        ..Decoded::default()
    }
}

fn app(message: &AppMessage<'_>) -> Decoded {
    let (action, id, content) = match message {
        AppMessage::Data(content) => (None, None, Some(*content)),
        AppMessage::Request { id, content } => (None, Some(id.to_string()), Some(*content)),
        AppMessage::PopupOutcome { action, content } => {
            (Some(action.name().into()), None, *content)
        }
    };
    Decoded {
        popup_action: action,
        request_id: id,
        content: content.map(|content| Bytes::describe(content.as_str())),
        ..Decoded::default()
    }
}
