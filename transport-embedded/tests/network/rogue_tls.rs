//! A line against a TLS server that breaks the rules: every time an error, never a panic, and never
//! a connection to somebody who has not proved who it is.

use embedded_io_async::{Read, Write};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tokio::io::{AsyncWriteExt, DuplexStream};
use vinbus_transport_embedded::dial::Broker;
use vinbus_transport_embedded::tls::LineError;

use crate::support::host::Wire;
use crate::support::pki::Parties;
use crate::support::rogue::{
    ALERT, APPLICATION_DATA, CERTIFICATE, CERTIFICATE_VERIFY, CHANGE_CIPHER_SPEC,
    ENCRYPTED_EXTENSIONS, FINISHED, HANDSHAKE, Rogue, SIGNATURES,
};
use crate::support::{TestLine, client, with_pump};

const BROKER: Broker<'static> = Broker {
    host: "127.0.0.1",
    port: 8886,
};

impl Parties {
    /// Dials, and reads to the end; what came, and how it ended.
    async fn meets<T>(
        &self,
        rogue: impl AsyncFnOnce(DuplexStream) -> T,
    ) -> (Vec<u8>, Result<(), LineError>) {
        let (wire, mut far_ends) = Wire::new();
        let board = self.board();
        let mut client = client(wire, BROKER, board.credentials(BROKER.host));
        client.limits.handshake = embassy_time::Duration::from_secs(5);
        let line = TestLine::new();
        let ours = async {
            let mut came = Vec::new();
            let end = async {
                let mut stream = line.dial().await?;
                let mut buffer = [0; 64];
                loop {
                    match stream.read(&mut buffer).await? {
                        0 => break,
                        len => came.extend(&buffer[..len]),
                    }
                }
                // What has ended cannot be written to.
                assert_eq!(stream.write(b"x").await, Err(LineError::Closed));
                Ok(())
            };
            let end = end.await;
            assert_eq!(line.failure(), end.err());
            (came, end)
        };
        let theirs = async { rogue(far_ends.recv().await.unwrap()).await };
        let both = async {
            // The rogue's end of the wire stays open until we are done.
            let (outcome, _rogue) = tokio::join!(ours, theirs);
            outcome
        };
        with_pump(&line, client, both).await
    }

    /// Meets a rogue that is honest until the handshake is over.
    async fn meets_after_handshake(
        &self,
        rogue: impl AsyncFnOnce(&mut Rogue),
    ) -> (Vec<u8>, Result<(), LineError>) {
        self.meets(async |stream| {
            let mut server = Rogue::honest(stream, &self.broker).await;
            rogue(&mut server).await;
            server
        })
        .await
    }
}

/// A goodbye.
const CLOSE_NOTIFY: [u8; 2] = [1, 0];

#[tokio::test]
async fn server_of_these_tests_can_behave() {
    let (came, end) = Parties::new()
        .meets_after_handshake(async |rogue| {
            rogue.record(APPLICATION_DATA, b"hello, ").await;
            // Padding, and nothing but padding beside the type.
            rogue.sealed(b"vehicle\x17\0\0\0").await;
            rogue.sealed(b"\x17\0\0").await;
            rogue.record(ALERT, &CLOSE_NOTIFY).await;
        })
        .await;
    assert_eq!((&came[..], end), (&b"hello, vehicle"[..], Ok(())));
}

#[tokio::test]
async fn handshake_without_proof_is_refused() {
    let world = Parties::new();
    let broker = &world.broker;
    let certificate = &Rogue::certificate(broker);
    // Neither certificate nor proof; the record layer alone would take it.
    let (_, nothing) = world
        .meets(async |stream| {
            let mut rogue = Rogue::greeted(stream).await;
            rogue.finish().await;
            rogue
        })
        .await;
    // Somebody else's certificate.
    let (_, unproven) = world
        .meets(async |stream| {
            let mut rogue = Rogue::greeted(stream).await;
            rogue.say(CERTIFICATE, certificate).await;
            rogue.finish().await;
            rogue
        })
        .await;
    // Somebody else's certificate, and a proof with another key.
    let (_, wrongly_proven) = world
        .meets(async |stream| {
            let mut rogue = Rogue::greeted(stream).await;
            rogue.say(CERTIFICATE, certificate).await;
            let proof = rogue.proof(&world.vehicle);
            rogue.say(CERTIFICATE_VERIFY, &proof).await;
            rogue.finish().await;
            rogue
        })
        .await;
    // No certificate at all in the message.
    let (_, empty) = world
        .meets(async |stream| {
            let mut rogue = Rogue::greeted(stream).await;
            rogue.say(CERTIFICATE, &[0, 0, 0, 0]).await;
            rogue
        })
        .await;
    let ends = [nothing, unproven, wrongly_proven, empty];
    assert_eq!(ends, [Err(LineError::Unproven); 4]);
    // A proof of a certificate that has not come, and one certificate after the other.
    for second in [false, true] {
        let (_, end) = world
            .meets(async |stream| {
                let mut rogue = Rogue::greeted(stream).await;
                if second {
                    rogue.say(CERTIFICATE, certificate).await;
                    rogue.say(CERTIFICATE, certificate).await;
                } else {
                    let proof = rogue.proof(broker);
                    rogue.say(CERTIFICATE_VERIFY, &proof).await;
                }
                rogue
            })
            .await;
        assert_eq!(end, Err(LineError::Protocol));
    }
    // A wrong end of the handshake.
    let (_, end) = world
        .meets(async |stream| {
            let mut rogue = Rogue::greeted(stream).await;
            rogue.say(CERTIFICATE, certificate).await;
            let proof = rogue.proof(broker);
            rogue.say(CERTIFICATE_VERIFY, &proof).await;
            rogue.say(FINISHED, &[0; 32]).await;
            rogue
        })
        .await;
    assert_eq!(end, Err(LineError::Protocol));
}

#[tokio::test]
async fn records_without_content_are_refused_in_the_handshake() {
    let world = Parties::new();
    for content in [&[][..], &[0], &[0; 100]] {
        let (_, end) = world
            .meets(async |stream| {
                let mut rogue = Rogue::hello(stream).await;
                rogue.sealed(content).await;
                rogue
            })
            .await;
        assert_eq!(end, Err(LineError::Protocol));
    }
}

#[tokio::test]
async fn records_without_content_are_refused_afterwards() {
    let world = Parties::new();
    for content in [&[][..], &[0], &[0; 100]] {
        let (came, end) = world
            .meets_after_handshake(async |rogue| {
                rogue.record(APPLICATION_DATA, b"hello").await;
                rogue.sealed(content).await;
            })
            .await;
        assert_eq!((&came[..], end), (&b"hello"[..], Err(LineError::Protocol)));
    }
}

#[tokio::test]
async fn anybody_on_the_way_can_break_the_connection_and_no_more() {
    let world = Parties::new();
    // What somebody without the keys can slip in: goodbyes and handshake messages among it.
    for (content_type, content) in [
        (ALERT, &CLOSE_NOTIFY[..]),
        (ALERT, &[2, 40]),
        (CHANGE_CIPHER_SPEC, &[1]),
        (HANDSHAKE, &[FINISHED, 0, 0, 32]),
        (HANDSHAKE, &[ENCRYPTED_EXTENSIONS, 0, 0, 2, 0, 0]),
        (HANDSHAKE, &[4, 0, 0, 0]),
        (APPLICATION_DATA, &[7; 40]),
        (0, &[]),
        (99, &[1, 2, 3]),
    ] {
        let (came, end) = world
            .meets_after_handshake(async |rogue| {
                rogue.record(APPLICATION_DATA, b"hello").await;
                rogue.plain(content_type, content).await;
                rogue.record(APPLICATION_DATA, b"vehicle").await;
            })
            .await;
        assert_eq!((&came[..], end), (&b"hello"[..], Err(LineError::Protocol)));
    }
}

#[tokio::test]
async fn handshake_messages_after_the_handshake_end_the_connection() {
    let world = Parties::new();
    // Bodies that parse for some message, and for none.
    let bodies = [&[][..], &[0, 0, 0, 0], &[0; 40], &SIGNATURES];
    for kind in 0..=255 {
        let known = usize::from(kind < 26);
        for body in &bodies[..1 + 3 * known] {
            let (_, end) = world
                .meets_after_handshake(async |rogue| {
                    rogue.say(kind, body).await;
                    rogue.record(ALERT, &CLOSE_NOTIFY).await;
                })
                .await;
            let expected = match kind {
                // A ticket, of no use here.
                4 => Ok(()),
                24 => Err(LineError::KeyUpdate),
                _ => Err(LineError::Protocol),
            };
            assert_eq!(end, expected, "message {kind}, {body:?}");
        }
    }
}

#[tokio::test]
async fn tickets_are_no_data_and_hide_nothing() {
    let ticket = [&[4, 0, 0, 13][..], &[0; 13]].concat();
    let hidden = [&ticket[..], &[FINISHED, 0, 0, 32], &[0; 32]].concat();
    let (came, end) = Parties::new()
        .meets_after_handshake(async |rogue| {
            rogue.record(HANDSHAKE, &ticket).await;
            rogue.record(APPLICATION_DATA, b"hello").await;
            rogue.record(HANDSHAKE, &hidden).await;
            rogue.record(APPLICATION_DATA, b", vehicle").await;
            rogue.record(ALERT, &CLOSE_NOTIFY).await;
        })
        .await;
    assert_eq!((&came[..], end), (&b"hello, vehicle"[..], Ok(())));
}

#[tokio::test]
async fn alert_is_a_refusal_before_the_first_data_and_an_end_later() {
    let world = Parties::new();
    for (greeting, expected) in [(&b""[..], LineError::Refused), (b"hello", LineError::Alert)] {
        for description in [42, 46, 48, 116] {
            let (came, end) = world
                .meets_after_handshake(async |rogue| {
                    if !greeting.is_empty() {
                        rogue.record(APPLICATION_DATA, greeting).await;
                    }
                    rogue.record(ALERT, &[2, description]).await;
                })
                .await;
            assert_eq!((&came[..], end), (greeting, Err(expected)));
        }
    }
}

#[tokio::test]
async fn every_alert_ends_the_connection() {
    let world = Parties::new();
    for description in (1..=255).step_by(3) {
        let (_, end) = world
            .meets_after_handshake(async |rogue| {
                rogue.record(APPLICATION_DATA, b"hello").await;
                rogue.record(ALERT, &[2, description]).await;
            })
            .await;
        assert!(
            matches!(end, Err(LineError::Alert | LineError::Protocol)),
            "{description}: {end:?}"
        );
    }
}

/// Noise in place of anything a server says: with its keys and without them.
#[tokio::test]
async fn noise_is_an_error() {
    let world = Parties::new();
    for seed in 0..200 {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let mut noise = vec![0; (random.next_u32() % 300) as usize];
        random.fill_bytes(&mut noise);
        let content_type = [ALERT, HANDSHAKE, APPLICATION_DATA, random.next_u32() as u8]
            [random.next_u32() as usize % 4];
        let place = random.next_u32() % 4;
        let (_, end) = world
            .meets(async |mut stream| match place {
                0 => {
                    let record = [&[content_type, 3, 3, 0, noise.len() as u8][..], &noise].concat();
                    stream.write_all(&record).await.unwrap();
                    stream.shutdown().await.unwrap();
                    (None, Some(stream))
                }
                1 => {
                    let mut rogue = Rogue::hello(stream).await;
                    rogue.record(content_type, &noise).await;
                    rogue.shut().await;
                    (Some(rogue), None)
                }
                2 => {
                    let mut rogue = Rogue::hello(stream).await;
                    rogue.say(content_type, &noise).await;
                    rogue.shut().await;
                    (Some(rogue), None)
                }
                _ => {
                    let mut rogue = Rogue::honest(stream, &world.broker).await;
                    rogue.record(content_type, &noise).await;
                    rogue.shut().await;
                    (Some(rogue), None)
                }
            })
            .await;
        assert!(end.is_err(), "seed {seed}");
    }
}

/// The handshake with some bytes of one message changed, and all that follows as it should be then.
#[tokio::test]
async fn changed_handshake_never_panics_and_never_hangs() {
    let world = Parties::new();
    for seed in 0..200 {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let (victim, times) = (random.next_u32() % 5, 1 + random.next_u32() % 3);
        let mut changed = |number, mut body: Vec<u8>| {
            for _ in 0..times {
                if number == victim && !body.is_empty() {
                    let at = random.next_u32() as usize % body.len();
                    match random.next_u32() % 3 {
                        0 => body[at] = random.next_u32() as u8,
                        1 => body.truncate(at),
                        _ => body.insert(at, random.next_u32() as u8),
                    }
                }
            }
            body
        };
        let (_, end) = world
            .meets(async |stream| {
                let mut rogue = Rogue::hello(stream).await;
                let extensions = [0, 10, 0, 10, 0, 4, 0, 2, 0, 0x17];
                let body = changed(0, [&[0, 10][..], &extensions[2..], &[0, 0]].concat());
                rogue.say(ENCRYPTED_EXTENSIONS, &body).await;
                let body = changed(1, SIGNATURES.to_vec());
                rogue.say(13, &body).await;
                let body = changed(2, Rogue::certificate(&world.broker));
                rogue.say(CERTIFICATE, &body).await;
                let body = changed(3, rogue.proof(&world.broker));
                rogue.say(CERTIFICATE_VERIFY, &body).await;
                let body = changed(4, rogue.finished());
                rogue.say(FINISHED, &body).await;
                rogue.open();
                rogue.record(ALERT, &CLOSE_NOTIFY).await;
                rogue.shut().await;
                rogue
            })
            .await;
        // Certificate, proof and end are covered by signatures or codes.
        if end.is_ok() {
            assert!(victim < 2, "seed {seed}");
        }
    }
}
