//! Fleet messages: sent to many, followed, paused, cancelled, and what became of each.

use serde_json::json;

use crate::car::{APP, Car};
use crate::cli_support::VIN;
use crate::desk::Desk;

/// A vehicle that is away.
const AWAY: &str = "ZZZ45678901234567";

/// The rows of a list in sight, as texts.
async fn rows(desk: &mut Desk, list: &str) -> Vec<String> {
    let rows = format!(
        "[...document.querySelectorAll('{list} .row')].filter((row) => !row.hidden)\
         .map((row) => [...row.querySelectorAll('span')].filter((part) => !part.children.length)\
         .map((part) => part.textContent).filter(Boolean).join(' '))"
    );
    serde_json::from_value(desk.page.eval(&rows).await).unwrap()
}

/// Waits until the counts of the fleet message that is shown are these.
async fn counts(desk: &mut Desk, expected: &[&str]) {
    let told = "JSON.stringify([...document.querySelectorAll('.counts button')].map((it) => it.textContent))";
    let expected = json!(expected).to_string();
    desk.page
        .until(&format!("{told} === {}", json!(expected)))
        .await;
}

async fn presses(desk: &mut Desk, verb: &str) {
    desk.page
        .press(&format!("#detail [data-verb={verb}]"))
        .await;
}

#[tokio::test]
async fn fleet_message_to_a_list_is_followed_to_each_vehicle_and_its_chain() {
    let mut desk = Desk::new().await;
    let mut car = Car::start(&desk.server).await;
    desk.page
        .until("document.querySelector('#vehicle-list .vehicle[data-presence=online]')")
        .await;
    desk.page.press("input[name=to][value=list]").await;
    desk.page.fill("#send-vins", AWAY).await;
    // A click on a vehicle adds it.
    desk.page.press("#vehicle-list .vehicle").await;
    desk.shows("#send-count", "2 vehicles").await;
    desk.page.fill("#send-app", APP).await;
    desk.page.fill("#content", "{ \"n\" : 1.50 }").await;
    desk.page.press("#send-receipts").await;
    desk.page.press("#send-button").await;
    assert_eq!(car.hears().await, "{\"content\":{ \"n\" : 1.50 }}");
    let told = "document.querySelector('#sent').textContent";
    desk.page
        .until(&format!(
            "{told}.startsWith('accepted for 2 vehicles; nothing was heard of 1 of them')"
        ))
        .await;
    counts(&mut desk, &["1 waiting", "1 taken"]).await;
    let listed = rows(&mut desk, "#fleet-list").await;
    assert!(
        listed[0].ends_with("demo to 2 vehicles running 1 waiting · 1 taken"),
        "{listed:?}"
    );
    desk.shows("#fleet-count", "1 under way").await;
    desk.page
        .until("[...document.querySelectorAll('#detail .target')].some((row) => row.textContent.includes('taken'))")
        .await;
    assert_eq!(
        rows(&mut desk, "#detail").await,
        [format!("{VIN} taken"), format!("{AWAY} waiting")]
    );
    // Which have not got it, and why.
    desk.page
        .press("#detail .counts button[data-step=waiting]")
        .await;
    assert_eq!(
        rows(&mut desk, "#detail").await,
        [format!("{AWAY} waiting")]
    );
    desk.page.press("#detail .target").await;
    desk.page
        .until("document.querySelector('#detail [role=status]').textContent.includes('was sent nothing: it is put on its way when')")
        .await;
    // The chain of the other's message, and back.
    desk.page
        .press("#detail .counts button[data-step=waiting]")
        .await;
    desk.page.press("#detail .target").await;
    desk.shows("#detail-title", "For an app✕").await;
    let steps = "[...document.querySelectorAll('.chain b')].map((step) => step.textContent)";
    desk.page.until(&format!("{steps}.includes('taken')")).await;
    desk.page.until("document.querySelector('#detail .actions button')?.textContent === 'The fleet message'").await;
    desk.page.press("#detail .actions button").await;
    desk.shows("#detail-title", "Fleet message✕").await;

    presses(&mut desk, "pause").await;
    desk.page
        .until("document.querySelector('#detail [data-verb=resume]')")
        .await;
    presses(&mut desk, "resume").await;
    desk.page
        .until("document.querySelector('#detail [data-verb=pause]')")
        .await;
    presses(&mut desk, "cancel").await;
    desk.shows("#detail [data-verb=cancel]", "Cancel for good")
        .await;
    presses(&mut desk, "cancel").await;
    counts(&mut desk, &["1 taken", "1 cancelled"]).await;
    let buttons = "document.querySelectorAll('#detail [data-verb]').length";
    assert_eq!(desk.page.eval(buttons).await, 0);
    assert_eq!(desk.page.complaints().await, Vec::<String>::new());
    // It is there after the page was loaded again, and by the keyboard.
    desk.page.reload().await;
    desk.page
        .until("document.querySelector('#fleet-count').textContent === '1'")
        .await;
    desk.page
        .eval("document.querySelector('#messages-tab').focus()")
        .await;
    desk.page.key("ArrowRight").await;
    desk.page.until("!document.querySelector('#fleet-pane').hidden && document.activeElement.id === 'fleets-tab'").await;
    desk.page
        .eval("document.querySelector('#fleet-list').focus()")
        .await;
    desk.page.key("ArrowDown").await;
    counts(&mut desk, &["1 taken", "1 cancelled"]).await;
    desk.page
        .until("document.querySelector('#detail pre')?.textContent.includes('1.50')")
        .await;
    desk.page.key("Escape").await;
}

#[tokio::test]
async fn fleet_message_to_all_that_fit_a_filter_is_told_live_as_it_goes() {
    let mut desk = Desk::new().await;
    let mut car = desk.server.vehicle().await;
    car.say("1").await;
    desk.page.press("#fleets-tab").await;
    desk.page.press("#new-fleet").await;
    desk.page
        .until("document.activeElement.id === 'send-prefix'")
        .await;
    desk.page.fill("#send-prefix", "ZZZ").await;
    desk.page.fill("#send-app", APP).await;
    desk.page.fill("#content", "1").await;
    desk.page.press("#send-button").await;
    desk.page
        .until("document.querySelector('#fault').textContent.includes('the filter fits none of the 1 vehicles')")
        .await;
    desk.page.fill("#send-prefix", &VIN[..4]).await;
    desk.page
        .until("document.querySelector('#send-count').textContent.startsWith('1 vehicle that this page knows')")
        .await;
    desk.page.press("#send-button").await;
    car.next().await;
    // By events alone: nothing was sent but the form.
    counts(&mut desk, &["1 sent"]).await;
    desk.page
        .until("document.querySelector('#detail .badge').textContent === 'finished'")
        .await;
    // One that somebody else makes appears by itself.
    let list = desk.server.dir.join("vins");
    std::fs::write(&list, AWAY).unwrap();
    let list = list.to_str().unwrap();
    let args = [
        "fleet",
        "send",
        "--vins",
        list,
        "--app",
        APP,
        "--content",
        "2",
    ];
    crate::cli_support::done(&desk.server.command(&args).await);
    desk.shows("#fleet-count", "1 under way").await;
    let rows = rows(&mut desk, "#fleet-list").await;
    assert!(
        rows.iter()
            .any(|row| row.ends_with("to 1 vehicle running 1 waiting")),
        "{rows:?}"
    );
}

#[tokio::test]
async fn message_of_which_nothing_is_heard_says_why() {
    let mut desk = Desk::new().await;
    let why = async |desk: &mut Desk, part: &str| {
        let outlook = "document.querySelector('#detail .outlook')?.textContent";
        desk.page
            .until(&format!("{outlook}?.includes({})", json!(part)))
            .await;
    };
    desk.write(AWAY, APP, "1").await;
    desk.page.press("#send-button").await;
    why(&mut desk, "is the VIN right?").await;
    // One that comes and listens to nobody of interest.
    let car = desk.server.vehicle().await;
    desk.write(VIN, APP, "1").await;
    desk.page.press("#send-button").await;
    why(&mut desk, "no receipts were asked for").await;
    car.client.close().await;
    desk.page
        .until("document.querySelector('.vehicle')?.dataset.presence === 'offline'")
        .await;
    desk.page.press("#send-button").await;
    why(&mut desk, "The vehicle is offline since").await;
    // It changes as the vehicle does.
    let _car = desk.server.vehicle().await;
    why(&mut desk, "no receipts were asked for").await;
}
