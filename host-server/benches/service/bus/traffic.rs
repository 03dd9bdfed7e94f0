//! 500 publishers to one subscriber, with access rules and without.
//!
//! Each publisher has a bounded number of messages on their way, so no queue overflows: at QoS 0 nothing
//! needs to be dropped, and at QoS 1 nobody is held back. Each message says whose it is and its number,
//! and has to be the next of its publisher.
//!
//! The connections of both ways are open all the time, and publish in turn for a second at once: what else
//! the machine does is then in both. The ratio is that of neighbouring seconds.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::{APP, OTHER_APP, admin, broker, median, token};
use crate::programs::HostServer;
use crate::table::Table;
use crate::wire::{self, Login, NUMBER_DIGITS, Publish};

/// Bytes of a payload.
const PAYLOAD_BYTES: usize = 256;

/// Threads that publish, each for its part of the connections.
const THREADS: usize = 4;

/// Messages of one connection on their way to the subscriber: all together are less than the 1,024 that
/// may wait for it.
const WINDOW: u64 = 2;

/// Time that a way publishes before it is measured, in which the last messages of the other arrive.
const SETTLING: Duration = Duration::from_millis(200);

/// Time that is measured of a turn.
const MEASURED: Duration = Duration::from_millis(800);

/// No message for so long: what is missing is lost.
const SILENCE: Duration = Duration::from_secs(5);

/// The turn in which nobody publishes any more.
const NOBODYS: usize = usize::MAX;

/// Measures both QoS with rules and without, and prints their rates and ratio.
pub(super) fn measure(server: &HostServer, clients: &[String], pairs: usize) -> Result<()> {
    let tokens: Result<Vec<_>> = clients.iter().map(|client| token(server, client)).collect();
    let (tokens, admins) = (tokens?, vec![admin(server); clients.len()]);
    println!(
        "\n{} authenticated publishers to one subscriber, messages of {PAYLOAD_BYTES} bytes, medians:",
        clients.len()
    );
    let mut table = Table::new(&[
        "QoS",
        "rules off, messages/s",
        "rules on",
        "on / off",
        "half of the pairs",
        "CPU us/message, off",
        "on",
        "lost",
    ]);
    for qos in [0, 1] {
        let ways = [
            Way::open(server, &admins, "off", OTHER_APP, qos)?,
            Way::open(server, &tokens, "on", APP, qos)?,
        ];
        let Outcome { turns, lost } = run(server, ways, pairs)?;
        let rates = [0, 1].map(|way| turns.iter().map(|pair| pair[way].rate).collect::<Vec<_>>());
        let ratios = rates[0].iter().zip(&rates[1]).map(|(off, on)| on / off);
        let mut ratios: Vec<_> = ratios.collect();
        ratios.sort_by(f64::total_cmp);
        let quarter = ratios.len() / 4;
        let (from, to) = (ratios[quarter], ratios[ratios.len() - 1 - quarter]);
        let cpu = [0, 1].map(|way| {
            let all: Vec<_> = turns.iter().map(|pair| &pair[way]).collect();
            let cpu: Duration = all.iter().map(|turn| turn.cpu).sum();
            let messages: f64 = all.iter().map(|turn| turn.messages).sum();
            format!("{:.1}", cpu.as_secs_f64() * 1e6 / messages)
        });
        let [off, on] = rates.map(|rates| format!("{:.0}", median(rates)));
        let ratio = format!("{:.2}", median(ratios));
        let [cpu_off, cpu_on] = cpu;
        table.row([
            qos.to_string(),
            off,
            on,
            ratio,
            format!("{from:.2} to {to:.2}"),
            cpu_off,
            cpu_on,
            lost.to_string(),
        ]);
    }
    table.print();
    Ok(())
}

/// Publishers and their subscriber, all logged in in the same way.
struct Way {
    publishers: Vec<Connection>,
    /// What the subscriber heard of each publisher.
    arrived: Arc<[AtomicU64]>,
    subscriber: TcpStream,
    /// How many messages are missing between others.
    hearing: JoinHandle<Result<u64>>,
}

impl Way {
    /// Connects them; each client identifier begins with `name`.
    fn open(server: &HostServer, logins: &[Login], name: &str, app: &str, qos: u8) -> Result<Self> {
        let address = broker(server)?;
        let topic = format!("app/{app}/ui/content");
        let login = logins.first().context("nobody publishes")?;
        let connect =
            |who: &str, login| wire::connect(address, &format!("{name}-{qos}-{who}"), Some(login));
        let subscriber = subscribe(connect("subscriber", login)?, &topic, qos)?;
        let mut publishers = Vec::new();
        for (number, login) in logins.iter().enumerate() {
            let stream = connect(&number.to_string(), login)?;
            let acks = stream.try_clone()?;
            acks.set_nonblocking(true)?;
            publishers.push(Connection {
                number,
                stream,
                acks,
                packet: packet(&topic, number, qos),
                sent: 0,
            });
        }
        let arrived: Arc<[AtomicU64]> = logins.iter().map(|_| AtomicU64::new(0)).collect();
        let (heard, hearer) = (Arc::clone(&arrived), subscriber.try_clone()?);
        Ok(Self {
            publishers,
            arrived,
            subscriber,
            hearing: thread::spawn(move || hear(hearer, &heard)),
        })
    }

    /// How many messages were lost of `sent`.
    fn close(self, sent: u64) -> Result<u64> {
        let mut seen = (total(&self.arrived), Instant::now());
        while seen.0 < sent && seen.1.elapsed() < SILENCE {
            sleep(Duration::from_millis(1));
            let now = total(&self.arrived);
            if now > seen.0 {
                seen = (now, Instant::now());
            }
        }
        self.subscriber.shutdown(std::net::Shutdown::Both)?;
        let hearing = self.hearing.join();
        let missing = hearing.map_err(|_| anyhow!("the subscriber panicked"))??;
        Ok(missing + sent - total(&self.arrived))
    }
}

/// One turn of a way, as far as it was measured.
struct Turn {
    messages: f64,
    rate: f64,
    /// What the host server took of a processor.
    cpu: Duration,
}

struct Outcome {
    /// Of both ways, one after the other.
    turns: Vec<[Turn; 2]>,
    lost: u64,
}

/// Lets both ways publish in turn, so many times.
fn run(server: &HostServer, mut ways: [Way; 2], pairs: usize) -> Result<Outcome> {
    let turn = Arc::new(AtomicUsize::new(0));
    let arrived = [0, 1].map(|way: usize| Arc::clone(&ways[way].arrived));
    let part = ways[0].publishers.len().div_ceil(THREADS);
    let mut threads: Vec<JoinHandle<Result<[Vec<Connection>; 2]>>> = Vec::new();
    for _ in 0..THREADS {
        let own = ways.each_mut().map(|way| {
            let left = way.publishers.len();
            way.publishers.split_off(left.saturating_sub(part))
        });
        let (arrived, turn) = (arrived.clone(), Arc::clone(&turn));
        threads.push(thread::spawn(move || publish(own, &arrived, &turn)));
    }
    let one = |way: usize| -> Result<Turn> {
        turn.store(way, Ordering::Relaxed);
        sleep(SETTLING);
        let (before, begin) = (total(&arrived[way]), Instant::now());
        let cpu = server.process.cpu_time()?;
        sleep(MEASURED);
        let messages = (total(&arrived[way]) - before) as f64;
        Ok(Turn {
            messages,
            rate: messages / begin.elapsed().as_secs_f64(),
            cpu: server.process.cpu_time()? - cpu,
        })
    };
    let mut turns = Vec::new();
    // Both get warm first. Who is first in one pair is last in the next.
    one(0)?;
    one(1)?;
    for pair in 0..pairs {
        turns.push(if pair % 2 == 0 {
            [one(0)?, one(1)?]
        } else {
            let on = one(1)?;
            [one(0)?, on]
        });
    }
    turn.store(NOBODYS, Ordering::Relaxed);
    // Open until what they sent has arrived.
    let mut open = Vec::new();
    for thread in threads {
        let own = thread.join();
        open.push(own.map_err(|_| anyhow!("a publisher panicked"))??);
    }
    let mut lost = 0;
    for (at, way) in ways.into_iter().enumerate() {
        let own = open.iter().flat_map(|own| &own[at]);
        lost += way.close(own.map(|connection| connection.sent).sum())?;
    }
    Ok(Outcome { turns, lost })
}

fn total(arrived: &[AtomicU64]) -> u64 {
    arrived.iter().map(|it| it.load(Ordering::Acquire)).sum()
}

/// One publisher.
struct Connection {
    number: usize,
    stream: TcpStream,
    acks: TcpStream,
    packet: Publish,
    sent: u64,
}

/// Publishes on each connection of the way whose turn it is, as much as its window takes.
fn publish(
    mut own: [Vec<Connection>; 2],
    arrived: &[Arc<[AtomicU64]>; 2],
    turn: &AtomicUsize,
) -> Result<[Vec<Connection>; 2]> {
    let mut out = Vec::new();
    let mut last = Instant::now();
    loop {
        let way = turn.load(Ordering::Relaxed);
        let Some(connections) = own.get_mut(way) else {
            return Ok(own);
        };
        let mut is_idle = true;
        for connection in connections {
            let arrived = arrived[way][connection.number].load(Ordering::Acquire);
            let room = WINDOW - (connection.sent - arrived);
            if room == 0 {
                continue;
            }
            is_idle = false;
            out.clear();
            for number in connection.sent..connection.sent + room {
                connection.packet.write(&mut out, number);
            }
            connection.write(&out)?;
            connection.sent += room;
        }
        if is_idle {
            ensure!(last.elapsed() < SILENCE, "whole windows were lost");
            sleep(Duration::from_micros(200));
        } else {
            last = Instant::now();
        }
    }
}

impl Connection {
    /// Writes all of it, and reads away what was acknowledged.
    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        let mut acks = [0; 4096];
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => thread::yield_now(),
                Err(error) => return Err(error.into()),
            }
            match self.acks.read(&mut acks) {
                Ok(0) => bail!(
                    "the broker closed the connection of publisher {}",
                    self.number
                ),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The packet of a publisher: digits of it, digits of the message, and filling.
fn packet(topic: &str, publisher: usize, qos: u8) -> Publish {
    let head = format!("{publisher:0NUMBER_DIGITS$}");
    let mut payload = head.clone().into_bytes();
    payload.resize(PAYLOAD_BYTES, b'x');
    Publish::new(topic, &payload, head.len(), qos)
}

fn subscribe(mut stream: TcpStream, topic: &str, qos: u8) -> Result<TcpStream> {
    stream.write_all(&wire::subscribe(topic, qos))?;
    let mut granted = [0; 5];
    stream.read_exact(&mut granted)?;
    ensure!(
        granted[4] == qos,
        "the broker refused the subscriber: {granted:?}"
    );
    Ok(stream)
}

/// Counts what the subscriber hears until its connection ends, and acknowledges what wants it; returns
/// how many messages are missing between others.
fn hear(mut stream: TcpStream, arrived: &[AtomicU64]) -> Result<u64> {
    let mut buffer = vec![0; 1024 * 1024];
    let (mut filled, mut acks, mut missing) = (0, Vec::new(), 0);
    loop {
        let count = stream.read(&mut buffer[filled..]).unwrap_or(0);
        if count == 0 {
            return Ok(missing);
        }
        filled += count;
        let mut begin = 0;
        while let Some(length) = whole(&buffer[begin..filled]) {
            missing += note(&buffer[begin..begin + length], arrived, &mut acks)?;
            begin += length;
        }
        buffer.copy_within(begin..filled, 0);
        filled -= begin;
        if !acks.is_empty() {
            stream.write_all(&acks)?;
            acks.clear();
        }
    }
}

/// The length of the packet at the beginning, if all of it is there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (place, byte) in bytes.get(1..)?.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let all = 2 + place + length;
            return (bytes.len() >= all).then_some(all);
        }
    }
    None
}

/// Notes a message, which has to come after the last of its publisher; returns how many are missing
/// between them.
fn note(packet: &[u8], arrived: &[AtomicU64], acks: &mut Vec<u8>) -> Result<u64> {
    ensure!(packet[0] >> 4 == 3, "the subscriber heard {:#x}", packet[0]);
    let payload = &packet[packet.len() - PAYLOAD_BYTES..];
    if packet[0] & 0b0110 != 0 {
        let id = packet.len() - PAYLOAD_BYTES - 2;
        acks.extend([0x40, 2, packet[id], packet[id + 1]]);
    }
    let digits = |from: usize| -> Result<u64> {
        let text = std::str::from_utf8(&payload[from..from + NUMBER_DIGITS])?;
        Ok(text.parse()?)
    };
    let (publisher, number) = (digits(0)?, digits(NUMBER_DIGITS)?);
    let of = arrived
        .get(publisher as usize)
        .context("nobody's message")?;
    let expected = of.swap(number + 1, Ordering::Release);
    ensure!(
        number >= expected,
        "message {number} of {publisher} came after {expected}"
    );
    Ok(number - expected)
}
