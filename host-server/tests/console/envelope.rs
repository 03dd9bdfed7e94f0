//! The page's sums are those of the protocol: its golden messages say so.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use vinbus_chromium::Page;

use crate::desk::SIZE;
use crate::rest_support::Rest;

/// A text of the vectors: as it is, or pieces of which some are repeated.
fn text(value: &Value) -> String {
    let Some(pieces) = value.as_array() else {
        return value.as_str().unwrap().to_owned();
    };
    let mut whole = String::new();
    for piece in pieces {
        match piece.as_str() {
            Some(text) => whole.push_str(text),
            None => {
                let times = piece["times"].as_u64().unwrap() as usize;
                write!(whole, "{}", piece["repeat"].as_str().unwrap().repeat(times)).unwrap();
            }
        }
    }
    whole
}

#[tokio::test]
async fn envelopes_of_the_page_are_the_golden_ones_byte_for_byte() {
    let rest = Rest::start().await;
    let mut page = Page::open(&format!("http://{}/", rest.address), SIZE).await;
    let mut checked = 0;
    for file in ["downlink.json", "sizes.json"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../protocol/vectors")
            .join(file);
        let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let decoded = &case["decoded"];
            if !decoded["idApp"].is_string() || case["encoded"].is_null() {
                continue;
            }
            let expected = text(&case["encoded"]);
            let content = json!(decoded.get("content").map(text).unwrap_or_default());
            let app = &decoded["idApp"];
            let written = if decoded["popup"] == true {
                let popup_text = json!(text(&decoded["popupText"]));
                // A sender may choose other escapes than the page does.
                if !expected.contains(&popup_text.to_string()) {
                    continue;
                }
                let button = decoded["popupBtn"] == true;
                format!("popup({app}, {popup_text}, {button}, {content})")
            } else {
                format!("data({app}, {content})")
            };
            let sums = format!(
                "import('/console/envelope.js').then((it) => {{ const text = it.{written}; \
                 return [it.utf8(text), text.length < 1000 ? text : '']; }})"
            );
            let shown = if expected.encode_utf16().count() < 1000 {
                &expected[..]
            } else {
                ""
            };
            let sums = page.eval(&sums).await;
            assert_eq!(sums, json!([expected.len(), shown]), "{}", case["name"]);
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked}");
}
