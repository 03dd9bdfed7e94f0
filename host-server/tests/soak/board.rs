//! A vehicle with a board: the firmware in QEMU, whose memory goes with its power.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::Command;

use crate::app::APP;
use crate::car::program;
use crate::cli_support::{PARTNER, clean, done, within};
use crate::clock::Clock;
use crate::process::{Process, address};

/// This machine, as a board sees it.
pub(crate) const HOST: &str = "10.0.2.2";

/// Where the image looks for its block; see `memory.x` of the board.
const BLOCK_ADDRESS: u32 = 0x003F_0000;

pub(crate) struct Board {
    image: PathBuf,
    block: PathBuf,
    log: PathBuf,
    pub(crate) portal: SocketAddr,
    /// None between a loss of power and the next start.
    pub(crate) process: Option<Process>,
}

impl Board {
    /// One that is not switched on yet. It reaches its broker at this port, by TLS or in the clear.
    pub(crate) async fn new(
        image: &Path,
        folder: &Path,
        port: u16,
        tls: bool,
        login: &[String],
    ) -> Self {
        let vin = folder.file_name().unwrap().to_string_lossy();
        let block = folder.join("block.bin");
        let (out, dir) = (block.display().to_string(), folder.display().to_string());
        let scheme = ["mqtt", "mqtts"][usize::from(tls)];
        let (broker, app) = (
            format!("{scheme}://{HOST}:{port}"),
            format!("{APP}={PARTNER}"),
        );
        let mut provision = clean(Command::new(program()));
        provision.args(["provision", "--vin", &vin, "--app", &app, "--out", &out]);
        provision.args(["--broker", &broker]).args(login);
        if tls {
            provision.args(["--dir", &dir]);
        }
        done(
            &within("the block is written", provision.output())
                .await
                .unwrap(),
        );
        Self {
            image: image.to_owned(),
            block,
            log: folder.with_extension("log"),
            portal: address(),
            process: None,
        }
    }

    /// Switches it on.
    pub(crate) fn start(&mut self, clock: &Clock) {
        let mut qemu = Command::new("qemu-system-arm");
        qemu.args(["-M", "mps2-an500", "-nographic", "-serial", "none"]);
        qemu.args(["-semihosting-config", "enable=on,target=native"]);
        let portal = self.portal;
        let network = format!("user,id=net,hostfwd=tcp:{portal}-:8090");
        let monitor = format!("unix:{},server=on,wait=off", self.monitor().display());
        qemu.args(["-nic", &network, "-monitor", &monitor]);
        let file = self.block.display();
        let loaded = format!("loader,file={file},addr={BLOCK_ADDRESS:#x},force-raw=on");
        qemu.args(["-device", &loaded])
            .arg("-kernel")
            .arg(&self.image);
        self.process = Some(Process::start(clock.rule(&mut qemu), &self.log));
    }

    /// Its power goes.
    pub(crate) async fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
    }

    /// Somebody presses its reset button.
    pub(crate) async fn reset(&self) {
        self.command("system_reset").await;
    }

    /// Its network cable is pulled, or plugged in: nobody is told that anything ended.
    pub(crate) async fn network(&self, plugged: bool) {
        let state = ["off", "on"][usize::from(plugged)];
        self.command(&format!("set_link net {state}")).await;
    }

    fn monitor(&self) -> PathBuf {
        self.block.with_file_name("monitor")
    }

    /// Gives a command to QEMU's monitor.
    async fn command(&self, command: &str) {
        let mut monitor = UnixStream::connect(self.monitor()).await.unwrap();
        until_prompt(&mut monitor).await;
        let line = format!("{command}\n");
        monitor.write_all(line.as_bytes()).await.unwrap();
        until_prompt(&mut monitor).await;
    }
}

async fn until_prompt(monitor: &mut UnixStream) {
    let mut text = Vec::new();
    while !text.ends_with(b"(qemu) ") {
        text.push(within("QEMU answers", monitor.read_u8()).await.unwrap());
    }
}
