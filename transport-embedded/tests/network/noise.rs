//! Brokers that do not keep to MQTT: every time an error, never a panic, never a wait without end.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vinbus_transport_embedded::{Event, Lost, Mqtt, TokioStream};

use crate::support::{PATIENCE, options};

/// A broker that says `noise` in pieces, after its welcome or instead of it, and goes. Counts the
/// messages that the client makes of it.
async fn meets(welcomes: bool, noise: Vec<u8>, piece: usize) -> Result<usize, &'static str> {
    let (near, mut far) = tokio::io::duplex(256);
    let broker = async move {
        let _connect = far.read(&mut [0; 256]).await;
        if welcomes {
            far.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
        }
        for bytes in noise.chunks(piece) {
            // A client that has had enough does not matter.
            let _gone = far.write_all(bytes).await;
            tokio::task::yield_now().await;
        }
        let _gone = far.shutdown().await;
        let mut rest = Vec::new();
        let _gone = far.read_to_end(&mut rest).await;
    };
    let client = async {
        let (mut receive, mut send) = (vec![0; 300], vec![0; 1024]);
        let mut mqtt = Mqtt::new(&mut receive, &mut send, &options("board")).unwrap();
        let stream = TokioStream::new(near);
        let Ok(mut link) = mqtt.connect(stream, ["down"]).await else {
            return Err("connect");
        };
        if link.publish("up", b"hello", false).await.is_err() {
            return Err("publish");
        }
        let mut messages = 0;
        loop {
            match link.next().await {
                Ok(Event::Received { .. }) => messages += 1,
                Ok(Event::Published(_) | Event::Progress) => {}
                Err(Lost::Broken | Lost::SubscriptionRefused | Lost::SubscriptionUnconfirmed) => {
                    return Ok(messages);
                }
            }
        }
    };
    let both = async { tokio::join!(client, broker).0 };
    tokio::time::timeout(PATIENCE, both).await.expect("it ends")
}

#[tokio::test]
async fn random_bytes_end_the_connection() {
    for seed in 0..2000 {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let mut noise = vec![0; 1 + random.next_u32() as usize % 500];
        random.fill_bytes(&mut noise);
        let piece = 1 + random.next_u32() as usize % 40;
        let _counted = meets(seed % 2 == 0, noise, piece).await;
    }
}

/// A packet of a broker with a random body of the right length.
fn packet(random: &mut ChaCha20Rng) -> Vec<u8> {
    let mut body = vec![0; random.next_u32() as usize % 60];
    random.fill_bytes(&mut body);
    // Small numbers are ids and lengths that mean something.
    for byte in &mut body {
        if random.next_u32().is_multiple_of(2) {
            *byte %= 5;
        }
    }
    [&[random.next_u32() as u8, body.len() as u8][..], &body].concat()
}

#[tokio::test]
async fn packets_without_sense_end_the_connection() {
    for seed in 0..2000 {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let count = 1 + random.next_u32() % 10;
        let noise: Vec<u8> = (0..count).flat_map(|_| packet(&mut random)).collect();
        let piece = 1 + random.next_u32() as usize % 100;
        let _counted = meets(true, noise, piece).await;
    }
}

#[tokio::test]
async fn packets_that_break_a_rule_end_the_connection() {
    let message = |first: u8, rest: &[u8]| [&[first, rest.len() as u8], rest].concat();
    for noise in [
        // Larger than the receive buffer, than MQTT allows, and of a length that never ends.
        vec![0x30, 0xff, 0xff, 0x7f, 0],
        vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x7f],
        vec![0x30, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        // A second welcome; packets that only clients send; a packet type that does not exist.
        message(0x20, &[0, 0, 0]),
        message(0x10, &[0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 0]),
        message(0xc0, &[]),
        message(0x00, &[]),
        // A topic that is no text, longer than its packet, or missing; a quality of 3.
        message(0x30, &[0, 2, 0xff, 0xfe, 0]),
        message(0x30, &[0xff, 0xff, b't', 0]),
        message(0x30, &[]),
        message(0x36, &[0, 1, b't', 0, 1, 0]),
        // Properties that are longer than their packet.
        message(0x30, &[0, 1, b't', 0x7f]),
        // A goodbye.
        message(0xe0, &[0x8b, 0]),
    ] {
        assert_eq!(meets(true, noise.clone(), 1).await, Ok(0), "{noise:x?}");
    }
}

#[tokio::test]
async fn acknowledgements_from_nowhere_do_no_harm() {
    let nowhere = [
        &[0x40, 2, 0xff, 0xff][..],
        &[0x50, 2, 0xff, 0xff],
        &[0x62, 2, 0xff, 0xff],
        &[0x70, 2, 0xff, 0xff],
        &[0x90, 4, 0xff, 0xff, 0, 0],
        &[0xb0, 4, 0xff, 0xff, 0, 0],
        &[0xd0, 0],
    ]
    .concat();
    let message = [0x30, 9, 0, 4, b'd', b'o', b'w', b'n', 0, b'h', b'i'];
    let noise = [&nowhere[..], &message, &nowhere, &message].concat();
    assert_eq!(meets(true, noise, 3).await, Ok(2));
}
