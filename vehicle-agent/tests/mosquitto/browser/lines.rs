//! The sockets of the portal's page, when they end and what they said before.

use serde_json::json;
use vinbus_chromium::Page;

use super::cabin::Cabin;

/// Sockets that speak from now on are in `lines`, each with the first frame that it sends.
const CATCH: &str = "window.lines = new Map(); void (WebSocket.prototype.send = (send => \
    function (text) { if (!lines.has(this)) lines.set(this, text); send.call(this, text); }) \
    (WebSocket.prototype.send))";

/// To the page, each socket that comes from now on is one of an agent that knows nothing of those before.
const FORGET: &str = "window.life = 0; void (JSON.parse = (parse => text => { \
    const value = parse(text); if (value?.value?.life) value.value.life = `new-${life++}`; \
    return value; })(JSON.parse))";

/// The socket whose first frame contains a text.
fn line(part: &str) -> String {
    format!("[...lines].findLast(([, first]) => first.includes('{part}'))?.[0]")
}

#[tokio::test]
async fn socket_that_drops_comes_back_whatever_was_refused_before() {
    let mut cabin = Cabin::logging(&["demo"], &[]).await;
    cabin.open("demo").await;
    cabin.page.eval(CATCH).await;
    cabin.page.press("#home").await;
    let screen = line("onApplicationHide");
    // A screen whose hello names an unknown app would not be welcome again; this one only asked for one.
    let refused = format!(
        "new Promise((done) => {{ const screen = {screen}; \
           screen.addEventListener('message', ({{ data }}) => data.includes('unknown-app') && done(1)); \
           screen.send(JSON.stringify({{ type: 'WebPortal.onApplicationShow', value: {{ appId: 'x' }} }})); }})"
    );
    cabin.page.eval(&refused).await;
    cabin.page.eval(&format!("{screen}.close()")).await;
    let is_back =
        |state: &str| format!("document.querySelector('#link').dataset.state === '{state}'");
    cabin.page.until(&is_back("none")).await;
    cabin.page.until(&is_back("up")).await;
    let told = "document.querySelector('#notice').hidden";
    assert_eq!(cabin.page.eval(told).await, json!(true));
}

#[tokio::test]
async fn messages_that_an_app_never_takes_are_bounded_however_often_the_agent_forgets_them() {
    let mut cabin = Cabin::logging(&["demo"], &[]).await;
    cabin.open("demo").await;
    cabin.home("demo").await;
    for n in 0..10 {
        cabin.world.send("demo", &json!(n)).await;
    }
    cabin.vehicle.status_reaches("/downlinks/pending", 10).await;
    cabin.page.eval(CATCH).await;
    cabin.page.eval(FORGET).await;
    let told = "events.some(({ value }) => value?.reason === 'lost')";
    let lost = async |cabin: &mut Cabin| cabin.eval("demo", told).await == json!(true);
    // The first is opened by the page's own socket, which has not spoken since it is caught.
    cabin
        .eval(
            "demo",
            "void parent.postMessage({ type: 'WebPortal.onApplicationLoaded' }, '*')",
        )
        .await;
    let mut rounds = 0;
    while !lost(&mut cabin).await {
        assert!(rounds < 10, "nothing is dropped");
        rounds += 1;
        let app = line(if rounds == 1 {
            "onApplicationLoaded"
        } else {
            "hello"
        });
        cabin.page.until(&app).await;
        cabin
            .page
            .eval(&format!("void (window.last = {app}).close()"))
            .await;
        let next = format!("life === {rounds} && {} !== last", line("hello"));
        cabin.page.until(&next).await;
    }
    let kept = "WebPortal.getPendingNotifications().length";
    let kept = cabin.eval("demo", kept).await.as_u64().unwrap();
    assert!((10..=64 + 10).contains(&kept), "{kept}");
}

#[tokio::test]
async fn confirmation_that_could_not_be_sent_confirms_nothing_of_a_later_life() {
    let mut cabin = Cabin::logging(&["demo"], &[]).await;
    cabin.open("demo").await;
    cabin.home("demo").await;
    cabin.page.eval(CATCH).await;
    cabin.page.eval(FORGET).await;
    // Confirmations are refused, and what the page wants to do a second later waits for the test.
    let refuse = "window.later = []; window.isRefused = false; window.confirmed = []; \
        void ((plain, send) => { \
          window.setTimeout = (f, ms) => ms === 1000 ? later.push(f) : plain(f, ms); \
          WebSocket.prototype.send = function (text) { \
            if (!text.includes('confirmPending')) return send.call(this, text); \
            if (window.life > 0) return confirmed.push(text); \
            const { id } = JSON.parse(text); \
            return send.call(this, JSON.stringify({ type: 'nothing', id })); }; \
        })(setTimeout, WebSocket.prototype.send)";
    cabin.page.eval(refuse).await;
    cabin.world.send("demo", &json!("first")).await;
    cabin.has_noted("demo", &[json!("first")]).await;
    cabin.page.until("later.length === 1").await;
    cabin.world.send("demo", &json!("second")).await;
    cabin.vehicle.status_reaches("/downlinks/pending", 2).await;
    let app = line("nothing");
    cabin.page.eval(&format!("{app}.close()")).await;
    // The new agent's list is with the app.
    let list = "(WebSocket.prototype.send, life === 1)";
    cabin.page.until(list).await;
    let ask =
        "void parent.postMessage({ type: 'WebPortal.MQTT.publish', value: { payload: 0 } }, '*')";
    cabin.eval("demo", ask).await;
    let told = "events.find(({ type }) => type === 'WebPortal.MQTT.evt.messageDelivered')";
    cabin.until("demo", told).await;
    cabin
        .page
        .eval("later.forEach((wanted) => wanted()), 0")
        .await;
    assert_eq!(cabin.page.eval("confirmed").await, json!([]));
    cabin.eval("demo", "drain(), 0").await;
    cabin.page.until("confirmed.length > 0").await;
}

#[tokio::test]
async fn second_window_takes_the_portal_over_and_the_first_says_so() {
    let mut cabin = Cabin::logging(&["demo"], &[]).await;
    let portal = format!("http://{}/", cabin.vehicle.portal);
    let mut second = Page::open(&portal, (800, 480)).await;
    let told = "document.querySelector('#notice').textContent.includes('another window')";
    cabin.page.until(told).await;
    second
        .until("document.querySelector('#link').dataset.state === 'up'")
        .await;
    assert_eq!(second.eval(told).await, json!(false));
}
