//! The programs that are measured, as processes of their own with fresh data on the disk that holds
//! the build.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::{http, usage};

/// How long a program may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that ends when this is dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts the program, its error output into `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log)?)
            .spawn();
        let child = child.with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Self(child))
    }

    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        usage::cpu_time(Path::new(&format!("/proc/{}/stat", self.0.id())))
    }

    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        usage::resident_bytes(self.0.id())
    }

    /// Asks it to end, and returns what it has printed.
    pub(crate) fn end(mut self) -> Result<String> {
        let killed = Command::new("kill").arg(self.0.id().to_string()).status()?;
        ensure!(killed.success(), "it has ended by itself");
        let mut text = String::new();
        let mut output = self.0.stdout.take().context("no standard output")?;
        output.read_to_string(&mut text)?;
        Ok(text)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that is gone afterwards.
pub(crate) fn folder() -> Result<TempDir> {
    Ok(TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// A running host-server.
pub(crate) struct HostServer {
    pub(crate) process: Process,
    pub(crate) http: SocketAddr,
    pub(crate) mqtt: Option<SocketAddr>,
    pub(crate) mqtts: Option<SocketAddr>,
    pub(crate) token: String,
    data: TempDir,
}

impl HostServer {
    /// With its own broker.
    pub(crate) fn embedded() -> Result<Self> {
        let anywhere = "127.0.0.1:0";
        Self::start(folder()?, &["--mqtt", anywhere, "--mqtts", anywhere])
    }

    /// With its own broker and room for this many clients of one address and login.
    pub(crate) fn embedded_for(clients: usize) -> Result<Self> {
        let (anywhere, clients) = ("127.0.0.1:0", clients.to_string());
        let mqtt = ["--mqtt", anywhere, "--mqtts", "off"];
        let room = ["--mqtt-connections-per-partner-max", &clients];
        Self::start(
            folder()?,
            &[mqtt, [room[0], room[1], "--bus-topics", "strict"]].concat(),
        )
    }

    /// With another one.
    pub(crate) fn external(broker: SocketAddr) -> Result<Self> {
        Self::start(folder()?, &["--broker", &format!("mqtt://{broker}")])
    }

    /// With another one, on data that are there already.
    pub(crate) fn external_on(data: TempDir, broker: SocketAddr) -> Result<Self> {
        Self::start(data, &["--broker", &format!("mqtt://{broker}")])
    }

    fn start(data: TempDir, options: &[&str]) -> Result<Self> {
        let mut command = Command::new(program());
        command
            .args(["serve", "--http", "127.0.0.1:0"])
            .args(["--requests-per-second-max", "1000000", "--data-dir"])
            .arg(data.path())
            .args(options);
        let log = data.path().join("bench.log");
        let mut process = Process::start(&mut command, &log)?;
        let addresses = addresses(&mut process, &log)?;
        let token = fs::read_to_string(data.path().join("admin/token"))?;
        let address = |name| {
            let of = |(n, address): &(String, SocketAddr)| (n == name).then_some(*address);
            addresses.iter().find_map(of)
        };
        let server = Self {
            http: address("http").context("host-server printed no http address")?,
            mqtt: address("mqtt"),
            mqtts: address("mqtts"),
            token: token.trim().to_owned(),
            process,
            data,
        };
        let ready = || Ok(http::get(server.http, "/readyz", &server.token).is_ok());
        wait_until(ready).with_context(|| tail(&log))?;
        Ok(server)
    }

    /// Ends it and gives its data back.
    pub(crate) fn stop(self) -> TempDir {
        drop(self.process);
        self.data
    }

    /// Makes certificate and key of a vehicle in `out`.
    pub(crate) fn enroll(&self, vin: &str, out: &Path) -> Result<()> {
        self.enroll_as(&["vehicle", vin], out)
    }

    /// Makes certificates and keys of so many simulated vehicles, in a folder for each in `out`.
    pub(crate) fn enroll_simulated(&self, count: u32, out: &Path) -> Result<()> {
        self.enroll_as(&["vehicles", "--count", &count.to_string()], out)
    }

    fn enroll_as(&self, whom: &[&str], out: &Path) -> Result<()> {
        let enrolled = Command::new(program())
            .arg("enroll")
            .args(whom)
            .arg("--out")
            .arg(out)
            .arg("--data-dir")
            .arg(self.data.path())
            .stdin(Stdio::null())
            .output()?;
        let text = String::from_utf8_lossy(&enrolled.stderr);
        ensure!(enrolled.status.success(), "enroll {whom:?}: {text}");
        Ok(())
    }

    /// The vehicles that it can reach.
    pub(crate) fn vehicles_online(&self) -> Result<u64> {
        self.figure("vinbus_vehicles_online")
    }

    /// A figure of its metrics, named with its labels.
    pub(crate) fn figure(&self, name: &str) -> Result<u64> {
        let metrics = http::get(self.http, "/metrics", &self.token)?;
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        let found = metrics.lines().find_map(value);
        found.with_context(|| format!("no metric {name}"))
    }
}

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_host-server")
}

/// The lines `NAME=ADDRESS` that host-server prints when it is ready.
fn addresses(process: &mut Process, log: &Path) -> Result<Vec<(String, SocketAddr)>> {
    let stdout = process.0.stdout.take().context("no standard output")?;
    let mut found = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        let Some((name, address)) = line.split_once('=') else {
            break;
        };
        found.push((name.to_owned(), address.parse().context(line.clone())?));
    }
    ensure!(!found.is_empty(), "{}", tail(log));
    Ok(found)
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let last: Vec<_> = text.lines().rev().take(5).collect();
    let last: Vec<_> = last.into_iter().rev().collect();
    format!("host-server is not ready:\n{}", last.join("\n"))
}

/// Asks again and again until the answer is yes.
pub(crate) fn wait_until(mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let begin = Instant::now();
    while !done()? {
        if begin.elapsed() > PATIENCE {
            bail!("nothing within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The certificates that a broker shows and trusts.
pub(crate) struct Certificates {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// A running mosquitto.
pub(crate) struct Mosquitto {
    pub(crate) process: Process,
    /// Its plain listener.
    pub(crate) mqtt: SocketAddr,
    /// Its listener for mutual TLS.
    pub(crate) mqtts: Option<SocketAddr>,
    _folder: TempDir,
}

impl Mosquitto {
    /// Everybody may do everything; nothing is kept on disk; the consumer alone bounds what is on
    /// its way to it.
    pub(crate) fn start(tls: Option<&Certificates>) -> Result<Self> {
        let folder = folder()?;
        let mut config = String::from(
            "allow_anonymous true\npersistence false\nlog_dest none\nmax_queued_messages 0\n\
             max_inflight_messages 0\nset_tcp_nodelay true\n",
        );
        // It gives up root by default, and cannot read what only root may read.
        config.push_str("user root\n");
        let mqtt = free_address()?;
        writeln!(config, "listener {} 127.0.0.1", mqtt.port())?;
        let mut mqtts = None;
        if let Some(Certificates { ca, cert, key }) = tls {
            let address = free_address()?;
            writeln!(
                config,
                "listener {} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\n\
                 require_certificate true",
                address.port(),
                ca.display(),
                cert.display(),
                key.display()
            )?;
            mqtts = Some(address);
        }
        let file = folder.path().join("mosquitto.conf");
        fs::write(&file, config)?;
        let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"]
            .into_iter()
            .find(|path| Path::new(path).is_file())
            .unwrap_or("mosquitto");
        let mut command = Command::new(program);
        command.arg("-c").arg(&file);
        let process = Process::start(&mut command, &folder.path().join("log"))
            .context("the rival broker: sudo apt-get install mosquitto")?;
        wait_until(|| Ok(TcpStream::connect(mqtt).is_ok())).context("mosquitto does not start")?;
        Ok(Self {
            process,
            mqtt,
            mqtts,
            _folder: folder,
        })
    }
}

/// An address that is free now: mosquitto cannot choose one and say which.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
