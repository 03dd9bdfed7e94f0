use core::hint::black_box;

use vinbus_protocol::envelope::{
    AppMessage, Content, Downlink, EncodeError, EnvelopeError, PopupText, Uplink,
};

use crate::{bytes, displayed, space, used};

pub fn prove() {
    match black_box(Downlink::decode(bytes())) {
        Ok(downlink) => {
            used(downlink.encoded_len());
            encoded(downlink.encode(space()));
        }
        Err(error) => refused(error),
    }
    match black_box(Uplink::decode(bytes())) {
        Ok(uplink) => {
            used(uplink.encoded_len());
            encoded(uplink.encode(space()));
        }
        Err(error) => refused(error),
    }
    match black_box(AppMessage::decode(bytes())) {
        Ok(message) => {
            used(message.encoded_len());
            encoded(message.encode(space()));
        }
        Err(error) => refused(error),
    }
    match black_box(Content::parse(bytes())) {
        Ok(content) => used((content.as_str(), content.as_bytes())),
        Err(error) => refused(error),
    }
    match black_box(PopupText::parse(bytes())) {
        Ok(text) => {
            used(text.as_json());
            text.chars().for_each(used);
        }
        Err(error) => refused(error),
    }
}

fn encoded(result: Result<&[u8], EncodeError>) {
    match black_box(result) {
        Ok(bytes) => used(bytes),
        Err(error) => displayed(&error),
    }
}

fn refused(error: EnvelopeError) {
    displayed(&error);
    used(error.reason.name());
    used(error.reason.member().map(|member| member.name()));
}
