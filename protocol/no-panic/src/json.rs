use vinbus_protocol::json::{JsonString, Object};

use crate::{displayed, number, text, used};

pub fn prove() {
    let Some(mut object) = Object::open(text()) else {
        return;
    };
    for _ in 0..number() {
        match object.next_member() {
            Ok(Some(member)) => {
                string(member.name);
                member.value.as_string().map(string);
            }
            Ok(None) => {}
            Err(error) => displayed(&error),
        }
    }
}

fn string(string: JsonString<'_>) {
    used(string.is(text()));
    string.chars().for_each(used);
}
