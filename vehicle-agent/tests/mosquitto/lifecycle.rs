//! Apps that come, go, show and hide, and popups.

use serde_json::json;

use crate::app::App;
use crate::world::World;

const POPUP: &str =
    r#"{"idApp":"demo","popup":true,"popupBtn":true,"popupText":"Go?","content":{"n":1}}"#;

#[tokio::test]
async fn popup_is_answered_by_its_app_and_the_outcome_comes_with_its_content() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut app = vehicle.app("demo").await;
    world.publish(POPUP).await;
    let popup = app.until("WebPortal.onPopupShow").await;
    assert_eq!(
        popup["value"],
        json!({ "appId": "demo", "popupBtn": true, "popupText": "Go?", "content": { "n": 1 } })
    );
    app.send(json!({ "type": "WebPortal.okBtnPopupRequestClicked" }))
        .await;
    let outcome =
        json!({ "popupAction": "WebPortal.okBtnPopupRequestClicked", "content": { "n": 1 } });
    assert_eq!(app.message().await, outcome);
}

#[tokio::test]
async fn popup_of_an_app_that_does_not_run_is_answered_on_the_screen_and_its_outcome_waits() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut screen = vehicle.screen().await;
    world.publish(POPUP).await;
    screen.until("WebPortal.onPopupShow").await;
    screen
        .send(json!({ "type": "WebPortal.cancelBtnPopupRequestClicked" }))
        .await;
    let closed = screen.until("WebPortal.onPopupClose").await;
    let action = json!("WebPortal.cancelBtnPopupRequestClicked");
    assert_eq!(closed["value"]["popupAction"], action);
    let mut app = vehicle.app("demo").await;
    assert_eq!(
        app.pending().await,
        [json!({ "popupAction": action, "content": { "n": 1 } })]
    );
}

#[tokio::test]
async fn app_may_not_answer_the_popup_of_another() {
    let mut world = World::new().await;
    let vehicle = world
        .vehicle(&["demo=demo-partner", "other=demo-partner"], &[])
        .await;
    let mut screen = vehicle.screen().await;
    let mut other = vehicle.app("other").await;
    world.publish(POPUP).await;
    screen.until("WebPortal.onPopupShow").await;
    other
        .send(json!({ "type": "WebPortal.okBtnPopupRequestClicked" }))
        .await;
    assert_eq!(
        other.until("error").await["value"]["reason"],
        json!("no-popup")
    );
}

#[tokio::test]
async fn messages_wait_while_the_screen_hides_the_app_or_the_head_unit_sleeps() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut screen = vehicle.screen().await;
    let mut app = vehicle.app("demo").await;
    let on_app = |event: &str| json!({ "type": format!("WebPortal.onApplication{event}"), "value": { "appId": "demo" } });
    screen.send(on_app("Hide")).await;
    app.until("WebPortal.onApplicationHide").await;
    world.send("demo", &json!(1)).await;
    vehicle.status_reaches("/downlinks/pending", 1).await;
    screen.send(on_app("Show")).await;
    app.until("WebPortal.onApplicationShow").await;
    screen
        .send(json!({ "type": "WebPortal.onNacActive", "value": { "active": false } }))
        .await;
    // The agent serves one socket's frames in order, so the answer to a wrong one tells it is done.
    screen.send(json!({ "type": "no such type" })).await;
    screen.until("error").await;
    world.send("demo", &json!(2)).await;
    vehicle.status_reaches("/received", 2).await;
    screen
        .send(json!({ "type": "WebPortal.onNacActive", "value": { "active": true } }))
        .await;
    let pending = app.pending().await;
    assert_eq!(pending.first(), Some(&json!({ "content": 1 })));
    screen.send(on_app("Unloaded")).await;
    app.until("WebPortal.onApplicationUnloaded").await;
    while app.next_text().await.is_some() {}
}

#[tokio::test]
async fn screen_may_do_what_an_app_may_not() {
    let mut world = World::new().await;
    let vehicle = world
        .vehicle(&["demo=demo-partner", "other=demo-partner"], &[])
        .await;
    let mut app = vehicle.app("demo").await;
    let hide = json!({ "type": "WebPortal.onApplicationHide", "value": { "appId": "other" } });
    app.send(hide).await;
    assert_eq!(
        app.until("error").await["value"]["reason"],
        json!("not-allowed")
    );
    let mut screen = vehicle.screen().await;
    let show = json!({ "type": "WebPortal.onApplicationShow", "value": { "appId": "other" } });
    screen.send(show).await;
    assert_eq!(
        screen.until("error").await["value"]["reason"],
        json!("not-running")
    );
    screen
        .send(json!({ "type": "WebPortal.onSendNotificationRequest", "value": 1 }))
        .await;
    assert_eq!(
        screen.until("error").await["value"]["reason"],
        json!("not-allowed")
    );
}

#[tokio::test]
async fn newer_socket_takes_the_app_over_and_older_messages_come_back_in_order() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut old = vehicle.app("demo").await;
    let mut new = App::silent(vehicle.portal).await;
    new.send(json!({ "type": "hello", "value": { "appId": "demo" } }))
        .await;
    new.send(json!({ "type": "WebPortal.onApplicationLoaded" }))
        .await;
    assert_eq!(
        old.until("error").await["value"]["reason"],
        json!("taken-over")
    );
    assert!(old.next_text().await.is_none());
    new.until("WebPortal.onApplicationShow").await;
    world.send("demo", &json!("for the new one")).await;
    assert_eq!(new.message().await, json!({ "content": "for the new one" }));
}

#[tokio::test]
async fn app_that_is_not_installed_is_told_how_to_install_it() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut app = App::silent(vehicle.portal).await;
    app.send(json!({ "type": "hello", "value": { "appId": "nope" } }))
        .await;
    let error = app.until("error").await;
    assert_eq!(error["value"]["reason"], json!("unknown-app"));
    assert!(
        error["value"]["message"]
            .as_str()
            .unwrap()
            .contains("--app nope=UID")
    );
    assert!(app.next_text().await.is_none());
}
