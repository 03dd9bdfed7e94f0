//! Each message reaches its app, once, whatever happens to the page, the socket and the agent.

use serde_json::{Value, json};

use super::cabin::{Cabin, LOGGING, tile};

fn numbers(range: std::ops::Range<u64>) -> Vec<Value> {
    range.map(|n| json!(n)).collect()
}

#[tokio::test]
async fn two_apps_get_their_own_messages_and_the_driver_goes_back_and_home() {
    let mut cabin = Cabin::logging(&["one", "two"], &[]).await;
    cabin.open("one").await;
    cabin.home("one").await;
    cabin.open("two").await;
    cabin.world.send("one", &json!("for one")).await;
    cabin.world.send("two", &json!("for two")).await;
    cabin.has_noted("two", &[json!("for two")]).await;
    cabin.has_noted("one", &[json!("for one")]).await;
    let foreign = cabin.eval("two", "WebPortal.getPendingNotifications('one')");
    assert_eq!(foreign.await, json!([]));
    let reads = "(() => { try { return parent.frames[0].localStorage.length; } \
                 catch (error) { return error.name; } })()";
    assert_eq!(cabin.eval("two", reads).await, json!("SecurityError"));

    let title = async |cabin: &mut Cabin, app: &str| {
        let shown = format!("document.querySelector('iframe[title={app}]').checkVisibility()");
        cabin.page.until(&shown).await;
    };
    cabin.page.press("#back").await;
    title(&mut cabin, "one").await;
    cabin.page.press("#back").await;
    title(&mut cabin, "two").await;
    cabin.page.press("#home").await;
    cabin.page.press(&tile("one", "close")).await;
    cabin
        .page
        .until("!document.querySelector('iframe[title=one]')")
        .await;
    // What was closed stays closed when the page is loaded again.
    cabin.page.reload().await;
    let runs = |app| format!("document.querySelector('.tile[data-app={app}]')?.dataset.running");
    cabin.page.until(&format!("{} === ''", runs("two"))).await;
    assert_eq!(cabin.page.eval(&runs("one")).await, json!(null));
}

#[tokio::test]
async fn reload_in_mid_drain_shows_each_message_once() {
    let mut cabin = Cabin::logging(&["demo"], &[]).await;
    cabin.open("demo").await;
    cabin.home("demo").await;
    for n in 0..5 {
        cabin.world.send("demo", &json!(n)).await;
    }
    cabin.vehicle.status_reaches("/downlinks/pending", 5).await;
    // The page goes between what the app takes and the agent's hearing of it.
    let reload = "addEventListener('message', ({ data }) => { \
                  if (data.type === 'vinbus.taken') location.reload(); })";
    cabin.page.eval(reload).await;
    cabin.page.eval("window.isOld = true").await;
    cabin.until("demo", "(drain(), log().length === 5)").await;
    cabin
        .page
        .until("window.isOld === undefined && document.querySelector('iframe')")
        .await;
    cabin.world.send("demo", &json!(5)).await;
    cabin.has_noted("demo", &numbers(0..6)).await;
}

#[tokio::test]
async fn messages_for_the_foreground_survive_reloads_of_app_and_page() {
    let mut cabin = Cabin::logging(&["demo"], &[]).await;
    cabin.open("demo").await;
    for n in 0..3 {
        cabin.world.send("demo", &json!(n)).await;
    }
    cabin.eval("demo", "void location.reload()").await;
    for n in 3..6 {
        cabin.world.send("demo", &json!(n)).await;
    }
    cabin.page.reload().await;
    for n in 6..9 {
        cabin.world.send("demo", &json!(n)).await;
    }
    let all = "(drain(), log().length >= 9) && log().map(({ content }) => content)";
    let mut noted: Vec<u64> = serde_json::from_value(cabin.until("demo", all).await).unwrap();
    noted.sort_unstable();
    assert_eq!(noted, (0..9).collect::<Vec<_>>());
}

#[tokio::test]
async fn newer_interfaces_publish_and_tell_what_becomes_of_it() {
    let mut cabin = Cabin::logging(&["demo"], &[]).await;
    cabin.open("demo").await;
    let ask = |request: Value| format!("void parent.postMessage({request}, '*')");
    let publish = json!({
        "type": "WebPortal.MQTT.publish", "value": { "payload": "text", "subtopic": "/below" },
    });
    cabin.eval("demo", &ask(publish)).await;
    let sent = (Some("below".to_owned()), r#"{"content":"text"}"#.to_owned());
    assert_eq!(cabin.world.uplink().await, sent);
    let told = "events.find(({ type }) => type === 'WebPortal.MQTT.evt.messageDelivered')";
    cabin.until("demo", told).await;

    for (id, api) in ["MQTT.publish", "MQTT.messageReceived"].iter().enumerate() {
        cabin
            .eval(
                "demo",
                &ask(json!({ "id": id, "type": "SUBSCRIBE", "api": api })),
            )
            .await;
    }
    let set =
        json!({ "id": 7, "type": "SET", "api": "MQTT.publish", "params": { "message": [1] } });
    cabin.eval("demo", &ask(set)).await;
    assert_eq!(
        cabin.world.uplink().await,
        (None, r#"{"content":[1]}"#.to_owned())
    );
    let reply = "events.find(({ id, type }) => id === 7 && type === 'REPLY')";
    let reply = cabin.until("demo", reply).await;
    let notify = "events.find(({ id, type }) => id === 0 && type === 'NOTIFY')";
    let notified = cabin.until("demo", notify).await;
    assert_eq!(
        (&reply["status"], &notified["data"]["status"]),
        (&json!(200), &json!("delivered"))
    );
    assert_eq!(reply["data"]["messageId"], notified["data"]["messageId"]);

    cabin
        .eval(
            "demo",
            &ask(json!({ "id": 8, "type": "GET", "api": "MQTT.status" })),
        )
        .await;
    let status = cabin
        .until("demo", "events.find(({ id }) => id === 8)")
        .await;
    assert_eq!(status["data"], json!("connected"));
    cabin
        .eval(
            "demo",
            &ask(json!({ "id": 9, "type": "GET", "api": "constructor" })),
        )
        .await;
    let refused = cabin
        .until("demo", "events.find(({ id }) => id === 9)")
        .await;
    assert_eq!(refused["status"], json!(400));
    // One that is refused has no fate: its answer says why.
    cabin
        .eval(
            "demo",
            &ask(json!({ "id": 10, "type": "SET", "api": "MQTT.publish" })),
        )
        .await;
    let refused = cabin
        .until("demo", "events.find(({ id }) => id === 10)")
        .await;
    assert_eq!(
        (&refused["status"], &refused["statusText"]),
        (
            &json!(400),
            &json!("the content is missing, or nothing that JSON knows")
        )
    );
    let fates = "events.filter(({ type }) => type === 'WebPortal.MQTT.evt.messageNotDelivered')";
    assert_eq!(cabin.eval("demo", fates).await, json!([]));

    cabin.world.send("demo", &json!("down")).await;
    let received = "events.find(({ id, type }) => id === 1 && type === 'NOTIFY')";
    let received = cabin.until("demo", received).await;
    assert_eq!(received["data"], json!({ "content": "down" }));
    cabin.has_noted("demo", &[json!("down")]).await;
}

#[tokio::test]
async fn agent_that_restarts_before_a_confirmation_shows_nothing_twice() {
    let data = tempfile::tempdir().unwrap();
    let more = ["--data-dir", data.path().to_str().unwrap()];
    let mut cabin = Cabin::logging(&["demo"], &more).await;
    cabin.open("demo").await;
    cabin.home("demo").await;
    // No confirmation leaves the page.
    let mute = "WebSocket.prototype.plainSend = WebSocket.prototype.send; \
                WebSocket.prototype.send = function (text) { \
                  if (!text.includes('confirmPending')) this.plainSend(text); }";
    cabin
        .page
        .eval(&format!("void ({{ set() {{ {mute} }} }}).set()"))
        .await;
    for n in 0..4 {
        cabin.world.send("demo", &json!(n)).await;
    }
    cabin.has_noted("demo", &numbers(0..4)).await;
    cabin.restart(&["demo"], &more).await;
    cabin
        .page
        .eval("void (WebSocket.prototype.send = WebSocket.prototype.plainSend)")
        .await;
    cabin
        .page
        .until("document.querySelector('#link').dataset.state === 'up'")
        .await;
    cabin.world.send("demo", &json!(4)).await;
    cabin.has_noted("demo", &numbers(0..5)).await;
}

#[tokio::test]
async fn app_that_takes_its_time_gets_more_messages_for_the_foreground_than_the_agent_keeps() {
    // A frame within it is never done, and so the page is not.
    let slow = "<iframe></iframe><script>frames[0].document.open();</script>";
    let mut cabin = Cabin::new(&[("demo", &format!("{LOGGING}{slow}"))]).await;
    cabin.open("demo").await;
    for n in 0..15 {
        cabin.world.send("demo", &json!(n)).await;
    }
    cabin.vehicle.status_reaches("/downlinks/pending", 15).await;
    assert_eq!(cabin.eval("demo", "log()").await, json!([]));
    cabin.eval("demo", "frames[0].document.close()").await;
    cabin.has_noted("demo", &numbers(0..15)).await;
}

#[tokio::test]
async fn answer_to_a_request_names_it_and_one_that_nobody_made_is_refused() {
    let mut cabin = Cabin::logging(&["demo"], &[]).await;
    cabin.open("demo").await;
    let answer = json!({
        "type": "WebPortal.onSendNotificationRequest",
        "requestId": "0123456789abcdef", "value": "answer",
    });
    let post = format!("void parent.postMessage({answer}, '*')");
    cabin.eval("demo", &post).await;
    let told = "events.find(({ type }) => type === 'WebPortal.MQTT.evt.messageNotDelivered')";
    let told = cabin.until("demo", told).await;
    assert_eq!(told["value"]["reason"], json!("no-request"), "{told}");
}

#[tokio::test]
async fn message_of_a_page_that_was_reloaded_has_an_id_that_no_earlier_one_had() {
    let mut cabin = Cabin::logging(&["demo"], &[]).await;
    cabin.open("demo").await;
    let post =
        "void parent.postMessage({ type: 'WebPortal.onSendNotificationRequest', value: 1 }, '*')";
    let told = "events.find(({ type }) => type === 'WebPortal.MQTT.evt.messageDelivered')";
    let mut ids = Vec::new();
    for _ in 0..2 {
        cabin.until("demo", "isShown").await;
        cabin.eval("demo", post).await;
        let told = cabin.until("demo", told).await;
        ids.push(told["value"]["messageId"].as_u64().unwrap());
        cabin.page.reload().await;
    }
    // The agent may tell the second load what became of the first one's message.
    assert_ne!(ids[0], ids[1]);
}
