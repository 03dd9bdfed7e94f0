//! The page before a driver: what is to be pressed is large, what is to be read is legible, and all of it
//! is in sight.

use serde_json::json;
use vinbus_chromium::Page;

use super::cabin::{Cabin, LOGGING};

/// Displays of cars.
const SIZES: [(u32, u32); 2] = [(800, 480), (1280, 720)];

/// What is smaller than a finger, smaller than arm's length allows, or not in sight, as texts.
const FAULTS: &str = "[...document.querySelectorAll('body *')] \
    .filter((it) => it.checkVisibility() && !(it instanceof SVGElement)).flatMap((it) => { \
      const { left, right, top, bottom, width, height } = it.getBoundingClientRect(); \
      const name = `${it.tagName}#${it.id}.${it.className} ${width}x${height} at ${left},${top}`; \
      const isText = [...it.childNodes].some((part) => part.nodeType === 3 && part.data.trim()); \
      const isOut = left < 0 || right > innerWidth || bottom > innerHeight || top < 0; \
      const scrolls = it.closest('#launcher') && it.id !== 'launcher'; \
      return [ \
        it.tagName === 'BUTTON' && Math.min(width, height) < 56 && `small: ${name}`, \
        isText && parseFloat(getComputedStyle(it).fontSize) < 18 && `tiny: ${name}`, \
        isOut && !scrolls && `out of sight: ${name}`, \
      ].filter(Boolean); })";

async fn is_fit_for_a_driver(page: &mut Page, what: &str) {
    for size in SIZES {
        page.resize(size).await;
        let seen = format!("innerWidth === {} && innerHeight === {}", size.0, size.1);
        page.until(&seen).await;
        assert_eq!(page.eval(FAULTS).await, json!([]), "{what} at {size:?}");
    }
}

#[tokio::test]
async fn page_is_fit_for_a_driver_on_small_and_larger_displays() {
    let title = "An app whose name is far longer than any tile is wide";
    let long = LOGGING.replace("Test app", title);
    let names: Vec<_> = (0..12).map(|n| format!("app{n}")).collect();
    let mut apps: Vec<_> = names.iter().map(|name| (name.as_str(), LOGGING)).collect();
    apps[0].1 = &long;
    let mut cabin = Cabin::new(&apps).await;
    is_fit_for_a_driver(&mut cabin.page, "the launcher").await;
    cabin.open("app0").await;
    is_fit_for_a_driver(&mut cabin.page, "an app").await;
    let fills = "(({ top, bottom, width }) => top <= 66 && bottom === innerHeight && \
                 width === innerWidth)(document.querySelector('iframe').getBoundingClientRect())";
    assert_eq!(cabin.page.eval(fills).await, json!(true));
    let popup = json!({
        "idApp": "app0", "popup": true, "popupBtn": true,
        "popupText": format!("{}{}", "A long text.\n".repeat(60), "W".repeat(300)),
    });
    cabin.world.publish(popup.to_string()).await;
    cabin
        .page
        .until("document.querySelector('#popup').open")
        .await;
    is_fit_for_a_driver(&mut cabin.page, "a popup").await;
}
