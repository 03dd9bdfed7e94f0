use core::hint::black_box;

use vinbus_protocol::envelope::{
    AppMessage, Content, Downlink, EncodeError, EnvelopeError, EnvelopeReason, JsonReason, Member,
    PopupAction, PopupText, Uplink,
};

use crate::{bytes, displayed, space, used};

pub fn prove() {
    match black_box(Downlink::decode(bytes())) {
        Ok(downlink) => {
            used(Downlink::encoded_len(&downlink));
            encoded(Downlink::encode(&downlink, space()));
            encoded(Downlink::encode_long(&downlink, space()));
        }
        Err(error) => refused(error),
    }
    used(black_box(Downlink::decode_long(bytes())).is_ok());
    used(black_box(AppMessage::decode_long(bytes())).is_ok());
    used(black_box(Content::parse_long(bytes())).is_ok());
    used(black_box(Uplink::decode_long(bytes())).is_ok());
    match black_box(Uplink::decode(bytes())) {
        Ok(uplink) => {
            used(Uplink::encoded_len(&uplink));
            encoded(Uplink::encode(&uplink, space()));
        }
        Err(error) => refused(error),
    }
    match black_box(AppMessage::decode(bytes())) {
        Ok(message) => {
            used(AppMessage::encoded_len(&message));
            encoded(AppMessage::encode(&message, space()));
        }
        Err(error) => refused(error),
    }
    match black_box(Content::parse(bytes())) {
        Ok(content) => used((Content::as_str(&content), Content::as_bytes(&content))),
        Err(error) => refused(error),
    }
    match black_box(PopupText::parse(bytes())) {
        Ok(text) => {
            used(PopupText::as_json(&text));
            PopupText::chars(&text).for_each(used);
        }
        Err(error) => refused(error),
    }
    used(PopupAction::name(black_box(PopupAction::Ok)));
}

fn encoded(result: Result<&[u8], EncodeError>) {
    match black_box(result) {
        Ok(bytes) => used(bytes),
        Err(error) => displayed(&error),
    }
}

fn refused(error: EnvelopeError) {
    displayed(&error);
    used(EnvelopeReason::name(error.reason));
    used(EnvelopeReason::member(error.reason).map(Member::name));
    if let EnvelopeReason::Json(reason) = error.reason {
        displayed(&reason);
        used(JsonReason::name(reason));
    }
}
