//! What a look says of a broker that behaves badly. The broker is at the other end of a pipe and the clock
//! is virtual, so the longest patience takes no time.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::packets::{Outgoing, Packet};
use super::*;
use crate::cli::{Cli, Command};

#[test]
fn the_own_topic_is_one_that_a_partner_publishes_on_for_no_vehicle() {
    let topic = own_topic(&TopicScheme::default(), &Uid::parse("me").unwrap());
    let expected = "psa/OVIPPartners-Dev/to/uid/me/opa/VINBUSDOCTOR00000/";
    assert_eq!(topic.as_deref(), Some(expected));
    assert!(OWN_VIN.contains(['I', 'O', 'Q']), "a VIN has none of them");
}

/// How a broker behaves.
#[derive(Clone, Copy)]
struct Manner {
    /// Packets that it answers on a connection; then it reads nothing any more.
    answers: usize,
    /// How long it takes for each.
    delay: Duration,
    /// The QoS that it grants.
    qos_max: u8,
    /// The largest payload that it delivers.
    payload_max: usize,
}

const GOOD: Manner = Manner {
    answers: usize::MAX,
    delay: Duration::ZERO,
    qos_max: 2,
    payload_max: usize::MAX,
};

/// A broker of one client, which hears itself.
async fn behave(mut stream: DuplexStream, manner: Manner) {
    let mut version = Version::V5;
    let mut answered = 0;
    while answered < manner.answers {
        let Some((kind, packet, body)) = packet(&mut stream).await else {
            return;
        };
        let id = [body.first(), body.get(1)].map(|byte| byte.copied().unwrap_or_default());
        let mut reply = match kind {
            1 if body[6] == 5 => vec![0x20, 3, 0, 0, 0],
            1 => {
                version = Version::V311;
                vec![0x20, 2, 0, 0]
            }
            8 if version == Version::V5 => vec![0x90, 4, id[0], id[1], 0, manner.qos_max.min(1)],
            8 => vec![0x90, 3, id[0], id[1], manner.qos_max.min(1)],
            3 => echo(version, packet, manner),
            6 => vec![0x70, 2],
            12 => vec![0xD0, 0],
            _ => Vec::new(),
        };
        if kind == 6 {
            reply.extend(id);
        }
        if reply.is_empty() {
            continue;
        }
        answered += 1;
        sleep(manner.delay).await;
        if stream.write_all(&reply).await.is_err() {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// Its kind, all of it, and its body.
async fn packet(stream: &mut DuplexStream) -> Option<(u8, BytesMut, Vec<u8>)> {
    let mut all = BytesMut::from(&[stream.read_u8().await.ok()?][..]);
    let mut len = 0;
    for shift in [0, 7, 14, 21] {
        let byte = stream.read_u8().await.ok()?;
        all.extend([byte]);
        len |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await.ok()?;
    all.extend(&body);
    Some((all[0] >> 4, all, body))
}

/// The acknowledgement of a message, and the message.
fn echo(version: Version, mut packet: BytesMut, manner: Manner) -> Vec<u8> {
    let Ok(Some(Packet::Publish(message))) = packets::read(version, &mut packet) else {
        panic!("it is no message");
    };
    let id = message.id.unwrap_or_default().to_be_bytes();
    let mut reply = match message.qos {
        0 => Vec::new(),
        1 => vec![0x40, 2, id[0], id[1]],
        _ => vec![0x50, 2, id[0], id[1]],
    };
    if message.payload.len() <= manner.payload_max {
        let message = Outgoing {
            topic: &message.topic,
            payload: message.payload,
            qos: message.qos.min(manner.qos_max),
            retain: false,
        };
        reply.extend(packets::publish(version, 1, &message).unwrap());
    }
    reply
}

/// What a look finds, and how long it takes.
struct Look {
    report: Report,
    took: Duration,
    whole: Duration,
}

impl Look {
    /// At a broker that behaves like this.
    async fn at(manner: Manner) -> Self {
        Self::with(move |stream| tokio::spawn(behave(stream, manner))).await
    }

    async fn with<T>(serve: impl Fn(DuplexStream) -> T + Send + 'static) -> Self {
        let words = ["host-server", "doctor", "--broker", "mqtt://in.memory"];
        let Some(Command::Doctor(args)) = Cli::parse_from(words).command else {
            panic!("it is the doctor's");
        };
        let config = config::load(args.serve_options()).unwrap();
        let BrokerChoice::External(broker) = &config.broker else {
            panic!("it is external");
        };
        let mut access = Access::new(broker, Login::Nobody, args.timeout, args.listen).unwrap();
        let (peers, mut dialed) = mpsc::unbounded_channel();
        access.peers = Some(peers);
        tokio::spawn(async move {
            while let Some(stream) = dialed.recv().await {
                serve(stream);
            }
        });
        let patient = Patient {
            access: &access,
            broker,
            scheme: &config.scheme,
            partner: &config.partner,
            args: &args,
        };
        let mut report = Report::of("memory".into());
        let begin = Instant::now();
        patient.look_inside(&mut report, None).await;
        Self {
            report,
            took: begin.elapsed(),
            whole: access.whole,
        }
    }

    /// Asserts that the last line of this check has this verdict and says `part`.
    #[track_caller]
    fn says(&self, name: &str, verdict: Verdict, part: &str) {
        let text = self.report.text();
        let check = self.report.checks.iter().rfind(|it| it.check == name);
        let check = check.unwrap_or_else(|| panic!("no {name}: {text}"));
        let said = (check.verdict, check.value.contains(part));
        assert_eq!(said, (verdict, true), "{name}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_in_memory_gets_a_clean_bill_of_health() {
    let look = Look::at(GOOD).await;
    look.says(
        "size",
        Verdict::Ok,
        "131072 bytes arrives; one of 131073 arrives",
    );
    look.says("qos", Verdict::Ok, "1 arrives as 1, 2 arrives as 2");
    look.says("trailing-slash", Verdict::NotTested, "within 2s");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_says_nothing_is_told_to_be_silent() {
    let look = Look::at(Manner { answers: 0, ..GOOD }).await;
    look.says("login", Verdict::Failed, "no answer within 5s");
    assert_eq!(look.took, Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_falls_silent_is_told_wherever_it_does() {
    let after = async |answers| Look::at(Manner { answers, ..GOOD }).await;
    let (welcome, one, all) = (after(1).await, after(2).await, after(3).await);
    welcome.says("login", Verdict::Ok, "welcomes");
    welcome.says("subscribe-table", Verdict::Failed, "no answer within 5s");
    welcome.says("publish", Verdict::Failed, "no answer within 5s");
    one.says("subscribe-table", Verdict::Ok, "is granted");
    one.says("subscribe-sample", Verdict::Failed, "no answer within 5s");
    one.says("publish", Verdict::Failed, "no answer within 5s");
    all.says("subscribe-sample", Verdict::Ok, "is granted");
    all.says("publish", Verdict::Failed, "no answer within 5s");
    for look in [welcome, one, all] {
        look.says("no-local", Verdict::NotTested, "the connection is lost");
        assert!(look.took < look.whole, "{:?}", look.took);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_drips_bytes_is_not_waited_for_longer_than_a_silent_one() {
    let look = Look::with(|mut stream| {
        tokio::spawn(async move {
            // A CONNACK of 127 bytes that is never whole.
            let bytes = [&[0x20, 0x7F, 0, 0][..], &[0; 100]].concat();
            for byte in bytes {
                sleep(Duration::from_secs(1)).await;
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
        })
    })
    .await;
    look.says("login", Verdict::Failed, "no answer within 5s");
    assert_eq!(look.took, Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_takes_no_bytes_is_told() {
    // The first four connections are for the versions, the topics and small messages.
    let connections = AtomicUsize::new(0);
    let look = Look::with(move |stream| {
        let answers = match connections.fetch_add(1, Ordering::Relaxed) {
            0..4 => usize::MAX,
            _ => 2,
        };
        tokio::spawn(behave(stream, Manner { answers, ..GOOD }))
    })
    .await;
    look.says("qos", Verdict::Ok, "2 arrives as 2");
    look.says(
        "size",
        Verdict::Failed,
        "131072 bytes is refused: no answer within 5s",
    );
    assert!(look.took <= look.whole, "{:?}", look.took);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_slow_all_the_time_is_looked_at_no_longer_than_said() {
    let look = Look::at(Manner {
        delay: Duration::from_secs(4),
        payload_max: 1000,
        ..GOOD
    })
    .await;
    look.says("publish", Verdict::Ok, "arrives");
    look.says(
        "size",
        Verdict::Failed,
        "the whole look took longer than 2m 2s",
    );
    look.says("retained", Verdict::NotTested, "");
    assert_eq!(look.took, look.whole);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_downgrades_is_told_with_what_it_makes_of_each_qos() {
    let look = Look::at(Manner { qos_max: 0, ..GOOD }).await;
    look.says("subscribe-table", Verdict::Warning, "granted at QoS 0 of 1");
    let expected = "granted 0 of 2; 0 arrives as 0, 1 arrives as 0, 2 arrives as 0";
    look.says("qos", Verdict::Warning, expected);
    look.says("size", Verdict::Ok, "131072 bytes arrives");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_closes_on_a_message_is_told_with_what_it_may_not_allow() {
    let connections = AtomicUsize::new(0);
    let look = Look::with(move |stream| {
        let is_for_messages = connections.fetch_add(1, Ordering::Relaxed) > 2;
        tokio::spawn(async move {
            if !is_for_messages {
                behave(stream, GOOD).await;
            } else {
                // CONNECT and SUBSCRIBE are answered.
                let two = Manner { answers: 2, ..GOOD };
                let _ = tokio::time::timeout(Duration::from_millis(1), behave(stream, two)).await;
            }
        })
    })
    .await;
    look.says(
        "publish",
        Verdict::Failed,
        "closed the connection without a reason",
    );
    let advice = &look.report.checks.iter().find(|it| it.check == "publish");
    let advice = advice.and_then(|it| it.advice.as_deref()).unwrap();
    assert!(advice.contains("publish at QoS 0"), "{advice}");
}
