use core::hint::black_box;

use vinbus_protocol::json::{JsonString, Member, Object};

use crate::{displayed, text, used};

pub fn prove() {
    let Some(object) = black_box(Object::open(text())) else {
        return;
    };
    let mut object = black_box(object);
    loop {
        match black_box(object.next_member()) {
            Ok(Some(Member { name, value })) => {
                string(name);
                used((value.kind, value.text, value.offset));
                if let Some(value) = value.as_string() {
                    string(value);
                }
            }
            Ok(None) => return,
            Err(error) => return displayed(&error),
        }
    }
}

fn string(string: JsonString<'_>) {
    displayed(&string);
    used(string.is(text()));
    string.chars().for_each(used);
}
