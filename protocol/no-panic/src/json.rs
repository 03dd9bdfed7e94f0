use vinbus_protocol::json::{JsonString, Object, Value};

use crate::{displayed, number, text, used};

pub fn prove() {
    let Some(mut object) = Object::open(text()) else {
        return;
    };
    for _ in 0..number() {
        match Object::next_member(&mut object) {
            Ok(Some(member)) => {
                string(member.name);
                Value::as_string(&member.value).map(string);
            }
            Ok(None) => {}
            Err(error) => displayed(&error),
        }
    }
}

fn string(string: JsonString<'_>) {
    displayed(&string);
    used(JsonString::is(&string, text()));
    JsonString::chars(&string).for_each(used);
}
