//! The list of messages.

use serde_json::json;

use crate::car::APP;
use crate::cli_support::{PARTNER, VIN};
use crate::desk::Desk;

#[tokio::test]
async fn messages_are_filtered_by_vin_and_app_and_direction() {
    let mut desk = Desk::new().await;
    let car = desk.server.vehicle().await;
    car.say("\"up\"").await;
    for (vin, app) in [
        (VIN, "weather"),
        (VIN, "music"),
        ("ZZZ45678901234567", "music"),
    ] {
        let content = format!("\"for {app} in {vin}\"");
        desk.write(vin, app, &content).await;
        desk.page.press("#send-button").await;
        desk.shows_message(&content).await;
    }
    desk.shows("#message-count", "4").await;
    let check = async |desk: &mut Desk, selector: &str, text: &str, expected: &[&str]| {
        desk.page.fill(selector, text).await;
        desk.shows("#message-count", &format!("{} of 4", expected.len()))
            .await;
        let messages = desk.messages().await;
        assert_eq!(messages.len(), expected.len(), "{messages:?}");
        for (message, part) in messages.iter().zip(expected) {
            assert!(message.contains(part), "{message} has no {part}");
        }
    };
    check(&mut desk, "#filter-vin", "zzz", &["in ZZZ"]).await;
    check(
        &mut desk,
        "#filter-vin",
        "0123456789a",
        &["for music", "for weather", "up"],
    )
    .await;
    check(&mut desk, "#filter-app", "mus", &["for music"]).await;
    desk.page
        .eval("document.querySelector('#filter-vin').value = '', document.querySelector('#filter-vin').dispatchEvent(new Event('input')), 0")
        .await;
    check(
        &mut desk,
        "#filter-app",
        PARTNER,
        &["ZZZ", "music", "weather", "up"],
    )
    .await;
    let ways = "const way = document.querySelector('#filter-way'); way.value = 'up'; way.dispatchEvent(new Event('input'))";
    desk.page.eval(&format!("(() => {{ {ways} }})()")).await;
    desk.shows("#message-count", "1 of 4").await;
}

#[tokio::test]
async fn app_of_a_message_is_readable_in_windows_of_every_width() {
    let mut desk = Desk::new().await;
    desk.write(VIN, "next-stop", "\"hello\"").await;
    desk.page.press("#send-button").await;
    desk.shows_message("hello").await;
    let fits = "(() => { const app = document.querySelector('.message .app'); \
                return app.clientWidth > 0 && app.scrollWidth <= app.clientWidth; })()";
    for width in [600, 800, 900, 901, 1024, 1200, 1201, 1440] {
        desk.page.resize((width, 480)).await;
        // Two frames later the page has the new width.
        let settled = format!(
            "innerWidth === {width} && new Promise((done) => \
             requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
        );
        desk.page.until(&settled).await;
        assert_eq!(desk.page.eval(fits).await, json!(true), "{width}");
    }
}

#[tokio::test]
async fn what_happened_before_the_page_was_opened_is_there_and_stays_in_order() {
    let mut desk = Desk::new().await;
    let car = desk.server.vehicle().await;
    for n in 0..4 {
        car.say(&format!("\"up {n}\"")).await;
        desk.server.submit(&format!("\"down {n}\"")).await.unwrap();
    }
    desk.page.reload().await;
    desk.shows("#message-count", "8").await;
    let messages = desk.messages().await;
    for (n, pair) in messages.chunks(2).enumerate() {
        let n = 3 - n;
        assert!(pair[0].contains(&format!("down {n}")), "{messages:#?}");
        assert!(pair[1].contains(&format!("up {n}")), "{messages:#?}");
    }
}

#[tokio::test]
async fn the_keyboard_alone_leads_through_the_list() {
    let mut desk = Desk::new().await;
    for n in 0..3 {
        desk.server.submit(&n.to_string()).await.unwrap();
    }
    desk.shows("#message-count", "3").await;
    desk.page
        .eval("document.querySelector('#message-list').focus()")
        .await;
    for key in ["ArrowDown", "ArrowDown", "End"] {
        desk.page.key(key).await;
    }
    let active = "(() => { const list = document.querySelector('#message-list'); \
        const row = document.getElementById(list.getAttribute('aria-activedescendant')); \
        return [row.ariaPosInSet, row.ariaSetSize, row.ariaSelected, list.role]; })()";
    assert_eq!(
        desk.page.eval(active).await,
        json!(["3", "3", "true", "listbox"])
    );
    desk.shows("#detail-title", "For an app✕").await;
    desk.shows("#detail pre", "0").await;
    desk.page
        .eval("document.querySelector('#detail button').focus()")
        .await;
    desk.page.key("Escape").await;
    desk.page
        .until("document.querySelector('#detail').hidden")
        .await;
    assert_eq!(
        desk.page.eval("document.activeElement.id").await,
        "message-list"
    );
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_again() {
    let mut desk = Desk::new().await;
    let id = desk.server.submit("1").await.unwrap();
    desk.server.traced(&id, "held").await;
    let http = desk.server.address("http").to_string();
    desk.server.signal("TERM");
    desk.server.ended().await;
    desk.page
        .until("document.querySelector('#link').dataset.state === 'waiting'")
        .await;
    // Its sessions are gone with it, and that is told.
    let mut again = crate::cli_support::program();
    again.args(["--http", &http, "--mqtt", "off", "--mqtts", "127.0.0.1:0"]);
    let _server = crate::cli_support::Server::launch(&mut again, &desk.server.dir).await;
    desk.page
        .until("document.querySelector('#refusal').textContent.includes('session is over')")
        .await;
}

#[tokio::test]
async fn sizes_are_told_in_bytes_and_not_in_characters() {
    let mut desk = Desk::new().await;
    let car = desk.server.vehicle().await;
    car.say("\"é😀\"").await;
    desk.shows("#message-list .message .status", "8 B").await;
}

#[tokio::test]
async fn very_long_content_is_shown_by_its_size_and_its_beginning() {
    let mut desk = Desk::new().await;
    let car = desk.server.vehicle().await;
    car.say(&format!("[\"{}\"]", "x".repeat(100_000))).await;
    desk.shows("#message-count", "1").await;
    desk.page
        .eval("document.querySelector('#message-list').focus()")
        .await;
    desk.page.key("End").await;
    let shown = "document.querySelector('#detail pre')?.textContent.length === 65537";
    desk.page.until(shown).await;
    let note = "document.querySelector('#detail pre').previousSibling.textContent";
    let note = desk.page.eval(note).await;
    assert!(note.as_str().unwrap().contains("100,004"), "{note}");
}

#[tokio::test]
async fn step_that_is_told_before_the_page_with_its_message_comes_is_shown() {
    let mut desk = Desk::new().await;
    desk.write(VIN, APP, "1").await;
    desk.page.press("#send-button").await;
    desk.shows_message("held").await;
    // The page of messages waits, once the server has written it, until the test lets it go.
    let hold = "const ask = fetch; window.fetch = async (path, options) => { \
          const answer = await ask(path, options); \
          if (path.includes('/messages/sent')) { \
            window.isWritten = true; await new Promise((go) => { window.go = go; }); } \
          return answer; }; \
        const listen = EventSource.prototype.addEventListener; window.steps = []; \
        EventSource.prototype.addEventListener = function (type, told) { \
          listen.call(this, type, (event) => { \
            told(event); if (type === 'step') steps.push(JSON.parse(event.data).step); }); };";
    desk.page.run_before(hold).await;
    desk.page.reload().await;
    desk.page.until("window.isWritten").await;
    let _car = desk.server.vehicle().await;
    desk.page.until("steps.includes('sent')").await;
    let frames = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))";
    desk.page.eval(frames).await;
    desk.page.eval("go()").await;
    desk.shows_message("sent").await;
}
