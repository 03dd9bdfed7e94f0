//! Memory of a server and of a simulator with many vehicles that are connected and silent.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::programs::{HostServer, Mosquitto, Process, folder, wait_until};
use crate::table::Table;

/// Vehicles that connect in a second.
const RAMP: &str = "200";

/// Rest before memory is read, so that what a handshake needs is given back.
const REST: Duration = Duration::from_secs(3);

/// How the vehicles reach the broker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    /// Plain TCP to a mosquitto, which the server uses as well.
    Plain,
    /// Mutual TLS to the server's own broker.
    Tls,
}

/// Bytes that each side takes.
struct Sizes {
    server: u64,
    simulator: u64,
}

/// Measures both programs with one vehicle and with `vehicles`.
pub(crate) fn measure(vehicle_agent: &Path, vehicles: u32) -> Result<()> {
    println!("\nMemory (resident set), {vehicles} vehicles that are connected and silent:");
    let mut table = Table::new(&[
        "link",
        "server, 1 vehicle MiB",
        "server MiB",
        "per vehicle KiB",
        "simulator, 1 vehicle MiB",
        "simulator MiB",
        "per vehicle KiB",
    ]);
    for (name, link) in [
        ("plain, mosquitto", Link::Plain),
        ("mutual TLS, embedded", Link::Tls),
    ] {
        let one = sizes(vehicle_agent, link, 1).context(name)?;
        let many = sizes(vehicle_agent, link, vehicles).context(name)?;
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
        let each = |one: u64, many: u64| {
            let added = many.saturating_sub(one) as f64;
            format!("{:.1}", added / 1024.0 / f64::from(vehicles - 1))
        };
        table.row([
            name.to_owned(),
            mib(one.server),
            mib(many.server),
            each(one.server, many.server),
            mib(one.simulator),
            mib(many.simulator),
            each(one.simulator, many.simulator),
        ]);
    }
    table.print();
    Ok(())
}

fn sizes(vehicle_agent: &Path, link: Link, vehicles: u32) -> Result<Sizes> {
    let certs = folder()?;
    let mut command = Command::new(vehicle_agent);
    command
        .args(["simulate", "--ramp", RAMP, "--count"])
        .arg(vehicles.to_string());
    let (server, _mosquitto) = match link {
        Link::Plain => {
            let mosquitto = Mosquitto::start(None)?;
            let server = HostServer::external(mosquitto.mqtt)?;
            command.args(["--broker", &format!("mqtt://{}", mosquitto.mqtt)]);
            (server, Some(mosquitto))
        }
        Link::Tls => {
            let server = HostServer::embedded()?;
            let address = server.mqtts.context("no listener for TLS")?;
            server.enroll_simulated(vehicles, certs.path())?;
            command
                .args(["--broker", &format!("mqtts://{address}"), "--certs"])
                .arg(certs.path());
            (server, None)
        }
    };
    let log: PathBuf = certs.path().join("simulator.log");
    let simulator = Process::start(&mut command, &log)?;
    let online = || Ok(server.vehicles_online()? == u64::from(vehicles));
    wait_until(online).with_context(|| {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        format!("not all vehicles are online: {log}")
    })?;
    std::thread::sleep(REST);
    Ok(Sizes {
        server: server.process.resident_bytes()?,
        simulator: simulator.resident_bytes()?,
    })
}
