//! Apps that do not behave cost nobody else anything.

use serde_json::json;

use super::cabin::{Cabin, LOGGING, tile};

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
        "{ type: { toString: 1 } }",
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
    assert_eq!(cabin.page.complaints().await, Vec::<String>::new());
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
async fn app_is_told_why_the_portal_does_nothing_with_what_it_posted() {
    let mut cabin = Cabin::logging(&["demo"], &[]).await;
    cabin.open("demo").await;
    for (posted, why) in [
        (
            "{ type: 'WebPortal.what' }",
            "knows no type \"WebPortal.what\"",
        ),
        (
            "[{ type: 'WebPortal.onApplicationLoaded' }]",
            "posted an array: ",
        ),
        (
            "{ type: 1 }",
            "posted an object without a text as its type: ",
        ),
        ("{}", "posted an object without a text as its type: "),
    ] {
        let post = format!("void (events.length = 0, parent.postMessage({posted}, '*'))");
        cabin.eval("demo", &post).await;
        let told = "events.find(({ value }) => value?.reason === 'unknown-type')?.value.message";
        let told = cabin.until("demo", told).await;
        assert!(told.as_str().unwrap().contains(why), "{posted}: {told}");
    }
}

#[tokio::test]
async fn app_that_floods_the_page_alone_is_closed() {
    is_closed_for(
        "setInterval(() => { for (let n = 0; n < 1000; ++n) \
         parent.postMessage({ type: 'nothing' }, '*'); }, 10)",
    )
    .await;
}

#[tokio::test]
async fn app_whose_few_messages_take_all_of_the_time_is_closed() {
    is_closed_for(
        "(() => { const value = Array.from({ length: 500_000 }, (_, n) => ({ n })); \
         setInterval(() => parent.postMessage({ type: 'nothing', value }, '*'), 10); })()",
    )
    .await;
}

/// An app that does this leaves the portal no time.
async fn is_closed_for(flood: &str) {
    let mut cabin = Cabin::logging(&["flood"], &[]).await;
    cabin.open("flood").await;
    cabin.eval("flood", &format!("void {flood}")).await;
    let told = "document.querySelector('#notice').textContent.includes('left the portal no time')";
    cabin.page.until(told).await;
    assert_eq!(
        cabin.page.eval("document.querySelector('iframe')").await,
        json!(null)
    );
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

/// Leads an app's frame to a page of another app, once `first` is done there; the beginning of the
/// page's address.
async fn lead(cabin: &mut Cabin, from: &str, to: &str, first: &str) -> String {
    let port = cabin.vehicle.portal.port();
    let address = format!("http://{to}.localhost:{port}/?led");
    let go = format!("void (() => {{ {first}; location.href = '{address}'; }})()");
    cabin.eval(from, &go).await;
    let complete = "document.readyState === 'complete'";
    cabin.page.until_frame(&address, complete).await;
    address
}

#[tokio::test]
async fn app_that_leads_its_frame_to_a_page_of_another_cannot_leave_messages_there() {
    let mut cabin = Cabin::logging(&["victim", "spy"], &[]).await;
    cabin.open("victim").await;
    cabin.page.press("#home").await;
    cabin.open("spy").await;
    let forge = "window.name = JSON.stringify({ appId: 'victim', \
                 messages: [['x/0', { content: 'forged' }]] })";
    let led = lead(&mut cabin, "spy", "victim", forge).await;
    let has = "(drain(), [log(), window.name.includes('forged')])";
    assert_eq!(cabin.page.eval_frame(&led, has).await, json!([[], true]));
    let again = "(location.search = '?led-again')";
    cabin.page.eval_frame(&led, again).await;
    let again = led.replace("?led", "?led-again");
    let has = "document.readyState === 'complete' && (drain(), [log()])";
    assert_eq!(cabin.page.until_frame(&again, has).await, json!([[]]));
}

#[tokio::test]
async fn app_cannot_lead_its_frame_out_of_the_vehicle() {
    let mut cabin = Cabin::logging(&["spy"], &[]).await;
    cabin.open("spy").await;
    let watch = "addEventListener('securitypolicyviolation', ({ effectiveDirective: by, blockedURI: to }) => \
                 { window.refused = [by, to]; })";
    cabin.page.eval(watch).await;
    let port = cabin.vehicle.portal.port();
    let out = format!("http://out.example:{port}");
    let fetched = format!("fetch('{out}/').then(() => false, () => true)");
    assert_eq!(cabin.eval("spy", &fetched).await, json!(true));
    let go = format!("void (location.href = '{out}/?secret')");
    cabin.eval("spy", &go).await;
    let refused = cabin.page.until("window.refused").await;
    assert_eq!(refused[0], json!("frame-src"));
    assert!(refused[1].as_str().unwrap().starts_with(&out), "{refused}");
}

#[tokio::test]
async fn app_that_goes_to_a_page_of_another_leaves_its_messages_to_itself_alone() {
    let mut cabin = Cabin::logging(&["demo", "spy"], &[]).await;
    cabin.open("demo").await;
    cabin.home("demo").await;
    cabin.world.send("demo", &json!("secret")).await;
    cabin.vehicle.status_reaches("/downlinks/pending", 1).await;
    // What the page was told before this, it has handed to the window.
    let ask =
        "void parent.postMessage({ type: 'WebPortal.MQTT.publish', value: { payload: 0 } }, '*')";
    cabin.eval("demo", ask).await;
    let told = "events.find(({ type }) => type === 'WebPortal.MQTT.evt.messageDelivered')";
    cabin.until("demo", told).await;
    let led = lead(&mut cabin, "demo", "spy", "0").await;
    let has = "[window.name, sessionStorage.length, (drain(), log())]";
    assert_eq!(cabin.page.eval_frame(&led, has).await, json!(["", 0, []]));
    let back = led.replace("spy", "demo").replace("?led", "");
    cabin
        .page
        .eval_frame(&led, &format!("void (location.href = '{back}')"))
        .await;
    cabin.has_noted("demo", &[json!("secret")]).await;
}

#[tokio::test]
async fn app_that_never_says_that_it_has_loaded_is_closed() {
    let mut cabin = Cabin::new(&[("mute", "<!doctype html><title>Mute</title>")]).await;
    cabin.page.press(".tile > .open").await;
    let told = "document.querySelector('#notice').textContent.includes('onApplicationLoaded')";
    cabin.page.until(told).await;
    cabin.page.until("!document.querySelector('iframe')").await;
}

#[tokio::test]
async fn apps_below_a_domain_for_other_machines_are_as_far_from_each_other() {
    let mut cabin = Cabin::logging(&["victim", "spy"], &["--portal-domain", "car.example"]).await;
    let port = cabin.vehicle.portal.port();
    let portal = format!("car.example:{port}");
    let host = |app: &str| format!("http://{app}.car.example:");
    cabin.page.go_to(&format!("http://{portal}/")).await;
    for app in ["victim", "spy"] {
        cabin.page.press(&tile(app, "open")).await;
        let shown = "events.some(({ type }) => type === 'WebPortal.onApplicationShow')";
        cabin.page.until_frame(&host(app), shown).await;
        cabin.page.press("#home").await;
    }
    let keep = "localStorage.own = 'secret', document.cookie = 'own=secret', 0";
    cabin.page.eval_frame(&host("victim"), keep).await;
    let theirs = format!("http://victim.{portal}/");
    for forbidden in [
        format!(
            "new Promise((done) => {{ const socket = new WebSocket('ws://{portal}/portal'); \
                 socket.onopen = () => done(false); socket.onerror = () => done(true); }})"
        ),
        format!("fetch('http://{portal}/status').then(() => false, () => true)"),
        format!("fetch('{theirs}').then(() => false, () => true)"),
        "(() => { try { document.domain = 'car.example'; } catch {} \
            try { void parent.frames[0].document; return false; } catch { return true; } })()"
            .into(),
        "(() => { try { void parent.frames[0].localStorage; return false; } \
            catch { return true; } })()"
            .into(),
        "localStorage.own === undefined && document.cookie === ''".into(),
    ] {
        let is_refused = cabin.page.eval_frame(&host("spy"), &forbidden).await;
        assert_eq!(is_refused, json!(true), "{forbidden}");
    }
    cabin.world.send("victim", &json!("secret")).await;
    let taken = "(drain(), log().length > 0) && log()";
    let taken = cabin.page.until_frame(&host("victim"), taken).await;
    assert_eq!(taken, json!([{ "content": "secret" }]));
    let foreign = "(drain(), log())";
    assert_eq!(
        cabin.page.eval_frame(&host("spy"), foreign).await,
        json!([])
    );
}

#[tokio::test]
async fn markup_in_messages_stays_text_on_its_way_into_an_app() {
    let markup =
        json!({ "a": "</script><script>var broken = 1</script><!--", "b": "</iframe>\u{2028}" });
    let mut cabin = Cabin::logging(&["demo"], &[]).await;
    // Handed over with the page, then to the page in the background, then in the foreground.
    cabin.world.send("demo", &markup).await;
    cabin.vehicle.status_reaches("/downlinks/pending", 1).await;
    cabin.open("demo").await;
    cabin.home("demo").await;
    cabin.world.send("demo", &markup).await;
    cabin
        .has_noted("demo", &[markup.clone(), markup.clone()])
        .await;
    cabin.open("demo").await;
    cabin.world.send("demo", &markup).await;
    cabin
        .has_noted("demo", &[markup.clone(), markup.clone(), markup])
        .await;
    assert_eq!(
        cabin.eval("demo", "typeof broken").await,
        json!("undefined")
    );
    assert_eq!(cabin.page.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn page_with_a_head_in_a_comment_has_the_portal_and_keeps_its_attributes() {
    let head = "<!doctype html><!-- <head> --><html lang='fr'><head>";
    let page = LOGGING.replace("<!doctype html>", head);
    let mut cabin = Cabin::new(&[("demo", &page)]).await;
    cabin.open("demo").await;
    let has = "[typeof WebPortal, document.documentElement.lang, document.compatMode]";
    let expected = json!(["object", "fr", "CSS1Compat"]);
    assert_eq!(cabin.eval("demo", has).await, expected);
}
