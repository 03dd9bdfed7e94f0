//! Messages to a car, and what comes back.

use serde_json::json;

use crate::car::{APP, Car};
use crate::cli_support::VIN;
use crate::desk::Desk;

#[tokio::test]
async fn a_message_reaches_the_car_and_its_answer_and_its_steps_are_seen() {
    let mut desk = Desk::new().await;
    let mut car = Car::start(&desk.server).await;
    let online = "document.querySelector('.vehicle[data-presence=online] .vin')?.textContent";
    assert_eq!(desk.page.until(online).await, VIN);

    desk.page.press(".vehicle").await;
    desk.shows("#detail-title", &format!("{VIN}✕")).await;
    assert_eq!(
        desk.page
            .eval("document.querySelector('#send-vin').value")
            .await,
        VIN
    );
    let odd = "{ \"n\" : 1.500 , \"text\" : \"</script><b>bold</b>\" }";
    desk.write(VIN, APP, odd).await;
    desk.page.press("#send-button").await;
    assert_eq!(car.hears().await, format!("{{\"content\":{odd}}}"));
    let steps = "[...document.querySelectorAll('.chain b')].map((step) => step.textContent)";
    let chain = format!("{steps}.includes('sent') && {steps}");
    let chain = desk.page.until(&chain).await;
    let names: Vec<&str> = chain
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|it| it.as_str())
        .collect();
    assert_eq!(names[0], "accepted");
    assert!(names.contains(&"sent"), "{names:?}");
    desk.page
        .until("document.querySelector('#detail pre')?.textContent.includes('1.500')")
        .await;

    car.says("{\"answer\": \"<img src=x onerror=alert(1)>\"}")
        .await;
    desk.shows_message("<img src=x onerror=alert(1)>").await;
    desk.shows_message("</script><b>bold</b>").await;
    assert_eq!(
        desk.page
            .eval("document.querySelectorAll('#console b b, #console img').length")
            .await,
        0
    );
    desk.page.press("#message-list .message[data-way=up]").await;
    desk.shows("#detail-title", "From a vehicle✕").await;
    desk.shows(
        "#detail pre",
        "{\n  \"answer\": \"<img src=x onerror=alert(1)>\"\n}",
    )
    .await;
    assert_eq!(desk.page.complaints().await, Vec::<String>::new());

    car.dies().await;
    desk.page
        .until("document.querySelector('.vehicle').dataset.presence === 'offline'")
        .await;
    desk.write(VIN, APP, "2").await;
    desk.page.press("#send-button").await;
    desk.page.until(&format!("{steps}.includes('held')")).await;
    desk.page
        .until("document.querySelectorAll('.tile .value')[3].textContent === '1 message'")
        .await;
}

#[tokio::test]
async fn a_popup_is_sent_with_its_buttons_and_content() {
    let mut desk = Desk::new().await;
    let mut car = desk.server.vehicle().await;
    desk.page.press("input[value=popup]").await;
    desk.page
        .fill("#popup-text", "Petrol \"98\"?\nTurn left – é")
        .await;
    desk.page.press("#popup-button").await;
    desk.write(VIN, APP, "").await;
    desk.page.press("#send-button").await;
    let expected = r#"{"idApp":"demo","popup":true,"popupBtn":true,"popupText":"Petrol \"98\"?\nTurn left – é"}"#;
    assert_eq!(car.next().await, expected);
    desk.shows_message("popup: Petrol \"98\"?").await;
    desk.page.fill("#content", " [1.0] ").await;
    desk.page.press("#popup-button").await;
    desk.page.press("#send-button").await;
    let expected = expected
        .replace("\"popupBtn\":true", "\"popupBtn\":false")
        .replace("é\"}", "é\",\"content\":[1.0]}");
    assert_eq!(car.next().await, expected);
    // What a popup may be, the server says.
    for (text, fault) in [(" ", "popupText is empty"), (&"é".repeat(2049)[..], "4098")] {
        desk.page.fill("#popup-text", text).await;
        desk.page.press("#send-button").await;
        let told = format!("document.querySelector('#fault').textContent.includes('{fault}')");
        desk.page.until(&told).await;
    }
}

#[tokio::test]
async fn a_newer_message_of_a_key_takes_the_place_of_one_that_waits() {
    let mut desk = Desk::new().await;
    let is_hidden = "document.querySelector('#key-field').hidden";
    desk.page.until(is_hidden).await;
    desk.page.press("#send-receipts").await;
    desk.page.until(&format!("!{is_hidden}")).await;
    for value in ["\"first\"", "\"second\""] {
        desk.write(VIN, APP, value).await;
        desk.page.fill("#send-key", "the position").await;
        desk.page.press("#send-button").await;
        desk.shows_message(value).await;
    }
    desk.page
        .until("document.querySelector('#detail .count')?.textContent === 'Key: the position'")
        .await;
    desk.shows_message("superseded").await;
    let messages = desk.messages().await;
    assert!(messages[1].contains("first"), "{messages:?}");
    assert!(messages[1].ends_with("superseded"), "{messages:?}");
    // One to many has none.
    desk.page.press("input[name=to][value=list]").await;
    desk.page.until(is_hidden).await;
}

#[tokio::test]
async fn the_size_is_counted_in_bytes_up_to_the_limit_and_not_beyond() {
    let mut desk = Desk::new().await;
    let mut car = desk.server.vehicle().await;
    // Two bytes each, and one more for an even sum.
    let envelope = r#"{"idApp":"demo","popup":false,"content":""}"#;
    let room = 131_072 - envelope.len();
    let mut content = format!("\"{}{}\"", "é".repeat(room / 2), "x".repeat(room % 2));
    desk.write(VIN, APP, &content).await;
    desk.shows("#size-text", "131,072 of 131,072 bytes").await;
    desk.page.press("#send-button").await;
    assert_eq!(car.next().await.len(), 131_072);
    content.insert(1, 'x');
    desk.page.fill("#content", &content).await;
    desk.shows("#size-text", "131,073 of 131,072 bytes: too large")
        .await;
    let state = "[document.querySelector('#send-button').disabled, document.querySelector('#content').ariaInvalid]";
    assert_eq!(desk.page.eval(state).await, json!([true, "true"]));
}

#[tokio::test]
async fn what_the_server_refuses_is_told_with_its_reason() {
    let mut desk = Desk::new().await;
    let faults = [
        ("", APP, "1", "name the vehicle by its VIN"),
        ("short", APP, "1", "is not a VIN"),
        (VIN, APP, "{\"a\":", "the content is not JSON"),
        (VIN, APP, "", "a message for an app needs a content"),
        ("0123456789ABCDEF/", APP, "1", "is not a VIN"),
    ];
    for (vin, app, content, fault) in faults {
        desk.write(vin, app, content).await;
        desk.page.press("#send-button").await;
        let told = format!("document.querySelector('#fault').textContent.includes('{fault}')");
        desk.page.until(&told).await;
    }
    desk.write(VIN, APP, "1").await;
    desk.page.press("summary").await;
    desk.page.fill("#send-uid", "nobody").await;
    desk.page.press("#send-button").await;
    desk.page
        .until("document.querySelector('#fault').textContent.includes('no partner is enrolled as nobody')")
        .await;
}
