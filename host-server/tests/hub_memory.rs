//! What ten thousand vehicles with messages on their way take in the server's memory. The figure is that
//! of the whole process, so the test has one of its own.

mod hub_support;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use hub_support::{Server, Taker, attach_polite, downlink, polled, uid, vin};
use vinbus_host_server::broker::BrokerEvents as _;
use vinbus_host_server::model::{NewDownlink, Presence, Receipts};
use vinbus_protocol::delivery::{Epoch, Offer};

const VEHICLES: usize = 10_000;

/// What the delivery state of so many vehicles may take.
const BYTES_MAX: usize = 64_000_000;

/// Memory of this process that is in use.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Submits a message to each vehicle, a thousand at a time, and waits until all are on their way.
async fn submit_to_all(server: &Server, receipts: Receipts) {
    let sent_before = server.hub.counters().downlink_sent;
    for from in (0..VEHICLES).step_by(1_000) {
        let submits = (from..from + 1_000).map(|number| {
            let envelope: &[u8] = b"{\"idApp\":\"app\",\"popup\":false,\"content\":{\"a\":1}}";
            server.hub.submit_downlink(NewDownlink {
                envelope: Bytes::from_static(envelope),
                receipts,
                ..downlink(number, 0)
            })
        });
        try_join_all(submits).await.unwrap();
    }
    polled("all are on their way", async || {
        server.hub.counters().downlink_sent == sent_before + VEHICLES as u64
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_vehicles_with_a_message_on_its_way_to_each_take_less_than_64_mb() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    attach_polite(&server.hub, Arc::new(Taker));
    for number in 0..VEHICLES {
        server.hub.presence_changed(vin(number), Presence::Online);
    }
    // What the vehicles, the store and the queues take without receipts.
    submit_to_all(&server, Receipts::No).await;
    let before = resident_bytes();

    for number in 0..VEHICLES {
        let offer = Offer {
            epoch: Epoch::FIRST,
            long_bytes_max: 0,
        };
        server.hub.announced(vin(number), &uid(), Some(offer));
    }
    submit_to_all(&server, Receipts::Asked).await;

    let grown = resident_bytes().saturating_sub(before);
    println!(
        "{VEHICLES} vehicles: {grown} bytes, {} each",
        grown / VEHICLES
    );
    assert!(grown < BYTES_MAX, "{grown} bytes");
    server.close().await;
}
