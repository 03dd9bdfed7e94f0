//! The portal's page on the board, in a real Chromium, with apps that a head unit has.

use serde_json::{Value, json};

use crate::cabin::{Cabin, tile};
use crate::server::done;

const SEED: &str = include_str!("../../app/seed.html");
const LOGGING: &str = include_str!("../../app/logging.html");
const NEXT_STOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples-app/next-stop");

pub(crate) async fn examples_of_the_documentation_run_on_the_board_as_they_are_written() {
    const APP: &str = "some_id";
    // An identifier that is no host name has one that is made of it.
    const HOST: &str = "http://app-";
    let content =
        |n: u64| json!({ "type": "action", "action": "doSomething", "params": { "arg1": n } });
    let mut cabin = Cabin::with_page(APP, SEED).await;
    for n in 0..11 {
        cabin.send(APP, &content(n)).await;
    }
    cabin.pending_reaches(11).await;
    cabin.page.press(&tile(APP, "open")).await;
    cabin.page.until_frame(HOST, "isShown").await;

    // The last 10, in order, in the first call; the second has none.
    let first = cabin.page.eval_frame(HOST, "[shownAtFirst, shown]").await;
    let mut expected: Vec<_> = (1..11).map(|n| json!({ "content": content(n) })).collect();
    assert_eq!(first, json!([10, expected]));
    let second = "WebPortal.getPendingNotifications(MY_APP_ID)";
    assert_eq!(cabin.page.eval_frame(HOST, second).await, json!([]));

    // In the foreground.
    cabin.send(APP, &content(11)).await;
    cabin.page.until_frame(HOST, "shown.length >= 11").await;
    expected.push(content(11));

    // In the background, fetched by the timer.
    cabin.page.press("#home").await;
    cabin.page.until_frame(HOST, "!isShown").await;
    cabin.send(APP, &content(12)).await;
    cabin.page.until_frame(HOST, "shown.length >= 12").await;
    expected.push(json!({ "content": content(12) }));
    assert_eq!(cabin.page.eval_frame(HOST, "shown").await, json!(expected));

    // And back.
    let send = "send({ type: 'action', params: { arg2: 'a string', arg3: [1, 2] } })";
    cabin.page.eval_frame(HOST, send).await;
    let sent = r#"{"type":"action","params":{"arg2":"a string","arg3":[1,2]}}"#;
    cabin.listener.hears(sent).await;
    assert_eq!(cabin.page.complaints().await, Vec::<String>::new());
}

pub(crate) async fn example_app_shows_a_stop_and_its_answer_goes_back() {
    const APP: &str = "next-stop";
    const FRAME: &str = "http://next-stop.localhost:";
    let mut cabin = Cabin::with_folders(&[(APP, NEXT_STOP.as_ref())]).await;
    // The page's title came into the block, and from there into the launcher.
    let title = "document.querySelector('.tile .name').textContent === 'Next stop'";
    cabin.page.until(title).await;
    cabin.page.press(&tile(APP, "open")).await;
    cabin
        .page
        .until_frame(FRAME, "document.querySelector('#empty')")
        .await;
    let stop = json!({ "type": "stop", "id": 1, "name": "Bakery", "address": "14 Rue des Carmes" });
    cabin.send(APP, &stop).await;
    cabin
        .page
        .until_frame(FRAME, "document.querySelector('.stop button')")
        .await;
    let accept = "document.querySelector('.stop button').click()";
    cabin.page.eval_frame(FRAME, accept).await;
    let answer = r#"{"type":"answer","id":1,"answer":"accepted"}"#;
    cabin.listener.hears(answer).await;
}

pub(crate) async fn page_that_is_reloaded_in_mid_drain_shows_each_message_once() {
    let mut cabin = Cabin::with_page("demo", LOGGING).await;
    cabin.open_app("demo").await;
    cabin.home("demo").await;
    for n in 0..5 {
        cabin.send("demo", &json!(n)).await;
    }
    cabin.pending_reaches(5).await;
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
    cabin.send("demo", &json!(5)).await;
    let expected: Vec<_> = (0..6).map(|n| json!({ "content": n })).collect();
    let noted = cabin.until("demo", "(drain(), log().length >= 6) && log()");
    assert_eq!(noted.await, json!(expected));
}

pub(crate) async fn popup_on_the_page_is_answered_with_ok() {
    let mut cabin = with_popup().await;
    cabin.page.press("#popup-ok").await;
    is_closed_with(cabin, "WebPortal.okBtnPopupRequestClicked").await;
}

pub(crate) async fn popup_on_the_page_is_cancelled() {
    let mut cabin = with_popup().await;
    cabin.page.press("#popup-cancel").await;
    is_closed_with(cabin, "WebPortal.cancelBtnPopupRequestClicked").await;
}

pub(crate) async fn popup_on_the_page_that_nobody_answers_is_closed() {
    let cabin = with_popup().await;
    is_closed_with(cabin, "WebPortal.closeTimeoutPopupRequest").await;
}

async fn with_popup() -> Cabin {
    let mut cabin = Cabin::with_page("demo", LOGGING).await;
    cabin.open_app("demo").await;
    done(&cabin.server.popup("Leave now? <b>", r#"{"n":1}"#).await);
    let text = "document.querySelector('#popup').open && \
                document.querySelector('#popup-text').textContent";
    assert_eq!(cabin.page.until(text).await, json!("Leave now? <b>"));
    cabin
}

async fn is_closed_with(mut cabin: Cabin, action: &str) {
    let outcome: Value = cabin.until("demo", "log()[0]").await;
    let expected = json!({ "popupAction": action, "content": { "n": 1 } });
    assert_eq!(outcome, expected);
    let closed = "!document.querySelector('#popup').open";
    cabin.page.until(closed).await;
}

pub(crate) async fn app_of_the_page_reaches_neither_the_board_nor_another_app() {
    let pages = [("demo", LOGGING), ("other", LOGGING)];
    let mut cabin = Cabin::with_pages(&pages).await;
    cabin.open_app("other").await;
    cabin.home("other").await;
    cabin.open_app("demo").await;
    let portal = cabin.board.portal;
    for forbidden in [
        format!(
            "new Promise((done) => {{ const socket = new WebSocket('ws://{portal}/portal'); \
                 socket.onopen = () => done(false); socket.onerror = () => done(true); }})"
        ),
        format!("fetch('http://{portal}/status').then(() => false, () => true)"),
        "(() => { try { void parent.document; return false; } catch { return true; } })()".into(),
        "(() => { try { return parent.frames[0].localStorage.length < 0; } \
          catch { return true; } })()"
            .into(),
    ] {
        let is_forbidden = cabin.eval("demo", &forbidden).await;
        assert_eq!(is_forbidden, json!(true), "{forbidden}");
    }
    let foreign = "WebPortal.getPendingNotifications('other')";
    cabin.send("other", &json!("secret")).await;
    cabin.until("other", "(drain(), log().length === 1)").await;
    assert_eq!(cabin.eval("demo", foreign).await, json!([]));
    assert_eq!(cabin.eval("demo", "log()").await, json!([]));
}
