//! A vehicle with the agent for Linux, which keeps what it has in a folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::app::APP;
use crate::cli_support::PARTNER;
use crate::clock::Clock;
use crate::process::{Process, address, disk_is_full, patient};

pub(crate) struct Car {
    options: Vec<String>,
    log: PathBuf,
    pub(crate) portal: SocketAddr,
    /// None between a kill and the next start.
    pub(crate) process: Option<Process>,
}

impl Car {
    /// One whose agent is not started yet. It reaches its broker at this port.
    pub(crate) fn new(folder: &Path, port: u16, login: &[String]) -> Self {
        let vin = folder.file_name().unwrap().to_string_lossy();
        let (portal, app) = (address(), format!("{APP}={PARTNER}"));
        let data = folder.join("data").display().to_string();
        let broker = format!("mqtt://127.0.0.1:{port}");
        let portal_option = portal.to_string();
        let own = ["run", "--vin", &vin, "--app", &app];
        let at = ["--portal", &portal_option, "--data-dir", &data];
        // At QoS 0, every packet may be lost.
        let how = ["--broker", &broker, "--qos", "0"];
        let options = [&own[..], &at, &how]
            .concat()
            .into_iter()
            .map(str::to_owned);
        Self {
            options: options.chain(login.iter().cloned()).collect(),
            log: folder.with_extension("log"),
            portal,
            process: None,
        }
    }

    pub(crate) fn start(&mut self, clock: &Clock) {
        let mut command = patient(&program());
        clock.rule(command.args(&self.options));
        self.process = Some(Process::start(&mut command, &self.log));
    }

    pub(crate) async fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
    }

    pub(crate) fn disk_is_full(&self, full: bool) {
        if let Some(process) = &self.process {
            disk_is_full(process.id(), full);
        }
    }
}

/// The agent's program, which is built beside the server's.
pub(crate) fn program() -> PathBuf {
    let server = PathBuf::from(env!("CARGO_BIN_EXE_host-server"));
    let agent = server.with_file_name("vehicle-agent");
    let path = agent.display();
    assert!(agent.exists(), "{path} is missing: run `cargo xtask soak`");
    agent
}
