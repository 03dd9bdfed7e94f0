//! What an app is told again after its page or the agent has begun anew.

use serde_json::json;

use super::cabin::Cabin;

const STATES: &str = "events.filter(({ type }) => type === 'WebPortal.MQTT.evt.status') \
                      .map(({ value }) => value)";

#[tokio::test]
async fn app_hears_that_the_link_is_down_without_an_agent_and_up_with_the_next_one() {
    let mut cabin = Cabin::logging(&["demo"], &[]).await;
    cabin.open("demo").await;
    cabin.restart(&["demo"], &[]).await;
    let last = format!("({STATES}).at(-1) === 'connected'");
    cabin.until("demo", &last).await;
    let states = cabin.eval("demo", STATES).await;
    assert_eq!(states, json!(["disconnected", "connected"]));

    // An agent that is killed says nothing.
    cabin.vehicle.kill();
    let down = format!("({STATES}).length === 3 && ({STATES}).at(-1)");
    assert_eq!(cabin.until("demo", &down).await, json!("disconnected"));
    let get = r#"{ id: 1, type: "GET", api: "MQTT.status" }"#;
    let ask = format!("void parent.postMessage({get}, '*')");
    cabin.eval("demo", &ask).await;
    let answer = "events.find(({ id }) => id === 1)";
    let answer = cabin.until("demo", answer).await;
    assert_eq!(answer["data"], json!("disconnected"));
}

#[tokio::test]
async fn document_that_follows_another_is_told_that_the_app_is_shown() {
    let mut cabin = Cabin::logging(&["demo"], &[]).await;
    cabin.open("demo").await;
    let reload = "void (window.isOld = true, location.reload())";
    cabin.eval("demo", reload).await;
    let shown = "!window.isOld && \
                 events.some(({ type }) => type === 'WebPortal.onApplicationShow')";
    cabin.until("demo", shown).await;
}
