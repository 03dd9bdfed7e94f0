//! A vehicle that comes back is sent what waits at the pace of its link, and what is small does not wait
//! behind what is large and another partner's. The clock is virtual.

mod hub_support;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hub_support::memory_store::MemoryStore;
use hub_support::{downlink, vin};
use tokio::sync::watch;
use tokio::time::Instant;
use vinbus_host_server::broker::{Broker, BrokerEvents as _, PublishError};
use vinbus_host_server::hub::{Hub, Settings};
use vinbus_host_server::metrics::Metrics;
use vinbus_host_server::model::{NewDownlink, Presence};
use vinbus_protocol::id::Uid;

/// What went over the link: when, and how many bytes.
type Sent = Vec<(Duration, usize)>;

/// Takes everything at once.
struct Wire {
    begin: Instant,
    sent: watch::Sender<Sent>,
}

impl Broker for Wire {
    fn publish<'a>(
        &'a self,
        _: &'a str,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        let bytes = payload.len();
        let at = self.begin.elapsed();
        self.sent.send_modify(|sent| sent.push((at, bytes)));
        async { Ok(()) }.boxed()
    }
}

/// A hub whose vehicles have links of this rate.
fn hub(bytes_per_s: u32) -> (Hub, Arc<Wire>) {
    let settings = Settings {
        vehicle_rate: NonZeroU32::new(bytes_per_s),
        ..Settings::default()
    };
    let store = Arc::<MemoryStore>::default();
    let hub = Hub::new(store, settings, &Metrics::new()).unwrap();
    let wire = Arc::new(Wire {
        begin: Instant::now(),
        sent: watch::Sender::new(Vec::new()),
    });
    hub.attach(wire.clone());
    hub.link_changed(Ok(()));
    (hub, wire)
}

fn message(number: usize, bytes: usize) -> NewDownlink {
    NewDownlink {
        envelope: Bytes::from(vec![b' '; bytes]),
        ..downlink(number, 0)
    }
}

async fn sent(wire: &Wire, count: usize) -> Sent {
    let mut sent = wire.sent.subscribe();
    let sent = sent.wait_for(|sent| sent.len() >= count).await;
    sent.unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn backlog_of_a_vehicle_that_comes_back_never_outruns_its_link() {
    for rate in [30_000, 100_000] {
        let (hub, wire) = hub(rate);
        for n in 0..100 {
            hub.submit_downlink(message(1, [300, 20_000][n % 2]))
                .await
                .unwrap();
        }
        hub.presence_changed(vin(1), Presence::Online);
        let sent = sent(&wire, 100).await;
        let begin = sent[0].0;
        let mut bytes = 0;
        for (at, len) in &sent {
            // A second's worth is on the wire at most when the next one is sent.
            let carried = (*at - begin).as_secs_f64() * f64::from(rate);
            assert!(
                bytes as f64 <= carried + f64::from(rate) + 1.0,
                "{bytes} by {at:?}"
            );
            bytes += len;
        }
        let took = (sent[99].0 - begin).as_secs_f64();
        let needed = bytes as f64 / f64::from(rate);
        assert!(took < needed + 1.0, "{took} s for what takes {needed} s");
    }
}

#[tokio::test(start_paused = true)]
async fn small_messages_of_one_partner_do_not_wait_behind_large_ones_of_another() {
    let (hub, wire) = hub(30_000);
    hub.presence_changed(vin(1), Presence::Online);
    for _ in 0..10 {
        hub.submit_downlink(message(1, 100_000)).await.unwrap();
    }
    sent(&wire, 2).await;
    let asked = wire.begin.elapsed();
    for _ in 0..5 {
        let urgent = NewDownlink {
            uid: Uid::parse("a-second").unwrap(),
            ..message(1, 200)
        };
        hub.submit_downlink(urgent).await.unwrap();
    }
    let sent = sent(&wire, 15).await;
    let small: Vec<_> = sent.iter().filter(|(_, bytes)| *bytes == 200).collect();
    let last = small[4].0 - asked;
    // What is on the wire is one large message and a second's worth.
    assert!(last < Duration::from_secs(5), "{sent:?}");
    let large_before = sent.iter().take_while(|(_, bytes)| *bytes == 100_000);
    assert!(large_before.count() <= 3, "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn vehicles_on_slow_links_do_not_keep_workers_from_others() {
    let (hub, wire) = hub(30_000);
    for number in 0..200 {
        hub.presence_changed(vin(number), Presence::Online);
        for _ in 0..5 {
            hub.submit_downlink(message(number, 100_000)).await.unwrap();
        }
    }
    sent(&wire, 200).await;
    let asked = wire.begin.elapsed();
    hub.presence_changed(vin(1_000), Presence::Online);
    hub.submit_downlink(message(1_000, 10)).await.unwrap();
    let mut changes = wire.sent.subscribe();
    let is_there = |sent: &Sent| sent.iter().any(|(_, bytes)| *bytes == 10);
    changes.wait_for(is_there).await.unwrap();
    let waited = wire.begin.elapsed() - asked;
    assert!(waited < Duration::from_millis(100), "{waited:?}");
}
