//! The two who hear what vehicles send: a partner's backend on the event stream, and a bare MQTT
//! client that only reads. Each runs on a thread of its own, whose CPU time is its alone.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use rumqttc_v5::{AsyncClient, Broker, Event, MqttOptions, Packet, QoS};

use crate::load::Arrivals;
use crate::usage;

/// How long a consumer may take until it hears.
const PATIENCE: Duration = Duration::from_secs(30);

/// A consumer that hears.
pub(crate) struct Consumer {
    stat: PathBuf,
    failed: Receiver<anyhow::Error>,
}

impl Consumer {
    /// Opens the event stream and counts what comes.
    pub(crate) fn of_stream(mut stream: TcpStream, arrivals: Arc<Arrivals>) -> Result<Self> {
        Self::start(move |ready| {
            let mut lines = Lines::default();
            lines.read(&mut stream)?;
            ready.send(())?;
            loop {
                lines.read(&mut stream)?;
                while let Some(line) = lines.next() {
                    if let Some(data) = line.strip_prefix(b"data: ") {
                        arrivals.note(data)?;
                    }
                }
            }
        })
    }

    /// Subscribes everything at a broker and counts what comes.
    pub(crate) fn bare(broker: SocketAddr, qos: u8, arrivals: Arc<Arrivals>) -> Result<Self> {
        let qos = if qos == 0 {
            QoS::AtMostOnce
        } else {
            QoS::AtLeastOnce
        };
        Self::start(move |ready| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(read_only(broker, qos, arrivals, ready))
        })
    }

    fn start(run: impl FnOnce(&Sender<()>) -> Result<()> + Send + 'static) -> Result<Self> {
        let (started, starts) = channel();
        let (ready, is_ready) = channel();
        let (failure, failed) = channel();
        std::thread::spawn(move || {
            // Nobody waits for what happens after the measurement.
            let _ = started.send(std::fs::read_link("/proc/thread-self"));
            if let Err(error) = run(&ready) {
                let _ = failure.send(error);
            }
        });
        let consumer = Self {
            stat: PathBuf::from("/proc").join(starts.recv()??).join("stat"),
            failed,
        };
        match is_ready.recv_timeout(PATIENCE) {
            Ok(()) => Ok(consumer),
            Err(_) => {
                consumer.check()?;
                anyhow::bail!("a consumer hears nothing")
            }
        }
    }

    /// Fails with what ended the consumer, if something did.
    pub(crate) fn check(&self) -> Result<()> {
        match self.failed.try_recv() {
            Ok(error) => Err(error.context("a consumer ended")),
            Err(_) => Ok(()),
        }
    }

    /// CPU time of the consumer's thread.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        usage::cpu_time(&self.stat)
    }
}

async fn read_only(
    broker: SocketAddr,
    qos: QoS,
    arrivals: Arc<Arrivals>,
    ready: &Sender<()>,
) -> Result<()> {
    let broker = Broker::tcp(broker.ip().to_string(), broker.port());
    let options = MqttOptions::new("bench-reader", broker);
    let (client, mut events) = AsyncClient::builder(options).capacity(16).build();
    client
        .subscribe("psa/OVIPPartners-Dev/from/uid/demo-partner/opa/#", qos)
        .await?;
    loop {
        match events.poll().await? {
            Event::Incoming(Packet::Publish(publish)) => arrivals.note(&publish.payload)?,
            Event::Incoming(Packet::SubAck(_)) => ready.send(())?,
            _ => {}
        }
    }
}

/// Bytes of a stream, line by line.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    taken: usize,
    filled: usize,
}

impl Lines {
    const BUFFER: usize = 256 * 1024;

    /// Reads once, behind the line that is not complete.
    fn read(&mut self, stream: &mut TcpStream) -> Result<()> {
        self.bytes.resize(Self::BUFFER, 0);
        self.bytes.copy_within(self.taken..self.filled, 0);
        (self.filled, self.taken) = (self.filled - self.taken, 0);
        let count = stream.read(&mut self.bytes[self.filled..])?;
        (count > 0)
            .then_some(())
            .context("the event stream ended")?;
        self.filled += count;
        Ok(())
    }

    fn next(&mut self) -> Option<&[u8]> {
        let rest = &self.bytes[self.taken..self.filled];
        let end = rest.iter().position(|&byte| byte == b'\n')?;
        self.taken += end + 1;
        Some(&rest[..end])
    }
}
