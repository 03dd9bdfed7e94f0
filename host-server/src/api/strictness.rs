//! What a partner's request must not say though a receiver would overlook it (SPEC 9.7): members that
//! would not reach the vehicle, most of them mistyped, one of two of the same name, and a popup that shows
//! nothing.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use vinbus_protocol::envelope::DownlinkBody;

use crate::nearest::nearest;

/// The members of a message, and of a popup only.
const MEMBERS: [&str; 2] = ["idApp", "content"];
const POPUP: &str = "popup";
const POPUP_MEMBERS: [&str; 2] = ["popupBtn", "popupText"];

/// Why a message is refused that its receiver would take, and the byte at which it shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Objection {
    pub(super) offset: usize,
    pub(super) reason: String,
}

/// Looks at the members of `text`, a JSON object that was decoded to `body`.
pub(super) fn check(text: &str, body: &DownlinkBody<'_>) -> Result<(), Objection> {
    let members = members(text);
    for (nth, (offset, name)) in members.iter().enumerate() {
        let name: &str = name;
        // Those before it are known and differ, so they are few.
        let is_second = members.iter().take(nth).any(|(_, before)| before == name);
        let reason = if is_second {
            format!("the member {name} is here a second time; write it once")
        } else if name == POPUP || MEMBERS.contains(&name) {
            continue;
        } else if !POPUP_MEMBERS.contains(&name) {
            let meant = nearest(name, all())
                .map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
            format!(
                "a message has no member {name:?}, only idApp, popup, popupBtn, popupText and content{meant}"
            )
        } else if matches!(body, DownlinkBody::Data(_)) {
            format!("the member {name} is for a popup, and popup is not true")
        } else {
            continue;
        };
        return Err(Objection {
            offset: *offset,
            reason,
        });
    }
    let is_text = |(_, name): &&(usize, Cow<'_, str>)| name == "popupText";
    match (body, members.iter().rfind(is_text)) {
        (DownlinkBody::Popup(popup), Some((offset, _)))
            if popup.text.chars().all(char::is_whitespace) =>
        {
            Err(Objection {
                offset: *offset,
                reason: "popupText is empty, so the popup would show nothing".to_owned(),
            })
        }
        _ => Ok(()),
    }
}

/// The unknown member of `text` that looks like `missing`, which a message needs, and its place.
pub(super) fn lookalike(text: &str, missing: &str) -> Option<(usize, String)> {
    let unknown = members(text)
        .into_iter()
        .filter(|(_, name)| !all().any(|known| known == name));
    let mut meant = unknown.filter(|(_, name)| nearest(name, all()) == Some(missing));
    meant
        .next()
        .map(|(offset, name)| (offset, name.into_owned()))
}

fn all() -> impl Iterator<Item = &'static str> {
    MEMBERS.into_iter().chain([POPUP]).chain(POPUP_MEMBERS)
}

/// The names of an object's members, each with the offset of its first quote.
fn members(text: &str) -> Vec<(usize, Cow<'_, str>)> {
    // The protocol's decoder found no fault with it as JSON; what is no object has no members.
    serde_json::Deserializer::from_str(text)
        .deserialize_map(Names { text })
        .unwrap_or_default()
}

struct Names<'t> {
    text: &'t str,
}

impl<'t> Visitor<'t> for Names<'t> {
    type Value = Vec<(usize, Cow<'t, str>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut names = Vec::new();
        // Behind the value before, there are a comma and white space up to the quote of the name.
        let mut end = 0;
        while let Some((Name(name), value)) = map.next_entry::<Name<'t>, &'t RawValue>()? {
            let rest = self.text.get(end..).unwrap_or_default();
            names.push((end + rest.find('"').unwrap_or_default(), name));
            let value = value.get();
            end = value.as_ptr() as usize - self.text.as_ptr() as usize + value.len();
        }
        Ok(names)
    }
}

/// A name, borrowed unless it is written with escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Name<'t>(#[serde(borrow)] Cow<'t, str>);

#[cfg(test)]
mod tests {
    use vinbus_protocol::envelope::Downlink;

    use super::*;

    fn objection(text: &str) -> Option<(usize, String)> {
        let downlink = Downlink::decode(text.as_bytes()).unwrap();
        let objection = check(text, &downlink.body).err()?;
        Some((objection.offset, objection.reason))
    }

    #[test]
    fn whole_messages_pass_however_they_are_written() {
        for good in [
            r#"{"idApp":"a","popup":false,"content":{"x":{"popUp":1}}}"#,
            " { \"content\" : [ \"}\" , {} ] ,\n\"\\u0069dApp\" : \"a\" } ",
            r#"{"idApp":"a","popup":true,"popupBtn":true,"popupText":"Go","content":1}"#,
        ] {
            assert_eq!(objection(good), None, "{good}");
        }
    }

    #[test]
    fn mistyped_member_is_named_at_its_place() {
        for (text, offset, name) in [
            (r#"{"idApp":"a","popUp":true,"content":1}"#, 13, "popUp"),
            (r#"{ "" : 1, "idApp":"a","content":1}"#, 2, "\"\""),
            (
                r#"{"content":"\",\"x\":","idApp":"é" , "Content":2}"#,
                38,
                "Content",
            ),
            (r#"{"idApp":"a","content":1,"\u0078":1}"#, 25, "\"x\""),
        ] {
            let (at, reason) = objection(text).expect("it is refused");
            assert_eq!(at, offset, "{text}");
            assert!(reason.contains(name), "{reason}");
        }
    }

    #[test]
    fn member_that_stands_twice_is_named_at_its_second_place() {
        for (text, offset, name) in [
            (r#"{"idApp":"a","content":1,"content":2}"#, 25, "content"),
            (r#"{"idApp":"a","content":1,"\u0069dApp":"a"}"#, 25, "idApp"),
            (
                r#"{"idApp":"a","popup":1,"content":1,"popup":false}"#,
                35,
                "popup",
            ),
        ] {
            let (at, reason) = objection(text).expect("it is refused");
            assert_eq!(at, offset, "{text}");
            let expected = format!("the member {name} is here a second time");
            assert!(reason.starts_with(&expected), "{reason}");
        }
    }

    #[test]
    fn mistyped_member_is_found_for_the_one_that_is_missing() {
        let text = r#"{"idApp":"a","xyz":1,"contnt":1}"#;
        let contnt = Some((21, "contnt".to_owned()));
        assert_eq!(lookalike(text, "content"), contnt);
        assert_eq!(lookalike(text, "idApp"), None);
        assert_eq!(lookalike("[]", "content"), None);
        let (_, reason) = objection(r#"{"idApp":"a","popUp":true,"content":1}"#).unwrap();
        assert!(reason.ends_with("did you mean popup?"), "{reason}");
    }

    #[test]
    fn members_of_a_popup_in_a_data_message_are_refused() {
        let text = r#"{"idApp":"a","content":1,"popupText":"Go"}"#;
        let (at, reason) = objection(text).expect("it is refused");
        assert_eq!(at, 25);
        assert!(reason.contains("popupText") && reason.contains("popup is not true"));
    }

    #[test]
    fn popup_that_shows_nothing_is_refused() {
        for text in ["", " ", "\\n\\u00a0\\t"] {
            let text = format!(r#"{{"idApp":"a","popup":true,"popupText":"{text}"}}"#);
            let (at, reason) = objection(&text).expect("it is refused");
            assert_eq!(at, 26);
            assert!(reason.contains("empty"), "{reason}");
        }
    }

    #[test]
    fn deepest_content_that_the_protocol_takes_passes() {
        let content = format!("{}{}", "[".repeat(127), "]".repeat(127));
        let text = format!(r#"{{"idApp":"a","content":{content}}}"#);
        assert_eq!(objection(&text), None);
        let text = format!(r#"{{"idApp":"a","content":{content},"x":1}}"#);
        assert!(objection(&text).is_some());
    }
}
