//! The examples of the WebPortal's documentation, and that of our own, run as they are written.

use serde_json::{Value, json};

use super::cabin::{Cabin, host, tile};

/// "Foreground Implementation example", "Background Implementation example" and "Sending a Message",
/// with the functions and values that they leave to the app.
const APP: &str = include_str!("../../app/seed.html");

/// An identifier that is no host name has one that is made of it.
const HOST: &str = "http://app-";

fn content(n: u64) -> Value {
    json!({ "type": "action", "action": "doSomething", "params": { "arg1": n } })
}

#[tokio::test]
async fn examples_of_the_documentation_run_as_they_are_written() {
    let mut cabin = Cabin::with(&[("some_id", APP)], &[], async |world, vehicle| {
        for n in 0..11 {
            world.send("some_id", &content(n)).await;
        }
        vehicle.status_reaches("/downlinks/pending", 11).await;
    })
    .await;
    cabin.page.press(&tile("some_id", "open")).await;
    cabin.page.until_frame(HOST, "isShown").await;

    // The last 10, in order, in the first call; the second has none.
    let first = cabin.page.eval_frame(HOST, "[shownAtFirst, shown]").await;
    let mut expected: Vec<_> = (1..11).map(|n| json!({ "content": content(n) })).collect();
    assert_eq!(first, json!([10, expected]));
    let second = "WebPortal.getPendingNotifications(MY_APP_ID)";
    assert_eq!(cabin.page.eval_frame(HOST, second).await, json!([]));

    // In the foreground.
    cabin.world.send("some_id", &content(11)).await;
    cabin.page.until_frame(HOST, "shown.length >= 11").await;
    expected.push(content(11));

    // In the background, fetched by the timer.
    cabin.page.press("#home").await;
    cabin.page.until_frame(HOST, "!isShown").await;
    cabin.world.send("some_id", &content(12)).await;
    cabin.page.until_frame(HOST, "shown.length >= 12").await;
    expected.push(json!({ "content": content(12) }));
    assert_eq!(cabin.page.eval_frame(HOST, "shown").await, json!(expected));

    // And back.
    let send = "send({ type: 'action', params: { arg2: 'a string', arg3: [1, 2] } })";
    cabin.page.eval_frame(HOST, send).await;
    let sent = r#"{"content":{"type":"action","params":{"arg2":"a string","arg3":[1,2]}}}"#;
    assert_eq!(cabin.world.uplink().await, (None, sent.to_owned()));
}

#[tokio::test]
async fn first_page_of_the_readme_runs_as_it_is_written() {
    let readme = include_str!("../../../../README.md");
    let (_, html) = readme.split_once("```html\n").unwrap();
    let (html, _) = html.split_once("```").unwrap();
    let mut cabin = Cabin::new(&[("my-app", html)]).await;
    cabin.page.press(&tile("my-app", "open")).await;
    cabin.world.send("my-app", &json!({ "greeting": 1 })).await;
    let shown = r#"document.body.textContent.includes('{"greeting":1}')"#;
    cabin.page.until_frame(&host("my-app"), shown).await;
}
