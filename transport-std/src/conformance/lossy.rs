//! A broker that loses what it may lose.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::proxy::moved_to;
use crate::BrokerUrl;

/// Forwards to a broker and, while it is told to, drops every fifth message of QoS 0 in each
/// direction: the URL to use instead of `target`'s, what tells it to, and how many were lost. The
/// messages have to pass in the clear.
///
/// # Panics
///
/// Panics if no loopback port is free.
pub async fn lossy(target: &BrokerUrl) -> (BrokerUrl, Arc<AtomicBool>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a loopback port");
    let url = moved_to(target, listener.local_addr().expect("a bound socket"));
    let broker = target.authority();
    let (loses, lost) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let (on, count) = (Arc::clone(&loses), Arc::clone(&lost));
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            // Whoever connects while the broker is away is hung up on.
            let Ok(far) = TcpStream::connect(&broker).await else {
                continue;
            };
            let ((a, b), (c, d)) = (near.into_split(), far.into_split());
            for (from, to) in [(a, d), (c, b)] {
                tokio::spawn(packets(from, to, Arc::clone(&on), Arc::clone(&count)));
            }
        }
    });
    (url, loses, lost)
}

async fn packets(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    loses: Arc<AtomicBool>,
    lost: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    let mut messages = 0_usize;
    loop {
        let mut packet = vec![from.read_u8().await?];
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = from.read_u8().await?;
            packet.push(byte);
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let begin = packet.len();
        packet.resize(begin + length, 0);
        from.read_exact(&mut packet[begin..]).await?;
        // The first byte of a PUBLISH of QoS 0 is 0x3, then nothing, nothing and perhaps retain.
        if packet[0] & 0xfe == 0x30 && loses.load(Ordering::Relaxed) {
            messages += 1;
            if messages.is_multiple_of(5) {
                lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
        }
        to.write_all(&packet).await?;
    }
}
