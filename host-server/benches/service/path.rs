//! The way up: vehicles, broker, host, disk, event stream; beside the same broker with a client
//! that only reads and keeps nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::consumers::Consumer;
use crate::http;
use crate::load::{Arrivals, Load, LoadSettings, PAYLOAD_BYTES};
use crate::programs::{HostServer, Mosquitto};
use crate::table::Table;
use crate::wire::Login;

/// Load before the measurement begins.
const WARM_UP: Duration = Duration::from_secs(2);

/// A way for messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// mosquitto and a client that only reads.
    Bare,
    /// mosquitto, host-server, disk, event stream.
    Durable,
    /// host-server with its own broker, disk, event stream.
    Embedded,
}

/// One measurement.
#[derive(Clone, Copy, Default)]
struct Sample {
    per_second: f64,
    /// CPU time of whoever reads from the broker, for each message.
    reader: Duration,
    /// CPU time of the broker, where it is a process of its own.
    broker: Option<Duration>,
    sent: u64,
    lost: u64,
    twice: u64,
}

/// Measures every way in each round and prints the medians.
pub(crate) fn measure(time: Duration, rounds: usize) -> Result<()> {
    ensure!(rounds > 0, "--rounds must be at least 1");
    let rows: Vec<(u8, Way)> = [0, 1]
        .into_iter()
        .flat_map(|qos| [Way::Bare, Way::Durable, Way::Embedded].map(|way| (qos, way)))
        .collect();
    let mut samples = vec![Vec::new(); rows.len()];
    for round in 1..=rounds {
        for (samples, (qos, way)) in samples.iter_mut().zip(&rows) {
            let name = way.name();
            let sample = sample(*way, *qos, time).with_context(|| format!("{name}, QoS {qos}"))?;
            let rate = sample.per_second;
            eprintln!("round {round}/{rounds}: QoS {qos}, {name}: {rate:.0} messages/s");
            samples.push(sample);
        }
    }
    print(&rows, &samples);
    Ok(())
}

fn print(rows: &[(u8, Way)], samples: &[Vec<Sample>]) {
    println!("\nThe way up, messages of {PAYLOAD_BYTES} bytes, medians:");
    let mut table = Table::new(&[
        "broker, reader",
        "QoS",
        "messages/s",
        "of bare",
        "CPU us/message, reader",
        "broker",
        "sent",
        "lost",
        "twice",
    ]);
    let mut bare = f64::NAN;
    for ((qos, way), samples) in rows.iter().zip(samples) {
        let median = median(samples);
        if *way == Way::Bare {
            bare = median.per_second;
        }
        let micros = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e6);
        let sum = |count: fn(&Sample) -> u64| samples.iter().map(count).sum::<u64>().to_string();
        table.row([
            way.name().to_owned(),
            qos.to_string(),
            format!("{:.0}", median.per_second),
            format!("{:.2}", median.per_second / bare),
            micros(median.reader),
            median.broker.map_or("(in it)".to_owned(), micros),
            sum(|sample| sample.sent),
            sum(|sample| sample.lost),
            sum(|sample| sample.twice),
        ]);
    }
    table.print();
}

/// The sample with the median rate.
fn median(samples: &[Sample]) -> Sample {
    let mut sorted = samples.to_vec();
    sorted.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    sorted[sorted.len() / 2]
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Bare => "mosquitto, bare rumqttc",
            Self::Durable => "mosquitto, host-server to event stream",
            Self::Embedded => "embedded, host-server to event stream",
        }
    }
}

/// The programs of a way, all fresh.
struct Setting {
    broker: SocketAddr,
    login: Option<Login>,
    mosquitto: Option<Mosquitto>,
    server: Option<HostServer>,
}

impl Setting {
    fn new(way: Way) -> Result<Self> {
        if way == Way::Embedded {
            let server = HostServer::embedded()?;
            return Ok(Self {
                broker: server.mqtt.context("no plain listener")?,
                login: Some(Login {
                    user: "admin".to_owned(),
                    password: server.token.clone(),
                }),
                mosquitto: None,
                server: Some(server),
            });
        }
        let mosquitto = Mosquitto::start(None)?;
        let server = (way == Way::Durable).then(|| HostServer::external(mosquitto.mqtt));
        Ok(Self {
            broker: mosquitto.mqtt,
            login: None,
            mosquitto: Some(mosquitto),
            server: server.transpose()?,
        })
    }

    fn consumer(&self, qos: u8, arrivals: Arc<Arrivals>) -> Result<Consumer> {
        match &self.server {
            Some(server) => {
                let path = "/api/v1/messages/stream";
                Consumer::of_stream(http::open(server.http, path, &server.token)?, arrivals)
            }
            None => Consumer::bare(self.broker, qos, arrivals),
        }
    }
}

/// What has been used so far.
struct Reading {
    at: Instant,
    arrived: u64,
    reader: Duration,
    broker: Option<Duration>,
}

impl Reading {
    fn take(setting: &Setting, consumer: &Consumer, arrivals: &Arrivals) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            arrived: arrivals.total(),
            reader: match &setting.server {
                Some(server) => server.process.cpu_time()?,
                None => consumer.cpu_time()?,
            },
            broker: match &setting.mosquitto {
                Some(mosquitto) => Some(mosquitto.process.cpu_time()?),
                None => None,
            },
        })
    }
}

fn sample(way: Way, qos: u8, time: Duration) -> Result<Sample> {
    let setting = Setting::new(way)?;
    let arrivals = Arc::<Arrivals>::default();
    let consumer = setting.consumer(qos, Arc::clone(&arrivals))?;
    let load = LoadSettings {
        broker: setting.broker,
        login: setting.login.clone(),
        qos,
    };
    let load = Load::start(&load, &arrivals)?;
    std::thread::sleep(WARM_UP);
    let before = Reading::take(&setting, &consumer, &arrivals)?;
    std::thread::sleep(time);
    let after = Reading::take(&setting, &consumer, &arrivals)?;
    let sent = load.finish(&arrivals);
    consumer.check()?;
    let sent = sent?;

    let count = after.arrived - before.arrived;
    ensure!(count > 0, "nothing arrived");
    let each = |time: Duration| time.div_f64(count as f64);
    Ok(Sample {
        per_second: count as f64 / (after.at - before.at).as_secs_f64(),
        reader: each(after.reader - before.reader),
        broker: after
            .broker
            .zip(before.broker)
            .map(|(after, before)| each(after - before)),
        sent,
        lost: sent.saturating_sub(arrivals.total()),
        twice: arrivals.twice(),
    })
}
