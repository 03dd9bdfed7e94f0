//! The example app, which is the README's picture.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use vinbus_chromium::Page;

use crate::world::World;

const APP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples-app/next-stop");
const FRAME: &str = "http://next-stop.localhost:";

/// `cargo xtask screenshots` wants them here.
fn folder() -> Option<PathBuf> {
    std::env::var_os("VINBUS_SCREENSHOTS").map(PathBuf::from)
}

async fn shoot(page: &mut Page, name: &str) {
    page.eval("void (document.querySelector('#clock').textContent = '10:42')")
        .await;
    let png = STANDARD.decode(page.screenshot().await).unwrap();
    assert_eq!(png[1..4], *b"PNG");
    if let Some(folder) = folder() {
        std::fs::write(Path::new(&folder).join(name), png).unwrap();
    }
}

#[tokio::test]
async fn stop_from_the_host_is_a_card_and_its_answer_goes_back() {
    let mut world = World::new().await;
    let pages = format!("--app-pages=next-stop={APP}");
    let vehicle = world.vehicle(&["next-stop=demo-partner"], &[&pages]).await;
    let stop = |id: u64, name, address, note| json!({ "type": "stop", "id": id, "name": name, "address": address, "note": note });
    let bakery = stop(
        1,
        "Bakery Lacombe",
        "14 Rue des Carmes\n44000 Nantes",
        "Ring twice",
    );
    world.send("next-stop", &bakery).await;
    vehicle.status_reaches("/downlinks/pending", 1).await;
    let mut page = Page::open(&format!("http://{}/", vehicle.portal), (800, 480)).await;
    page.press(".tile > .open").await;
    page.until_frame(FRAME, "document.querySelector('.stop')")
        .await;
    // The agent has it in the foreground.
    let hospital = stop(
        2,
        "Hôtel-Dieu",
        "1 Place Alexis-Ricordeau\n44093 Nantes",
        "Gate 3",
    );
    vehicle.status_reaches("/downlinks/pending", 1).await;
    world.send("next-stop", &hospital).await;
    page.until_frame(FRAME, "document.querySelectorAll('.stop').length === 2")
        .await;
    let accept = "document.querySelectorAll('.stop')[1].querySelector('button').click()";
    page.eval_frame(FRAME, accept).await;
    let answer = r#"{"content":{"type":"answer","id":1,"answer":"accepted"}}"#;
    assert_eq!(world.uplink().await, (None, answer.to_owned()));

    shoot(&mut page, "portal-day.png").await;
    page.prefers("dark").await;
    page.until("document.documentElement.dataset.theme === 'night'")
        .await;
    let dark = "getComputedStyle(document.body).backgroundColor === 'rgb(10, 13, 18)'";
    page.until_frame(FRAME, dark).await;
    shoot(&mut page, "portal-night.png").await;
    let popup = json!({
        "idApp": "next-stop", "popup": true, "popupBtn": true,
        "popupText": "The delivery at 1 Place Alexis-Ricordeau was moved up to 11:15.\nTake it next?",
    });
    world.publish(popup.to_string()).await;
    page.until("document.querySelector('#popup').open").await;
    shoot(&mut page, "portal-popup.png").await;

    let markup = stop(3, "<b>Bold</b>", "</script><img src=x>", "");
    world.send("next-stop", &markup).await;
    page.until_frame(FRAME, "document.querySelectorAll('.stop').length === 3")
        .await;
    let name = page
        .eval_frame(FRAME, "document.querySelector('h2').textContent")
        .await;
    assert_eq!(name, json!("<b>Bold</b>"));
}
