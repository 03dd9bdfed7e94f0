//! What a peer gets, and when, over a stream of 64 bytes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mqtt5::protocol::v5::reason_codes::ReasonCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;

use super::*;
use crate::broker::embedded::limits::CONSUMERS_BYTES_MAX;

fn pair(stall_max: Duration) -> (PeerStream, Arc<WriteRules>, DuplexStream) {
    let (near, far) = tokio::io::duplex(64);
    let rules = Arc::new(WriteRules::default());
    let stream = PeerStream::new(
        Box::new(near),
        ([127, 0, 0, 1], 1).into(),
        Arc::clone(&rules),
        Arc::new(Semaphore::new(CONSUMERS_BYTES_MAX)),
        stall_max,
        Arc::default(),
    );
    (stream, rules, far)
}

async fn write(stream: &mut PeerStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

#[tokio::test]
async fn held_packet_leaves_when_its_gate_opens_and_keeps_its_place() {
    let (mut stream, rules, mut far) = pair(Duration::MAX);
    let [(open_one, one), (open_two, two)] = [(); 2].map(|()| oneshot::channel());
    write(&mut stream, "a").await;
    rules.hold_next(one);
    write(&mut stream, "b").await;
    rules.hold_next(two);
    write(&mut stream, "c").await;
    write(&mut stream, "d").await;
    open_two.send(ReasonCode::Success).unwrap();

    let mut got = [0; 4];
    far.read_exact(&mut got[..1]).await.unwrap();
    let reading = tokio::spawn(async move {
        // Reading is what moves the held packets; nothing ever arrives here.
        let _ = stream.read_u8().await;
    });
    tokio::task::yield_now().await;
    open_one.send(ReasonCode::Success).unwrap();
    far.read_exact(&mut got[1..]).await.unwrap();
    assert_eq!(&got, b"abcd");
    reading.abort();
}

#[tokio::test]
async fn failed_gate_breaks_the_connection_without_the_packet() {
    let (mut stream, rules, mut far) = pair(Duration::MAX);
    let (open, gate) = oneshot::channel();
    rules.hold_next(gate);
    write(&mut stream, "ack").await;
    drop(open);
    // As often as it is asked: what has failed is asked again when the stream is dropped.
    for _ in 0..2 {
        let error = stream.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
    drop(stream);
    let mut rest = Vec::new();
    far.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn acknowledgements_leave_after_the_connection_ended() {
    let (mut stream, rules, mut far) = pair(Duration::MAX);
    let (open, gate) = oneshot::channel();
    rules.hold_next(gate);
    write(&mut stream, "ack").await;
    drop(stream);
    open.send(ReasonCode::Success).unwrap();
    let mut rest = String::new();
    far.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "ack");
}

#[tokio::test]
async fn what_waits_behind_a_gate_is_bounded() {
    let (mut stream, rules, _far) = pair(Duration::MAX);
    let (_open, gate) = oneshot::channel();
    rules.hold_next(gate);
    write(&mut stream, "ack").await;
    let packet = vec![0; HELD_BYTES_MAX];
    let write = stream.write(&packet);
    assert!(futures_util::FutureExt::now_or_never(write).is_none());
    assert_eq!(stream.held.bytes(), 3);
}

#[tokio::test]
async fn consumer_that_reads_too_slowly_misses_whole_messages_which_are_counted() {
    let (mut stream, rules, mut far) = pair(Duration::from_secs(60));
    rules.drop_publishes_when_full();
    let mut packet = vec![b'x'; CONSUMER_BYTES_MAX / 4];
    packet[0] = 0x30;
    // The first is partly on its way, three wait beside it, and one is too many.
    for number in 0..6 {
        packet[1] = number;
        stream.write_all(&packet).await.unwrap();
        stream.flush().await.unwrap();
    }
    write(&mut stream, "answer").await;
    assert_eq!(stream.counters.snapshot().consumer_drops, 2);
    let reading = tokio::spawn(async move { stream.read_u8().await });
    let mut got = vec![0; packet.len()];
    for number in 0..4 {
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(got[..3], [0x30, number, b'x']);
    }
    far.read_exact(&mut got[..6]).await.unwrap();
    assert_eq!(got[..6], *b"answer");
    reading.abort();
}

#[tokio::test]
async fn consumers_share_what_may_wait_and_give_it_back() {
    let consumers = Arc::new(Semaphore::new(10_000));
    let slow = || {
        let (mut stream, rules, far) = pair(Duration::from_secs(60));
        rules.drop_publishes_when_full();
        stream.consumers = Arc::clone(&consumers);
        (stream, far)
    };
    let packet = [0x30; 4_000];
    let (mut one, one_far) = slow();
    let (mut other, _other_far) = slow();
    for _ in 0..2 {
        one.write_all(&packet).await.unwrap();
    }
    assert_eq!(consumers.available_permits(), 2_000);
    for _ in 0..3 {
        other.write_all(&packet).await.unwrap();
    }
    let counts = other.counters.snapshot();
    assert_eq!(
        (counts.consumer_drops, counts.consumer_drops_shared),
        (0, 2)
    );
    // The peer of the first is gone, and with it what waited.
    drop((one, one_far));
    consumers.acquire_many(10_000).await.unwrap().forget();
}

#[tokio::test]
async fn consumer_that_reads_no_answers_loses_its_connection() {
    let (mut stream, rules, _far) = pair(Duration::from_secs(60));
    rules.drop_publishes_when_full();
    let answer = [0xD0; 1024];
    let asking = async {
        loop {
            if let Err(error) = stream.write_all(&answer).await {
                return error;
            }
        }
    };
    assert_eq!(asking.await.kind(), io::ErrorKind::TimedOut);
    assert!(stream.held.bytes() <= HELD_BYTES_MAX);
}

#[tokio::test(start_paused = true)]
async fn peer_that_takes_nothing_is_given_up() {
    let (mut stream, _rules, _far) = pair(Duration::from_secs(20));
    let error = stream.write_all(&[0; 1000]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(stream.counters.snapshot().write_stalls, 1);
}

#[tokio::test]
async fn connection_that_is_ended_reads_the_end_and_writes_its_last_packet() {
    let (mut stream, rules, mut far) = pair(Duration::MAX);
    let reading = tokio::spawn(async move {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        rest
    });
    tokio::task::yield_now().await;
    rules.end(bytes::Bytes::from_static(b"last"));
    rules.end(bytes::Bytes::from_static(b"later"));
    assert!(reading.await.unwrap().is_empty());
    let mut got = String::new();
    far.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "last");
}

#[tokio::test]
async fn next_acknowledgement_alone_is_turned_into_a_refusal() {
    let (mut stream, rules, mut far) = pair(Duration::MAX);
    let refusal = || {
        let (answer, gate) = oneshot::channel();
        answer.send(ReasonCode::NotAuthorized).unwrap();
        gate
    };
    rules.hold_next(refusal());
    for packet in [[0x40, 2, 1, 2], [0x40, 2, 3, 4]] {
        stream.write_all(&packet).await.unwrap();
    }
    rules.hold_next(refusal());
    stream.write_all(&[0xD0, 0]).await.unwrap();
    stream.write_all(&[0x40, 2, 5, 6]).await.unwrap();
    let mut got = [0; 16];
    far.read_exact(&mut got).await.unwrap();
    let expected = [
        &[0x40, 4, 1, 2, 0x87, 0][..],
        &[0x40, 2, 3, 4],
        &[0xD0, 0],
        &[0x40, 2, 5, 6],
    ];
    assert_eq!(got[..], expected.concat());
}

#[tokio::test]
async fn message_that_must_not_be_lost_is_held_where_others_are_dropped() {
    let (mut stream, rules, _far) = pair(Duration::from_secs(60));
    rules.drop_publishes_when_full();
    for first in [0x30; 6] {
        let mut packet = vec![b'x'; CONSUMER_BYTES_MAX / 4];
        packet[0] = first;
        stream.write_all(&packet).await.unwrap();
    }
    assert_eq!(stream.counters.snapshot().consumer_drops, 2);
    let held = stream.held.len();
    stream.write_all(&[0x32; 1000]).await.unwrap();
    assert_eq!(stream.held.len(), held + 1);
    assert_eq!(stream.counters.snapshot().consumer_drops, 2);
}

#[tokio::test]
async fn message_for_a_peer_that_may_not_hear_it_any_more_is_dropped() {
    let (mut stream, rules, mut far) = pair(Duration::from_secs(60));
    rules.drop_publishes_when_full();
    let may_hear = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&may_hear);
    rules.check_deliveries(Box::new(move || asked.load(Ordering::Relaxed)));
    for packet in [b"0one", b"2two"] {
        stream.write_all(packet).await.unwrap();
    }
    may_hear.store(false, Ordering::Relaxed);
    for packet in [b"0no!", b"2no!", b"@ack"] {
        stream.write_all(packet).await.unwrap();
    }
    assert_eq!(stream.counters.snapshot().deliveries_denied, 2);
    drop(stream);
    let mut got = String::new();
    far.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "0one2two@ack");
}

#[tokio::test]
async fn messages_that_wait_are_not_for_a_peer_that_is_cut_off() {
    let (mut stream, rules, mut far) = pair(Duration::from_secs(60));
    rules.drop_publishes_when_full();
    // The transport takes 64 bytes, so one is partly on its way.
    for packet in [[b'0'; 100], [b'2'; 100], [b'@'; 100]] {
        stream.write_all(&packet).await.unwrap();
    }
    rules.end(bytes::Bytes::from_static(b"last"));
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    drop(stream);
    let mut got = String::new();
    far.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, format!("{}{}last", "0".repeat(100), "@".repeat(100)));
}

#[tokio::test]
async fn connection_that_is_ended_while_its_peer_takes_nothing_breaks_at_once() {
    let (mut stream, rules, mut far) = pair(Duration::MAX);
    let writing = tokio::spawn(async move {
        let written = stream.write_all(&[b'0'; 100]).await;
        written.unwrap_err().kind()
    });
    tokio::task::yield_now().await;
    rules.end(bytes::Bytes::from_static(b"last"));
    assert_eq!(writing.await.unwrap(), io::ErrorKind::ConnectionAborted);
    let mut got = String::new();
    far.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "0".repeat(64), "nothing in the middle of a packet");
}

#[tokio::test]
async fn nothing_but_its_last_packet_is_written_on_a_connection_that_is_ended() {
    let (mut stream, rules, mut far) = pair(Duration::MAX);
    write(&mut stream, "0one").await;
    rules.end(bytes::Bytes::from_static(b"last"));
    for _ in 0..2 {
        let error = stream.write_all(b"0two").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }
    drop(stream);
    let mut got = String::new();
    far.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "0onelast");
}
