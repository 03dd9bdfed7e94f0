//! Peers that are slow, silent, mad or many, over real sockets: each costs nobody else anything.

mod broker_support;

use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use broker_support::raw::{Client, Connect, PUBACK, QUOTA_EXCEEDED};
use broker_support::{Fixture, OTHER_UID, UID, VIN, downlink, uplink, within};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vinbus_host_server::broker::embedded::Limits;
use vinbus_host_server::broker::{Broker, PublishError};
use vinbus_host_server::model::Presence;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

/// A small generator, so that a failure can be repeated by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

/// Panics of any task since the program started; a task's panic would not fail a test by itself.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            print(panic);
        }));
    });
}

/// Everybody else is still served: a car gets in, speaks, and is heard; and nothing panicked.
async fn others_are_served(it: &Fixture) {
    let before = it.events.recorded().arrivals.len();
    let mut car = it.vehicle(VIN).await;
    car.publish(&uplink(UID, VIN), b"{}", 1, false).await;
    car.expect(PUBACK).await;
    it.events.until_arrivals(before + 1).await;
    car.leave().await;
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "nothing panicked");
}

#[tokio::test]
async fn handshakes_that_never_end_keep_nobody_out_and_are_given_up() {
    let limits = Limits {
        handshake_time_max: Duration::from_secs(2),
        unknown_per_address_max: 60,
        ..Limits::default()
    };
    let it = Fixture::with_limits(limits).await;
    let address = it.broker.mqtts_address().unwrap();
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The beginning of a ClientHello, and then silence.
        stream.write_all(&[22, 3, 1, 2, 0, 1, 0]).await.unwrap();
        slow.push(stream);
    }
    others_are_served(&it).await;
    for stream in &mut slow {
        // An alert or the bare end; either way the connection is given up.
        let _ = within("the end", stream.read_to_end(&mut Vec::new())).await;
    }
    it.until_counts("the handshakes to be given up", |counts| {
        counts.tls_timed_out == 50
    })
    .await;
}

#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_out_and_are_given_up() {
    let limits = Limits {
        unknown_per_address_max: 110,
        ..Limits::default()
    };
    let it = Fixture::with_limits(limits).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(it.plain().await);
        silent.push(it.tls(VIN).await.unwrap());
    }
    // Half a CONNECT is as good as none.
    for client in &mut silent {
        let half = Connect::new("half").encode();
        client.send(&half[..half.len() / 2]).await;
    }
    others_are_served(&it).await;
    for client in &mut silent {
        client.until_closed().await;
    }
}

#[tokio::test]
async fn random_bytes_break_their_own_connection_at_most() {
    count_panics();
    let it = Fixture::start().await;
    let (plain, tls) = (
        it.broker.mqtt_address().unwrap(),
        it.broker.mqtts_address().unwrap(),
    );
    let seed = 0x5EED_0001;
    let mut random = Random(seed);
    for round in 0..300 {
        let len = random.below(2000);
        let bytes = random.bytes(len);
        for address in [plain, tls] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The broker may have closed the connection already.
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let ended = stream.read_to_end(&mut answer);
            let _ = within(&format!("the end, seed {seed:#x} round {round}"), ended).await;
        }
    }
    others_are_served(&it).await;
}

#[tokio::test]
async fn mutilated_packets_of_a_known_client_break_its_own_connection_at_most() {
    count_panics();
    let it = Fixture::start().await;
    let seed = 0x5EED_0002;
    let mut random = Random(seed);
    let password = it.password_of(UID);
    for round in 0..500 {
        let mut client = it.plain().await;
        let mut connect = Connect::new(&format!("client-{round}")).login(UID, &password);
        connect.version = [4, 5][random.below(2)];
        client.enter(&connect).await;
        for _ in 0..5 {
            let qos = u8::try_from(random.below(3)).unwrap();
            let topic = [downlink(UID, VIN), uplink(UID, VIN)][random.below(2)].clone();
            let mut bytes = client.publish_packet(&topic, b"{}", qos, random.below(2) == 0, 7);
            bytes[0] = [bytes[0], random.bytes(1)[0]][random.below(2)];
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len());
                bytes[at] = random.bytes(1)[0];
            }
            let end = random.below(bytes.len()) + 1;
            if client.try_send(&bytes[..end]).await.is_err() {
                break;
            }
        }
    }
    others_are_served(&it).await;
}

#[tokio::test]
async fn packet_beyond_all_bounds_ends_its_connection() {
    let it = Fixture::start().await;
    let mut car = it.vehicle(VIN).await;
    // PUBLISH of 256 MiB less a byte.
    car.send(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]).await;
    car.until_closed().await;
    others_are_served(&it).await;
}

#[tokio::test]
async fn connections_are_bounded_and_places_are_given_back() {
    let limits = Limits {
        connections_max: 3,
        ..Limits::default()
    };
    let it = Fixture::with_limits(limits).await;
    let mut inside = Vec::new();
    for number in 0..3 {
        inside.push(it.partner(UID, &number.to_string()).await);
    }
    let mut outside = it.plain().await;
    outside.until_closed().await;
    assert_eq!(it.counts().connections_refused_full, 1);
    inside.pop();
    it.until_counts("a place", |counts| counts.connections == 2)
        .await;
    it.partner(UID, "another").await;
}

#[tokio::test]
async fn connections_of_one_address_are_bounded() {
    let limits = Limits {
        connections_per_address_max: 1,
        ..Limits::default()
    };
    let it = Fixture::with_limits(limits).await;
    let _inside = it.partner(UID, "one").await;
    it.plain().await.until_closed().await;
    assert_eq!(it.counts().connections_refused_address, 1);
}

#[tokio::test]
async fn connections_of_one_partner_are_bounded() {
    let limits = Limits {
        connections_per_partner_max: 1,
        ..Limits::default()
    };
    let it = Fixture::with_limits(limits).await;
    let _inside = it.partner(UID, "one").await;
    let two = Connect::new("two").login(UID, &it.password_of(UID));
    assert_eq!(it.plain().await.connect(&two).await, QUOTA_EXCEEDED);
    assert_eq!(it.counts().connections_refused_partner, 1);
    it.partner(UID, "one").await.ping().await;
    it.partner(OTHER_UID, "other").await.ping().await;
}

#[tokio::test]
async fn half_open_connections_of_one_address_keep_no_car_at_another_out() {
    // None of them gives its place back while the test opens the others.
    let limits = Limits {
        handshake_time_max: Duration::from_secs(600),
        ..Limits::default()
    };
    let it = Fixture::with_limits(limits).await;
    let mut known = it.partner(UID, "known").await;
    let address = it.broker.mqtts_address().unwrap();
    let mut half_open = Vec::new();
    for _ in 0..600 {
        half_open.push(TcpStream::connect(address).await.unwrap());
    }
    let max = Limits::default().unknown_per_address_max as u64;
    it.until_counts("the others to be refused", |counts| {
        counts.connections_refused_unknown == 600 - max
    })
    .await;
    let mut car = it.tls_from([127, 0, 0, 2], VIN).await.unwrap();
    car.enter(&Connect::new(VIN)).await;
    car.ping().await;
    known.ping().await;
}

#[tokio::test]
async fn known_clients_take_no_place_of_unknown_ones() {
    let limits = Limits {
        unknown_max: 1,
        unknown_per_address_max: 1,
        ..Limits::default()
    };
    let it = Fixture::with_limits(limits).await;
    let mut inside = Vec::new();
    for number in 0..3 {
        inside.push(it.partner(UID, &number.to_string()).await);
    }
    let _unknown = it.plain().await;
    it.until_counts("it to be let in", |counts| counts.connections == 4)
        .await;
    it.plain().await.until_closed().await;
    assert_eq!(it.counts().connections_refused_unknown, 1);
}

#[tokio::test]
async fn consumer_that_never_reads_is_cut_off_and_others_miss_nothing() {
    let limits = Limits {
        write_stall_max: Duration::from_secs(3),
        ..Limits::default()
    };
    let it = Fixture::with_limits(limits).await;
    let filter = "psa/OVIPPartners-Dev/from/uid/acme/opa/#";
    let mut stuck = it.partner(UID, "stuck").await;
    stuck.subscribe(filter, 0).await;
    let mut reader = it.partner(UID, "reader").await;
    reader.subscribe(filter, 0).await;

    let mut car = it.vehicle(VIN).await;
    let payload = format!(r#"{{"content":"{}"}}"#, "x".repeat(PAYLOAD_BYTES_MAX - 14));
    let count = 300;
    let publishing = async {
        for _ in 0..count {
            car.publish(&uplink(UID, VIN), payload.as_bytes(), 1, false)
                .await;
            car.expect(PUBACK).await;
        }
    };
    let reading = async {
        for _ in 0..count {
            assert!(reader.packet().await.unwrap().is_publish());
        }
    };
    within("all messages", async { tokio::join!(publishing, reading) }).await;
    it.until_counts("the stuck consumer to be cut off", |counts| {
        counts.write_stalls == 1 && counts.connections == 2
    })
    .await;
}

#[tokio::test]
async fn slow_consumer_delays_neither_acknowledgements_nor_other_consumers() {
    let it = Fixture::start().await;
    let filter = "psa/OVIPPartners-Dev/from/uid/acme/opa/#";
    let mut slow = it.partner(UID, "slow").await;
    slow.subscribe(filter, 0).await;
    let mut fast = it.partner(UID, "fast").await;
    fast.subscribe(filter, 0).await;
    let mut car = it.vehicle(VIN).await;
    let payload = format!(r#"{{"content":"{}"}}"#, "x".repeat(PAYLOAD_BYTES_MAX - 14));
    let mut published = 0;
    // Until the slow one, which reads one message of sixteen, has missed some.
    while it.counts().consumer_drops < 20 {
        car.publish(&uplink(UID, VIN), payload.as_bytes(), 1, false)
            .await;
        car.expect(PUBACK).await;
        assert!(fast.packet().await.unwrap().is_publish());
        published += 1;
        if published % 16 == 0 {
            assert!(slow.packet().await.unwrap().is_publish());
        }
    }
    // What it has not missed is whole, and it gets the newest once it has read the rest.
    slow.send(&[0xC0, 0]).await;
    let mut heard = published / 16;
    while slow.packet().await.unwrap().is_publish() {
        heard += 1;
    }
    assert_eq!(heard + it.counts().consumer_drops, published);
    car.publish(&uplink(UID, VIN), b"last", 1, false).await;
    assert!(slow.packet().await.unwrap().publish().1.ends_with(b"last"));
    assert_eq!(it.counts().fan_out_unpaced, 0);
}

#[tokio::test]
async fn vehicle_that_never_reads_is_cut_off_and_the_rest_stays_with_the_core() {
    let limits = Limits {
        write_stall_max: Duration::from_secs(1),
        ..Limits::default()
    };
    let it = Fixture::with_limits(limits).await;
    let _car = it.listening_vehicle().await;
    let publishing = async {
        let payload = Bytes::from(vec![b'x'; PAYLOAD_BYTES_MAX]);
        let topic = downlink(UID, VIN);
        loop {
            if let Err(error) = it.broker.publish(&topic, payload.clone()).await {
                return error;
            }
        }
    };
    let error = within("the window to close", publishing).await;
    assert_eq!(error, PublishError::NotListening);
    it.events.until_presence(Presence::Offline).await;
}

#[tokio::test]
async fn reconnect_storm_under_the_same_client_identifiers_ends_with_everybody_connected() {
    let limits = Limits {
        unknown_per_address_max: 50,
        ..Limits::default()
    };
    let it = Fixture::with_limits(limits).await;
    let password = it.password_of(UID);
    let clients = 40;
    let mut last: Vec<Client> = Vec::new();
    for _ in 0..5 {
        let mut now = Vec::new();
        for number in 0..clients {
            let mut client = it.plain().await;
            let connect = Connect::new(&format!("client-{number}")).login(UID, &password);
            // Nobody waits for anybody: all handshakes are under way at once.
            client.send(&connect.encode()).await;
            now.push(client);
        }
        for client in &mut now {
            let answer = client.expect(2).await;
            assert_eq!(answer.body[1], 0);
        }
        last = now;
    }
    for client in &mut last {
        client.ping().await;
    }
    it.until_counts("the old connections to be gone", |counts| {
        counts.connections == clients
    })
    .await;
    others_are_served(&it).await;
}

#[tokio::test]
async fn fast_client_is_slowed_down_and_loses_nothing() {
    let limits = Limits {
        publishes_per_second_max: 10,
        ..Limits::default()
    };
    let it = Fixture::with_limits(limits).await;
    let mut car = it.vehicle(VIN).await;
    // However slow this machine is, the client is faster than the limit before long.
    let mut published = 0;
    while it.counts().publishes_throttled == 0 {
        car.publish(&uplink(UID, VIN), b"{}", 1, false).await;
        car.expect(PUBACK).await;
        published += 1;
    }
    it.events.until_arrivals(published).await;
}
