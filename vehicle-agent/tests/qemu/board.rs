//! A board: one QEMU with the image and a provisioned block.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval, timeout};

use crate::PATIENCE;
use crate::log::Log;

/// The vehicle of every case.
pub(crate) const VIN: &str = "0123456789ABCDEFG";

/// The app of every case and its partner.
pub(crate) const APP: &str = "demo";
pub(crate) const UID: &str = "demo-partner";

/// This machine, as the board sees it.
pub(crate) const HOST: &str = "10.0.2.2";

/// Where the image looks for its block; see `memory.x` of the board.
const BLOCK_ADDRESS: u32 = 0x003F_0000;

/// Where its clock looks for how fast it is to go; see `clock.rs` of the board.
const SPEED_ADDRESS: u32 = 0x6000_0000;

/// The register that counts the board's time down from its start, and how often in a second.
const TIMER: u32 = 0x4000_0004;
const TIMER_HZ: u64 = 25_000_000;

/// How often the board's time is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Where the board's stack grows down from, and how far; see `memory.x` of the board.
const STACK_TOP: usize = 0x2002_0000;
const STACK_BOTTOM: usize = 0x2000_0000;

/// A running board; it loses its power when this is dropped.
pub(crate) struct Board {
    process: Child,
    folder: TempDir,
    pub(crate) log: Log,
    /// Where its portal can be reached from here.
    pub(crate) portal: SocketAddr,
}

/// What a board is plugged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// A network with DHCP that leads to this machine.
    Host,
    /// The same, with somebody on it who sends frames as datagrams of UDP to the second address and gets
    /// what the board sends at the first.
    Shared(SocketAddr, SocketAddr),
    /// A cable at whose end nobody is.
    Deaf,
}

impl Board {
    /// Switches a board on, with this block in its flash or with none.
    pub(crate) fn start(block: Option<&Path>) -> Self {
        Self::start_at(free_address(), block)
    }

    /// The same, if its portal is to be reached at this address.
    pub(crate) fn start_at(portal: SocketAddr, block: Option<&Path>) -> Self {
        Self::launch(portal, Network::Host, "QEMU_TEST_IMAGE", block, 1)
    }

    /// The same on another network, with a clock that goes `speed` times as fast as ours.
    pub(crate) fn start_on(network: Network, block: Option<&Path>, speed: u32) -> Self {
        Self::launch(free_address(), network, "QEMU_TEST_IMAGE", block, speed)
    }

    /// Switches a board on whose clock goes `speed` times as fast as ours.
    pub(crate) fn start_fast(block: Option<&Path>, speed: u32) -> Self {
        Self::launch(
            free_address(),
            Network::Host,
            "QEMU_TEST_IMAGE",
            block,
            speed,
        )
    }

    /// Switches a board on that has another program in its flash: the image that a variable names.
    pub(crate) fn start_image(variable: &str) -> Self {
        Self::launch(free_address(), Network::Host, variable, None, 1)
    }

    fn launch(
        portal: SocketAddr,
        network: Network,
        variable: &str,
        block: Option<&Path>,
        speed: u32,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = std::env::var(variable).expect(crate::HOW_TO_RUN);
        let mut command = Command::new("qemu-system-arm");
        command.args(["-M", "mps2-an500", "-nographic", "-serial", "none"]);
        command.args(["-semihosting-config", "enable=on,target=native"]);
        let host = format!("user,id=net,hostfwd=tcp:{portal}-:8090");
        match network {
            Network::Host => command.args(["-nic", &host]),
            Network::Shared(neighbour, board) => {
                let shared = format!("socket,udp={neighbour},localaddr={board}");
                command.args(["-net", "nic", "-net", &host, "-net", &shared])
            }
            Network::Deaf => command.args(["-nic", "none"]),
        };
        command.args(["-kernel", &image]);
        let monitor = folder.path().join("monitor");
        let monitor = format!("unix:{},server=on,wait=off", monitor.display());
        command.args(["-monitor", &monitor]);
        let debugger = folder.path().join("debugger");
        let debugger = format!("unix:{},server=on,wait=off", debugger.display());
        command.args(["-gdb", &debugger]);
        if let Some(block) = block {
            let file = block.display();
            let loaded = format!("loader,file={file},addr={BLOCK_ADDRESS:#x},force-raw=on");
            command.args(["-device", &loaded]);
        }
        let speed = format!("loader,addr={SPEED_ADDRESS:#x},data={speed},data-len=4");
        command.args(["-device", &speed]);
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("QEMU can be started");
        let log = Log::of("board", process.stdout.take().unwrap());
        Self {
            process,
            folder,
            log,
            portal,
        }
    }

    /// The emulator's process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    /// The `/status` of its portal. Who comes when all its sockets are taken is turned away, and comes
    /// again.
    pub(crate) async fn status(&self) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.ask_status().await {
                Ok(answer) => {
                    let (_, body) = answer.split_once("\r\n\r\n").expect("an answer of HTTP");
                    return serde_json::from_str(body).expect("a status");
                }
                Err(error) => assert!(Instant::now() < deadline, "no status: {error}"),
            }
        }
    }

    async fn ask_status(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.portal).await?;
        let request = b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = String::new();
        match stream.read_to_string(&mut answer).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(answer),
        }
    }

    /// Waits until a number or text of its portal's status is as wanted.
    pub(crate) async fn until_status(&self, pointer: &str, wanted: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status().await;
            if wanted(status.pointer(pointer).expect("it is told")) {
                return;
            }
            assert!(Instant::now() < deadline, "{pointer}: {status}");
        }
    }

    /// Waits until it is connected to its broker.
    pub(crate) async fn online(&mut self) {
        self.log.until("connected to the broker").await;
    }

    /// Waits until the firmware ends the program; whether it says that all is well.
    pub(crate) async fn ended(&mut self) -> bool {
        let ended = timeout(PATIENCE, self.process.wait()).await;
        ended.expect("the firmware ends").unwrap().success()
    }

    /// Waits until the board has run for so long by its own clock, which goes `speed` times as fast
    /// as ours. It can tell the first 171 s of ours.
    pub(crate) async fn lives_until(&self, seconds: u32, speed: u32) {
        let mut looks = interval(LOOK);
        loop {
            looks.tick().await;
            let shown = self.command(&format!("xp /1wx {TIMER:#x}")).await;
            let (_, value) = shown.split_once(": 0x").expect("QEMU shows the register");
            let value = u32::from_str_radix(value.get(..8).expect("8 digits"), 16).unwrap();
            let lived = u64::from(u32::MAX - value) * u64::from(speed) / TIMER_HZ;
            if lived >= u64::from(seconds) {
                return;
            }
        }
    }

    /// Pulls the plug.
    pub(crate) async fn cut_power(mut self) {
        self.process.kill().await.unwrap();
    }

    /// Pulls the network cable, or plugs it in.
    pub(crate) async fn cable(&mut self, plugged: bool) {
        let state = if plugged { "on" } else { "off" };
        self.command(&format!("set_link net {state}")).await;
    }

    /// Presses the reset button.
    pub(crate) async fn reset(&mut self) {
        self.command("system_reset").await;
    }

    /// Writes a word of memory, as a debugger does, until the next reset.
    pub(crate) async fn poke(&self, address: u32, word: u32) {
        let bytes = word.swap_bytes();
        self.debug(&[format!("M{address:x},4:{bytes:08x}")]).await;
    }

    /// Has the processor go on at an address, whatever it does.
    pub(crate) async fn jump(&self, address: u32) {
        const PROGRAM_COUNTER: u32 = 15;
        // Who has not asked what registers there are may write none.
        let ask = "qXfer:features:read:target.xml:0,1".to_owned();
        let bytes = address.swap_bytes();
        let write = format!("P{PROGRAM_COUNTER:x}={bytes:08x}");
        self.debug(&[ask, write]).await;
    }

    /// Stops the board, gives commands of gdb's remote protocol, and lets it go on.
    async fn debug(&self, commands: &[String]) {
        let path = self.folder.path().join("debugger");
        let mut debugger = UnixStream::connect(path).await.unwrap();
        for packet in commands.iter().chain([&"D".to_owned()]) {
            let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
            let packet = format!("${packet}#{sum:02x}");
            debugger.write_all(packet.as_bytes()).await.unwrap();
            // `$`, what it says, `#` and the sum.
            let said = until(&mut debugger, b"#").await;
            assert!(!said.contains("$E"), "{packet} is refused: {said}");
            debugger.read_exact(&mut [0; 2]).await.unwrap();
            debugger.write_all(b"+").await.unwrap();
        }
    }

    /// The bytes of the stack that were ever used: the start-up code paints it.
    pub(crate) async fn stack_used(&self) -> usize {
        let file = self.folder.path().join("stack");
        let size = STACK_TOP - STACK_BOTTOM;
        let save = format!(
            "pmemsave {STACK_BOTTOM:#x} {size:#x} \"{}\"",
            file.display()
        );
        self.command(&save).await;
        let stack = std::fs::read(&file).unwrap();
        stack.iter().skip_while(|byte| **byte == 0xCC).count()
    }

    /// Gives a command to QEMU's monitor; what it answers.
    async fn command(&self, command: &str) -> String {
        let path = self.folder.path().join("monitor");
        let mut monitor = UnixStream::connect(path).await.unwrap();
        until_prompt(&mut monitor).await;
        let line = format!("{command}\n");
        monitor.write_all(line.as_bytes()).await.unwrap();
        until_prompt(&mut monitor).await
    }
}

/// An address that nobody listens at. QEMU cannot say which one it has chosen.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

async fn until_prompt(monitor: &mut UnixStream) -> String {
    until(monitor, b"(qemu) ").await
}

async fn until(stream: &mut UnixStream, end: &[u8]) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end) {
        let byte = timeout(PATIENCE, stream.read_u8()).await;
        text.push(byte.expect("QEMU answers").expect("QEMU answers"));
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A block that `vehicle-agent provision` writes for the vehicle and its app.
pub(crate) async fn provision(folder: &Path, broker: &str, more: &[&str]) -> PathBuf {
    let out = folder.join("block.bin");
    let app = format!("{APP}={UID}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vehicle-agent"));
    command.args(["provision", "--vin", VIN, "--app", &app, "--broker", broker]);
    command.arg("--out").arg(&out).args(more);
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    out
}
