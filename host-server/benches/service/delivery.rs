//! Messages with receipts beside messages without: from REST into the apps of 1,000 simulated vehicles,
//! and back what became of each; beside plain QoS 1 over mosquitto to as many subscribers.
//!
//! A turn hands in a fixed number of messages, spread evenly over the vehicles, and ends when the last
//! one is over: without receipts when the server has noted that it is sent, with them when it has noted
//! that its app has it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use vinbus_transport_std::{ClientOptions, Qos, connect};

use crate::downlink::{Entrance, envelope};
use crate::programs::{Certificates, HostServer, Mosquitto, Process, folder, wait_until};
use crate::table::Table;

/// Vehicles in one process.
const VEHICLES: u32 = 1_000;

/// Messages of a turn for each vehicle: fewer than may be on their way to it, so none waits for a place.
const MESSAGES_PER_VEHICLE: u32 = 20;

/// Messages of a turn.
const MESSAGES: u32 = VEHICLES * MESSAGES_PER_VEHICLE;

/// Messages that are handed in at once.
const WORKERS: u32 = 64;

/// One turn.
struct Turn {
    rate: f64,
    /// Time of the server's processors for each message, in microseconds.
    cpu_us: f64,
}

/// Measures so many pairs of turns, and as many turns over mosquitto.
pub(crate) fn measure(vehicle_agent: &Path, pairs: usize) -> Result<()> {
    // reqwest wants one, plain HTTP or not; only a second one is refused.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = Runtime::new()?;
    let certs = folder()?;
    let server = HostServer::embedded()?;
    server.enroll_simulated(VEHICLES, certs.path())?;
    let (off, on) = with_server(&runtime, &server, vehicle_agent, &certs, pairs)?;
    let reference = with_mosquitto(&runtime, &server.stop(), &certs, pairs)?;

    println!("\n{MESSAGES} messages of 256 bytes to {VEHICLES} vehicles over mutual TLS, medians:");
    let mut table = Table::new(&[
        "way",
        "messages/s",
        "of receipts off",
        "half of the pairs",
        "CPU us/message, broker and server",
    ]);
    let ratios = |turns: &[Turn]| {
        let pairs = turns.iter().zip(&off);
        pairs
            .map(|(turn, off)| turn.rate / off.rate)
            .collect::<Vec<_>>()
    };
    for (name, turns) in [
        ("REST, disk, embedded, receipts off", &off),
        ("REST, disk, embedded, receipts on", &on),
        ("MQTT QoS 1, mosquitto, keeps nothing", &reference),
    ] {
        let [_, rate, _] = quartiles(turns.iter().map(|turn| turn.rate).collect());
        let [_, cpu_us, _] = quartiles(turns.iter().map(|turn| turn.cpu_us).collect());
        let [low, ratio, high] = quartiles(ratios(turns));
        table.row([
            name.to_owned(),
            format!("{rate:.0}"),
            format!("{ratio:.2}"),
            format!("{low:.2} to {high:.2}"),
            format!("{cpu_us:.0}"),
        ]);
    }
    table.print();
    Ok(())
}

/// Turns without receipts and with them, one of each in a pair; who is first changes.
fn with_server(
    runtime: &Runtime,
    server: &HostServer,
    vehicle_agent: &Path,
    certs: &TempDir,
    pairs: usize,
) -> Result<(Vec<Turn>, Vec<Turn>)> {
    let broker = server.mqtts.context("no listener for TLS")?;
    let mut command = Command::new(vehicle_agent);
    command
        .args(["simulate", "--receipts", "--count"])
        .arg(VEHICLES.to_string())
        .args(["--broker", &format!("mqtts://{broker}"), "--certs"])
        .arg(certs.path());
    let simulator = Process::start(&mut command, &certs.path().join("simulator.log"))?;
    wait_until(|| Ok(server.vehicles_online()? == u64::from(VEHICLES)))
        .context("not all vehicles are online")?;
    let turn = |receipts: &'static str| {
        let last = match receipts {
            "yes" => r#"vinbus_downlink_total{step="taken"}"#,
            _ => r#"vinbus_downlink_total{step="sent"}"#,
        };
        let all = server.figure(last)? + u64::from(MESSAGES);
        let entrance = Entrance::rest(server, receipts)?;
        timed(&server.process, || {
            runtime.block_on(hand_in(&entrance))?;
            wait_until(|| Ok(server.figure(last)? >= all))
        })
    };
    // What is made for a vehicle once, is made now.
    turn("no")?;
    turn("yes")?;
    let (mut off, mut on) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        if pair % 2 == 0 {
            off.push(turn("no")?);
            on.push(turn("yes")?);
        } else {
            on.push(turn("yes")?);
            off.push(turn("no")?);
        }
        let (off, on) = (off[pair].rate, on[pair].rate);
        eprintln!(
            "receipts off {off:.0} messages/s, on {on:.0}, {:.2}",
            on / off
        );
    }
    let summary = simulator.end()?;
    let sent = 2 * (pairs as u64 + 1) * u64::from(MESSAGES);
    let received = summary.lines().find_map(|line| {
        let (number, _) = line.strip_prefix("received")?.trim().split_once(' ')?;
        number.parse::<u64>().ok()
    });
    ensure!(
        received == Some(sent),
        "{sent} were sent, and then: {summary}"
    );
    Ok((off, on))
}

/// The same messages by a publisher of QoS 1, to clients that do nothing but count.
fn with_mosquitto(
    runtime: &Runtime,
    data: &TempDir,
    certs: &TempDir,
    turns: usize,
) -> Result<Vec<Turn>> {
    let file = |name: &str| data.path().join(name);
    let mosquitto = Mosquitto::start(Some(&Certificates {
        ca: file("ca.pem"),
        cert: file("server/cert.pem"),
        key: file("server/key.pem"),
    }))?;
    // It connects while the others subscribe.
    let entrance = runtime.block_on(async { Entrance::mqtt(&mosquitto) })?;
    let arrived = Arc::new(AtomicU64::new(0));
    runtime.block_on(subscribe_all(&mosquitto, certs, &arrived))?;
    let turn = || {
        let all = arrived.load(Ordering::Relaxed) + u64::from(MESSAGES);
        timed(&mosquitto.process, || {
            runtime.block_on(hand_in(&entrance))?;
            wait_until(|| Ok(arrived.load(Ordering::Relaxed) >= all))
        })
    };
    turn()?;
    (0..turns).map(|_| turn()).collect()
}

async fn subscribe_all(
    mosquitto: &Mosquitto,
    certs: &TempDir,
    arrived: &Arc<AtomicU64>,
) -> Result<()> {
    let broker = mosquitto.mqtts.context("no listener for TLS")?;
    for number in 0..VEHICLES {
        let vin = vin(number);
        let folder = certs.path().join(&vin);
        let options = ClientOptions::new(format!("mqtts://{broker}").parse()?, &*vin)
            .ca_file(folder.join("ca.pem"))
            .identity_files(folder.join("cert.pem"), folder.join("key.pem"));
        let (client, mut inbox) = connect(options)?;
        let topic = topic(&vin);
        let subscribed = client.subscribe(&topic, Qos::AtLeastOnce);
        tokio::time::timeout(Duration::from_secs(10), subscribed)
            .await
            .with_context(|| format!("{vin}: {:?}", *client.link().borrow()))??;
        let arrived = Arc::clone(arrived);
        tokio::spawn(async move {
            // A client ends when it is dropped.
            let _client = client;
            while let Some(message) = inbox.recv().await {
                message.ack();
                arrived.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    Ok(())
}

/// Hands in all messages of a turn, to one vehicle after the other.
async fn hand_in(entrance: &Entrance) -> Result<()> {
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let entrance = entrance.clone();
        workers.spawn(async move {
            for number in (worker..MESSAGES).step_by(WORKERS as usize) {
                let vin = vin(number % VEHICLES);
                let envelope = envelope(u64::from(number));
                entrance.accept(&vin, &topic(&vin), envelope).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(())
}

fn timed(server: &Process, work: impl FnOnce() -> Result<()>) -> Result<Turn> {
    let (begin, cpu) = (Instant::now(), server.cpu_time()?);
    work()?;
    let time = begin.elapsed();
    let cpu = server.cpu_time()? - cpu;
    Ok(Turn {
        rate: f64::from(MESSAGES) / time.as_secs_f64(),
        cpu_us: cpu.as_secs_f64() * 1e6 / f64::from(MESSAGES),
    })
}

/// The first, second and third quartile.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |part: usize| values.get(values.len() * part / 4).copied();
    [1, 2, 3].map(|part| at(part).unwrap_or(f64::NAN))
}

/// As `host-server enroll vehicles` and `vehicle-agent simulate` number them.
fn vin(number: u32) -> String {
    format!("SIM{number:014}")
}

fn topic(vin: &str) -> String {
    format!("psa/OVIPPartners-Dev/to/uid/demo-partner/opa/{vin}/")
}
