//! Very many messages.

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::desk::{address, open};
use crate::rest_support::{PARTNER, Rest, VIN};

const MANY: usize = 10_500;

/// The content of a message as the log has it, by its cursor.
async fn nth(rest: &Rest, cursor: usize) -> String {
    let page = rest.page(&format!("?after={}&limit=1", cursor - 1)).await;
    let page: Value = serde_json::from_str(&page).unwrap();
    page["messages"][0]["content"].to_string()
}

#[tokio::test]
async fn ten_thousand_messages_are_a_few_rows_and_the_oldest_give_way() {
    let rest = Rest::start().await;
    let mut page = open(&address(&rest)).await;
    // Many at once, as a stream that was away brings them.
    let arrivals = (0..MANY).map(|n| rest.arrive(PARTNER, VIN, format!("{{\"content\":{n}}}")));
    let arrivals = stream::iter(arrivals).buffered(256);
    arrivals.for_each(|()| async {}).await;
    page.until("document.querySelector('#message-count').textContent === '10,000'")
        .await;
    let newest = "document.querySelector('#message-list .row[data-place=\"0\"] .text').textContent";
    let last = nth(&rest, MANY).await;
    page.until(&format!("{newest} === '{last}'")).await;
    let rows = page
        .eval("document.querySelectorAll('#message-list .row').length")
        .await;
    assert!(rows.as_u64().unwrap() < 40, "{rows}");
    page.eval("document.querySelector('#message-list').focus()")
        .await;
    page.key("End").await;
    let oldest = "[...document.querySelectorAll('#message-list .row')].find((row) => row.ariaSelected === 'true')";
    let shown = format!("[{oldest}.ariaPosInSet, {oldest}.querySelector('.text').textContent]");
    let expected = json!(["10000", nth(&rest, MANY - 9_999).await]);
    page.until(&format!(
        "JSON.stringify({shown}) === {}",
        json!(expected.to_string())
    ))
    .await;

    // Who reads further down stays where it reads.
    page.eval("document.querySelector('#message-list').scrollTop = 4600")
        .await;
    let read = "(() => { const list = document.querySelector('#message-list'); \
        return [...list.querySelectorAll('.row')].find((row) => row.offsetTop === list.scrollTop)?.querySelector('.text').textContent; })()";
    let before = page.until(read).await;
    rest.arrive(PARTNER, VIN, "{\"content\":\"one more\"}")
        .await;
    page.until("document.querySelector('#message-list').scrollTop === 4646")
        .await;
    assert_eq!(page.until(read).await, before);
}
