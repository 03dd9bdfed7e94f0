//! Plain QoS 1 beside delivery over a link that loses: 200 messages each way between a client beside a
//! mosquitto and one at the other end of a slow wire, which breaks and takes what is on it with it.
//!
//! TCP repeats what it loses, so on one connection nothing is lost but time; a connection that breaks is
//! what QoS 1 is for. Both clients keep their sessions and connect again at once.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rumqttc_v5::{
    AsyncClient, Broker, Event, EventLoop, MqttOptions, NetworkOptions, Packet, PublishOptions,
    QoS, SessionMode,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use crate::downlink::envelope;
use crate::programs::Mosquitto;
use crate::table::Table;

/// Messages each way.
const MESSAGES: u64 = 200;

/// Messages that may be on their way each way, as with delivery.
const WINDOW: u16 = 32;

/// The time from one end of the wire to the other.
const DELAY: Duration = Duration::from_millis(50);

/// How long connections hold on a wire that breaks, one after the other, in milliseconds, not in step with its
/// round trips.
const HOLDS_MS: [u64; 4] = [310, 370, 330, 390];

/// How long a transfer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one transfer took.
struct Transfer {
    ms: u64,
    /// On the wire, in both directions.
    bytes: u64,
    lost_bytes: u64,
    /// Messages that came once more.
    again: u64,
}

/// Measures so many rounds, and prints one table.
pub(crate) fn measure(rounds: u16) -> Result<()> {
    let runtime = Runtime::new()?;
    let mosquitto = Mosquitto::start(None)?;
    let mut transfers = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..rounds {
        let ways = [
            (QoS::AtMostOnce, false),
            (QoS::AtLeastOnce, false),
            (QoS::AtLeastOnce, true),
        ];
        for (way, ((qos, breaks), transfers)) in ways.into_iter().zip(&mut transfers).enumerate() {
            let name = format!("{round}-{way}");
            transfers.push(runtime.block_on(transfer(mosquitto.mqtt, &name, qos, breaks))?);
        }
    }
    let median = |transfers: &[Transfer], of: fn(&Transfer) -> u64| {
        let mut values: Vec<_> = transfers.iter().map(of).collect();
        values.sort_unstable();
        values[values.len() / 2] as f64
    };
    let whole = median(&transfers[1], |transfer| transfer.ms);
    println!(
        "\n{MESSAGES} messages of 256 bytes each way over mosquitto, 100 ms there and back, medians:"
    );
    let mut table = Table::new(&[
        "way",
        "ms",
        "of QoS 1 whole",
        "bytes/message",
        "% lost",
        "twice",
    ]);
    let names = [
        "QoS 0, whole",
        "QoS 1, whole",
        "QoS 1, the connection breaks",
    ];
    for (name, transfers) in names.into_iter().zip(&transfers) {
        let [ms, bytes, lost, again] = [
            |transfer: &Transfer| transfer.ms,
            |transfer: &Transfer| transfer.bytes,
            |transfer: &Transfer| 1000 * transfer.lost_bytes / transfer.bytes,
            |transfer: &Transfer| transfer.again,
        ]
        .map(|of| median(transfers, of));
        table.row([
            name.to_owned(),
            format!("{ms:.0}"),
            format!("{:.2}", ms / whole),
            format!("{:.1}", bytes / (2 * MESSAGES) as f64),
            format!("{:.1}", lost / 10.0),
            format!("{again:.0}"),
        ]);
    }
    table.print();
    Ok(())
}

/// The time until all messages have arrived at both ends, and at QoS 1 are known to be with the broker.
async fn transfer(broker: SocketAddr, name: &str, qos: QoS, breaks: bool) -> Result<Transfer> {
    let wire = Arc::new(Wire::default());
    let near = wire.clone().lay(broker, breaks).await?;
    let (host, car) = (format!("{name}/host"), format!("{name}/car"));
    let mut ends = [
        End::start(broker, &host, qos).await?,
        End::start(near, &car, qos).await?,
    ];
    let counters = [&wire.taken, &wire.lost];
    let before = counters.map(|counter| counter.load(Ordering::Relaxed));
    let begin = Instant::now();
    let publish = async |end: &End, to: &str| -> Result<()> {
        for number in 0..MESSAGES {
            let options = PublishOptions::new(qos);
            end.client.publish(to, envelope(number), options).await?;
        }
        Ok(())
    };
    let published = async { tokio::try_join!(publish(&ends[0], &car), publish(&ends[1], &host)) };
    tokio::time::timeout(PATIENCE, published).await??;
    let acknowledged = if qos == QoS::AtMostOnce { 0 } else { MESSAGES };
    let mut again = 0;
    for end in &mut ends {
        let all = end.seen.wait_for(|seen| {
            seen.arrived.len() as u64 == MESSAGES && seen.acknowledged >= acknowledged
        });
        let all = tokio::time::timeout(PATIENCE, all).await;
        again += all
            .with_context(|| format!("transfer {name} takes too long"))??
            .again;
    }
    let ms = begin.elapsed().as_millis() as u64;
    let after = counters.map(|counter| counter.load(Ordering::Relaxed));
    Ok(Transfer {
        ms,
        bytes: after[0] - before[0],
        lost_bytes: after[1] - before[1],
        again,
    })
}

/// What a client has seen.
#[derive(Default)]
struct Seen {
    is_subscribed: bool,
    arrived: HashSet<Vec<u8>>,
    again: u64,
    acknowledged: u64,
}

/// A client that connects again whenever its connection breaks.
struct End {
    client: AsyncClient,
    seen: watch::Receiver<Seen>,
    running: tokio::task::AbortHandle,
}

impl End {
    /// One that is subscribed to what is sent to it.
    async fn start(broker: SocketAddr, name: &str, qos: QoS) -> Result<Self> {
        let address = Broker::tcp(broker.ip().to_string(), broker.port());
        let mut options = MqttOptions::new(name.replace('/', "-"), address);
        options
            .set_session_mode(SessionMode::Persistent)
            .set_receive_maximum(Some(WINDOW))
            .set_outgoing_inflight_upper_limit(WINDOW);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        let (client, events) = AsyncClient::builder(options).capacity(16).build();
        let (sender, mut seen) = watch::channel(Seen::default());
        let running = tokio::spawn(see(events, sender)).abort_handle();
        client.subscribe(name, qos).await?;
        let subscribed = seen.wait_for(|seen| seen.is_subscribed);
        tokio::time::timeout(PATIENCE, subscribed)
            .await
            .with_context(|| format!("{name} cannot subscribe"))??;
        Ok(Self {
            client,
            seen,
            running,
        })
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn see(mut events: EventLoop, seen: watch::Sender<Seen>) {
    loop {
        // After an error it connects again.
        let Ok(Event::Incoming(packet)) = events.poll().await else {
            continue;
        };
        seen.send_modify(|seen| match packet {
            Packet::SubAck(_) => seen.is_subscribed = true,
            Packet::PubAck(_) => seen.acknowledged += 1,
            Packet::Publish(publish) => {
                let is_new = seen.arrived.insert(publish.payload.to_vec());
                seen.again += u64::from(!is_new);
            }
            _ => {}
        });
    }
}

/// A wire that takes its time.
#[derive(Default)]
struct Wire {
    /// Bytes that it was given.
    taken: AtomicU64,
    /// Bytes that it carried to the other end.
    carried: AtomicU64,
    /// Bytes that were on it when it broke.
    lost: AtomicU64,
}

impl Wire {
    /// Lays it to a broker; the address of its other end.
    async fn lay(self: Arc<Self>, broker: SocketAddr, breaks: bool) -> Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            let mut holds_ms = HOLDS_MS.into_iter().cycle();
            while let Ok((near, _)) = listener.accept().await {
                let ends = std::pin::pin!(async {
                    match holds_ms.next() {
                        Some(ms) if breaks => tokio::time::sleep(Duration::from_millis(ms)).await,
                        _ => std::future::pending().await,
                    }
                });
                let Ok(far) = TcpStream::connect(broker).await else {
                    return;
                };
                let _ends = (near.set_nodelay(true), far.set_nodelay(true));
                let ((a, b), (c, d)) = (near.into_split(), far.into_split());
                tokio::select! {
                    _ = self.carry(a, d) => {}
                    _ = self.carry(c, b) => {}
                    () = ends => {}
                }
                // Nobody writes any more.
                let known =
                    self.carried.load(Ordering::Relaxed) + self.lost.load(Ordering::Relaxed);
                let taken = self.taken.load(Ordering::Relaxed);
                self.lost.fetch_add(taken - known, Ordering::Relaxed);
            }
        });
        Ok(address)
    }

    /// Carries one direction of a connection until it breaks.
    async fn carry(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
        let (sender, mut under_way) = mpsc::unbounded_channel();
        let take = async {
            loop {
                let mut bytes = vec![0; 16 * 1024];
                let len = from.read(&mut bytes).await?;
                if len == 0 {
                    return Ok(());
                }
                bytes.truncate(len);
                self.taken.fetch_add(len as u64, Ordering::Relaxed);
                // The other half is right here.
                let _ = sender.send((tokio::time::Instant::now() + DELAY, bytes));
            }
        };
        let give = async {
            while let Some((at, bytes)) = under_way.recv().await {
                tokio::time::sleep_until(at).await;
                to.write_all(&bytes).await?;
                self.carried
                    .fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            Ok(())
        };
        tokio::select! {
            ended = take => ended,
            ended = give => ended,
        }
    }
}
