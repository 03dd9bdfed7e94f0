//! The time of day from servers that lie, stutter and keep still.

use std::collections::VecDeque;
use std::net::SocketAddr;

use embassy_time::{Duration, Instant};
use vinbus_transport_embedded::sntp::{Datagrams, NetworkTime, SntpError, ask};

/// 2026-11-22, and what a server sends for it.
const NOW: u64 = 1_795_312_800;
const NOW_NTP: u64 = (NOW + 2_208_988_800) << 32;

/// Servers that are asked, in order.
const SERVERS: [&str; 2] = ["192.0.2.1:123", "192.0.2.2:123"];

/// Only an endless wait takes it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Datagrams that come after each question, made from the question.
type Answers = fn(&[u8; 48]) -> Vec<(&'static str, Vec<u8>)>;

struct Network {
    answers: VecDeque<Answers>,
    coming: VecDeque<(SocketAddr, Vec<u8>)>,
    asked: Vec<SocketAddr>,
}

impl Datagrams for Network {
    type Error = ();

    async fn send(&mut self, datagram: &[u8], to: SocketAddr) -> Result<(), ()> {
        let question = datagram.try_into().expect("48 bytes");
        self.asked.push(to);
        let answers = self.answers.pop_front().ok_or(())?(question);
        let answers = answers.into_iter();
        self.coming = answers
            .map(|(from, answer)| (from.parse().unwrap(), answer))
            .collect();
        Ok(())
    }

    async fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), ()> {
        match self.coming.pop_front() {
            Some((from, answer)) => {
                buffer[..answer.len()].copy_from_slice(&answer);
                Ok((answer.len(), from))
            }
            None => std::future::pending().await,
        }
    }
}

/// A good answer: no leap warning, version 4, server, stratum 2.
fn good(question: &[u8; 48]) -> Vec<u8> {
    let mut answer = vec![0; 48];
    answer[..2].copy_from_slice(&[0x24, 2]);
    answer[24..32].copy_from_slice(&question[40..]);
    answer[40..].copy_from_slice(&NOW_NTP.to_be_bytes());
    answer
}

/// A good answer with some bytes changed.
fn changed(question: &[u8; 48], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut answer = good(question);
    answer[at..at + bytes.len()].copy_from_slice(bytes);
    answer
}

async fn asked(answers: &[Answers]) -> (Result<u64, SntpError>, usize) {
    let mut network = Network {
        answers: answers.iter().copied().collect(),
        coming: VecDeque::new(),
        asked: Vec::new(),
    };
    let servers = SERVERS.map(|server| server.parse().unwrap());
    let mut cookie = 7;
    let random = || {
        cookie += 1;
        cookie
    };
    let limit = Duration::from_millis(50);
    let time = ask(
        &mut network,
        &servers[..answers.len()],
        NOW - 10,
        random,
        limit,
    )
    .await;
    // Within the limit of both servers.
    (
        time.map(|time| time.unix_s() - time.unix_s().min(NOW)),
        network.asked.len(),
    )
}

#[tokio::test]
async fn good_answer_is_taken() {
    let (time, servers) = asked(&[|question| vec![(SERVERS[0], good(question))]]).await;
    assert_eq!(time.map(|late| late < 60), Ok(true));
    assert_eq!(servers, 1);
}

#[tokio::test]
async fn what_is_no_answer_is_ignored() {
    let (time, servers) = asked(&[|question| {
        vec![
            // From others, too short, of another mode, to another question.
            ("192.0.2.9:123", good(question)),
            ("192.0.2.1:124", good(question)),
            (SERVERS[0], Vec::new()),
            (SERVERS[0], good(question)[..47].to_vec()),
            (SERVERS[0], changed(question, 0, &[0x23])),
            (SERVERS[0], changed(question, 24, &[1; 8])),
            (SERVERS[0], question.to_vec()),
            (SERVERS[0], good(question)),
            (SERVERS[0], changed(question, 40, &[0; 8])),
        ]
    }])
    .await;
    assert_eq!(time.map(|late| late < 60), Ok(true));
    assert_eq!(servers, 1);
}

#[tokio::test]
async fn answers_that_cannot_be_true_are_told_apart() {
    let cases: [(Answers, SntpError); 6] = [
        (|_| vec![], SntpError::Timeout),
        (
            |question| {
                let mut answer = changed(question, 1, &[0]);
                answer[12..16].copy_from_slice(b"RATE");
                vec![(SERVERS[0], answer)]
            },
            SntpError::Refused(*b"RATE"),
        ),
        (
            |question| vec![(SERVERS[0], changed(question, 0, &[0xe4]))],
            SntpError::Unsynchronised,
        ),
        (
            |question| vec![(SERVERS[0], changed(question, 1, &[16]))],
            SntpError::Unsynchronised,
        ),
        (
            |question| vec![(SERVERS[0], changed(question, 40, &[0; 8]))],
            SntpError::Unsynchronised,
        ),
        (
            |question| {
                let past = (NOW - 11 + 2_208_988_800) << 32;
                vec![(SERVERS[0], changed(question, 40, &past.to_be_bytes()))]
            },
            SntpError::Implausible(NOW - 11),
        ),
    ];
    for (answers, expected) in cases {
        assert_eq!(asked(&[answers]).await, (Err(expected), 1));
    }
    assert_eq!(asked(&[]).await, (Err(SntpError::NoServer), 0));
}

#[tokio::test]
async fn next_server_is_asked_when_one_fails() {
    let (time, servers) = asked(&[|_| vec![], |question| vec![(SERVERS[1], good(question))]]).await;
    assert_eq!(time.map(|late| late < 60), Ok(true));
    assert_eq!(servers, 2);
    assert_eq!(
        asked(&[|_| vec![], |_| vec![]]).await,
        (Err(SntpError::Timeout), 2)
    );
}

/// Somebody who sends what is no answer, without a pause.
struct Flood {
    began: Instant,
}

impl Datagrams for Flood {
    type Error = ();

    async fn send(&mut self, _: &[u8], _: SocketAddr) -> Result<(), ()> {
        Ok(())
    }

    async fn receive(&mut self, _: &mut [u8]) -> Result<(usize, SocketAddr), ()> {
        assert!(self.began.elapsed() < PATIENCE, "it goes on for ever");
        Ok((0, SERVERS[0].parse().unwrap()))
    }
}

#[tokio::test]
async fn flood_of_datagrams_does_not_keep_the_next_server_from_being_asked() {
    let mut flood = Flood {
        began: Instant::now(),
    };
    let servers = SERVERS.map(|server| server.parse().unwrap());
    let limit = Duration::from_millis(50);
    let time = ask(&mut flood, &servers, NOW, || 7, limit).await;
    assert_eq!(time, Err(SntpError::Timeout));
}

#[test]
fn time_goes_on_after_the_answer() {
    let time = NetworkTime::new(5_000, Instant::now());
    assert!((5..60).contains(&time.unix_s()));
}

#[tokio::test]
async fn time_after_2036_is_read() {
    let (time, _) = asked(&[|question| {
        // The timestamps begin anew on 2036-02-07.
        vec![(SERVERS[0], changed(question, 40, &[0, 0, 0, 1, 0, 0, 0, 0]))]
    }])
    .await;
    assert_eq!(time.map(|late| late / 60), Ok((2_085_978_497 - NOW) / 60));
}
