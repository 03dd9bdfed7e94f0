//! A real mosquitto on loopback with a configuration, passwords and certificates of its own.

use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::ops::Range;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use tempfile::TempDir;

use super::pki::{Authority, Issued, Validity};
use super::{BrokerUnderTest, Endpoint, PATIENCE};
use crate::{BrokerUrl, ClientOptions};

const HOST: &str = "127.0.0.1";

/// A listener of the broker beside the four of [`Endpoint`]: its server certificate is faulty.
const FAULTS: [&str; 3] = ["expired", "not-yet", "wrong-host"];

/// The broker process. It is killed when this is dropped.
pub struct Mosquitto {
    folder: TempDir,
    /// The authority that signed the server's certificates and signs the clients'.
    pub authority: Authority,
    /// A client certificate that the TLS endpoint accepts.
    pub client: Issued,
    /// Plain, TLS, WebSocket, WebSocket over TLS, then [`FAULTS`].
    ports: Vec<u16>,
    /// Keeps others from the ports, also while the broker is stopped: clients come back to them.
    held: Option<UnixListener>,
    process: Option<Child>,
    /// Lines of its configuration beside ours.
    settings: String,
}

impl Mosquitto {
    /// The only user name.
    pub const USER: &str = "tester";
    /// Its password.
    pub const PASSWORD: &str = "correct horse";

    /// Writes the password to a file in this folder, for a program that wants it there; its path.
    ///
    /// # Panics
    ///
    /// Panics if the file cannot be written.
    pub fn password_file(folder: &Path) -> String {
        let file = folder.join("password");
        std::fs::write(&file, Self::PASSWORD).expect("a folder to write to");
        file.display().to_string()
    }

    /// Starts a broker with every [`Endpoint`]. Its only user may publish and subscribe
    /// everything except below `forbidden/`.
    ///
    /// # Panics
    ///
    /// Panics if mosquitto is not installed or does not start.
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// Starts one whose configuration has these lines as well, such as `message_size_limit 65536`.
    ///
    /// # Panics
    ///
    /// Panics if mosquitto is not installed or does not start.
    pub async fn with(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = Authority::new("vinbus test CA");
        let client = authority.client(Self::USER, Validity::Now);
        let mut broker = Self {
            folder,
            authority,
            client,
            ports: Vec::new(),
            held: None,
            process: None,
            settings: settings.to_owned(),
        };
        broker.write_files();
        // Another program may take one of the ports between the probe and the start.
        let mut log = Vec::new();
        for _ in 0..5 {
            broker.write_config();
            match broker.spawn() {
                Ok(()) => return broker,
                Err(lines) => log = lines,
            }
        }
        panic!("mosquitto does not start: {log:#?}");
    }

    /// Options for a listener whose server certificate is `expired`, `not-yet` or `wrong-host`.
    ///
    /// # Panics
    ///
    /// Panics if there is no such fault.
    pub fn faulty_options(&self, fault: &str) -> ClientOptions {
        let at = FAULTS
            .iter()
            .position(|known| *known == fault)
            .expect("a known fault");
        let url = format!("mqtts://{}:{}", HOST, self.ports[4 + at]);
        self.options(Endpoint::Mqtts, url.parse().expect("a URL"), fault)
    }

    /// Has it do nothing, though its connections stay open and the kernel takes what comes.
    ///
    /// # Panics
    ///
    /// Panics if it does not run.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Has it go on.
    ///
    /// # Panics
    ///
    /// Panics if it does not run.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("a broker that was started");
        let pid = process.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill {signal}");
    }

    fn path(&self, file: &str) -> String {
        self.folder.path().join(file).display().to_string()
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.path().join(file), text).expect("a file in our own folder");
    }

    fn write_files(&self) {
        self.write("ca.pem", &self.authority.certificate);
        for (name, validity, host) in [
            ("good", Validity::Now, HOST),
            ("expired", Validity::Expired, HOST),
            ("not-yet", Validity::NotYet, HOST),
            ("wrong-host", Validity::Now, "another.example"),
        ] {
            let server = self.authority.server(host, validity);
            self.write(&format!("{name}.pem"), &server.certificate);
            self.write(&format!("{name}.key"), &server.key);
        }
        self.write("passwords", &format!("{}:{}\n", Self::USER, Self::PASSWORD));
        let hashed = Command::new("mosquitto_passwd")
            .arg("-U")
            .arg(self.path("passwords"))
            .status();
        assert!(hashed.is_ok_and(|status| status.success()), "{}", MISSING);
        self.write(
            "acl",
            &format!(
                "user {}\ntopic readwrite #\ntopic deny forbidden/#\n",
                Self::USER
            ),
        );
    }

    fn write_config(&mut self) {
        let (ports, held) = free_ports();
        self.ports = ports;
        self.held = Some(held);
        let mut config = format!(
            "per_listener_settings false\nallow_anonymous false\npassword_file {}\nacl_file {}\n\
             persistence false\nlog_dest stderr\nlog_type error\nlog_type notice\n\
             log_type information\nlog_type warning\nmax_queued_messages 10000\n{}\n",
            self.path("passwords"),
            self.path("acl"),
            self.settings,
        );
        if is_root(self.folder.path()) {
            config.push_str("user root\n");
        }
        let tls = |name: &str| {
            format!(
                "cafile {}\ncertfile {}\nkeyfile {}\n",
                self.path("ca.pem"),
                self.path(&format!("{name}.pem")),
                self.path(&format!("{name}.key")),
            )
        };
        let mut listeners = vec![
            String::new(),
            format!("{}require_certificate true\n", tls("good")),
            "protocol websockets\n".to_owned(),
            format!("protocol websockets\n{}", tls("good")),
        ];
        listeners.extend(FAULTS.iter().map(|name| tls(name)));
        for (port, settings) in self.ports.iter().zip(listeners) {
            let _never_fails = write!(config, "listener {port} {HOST}\n{settings}");
        }
        self.write("mosquitto.conf", &config);
    }

    /// Starts the process and waits until it says that it runs, or gives up with its log.
    fn spawn(&mut self) -> Result<(), Vec<String>> {
        let config = self.path("mosquitto.conf");
        let mut process = Command::new(PROGRAM)
            .args(["-c", &config])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {PROGRAM}: {error}: {MISSING}"));
        let log = BufReader::new(process.stderr.take().expect("a piped stderr"));
        self.process = Some(process);
        let (lines, line) = mpsc::channel();
        std::thread::spawn(move || {
            for text in log.lines().map_while(Result::ok) {
                let _nobody_waits_any_more = lines.send(text);
            }
        });
        let mut seen = Vec::new();
        loop {
            match line.recv_timeout(PATIENCE) {
                Ok(text) if text.ends_with("running") => return Ok(()),
                Ok(text) => seen.push(text),
                Err(_ended_or_late) => {
                    self.kill();
                    return Err(seen);
                }
            }
        }
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _already_gone = process.kill();
            let _already_gone = process.wait();
        }
    }
}

const PROGRAM: &str = "/usr/sbin/mosquitto";
const MISSING: &str = "the tests need a real broker: apt-get install mosquitto";

/// mosquitto gives up root by default, and could then not read what only root may read.
fn is_root(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(folder).is_ok_and(|metadata| metadata.uid() == 0)
}

/// As many ports as a broker has.
const PORTS: u16 = 4 + FAULTS.len() as u16;

/// Ports that are free now, and stay free while the broker is stopped: below the range from which the
/// system takes ports for everybody else, and in a block that no other broker of a test takes before what
/// is returned beside them is dropped. mosquitto cannot listen on port 0 and say which it got. Probed on
/// all addresses, as its WebSocket listeners bind to all of them.
fn free_ports() -> (Vec<u16>, UnixListener) {
    const RANGE: Range<u16> = 10_000..32_000;
    let random = RandomState::new().build_hasher().finish();
    let blocks = RANGE.len() / usize::from(PORTS);
    let start = (random % blocks as u64) as usize;
    RANGE
        .step_by(usize::from(PORTS))
        .take(blocks)
        .cycle()
        .skip(start)
        .take(blocks)
        .find_map(|first| {
            let held = hold(first).ok()?;
            let ports: Vec<_> = (first..first + PORTS).collect();
            let is_free = |port: &u16| TcpListener::bind(("0.0.0.0", *port)).is_ok();
            ports.iter().all(is_free).then_some((ports, held))
        })
        .expect("some ports are free")
}

/// Takes a block of ports, of all processes alone: by a name that is gone with whoever holds it.
fn hold(first: u16) -> std::io::Result<UnixListener> {
    let name = format!("vinbus-test-ports-{first}");
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

impl BrokerUnderTest for Mosquitto {
    fn endpoints(&self) -> Vec<Endpoint> {
        vec![Endpoint::Mqtt, Endpoint::Mqtts, Endpoint::Ws, Endpoint::Wss]
    }

    fn url(&self, endpoint: Endpoint) -> BrokerUrl {
        let (scheme, at) = match endpoint {
            Endpoint::Mqtt => ("mqtt", 0),
            Endpoint::Mqtts => ("mqtts", 1),
            Endpoint::Ws => ("ws", 2),
            Endpoint::Wss => ("wss", 3),
        };
        format!("{scheme}://{}:{}", HOST, self.ports[at])
            .parse()
            .expect("a URL")
    }

    fn options(&self, endpoint: Endpoint, url: BrokerUrl, name: &str) -> ClientOptions {
        let options = ClientOptions::new(url, name)
            .ca_pem(self.authority.certificate.clone())
            .credentials(Self::USER, Self::PASSWORD);
        match endpoint {
            Endpoint::Mqtts => {
                options.identity_pem(self.client.certificate.clone(), self.client.key.clone())
            }
            Endpoint::Mqtt | Endpoint::Ws | Endpoint::Wss => options,
        }
    }

    fn topic(&self, name: &str) -> String {
        format!("conformance/{name}")
    }

    async fn stop(&mut self) {
        self.kill();
    }

    async fn start(&mut self) {
        if let Err(log) = self.spawn() {
            panic!("mosquitto does not start again: {log:#?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_held_as_long_as_somebody_may_come_back_to_them() {
        let (ports, held) = free_ports();
        assert_eq!(ports.len(), usize::from(PORTS));
        assert!(hold(ports[0]).is_err());
        let (others, _held) = free_ports();
        assert!(ports.iter().all(|port| !others.contains(port)));
        drop(held);
    }
}
