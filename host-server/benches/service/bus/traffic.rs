//! 500 publishers to one subscriber, with access rules and without.
//!
//! Each publisher has a bounded number of messages on their way, so no queue overflows: at QoS 0 nothing
//! needs to be dropped, and at QoS 1 nobody is held back. Each message says whose it is and its number, and has to be the next of its publisher.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::{APP, admin, broker, median, token};
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

/// Time before the measurement.
const WARM_UP: Duration = Duration::from_secs(1);

/// No message for so long: what is missing is lost.
const SILENCE: Duration = Duration::from_secs(5);

/// Measures both QoS with rules and without, in turn, and prints their rates and ratio.
pub(super) fn measure(
    server: &HostServer,
    clients: &[String],
    time: Duration,
    rounds: usize,
) -> Result<()> {
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
        "CPU us/message, off",
        "on",
        "lost",
    ]);
    for qos in [0, 1] {
        let (mut rates, mut cpu, mut lost) =
            ([const { Vec::new() }; 2], [const { Vec::new() }; 2], 0);
        for round in 0..rounds {
            for (at, (rules, logins)) in [("off", &admins), ("on", &tokens)].into_iter().enumerate()
            {
                // Connections of the run before, which may not be gone yet, have names of their own.
                let name = format!("{rules}-{qos}-{round}");
                let run = run(server, logins, &name, qos, time)?;
                rates[at].push(run.rate);
                cpu[at].push(run.cpu_us);
                lost += run.lost;
            }
        }
        let ([off, on], cpu) = (rates.map(median), cpu.map(median));
        let [cpu_off, cpu_on] = cpu.map(|cpu| format!("{cpu:.1}"));
        table.row([
            qos.to_string(),
            format!("{off:.0}"),
            format!("{on:.0}"),
            format!("{:.2}", on / off),
            cpu_off,
            cpu_on,
            lost.to_string(),
        ]);
    }
    table.print();
    Ok(())
}

struct Run {
    rate: f64,
    /// What the host server took of a processor for each message.
    cpu_us: f64,
    lost: u64,
}

/// One measurement, in which each client identifier begins with `name`.
fn run(server: &HostServer, logins: &[Login], name: &str, qos: u8, time: Duration) -> Result<Run> {
    let address = broker(server)?;
    let topic = format!("app/{APP}/ui/content");
    let arrived: Arc<[AtomicU64]> = logins.iter().map(|_| AtomicU64::new(0)).collect();
    let login = logins.first().context("nobody publishes")?;
    let subscriber = subscribe(
        wire::connect(address, &format!("{name}-subscriber"), Some(login))?,
        &topic,
        qos,
    )?;
    let closer = subscriber.try_clone()?;
    let hearing = {
        let arrived = Arc::clone(&arrived);
        thread::spawn(move || hear(subscriber, &arrived))
    };
    let stop = Arc::<AtomicBool>::default();
    let mut connections = Vec::new();
    for (number, login) in logins.iter().enumerate() {
        let stream = wire::connect(address, &format!("{name}-{number}"), Some(login))?;
        let acks = stream.try_clone()?;
        connections.push(Connection {
            number,
            stream,
            acks,
            packet: packet(&topic, number, qos),
            sent: 0,
        });
    }
    let mut threads: Vec<JoinHandle<Result<Vec<Connection>>>> = Vec::new();
    let part = connections.len().div_ceil(THREADS);
    while !connections.is_empty() {
        let own = connections.split_off(connections.len().saturating_sub(part));
        let (arrived, stop) = (Arc::clone(&arrived), Arc::clone(&stop));
        threads.push(thread::spawn(move || publish(own, &arrived, &stop)));
    }
    sleep(WARM_UP);
    let (before, begin) = (total(&arrived), Instant::now());
    let cpu_before = server.process.cpu_time()?;
    sleep(time);
    let messages = (total(&arrived) - before) as f64;
    let rate = messages / begin.elapsed().as_secs_f64();
    let cpu_us = (server.process.cpu_time()? - cpu_before).as_secs_f64() * 1e6 / messages;
    stop.store(true, Ordering::Relaxed);
    // Open until what they sent has arrived.
    let mut open = Vec::new();
    for thread in threads {
        open.extend(
            thread
                .join()
                .map_err(|_| anyhow!("a publisher panicked"))??,
        );
    }
    let sent: u64 = open.iter().map(|connection| connection.sent).sum();
    let mut seen = (total(&arrived), Instant::now());
    while seen.0 < sent && seen.1.elapsed() < SILENCE {
        sleep(Duration::from_millis(1));
        let now = total(&arrived);
        if now > seen.0 {
            seen = (now, Instant::now());
        }
    }
    closer.shutdown(std::net::Shutdown::Both)?;
    let missing = hearing
        .join()
        .map_err(|_| anyhow!("the subscriber panicked"))??;
    Ok(Run {
        rate,
        cpu_us,
        lost: missing + sent - total(&arrived),
    })
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

/// Publishes on each connection in turn as much as its window takes.
fn publish(
    mut own: Vec<Connection>,
    arrived: &[AtomicU64],
    stop: &AtomicBool,
) -> Result<Vec<Connection>> {
    for connection in &own {
        connection.acks.set_nonblocking(true)?;
    }
    let mut out = Vec::new();
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let mut is_idle = true;
        for connection in &mut own {
            let arrived = arrived[connection.number].load(Ordering::Acquire);
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
    Ok(own)
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
