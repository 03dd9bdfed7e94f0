//! The way down: a partner's request, the disk, the car; beside a bare MQTT publish to the same car.
//!
//! Each worker sends a message to a car of its own, waits until it is accepted and until it has
//! arrived, and then sends the next one.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tokio::task::JoinSet;
use vinbus_transport_std::{Client, ClientOptions, Inbox, Qos, connect};

use crate::programs::{Certificates, HostServer, Mosquitto, folder};
use crate::table::Table;

/// Bytes of an envelope.
const PAYLOAD_BYTES: usize = 256;

/// Messages in flight in the second measurement of each way.
const MANY: usize = 64;

/// Longest time for one message.
const PATIENCE: Duration = Duration::from_secs(10);

/// Messages before the measurement, for each worker.
const WARM_UP: u64 = 20;

/// Measures every way, one message at a time and with many in flight.
pub(crate) fn measure(time: Duration) -> Result<()> {
    // reqwest wants one, plain HTTP or not; only a second one is refused.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new()?;
    println!("\nThe way down, messages of {PAYLOAD_BYTES} bytes to cars over mutual TLS:");
    let mut table = Table::new(&[
        "way",
        "in flight",
        "messages/s",
        "accepted p50 ms",
        "p99",
        "in the car p50 ms",
        "p99",
        "p50 of bare",
    ]);
    let mut bare = [f64::NAN; 2];
    let ways: [(&str, Start); 3] = [
        ("MQTT QoS 1, mosquitto, car", Setting::bare),
        ("REST, disk, mosquitto, car", Setting::external),
        ("REST, disk, embedded, car", Setting::embedded),
    ];
    for (name, setting) in ways {
        let setting = setting().context(name)?;
        for (in_flight, bare) in [1, MANY].into_iter().zip(&mut bare) {
            let samples = runtime.block_on(setting.run(in_flight, time));
            let samples = samples.with_context(|| format!("{name}, {in_flight} in flight"))?;
            let accepted = Percentiles::of(samples.iter().map(|sample| sample.accepted));
            let arrived = Percentiles::of(samples.iter().map(|sample| sample.arrived));
            if bare.is_nan() {
                *bare = arrived.p50;
            }
            eprintln!("{name}, {in_flight} in flight: p50 {:.2} ms", arrived.p50);
            table.row([
                name.to_owned(),
                in_flight.to_string(),
                format!("{:.0}", samples.len() as f64 / time.as_secs_f64()),
                format!("{:.2}", accepted.p50),
                format!("{:.2}", accepted.p99),
                format!("{:.2}", arrived.p50),
                format!("{:.2}", arrived.p99),
                format!("{:.2}", arrived.p50 / *bare),
            ]);
        }
    }
    table.print();
    let disk = Percentiles::of(writes()?.into_iter());
    let (p50, p99) = (disk.p50, disk.p99);
    println!("The disk alone, 4 KiB appended and fdatasync: p50 {p50:.2} ms, p99 {p99:.2} ms.\n");
    Ok(())
}

/// Times of single writes to the same disk: nothing durable is faster.
fn writes() -> Result<Vec<Duration>> {
    let folder = folder()?;
    let mut file = File::create(folder.path().join("writes"))?;
    let times = (0..500).map(|_| {
        let begin = Instant::now();
        file.write_all(&[b'x'; 4096])?;
        file.sync_data()?;
        Ok(begin.elapsed())
    });
    times.collect()
}

/// In milliseconds.
struct Percentiles {
    p50: f64,
    p99: f64,
}

impl Percentiles {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<_> = times.collect();
        times.sort_unstable();
        let at = |part: f64| {
            let index = (times.len() as f64 * part) as usize;
            let time = times.get(index.min(times.len().saturating_sub(1)));
            time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
        };
        Self {
            p50: at(0.5),
            p99: at(0.99),
        }
    }
}

/// The times of one message, from the beginning of its request.
struct Sample {
    accepted: Duration,
    arrived: Duration,
}

/// How messages are handed in.
#[derive(Clone)]
pub(crate) enum Entrance {
    Rest {
        client: reqwest::Client,
        url: String,
        token: String,
        /// Whether with receipts: `yes` or `no`.
        receipts: &'static str,
    },
    Mqtt(Client),
}

/// Starts the programs of a way.
type Start = fn() -> Result<Setting>;

/// The programs of a way, and its cars' certificates.
struct Setting {
    entrance: EntranceKind,
    server: Option<HostServer>,
    mosquitto: Option<Mosquitto>,
    certs: tempfile::TempDir,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum EntranceKind {
    Rest,
    Mqtt,
}

impl Setting {
    fn embedded() -> Result<Self> {
        let server = HostServer::embedded()?;
        let certs = enroll(&server)?;
        Ok(Self {
            entrance: EntranceKind::Rest,
            server: Some(server),
            mosquitto: None,
            certs,
        })
    }

    fn external() -> Result<Self> {
        let (data, mosquitto, certs) = certified()?;
        let server = HostServer::external_on(data, mosquitto.mqtt)?;
        Ok(Self {
            entrance: EntranceKind::Rest,
            server: Some(server),
            mosquitto: Some(mosquitto),
            certs,
        })
    }

    fn bare() -> Result<Self> {
        let (_, mosquitto, certs) = certified()?;
        Ok(Self {
            entrance: EntranceKind::Mqtt,
            server: None,
            mosquitto: Some(mosquitto),
            certs,
        })
    }

    async fn run(&self, in_flight: usize, time: Duration) -> Result<Vec<Sample>> {
        let entrance = self.entrance()?;
        let mut workers = Vec::new();
        for index in 0..in_flight {
            workers.push(Worker {
                car: self.car(index).await?,
                entrance: entrance.clone(),
                sent: 0,
            });
        }
        let mut running = JoinSet::new();
        for mut worker in workers {
            running.spawn(async move {
                for _ in 0..WARM_UP {
                    worker.send().await?;
                }
                let begin = Instant::now();
                let mut samples = Vec::new();
                while begin.elapsed() < time {
                    samples.push(worker.send().await?);
                }
                worker.car.client.close().await;
                anyhow::Ok(samples)
            });
        }
        let mut samples = Vec::new();
        while let Some(ended) = running.join_next().await {
            samples.extend(ended??);
        }
        if let Entrance::Mqtt(client) = entrance {
            client.close().await;
        }
        Ok(samples)
    }

    fn entrance(&self) -> Result<Entrance> {
        match self.entrance {
            EntranceKind::Rest => Entrance::rest(self.server.as_ref().context("no server")?, "no"),
            EntranceKind::Mqtt => Entrance::mqtt(self.mosquitto.as_ref().context("no broker")?),
        }
    }

    async fn car(&self, index: usize) -> Result<Car> {
        let vin = vin(index);
        let broker = match (&self.mosquitto, &self.server) {
            (Some(mosquitto), _) => mosquitto.mqtts,
            (None, Some(server)) => server.mqtts,
            (None, None) => None,
        };
        let broker = broker.context("no listener for TLS")?;
        let folder = self.certs.path().join(&vin);
        let options = ClientOptions::new(format!("mqtts://{broker}").parse()?, &*vin)
            .ca_file(folder.join("ca.pem"))
            .identity_files(folder.join("cert.pem"), folder.join("key.pem"));
        let (client, inbox) = connect(options)?;
        let topic = format!("psa/OVIPPartners-Dev/to/uid/demo-partner/opa/{vin}/");
        let subscribed = client.subscribe(&topic, Qos::AtMostOnce);
        tokio::time::timeout(PATIENCE, subscribed)
            .await
            .with_context(|| {
                let state = client.link().borrow().clone();
                format!("car {vin} is not connected: {state:?}")
            })??;
        Ok(Car {
            vin,
            topic,
            client,
            inbox,
        })
    }
}

/// A mosquitto that knows cars, by certificates of a host-server that ran before.
fn certified() -> Result<(tempfile::TempDir, Mosquitto, tempfile::TempDir)> {
    let server = HostServer::embedded()?;
    let certs = enroll(&server)?;
    let data = server.stop();
    let file = |name: &str| -> PathBuf { data.path().join(name) };
    let mosquitto = Mosquitto::start(Some(&Certificates {
        ca: file("ca.pem"),
        cert: file("server/cert.pem"),
        key: file("server/key.pem"),
    }))?;
    Ok((data, mosquitto, certs))
}

fn enroll(server: &HostServer) -> Result<tempfile::TempDir> {
    let certs = folder()?;
    for index in 0..MANY {
        let vin = vin(index);
        server.enroll(&vin, &certs.path().join(vin.clone()))?;
    }
    Ok(certs)
}

fn vin(index: usize) -> String {
    format!("BENCH{index:012}")
}

/// A car that listens.
struct Car {
    vin: String,
    topic: String,
    client: Client,
    inbox: Inbox,
}

/// Sends to one car, one message at a time.
struct Worker {
    car: Car,
    entrance: Entrance,
    sent: u64,
}

impl Worker {
    async fn send(&mut self) -> Result<Sample> {
        self.sent += 1;
        let envelope = envelope(self.sent);
        let begin = Instant::now();
        let Car {
            vin, topic, inbox, ..
        } = &mut self.car;
        let hand_in = async {
            self.entrance.accept(vin, topic, envelope.clone()).await?;
            anyhow::Ok(begin.elapsed())
        };
        let arrive = async {
            let message = tokio::time::timeout(PATIENCE, inbox.recv()).await;
            let message = message.context("a message did not arrive")?;
            let message = message.context("the car's client has ended")?;
            ensure!(message.payload == envelope, "another message arrived");
            Ok(begin.elapsed())
        };
        let (accepted, arrived) = tokio::try_join!(hand_in, arrive)?;
        Ok(Sample { accepted, arrived })
    }
}

impl Entrance {
    pub(crate) fn rest(server: &HostServer, receipts: &'static str) -> Result<Self> {
        Ok(Self::Rest {
            client: reqwest::Client::builder().tcp_nodelay(true).build()?,
            url: format!("http://{}", server.http),
            token: server.token.clone(),
            receipts,
        })
    }

    /// To be called in a runtime.
    pub(crate) fn mqtt(mosquitto: &Mosquitto) -> Result<Self> {
        let url = format!("mqtt://{}", mosquitto.mqtt).parse()?;
        let (client, mut inbox) = connect(ClientOptions::new(url, "bench-partner"))?;
        // Nothing comes; reading keeps the client going.
        tokio::spawn(async move { while inbox.recv().await.is_some() {} });
        Ok(Self::Mqtt(client))
    }

    /// Hands a message in; returns when it is accepted.
    pub(crate) async fn accept(&self, vin: &str, topic: &str, envelope: Bytes) -> Result<()> {
        match self {
            Self::Rest {
                client,
                url,
                token,
                receipts,
            } => {
                let path = format!("/api/v1/vehicles/{vin}/messages?receipts={receipts}");
                let answer = client
                    .post(format!("{url}{path}"))
                    .bearer_auth(token)
                    .header("content-type", "application/json")
                    .body(envelope)
                    .send()
                    .await?;
                let status = answer.status();
                let text = answer.text().await?;
                ensure!(status == 202, "{status}: {text}");
            }
            Self::Mqtt(client) => {
                client
                    .publish(topic, envelope, Qos::AtLeastOnce, false)
                    .await?;
            }
        }
        Ok(())
    }
}

pub(crate) fn envelope(number: u64) -> Bytes {
    let head = format!(r#"{{"idApp":"demo","popup":false,"content":{{"n":{number},"fill":""#);
    let tail = r#""}}"#;
    let fill = "x".repeat(PAYLOAD_BYTES - head.len() - tail.len());
    [&head, fill.as_str(), tail].concat().into()
}
