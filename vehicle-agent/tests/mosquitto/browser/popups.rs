//! Popups on the portal's page: the agent says when they open and close.

use serde_json::json;

use super::cabin::Cabin;

async fn with_popup(text: &str) -> Cabin {
    with_popup_of(text, true).await
}

async fn with_popup_of(text: &str, buttons: bool) -> Cabin {
    let mut cabin = Cabin::logging(&["demo"], &[]).await;
    cabin.open("demo").await;
    let popup = json!({
        "idApp": "demo", "popup": true, "popupBtn": buttons, "popupText": text, "content": { "n": 1 },
    });
    cabin.world.publish(popup.to_string()).await;
    cabin
        .page
        .until("document.querySelector('#popup').open")
        .await;
    cabin
}

async fn is_closed_with(mut cabin: Cabin, action: &str) {
    let noted = cabin.until("demo", "log()[0]").await;
    assert_eq!(
        noted,
        json!({ "popupAction": action, "content": { "n": 1 } })
    );
    cabin
        .page
        .until("!document.querySelector('#popup').open")
        .await;
}

#[tokio::test]
async fn popup_shows_its_text_as_text_and_is_answered_with_ok() {
    let markup = "Leave now?\n<img src=x onerror=alert(1)></script>";
    let mut cabin = with_popup(markup).await;
    let shown = "document.querySelector('#popup-text').textContent";
    assert_eq!(cabin.page.eval(shown).await, json!(markup));
    let refusal = "document.querySelector('#popup-cancel').textContent";
    assert_eq!(cabin.page.eval(refusal).await, json!("Cancel"));
    cabin.page.press("#popup-ok").await;
    is_closed_with(cabin, "WebPortal.okBtnPopupRequestClicked").await;
}

#[tokio::test]
async fn popup_is_cancelled() {
    let mut cabin = with_popup("Leave now?").await;
    cabin.page.press("#popup-cancel").await;
    is_closed_with(cabin, "WebPortal.cancelBtnPopupRequestClicked").await;
}

#[tokio::test]
async fn popup_without_buttons_is_closed_with_the_outcome_of_a_cancelled_one() {
    let mut cabin = with_popup_of("You have arrived.", false).await;
    let offered = "[...document.querySelectorAll('#popup button')].filter((button) => !button.hidden) \
                   .map((button) => button.textContent)";
    assert_eq!(cabin.page.eval(offered).await, json!(["Close"]));
    cabin.page.press("#popup-cancel").await;
    is_closed_with(cabin, "WebPortal.cancelBtnPopupRequestClicked").await;
}

#[tokio::test]
async fn popup_is_cancelled_by_the_key_for_it() {
    let mut cabin = with_popup("Leave now?").await;
    cabin.page.key("Escape").await;
    is_closed_with(cabin, "WebPortal.cancelBtnPopupRequestClicked").await;
}

#[tokio::test]
async fn popup_that_nobody_answers_is_closed_by_the_agent() {
    let cabin = with_popup("Leave now?").await;
    is_closed_with(cabin, "WebPortal.closeTimeoutPopupRequest").await;
}
