//! Apps that do not behave cost nobody else anything.

use serde_json::json;

use super::cabin::Cabin;

#[tokio::test]
async fn values_that_are_no_message_are_refused_and_the_app_is_told_why() {
    let mut cabin = Cabin::logging(&["demo"], &[]).await;
    cabin.open("demo").await;
    for (value, reason) in [
        (
            "(() => { const a = {}; a.a = a; return a; })()",
            "bad-content",
        ),
        ("10n", "bad-content"),
        ("undefined", "bad-content"),
        ("'x'.repeat(5_000_000)", "too-large"),
        ("'x'.repeat(131_072)", "too-large"),
        (
            "JSON.parse('['.repeat(500) + ']'.repeat(500))",
            "bad-content",
        ),
    ] {
        let post = format!(
            "events.length = 0; parent.postMessage({{ \
             type: 'WebPortal.onSendNotificationRequest', value: {value} }}, '*')"
        );
        cabin
            .eval("demo", &format!("void (() => {{ {post} }})()"))
            .await;
        let told = "events.find(({ type }) => type === 'WebPortal.MQTT.evt.messageNotDelivered')";
        let told = cabin.until("demo", told).await;
        assert_eq!(told["value"]["reason"], json!(reason), "{value}: {told}");
    }
    for odd in [
        "null",
        "7",
        "'text'",
        "[]",
        "{ type: 'WebPortal.nope' }",
        "{ type: {} }",
    ] {
        cabin
            .eval("demo", &format!("void parent.postMessage({odd}, '*')"))
            .await;
    }
    let post = "parent.postMessage({ type: 'WebPortal.onSendNotificationRequest', \
                value: '</script><!--' }, '*')";
    cabin.eval("demo", &format!("void {post}")).await;
    let sent = r#"{"content":"</script><!--"}"#;
    assert_eq!(cabin.world.uplink().await.1, sent);
}

#[tokio::test]
async fn app_that_floods_is_told_and_the_other_goes_on() {
    let mut cabin = Cabin::logging(&["flood", "other"], &[]).await;
    cabin.open("flood").await;
    let flood = "for (let n = 0; n < 400; ++n) parent.postMessage({ \
                 type: 'WebPortal.onSendNotificationRequest', value: n }, '*')";
    cabin
        .eval("flood", &format!("void (() => {{ {flood} }})()"))
        .await;
    let told = "events.find(({ value }) => value?.reason === 'rate')";
    cabin.until("flood", told).await;
    cabin.page.press("#home").await;
    cabin.open("other").await;
    cabin.world.send("other", &json!("still here")).await;
    cabin.has_noted("other", &[json!("still here")]).await;
}

#[tokio::test]
async fn app_reaches_neither_the_portal_nor_another_app_past_its_own_line() {
    let mut cabin = Cabin::logging(&["spy", "victim"], &[]).await;
    cabin.open("victim").await;
    cabin.page.press("#home").await;
    cabin.open("spy").await;
    let portal = cabin.vehicle.portal;
    for forbidden in [
        format!(
            "new Promise((done) => {{ const socket = new WebSocket('ws://{portal}/portal'); \
                 socket.onopen = () => done(false); socket.onerror = () => done(true); }})"
        ),
        format!("fetch('http://{portal}/status').then(() => false, () => true)"),
        format!(
            "fetch('http://victim.localhost:{}/').then(() => false, () => true)",
            portal.port()
        ),
        "(() => { try { void parent.document; return false; } catch { return true; } })()".into(),
        "(() => { try { top.location = 'about:blank'; return false; } catch { return true; } })()"
            .into(),
    ] {
        assert_eq!(
            cabin.eval("spy", &forbidden).await,
            json!(true),
            "{forbidden}"
        );
    }
    // It claims what is the other's; what it says is still its own.
    let claims = "for (const type of ['vinbus.taken', 'vinbus.reading', 'hello', \
                  'WebPortal.onApplicationUnloaded']) parent.frames[0].postMessage({ type, \
                  keys: ['x/0'], messages: [['x/0', { content: 'forged' }]], appId: 'victim', \
                  value: { appId: 'victim' } }, '*')";
    cabin
        .eval("spy", &format!("void (() => {{ {claims} }})()"))
        .await;
    cabin.world.send("victim", &json!("secret")).await;
    cabin.has_noted("victim", &[json!("secret")]).await;
    assert_eq!(cabin.eval("spy", "(drain(), log())").await, json!([]));
}

#[tokio::test]
async fn app_that_never_says_that_it_has_loaded_is_closed() {
    let mut cabin = Cabin::new(&[("mute", "<!doctype html><title>Mute</title>")]).await;
    cabin.page.press(".tile > .open").await;
    let told = "document.querySelector('#notice').textContent.includes('onApplicationLoaded')";
    cabin.page.until(told).await;
    cabin.page.until("!document.querySelector('iframe')").await;
}
