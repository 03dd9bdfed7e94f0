//! The vehicles that load a broker, and the book about which of their messages arrived.
//!
//! Each publisher sends as fast as the broker takes it, with at most [`WINDOW`] messages that have
//! not reached the consumer. So what is measured is the rate that the whole way carries without
//! loss, and no queue grows.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::wire::{self, Login, NUMBER_DIGITS, Publish};

/// Bytes of an MQTT payload.
pub(crate) const PAYLOAD_BYTES: usize = 256;

/// Connections that publish.
pub(crate) const PUBLISHERS: usize = 8;

/// Vehicles that each of them speaks for, in turn.
const VEHICLES_PER_PUBLISHER: usize = 8;

/// Messages of one publisher on their way to the consumer.
const WINDOW: u64 = 1024;

/// Messages of one write.
const BURST: u64 = 32;

/// Pause of a publisher whose window is full: short against the time a window lasts.
const PAUSE: Duration = Duration::from_millis(1);

/// No message for so long: the missing ones are lost.
const SILENCE: Duration = Duration::from_secs(5);

/// What stands before the publisher and the number of a message.
const MARK: &str = r#"{"content":{"p":""#;

/// Which messages of each publisher arrived; the consumer notes them, the publishers count.
#[derive(Default)]
pub(crate) struct Arrivals {
    arrived: [AtomicU64; PUBLISHERS],
    /// One bit for each number.
    seen: [Mutex<Vec<u64>>; PUBLISHERS],
    twice: AtomicU64,
}

impl Arrivals {
    pub(crate) fn total(&self) -> u64 {
        let load = |count: &AtomicU64| count.load(Ordering::Acquire);
        self.arrived.iter().map(load).sum()
    }

    /// Messages that came again.
    pub(crate) fn twice(&self) -> u64 {
        self.twice.load(Ordering::Relaxed)
    }

    /// Notes a message, given its content or anything that holds it.
    pub(crate) fn note(&self, text: &[u8]) -> Result<()> {
        let (publisher, number) = read_mark(text).with_context(|| {
            let text = String::from_utf8_lossy(text);
            format!("a message that nobody sent: {text}")
        })?;
        if self.is_new(publisher, number) {
            self.arrived[publisher].fetch_add(1, Ordering::Release);
        } else {
            self.twice.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn is_new(&self, publisher: usize, number: u64) -> bool {
        let mut seen = self.seen(publisher);
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if seen.len() <= word {
            seen.resize(word + 1024, 0);
        }
        let is_new = seen[word] & bit == 0;
        seen[word] |= bit;
        is_new
    }

    fn seen(&self, publisher: usize) -> MutexGuard<'_, Vec<u64>> {
        let seen = self.seen[publisher].lock();
        seen.unwrap_or_else(PoisonError::into_inner)
    }

    /// Of the first `sent` messages of a publisher, those that did not arrive.
    fn missing(&self, publisher: usize, sent: u64) -> Vec<u64> {
        let seen = self.seen(publisher);
        let has_arrived = |number: &u64| {
            let word = seen.get((number / 64) as usize).copied().unwrap_or(0);
            word & (1 << (number % 64)) != 0
        };
        (0..sent).filter(|number| !has_arrived(number)).collect()
    }
}

/// The publisher and the number in `…"content":{"p":"3","n":"0000000017",…`.
fn read_mark(text: &[u8]) -> Option<(usize, u64)> {
    let text = std::str::from_utf8(text).ok()?;
    // A consumer's own object has other members before.
    let at = text.find(&MARK[1..])? + MARK.len() - 1;
    let publisher = text[at..].split('"').next()?.parse::<usize>().ok()?;
    let number = text[at..].get(8..8 + NUMBER_DIGITS)?.parse().ok()?;
    (publisher < PUBLISHERS).then_some((publisher, number))
}

/// Running publishers.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    publishers: Vec<JoinHandle<Result<(u64, TcpStream)>>>,
}

/// Which messages, and to whom.
#[derive(Clone, Debug)]
pub(crate) struct LoadSettings {
    pub(crate) broker: SocketAddr,
    pub(crate) login: Option<Login>,
    pub(crate) qos: u8,
}

impl Load {
    pub(crate) fn start(settings: &LoadSettings, arrivals: &Arc<Arrivals>) -> Result<Self> {
        let stop = Arc::<AtomicBool>::default();
        let publishers: Result<Vec<_>> = (0..PUBLISHERS)
            .map(|index| {
                let client = format!("bench-publisher-{index}");
                let stream = wire::connect(settings.broker, &client, settings.login.as_ref())?;
                let publisher = Publisher {
                    index,
                    packets: packets(index, settings.qos),
                    arrivals: Arc::clone(arrivals),
                    stop: Arc::clone(&stop),
                };
                let acks = stream.try_clone()?;
                std::thread::spawn(move || swallow(acks));
                Ok(std::thread::spawn(move || publisher.run(stream)))
            })
            .collect();
        Ok(Self {
            stop,
            publishers: publishers?,
        })
    }

    /// Stops publishing, waits for what is on its way, and returns how many messages were sent. The
    /// connections stay open until then: a broker may forget what a client that left has sent.
    pub(crate) fn finish(self, arrivals: &Arrivals) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sent_each = Vec::new();
        let mut open = Vec::new();
        for publisher in self.publishers {
            let ended = publisher.join();
            let (count, stream) = ended.map_err(|_| anyhow!("a publisher panicked"))??;
            sent_each.push(count);
            open.push(stream);
        }
        let sent = sent_each.iter().sum();
        let mut arrived = arrivals.total();
        let mut since = Instant::now();
        while arrived < sent && since.elapsed() < SILENCE {
            sleep(PAUSE);
            let now = arrivals.total();
            if now > arrived {
                (arrived, since) = (now, Instant::now());
            }
        }
        for (publisher, sent) in sent_each.into_iter().enumerate() {
            let missing = arrivals.missing(publisher, sent);
            if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
                let count = missing.len();
                eprintln!("publisher {publisher}: {count} of {sent} lost, {first} to {last}");
            }
        }
        Ok(sent)
    }
}

struct Publisher {
    index: usize,
    packets: Vec<Publish>,
    arrivals: Arc<Arrivals>,
    stop: Arc<AtomicBool>,
}

impl Publisher {
    fn run(mut self, mut stream: TcpStream) -> Result<(u64, TcpStream)> {
        let mut out = Vec::new();
        let mut sent = 0;
        let mut full_since = None;
        while !self.stop.load(Ordering::Relaxed) {
            let arrived = self.arrivals.arrived[self.index].load(Ordering::Acquire);
            let burst = BURST.min(WINDOW - (sent - arrived));
            if burst == 0 {
                let since = *full_since.get_or_insert((arrived, Instant::now()));
                if since.0 == arrived && since.1.elapsed() > SILENCE {
                    bail!("publisher {}: a whole window was lost", self.index);
                }
                sleep(PAUSE);
                continue;
            }
            full_since = None;
            out.clear();
            for number in sent..sent + burst {
                let vehicle = (number % VEHICLES_PER_PUBLISHER as u64) as usize;
                self.packets[vehicle].write(&mut out, number);
            }
            stream.write_all(&out)?;
            sent += burst;
        }
        Ok((sent, stream))
    }
}

/// One packet for each vehicle of a publisher.
pub(crate) fn packets(publisher: usize, qos: u8) -> Vec<Publish> {
    let payload = payload(publisher);
    let number = MARK.len() + 8;
    (0..VEHICLES_PER_PUBLISHER)
        .map(|vehicle| {
            let vin = format!("BENCH{publisher:06}{vehicle:06}");
            let topic = format!("psa/OVIPPartners-Dev/from/uid/demo-partner/opa/{vin}/");
            Publish::new(&topic, &payload, number, qos)
        })
        .collect()
}

fn payload(publisher: usize) -> Vec<u8> {
    let zeros = "0".repeat(NUMBER_DIGITS);
    let head = format!(r#"{MARK}{publisher}","n":"{zeros}","fill":""#);
    let tail = r#""}}"#;
    let fill = "x".repeat(PAYLOAD_BYTES - head.len() - tail.len());
    [&head, fill.as_str(), tail].concat().into_bytes()
}

/// Reads acknowledgements, and nothing of them.
fn swallow(mut acks: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    while acks.read(&mut buffer).is_ok_and(|count| count > 0) {}
}
