//! What axe-core finds wrong for those who use a page by ear or keyboard.

use std::path::Path;

use serde_json::Value;
use vinbus_chromium::Page;

use crate::car::APP;
use crate::cli_support::VIN;
use crate::desk::{Desk, SIZE};

/// What `cargo xtask test` has installed.
fn axe() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/examples/axe/node_modules/axe-core/axe.min.js");
    let code = std::fs::read_to_string(path);
    code.expect("axe-core: run `cargo xtask examples`")
}

async fn check(page: &mut Page, what: &str) {
    page.eval(&format!("{};0", axe())).await;
    let violations = page
        .eval("axe.run().then(({ violations }) => violations)")
        .await;
    let serious: Vec<String> = violations
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| matches!(it["impact"].as_str(), Some("serious" | "critical")))
        .map(|it| {
            let nodes = it["nodes"].as_array().unwrap().iter();
            let nodes: Vec<&Value> = nodes.map(|node| &node["html"]).collect();
            format!("{}: {nodes:?}", it["help"])
        })
        .collect();
    assert!(serious.is_empty(), "{what}: {serious:#?}");
}

#[tokio::test]
async fn axe_finds_nothing_serious_by_day_and_by_night() {
    let mut desk = Desk::new().await;
    let car = desk.server.vehicle().await;
    car.say("{\"answer\":1}").await;
    desk.write(VIN, APP, "1").await;
    desk.page.press("#send-button").await;
    desk.page
        .until("document.querySelector('#detail pre')")
        .await;
    desk.write(VIN, APP, "{").await;
    desk.page.press("#send-button").await;
    desk.page.press("input[value=popup]").await;
    for scheme in ["light", "dark"] {
        desk.page.prefers(scheme).await;
        check(&mut desk.page, scheme).await;
    }
    desk.page.press("#fleets-tab").await;
    desk.page.press("#new-fleet").await;
    desk.page.press("input[name=to][value=list]").await;
    desk.page.press("input[value=data]").await;
    desk.page.fill("#send-vins", VIN).await;
    desk.page.fill("#content", "1").await;
    desk.page.press("#send-button").await;
    desk.page
        .until("document.querySelector('#detail .target') && document.querySelector('#detail pre')")
        .await;
    for scheme in ["light", "dark"] {
        desk.page.prefers(scheme).await;
        check(&mut desk.page, "a fleet message").await;
    }
    desk.page.press("#show-figures").await;
    desk.page
        .until("document.querySelector('#figures-rows tr')")
        .await;
    check(&mut desk.page, "figures").await;
    let mut door = Page::open(&format!("{}/#sign-in=0", desk.server.url()), SIZE).await;
    door.until("!document.querySelector('#refusal').hidden")
        .await;
    for scheme in ["light", "dark"] {
        door.prefers(scheme).await;
        check(&mut door, "the door").await;
    }
}
