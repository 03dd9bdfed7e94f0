//! The two agents, each in its own process.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::app::App;
use crate::board::{Board, HOST, UID, VIN, free_address, provision};
use crate::cabin::serve_pages;
use crate::gate;
use crate::log::Log;

use vinbus_transport_std::conformance::{BrokerUnderTest, Endpoint, Mosquitto};

use super::source::Source;

pub(crate) use crate::app::App as Listening;
pub(crate) use crate::board::APP;

/// An app that is installed and that nobody plays.
pub(crate) const ABSENT_APP: &str = "absent";

/// Which agent.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Board,
    Linux,
}

impl Kind {
    /// This machine, as the agent sees it.
    pub(crate) const fn host(self) -> &'static str {
        match self {
            Self::Board => HOST,
            Self::Linux => "127.0.0.1",
        }
    }
}

/// A running agent; it is killed when this is dropped.
pub(crate) enum Contender {
    Board {
        board: Box<Board>,
        /// Who serves the pages of its app, if it has any.
        _pages: Option<Child>,
    },
    Linux {
        process: Child,
        log: Log,
        portal: SocketAddr,
    },
}

impl Contender {
    /// Starts an agent that connects to `source`.
    pub(crate) async fn start(kind: Kind, source: &Source, folder: &Path) -> Self {
        gate::write_credentials(folder, &source.authority);
        let scheme = if source.is_tls() { "mqtts" } else { "mqtt" };
        let url = format!("{scheme}://{}:{}", kind.host(), source.port());
        let file = |name: &str| folder.join(name).display().to_string();
        let mut options = vec![format!("--app={ABSENT_APP}={UID}")];
        match kind {
            _ if !source.is_tls() => {}
            Kind::Board => options.push(format!("--dir={}", folder.display())),
            Kind::Linux => options.extend(
                ["ca", "cert", "key"]
                    .map(|name| format!("--{name}={}", file(&format!("{name}.pem")))),
            ),
        }
        Self::launch(kind, free_address(), &url, &options, folder).await
    }

    /// Starts an agent that speaks plain MQTT with this mosquitto, and waits until it listens there.
    /// Its app has the pages in a folder.
    pub(crate) async fn beside(
        kind: Kind,
        broker: &Mosquitto,
        pages: &Path,
        folder: &Path,
    ) -> Self {
        let url = format!(
            "mqtt://{}:{}",
            kind.host(),
            broker.url(Endpoint::Mqtt).port()
        );
        let mut options = vec![
            format!("--username={}", Mosquitto::USER),
            format!("--password-file={}", Mosquitto::password_file(folder)),
        ];
        let portal = free_address();
        let mut serving = None;
        match kind {
            Kind::Board => {
                let (process, page_options) = serve_pages(&[(APP, pages)], portal).await;
                serving = Some(process);
                options.extend(page_options);
            }
            Kind::Linux => options.push(format!("--app-pages={APP}={}", pages.display())),
        }
        let mut agent = Self::launch(kind, portal, &url, &options, folder).await;
        if let Self::Board { _pages, .. } = &mut agent {
            *_pages = serving;
        }
        agent.log().until("connected to the broker").await;
        agent
    }

    async fn launch(
        kind: Kind,
        portal: SocketAddr,
        url: &str,
        options: &[String],
        folder: &Path,
    ) -> Self {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        match kind {
            Kind::Board => {
                let block = provision(folder, url, &options).await;
                Self::Board {
                    board: Box::new(Board::start_at(portal, Some(&block))),
                    _pages: None,
                }
            }
            Kind::Linux => start_linux(portal, url, &options).await,
        }
    }

    fn log(&mut self) -> &mut Log {
        match self {
            Self::Board { board, .. } => &mut board.log,
            Self::Linux { log, .. } => log,
        }
    }

    /// Where its portal can be reached from here.
    pub(crate) fn portal(&self) -> SocketAddr {
        match self {
            Self::Board { board, .. } => board.portal,
            Self::Linux { portal, .. } => *portal,
        }
    }

    pub(crate) async fn app_in_front(&mut self) -> App {
        let mut app = App::at(self.portal(), APP, &[]);
        app.log.until("in the foreground").await;
        app
    }

    /// Makes sure that the agent has taken in so many messages, if it tells: none was lost.
    pub(crate) async fn has_received(&self, messages: usize) {
        let Self::Linux { portal, .. } = self else {
            return;
        };
        let mut stream = TcpStream::connect(portal).await.unwrap();
        let request = b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let wanted = format!("\"received\":{messages},");
        assert!(answer.contains(&wanted), "not {wanted} {answer}");
    }

    /// What it has taken of a processor so far, as the kernel counts it, in ticks of 10 ms.
    pub(crate) fn processor_time(&self) -> Duration {
        let pid = match self {
            Self::Board { board, .. } => board.pid(),
            Self::Linux { process, .. } => process.id().expect("it runs"),
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // The name before the parenthesis may contain anything; user and system time are the 12th
        // and 13th words behind it.
        let (_, words) = stat.rsplit_once(')').unwrap();
        let words: Vec<&str> = words.split_whitespace().collect();
        let ticks: u64 = words[11..13]
            .iter()
            .map(|word| word.parse::<u64>().unwrap())
            .sum();
        Duration::from_millis(ticks * 10)
    }
}

async fn start_linux(portal: SocketAddr, url: &str, options: &[&str]) -> Contender {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vehicle-agent"));
    command
        .args(["run", "--vin", VIN, "--broker", url])
        .args(options);
    command.args(["--app", &format!("{APP}={UID}")]);
    command.args(["--portal", &portal.to_string()]);
    let mut process = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = Log::of("agent", process.stderr.take().unwrap());
    log.until("for programs at ws://").await;
    Contender::Linux {
        process,
        log,
        portal,
    }
}
