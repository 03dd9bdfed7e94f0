use vinbus_protocol::envelope::Content;
use vinbus_protocol::presence;

use crate::{bytes, number, text, used};

pub fn prove() {
    used(presence::payload(number() == 0));
    used(presence::is_reserved(text()));
    if let Ok(content) = Content::parse(bytes()) {
        used(presence::reported(content));
    }
}
