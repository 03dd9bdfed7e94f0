//! Programs whose output is kept in a file, and what they need of the machine.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncRead;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::cli_support::{clean, within};

/// A running program; it dies with this.
pub(crate) struct Process {
    name: String,
    child: Child,
    keeping: [JoinHandle<()>; 2],
}

impl Process {
    /// Starts it, and adds what it prints to the file `log`: its errors, and its output to a file that is
    /// called `.out`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let name = log.file_stem().unwrap().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).kill_on_drop(true);
        // By pipes: where the program's disk is full, its log must not be.
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = command.spawn();
        let mut child = started.unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let output = keep(child.stdout.take().unwrap(), &log.with_extension("out"));
        let errors = keep(child.stderr.take().unwrap(), log);
        Self {
            name,
            child,
            keeping: [output, errors],
        }
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Panics if it has ended: nobody but the soak may end a program.
    pub(crate) fn lives(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} ended by itself: {status}", self.name);
        }
    }

    /// Kills it.
    pub(crate) async fn kill(mut self) {
        self.lives();
        self.child.kill().await.unwrap();
        self.printed().await;
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn terminate(mut self) {
        self.lives();
        let id = self.id().to_string();
        let sent = std::process::Command::new("kill").arg(&id).status();
        assert!(sent.unwrap().success());
        let ended = within("the program ends", self.child.wait()).await;
        assert!(ended.unwrap().success(), "{} failed", self.name);
        self.printed().await;
    }

    async fn printed(self) {
        for keeping in self.keeping {
            keeping.await.unwrap();
        }
    }
}

/// Adds what comes to this file.
fn keep(mut output: impl AsyncRead + Send + Unpin + 'static, file: &Path) -> JoinHandle<()> {
    let file = File::options().create(true).append(true).open(file);
    let mut file = tokio::fs::File::from_std(file.unwrap());
    tokio::spawn(async move {
        tokio::io::copy(&mut output, &mut file).await.unwrap();
    })
}

/// A program for which a full disk is an error and no signal.
pub(crate) fn patient(program: &Path) -> Command {
    let mut command = clean(Command::new("sh"));
    let ignoring = ["-c", "trap '' XFSZ; exec \"$0\" \"$@\""];
    command.args(ignoring).arg(program);
    command
}

/// From now on, such a program can write nothing more to any file, or everything.
pub(crate) fn disk_is_full(id: u32, full: bool) {
    let limit = ["--fsize=unlimited:", "--fsize=1:"][usize::from(full)];
    let mut set = std::process::Command::new("prlimit");
    let set = set.args([limit, "--pid", &id.to_string()]).status();
    assert!(set.expect("prlimit is a part of util-linux").success());
}

/// An address that is free now and stays so while nobody listens there: below the ports that the system
/// gives to those who connect.
pub(crate) fn address() -> SocketAddr {
    const PORTS: Range<u16> = 10_000..32_000;
    let random = RandomState::new().build_hasher().finish();
    let begin = usize::try_from(random % PORTS.len() as u64).unwrap();
    let mut ports = PORTS.cycle().skip(begin).take(PORTS.len());
    let free = ports.find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok());
    SocketAddr::from(([127, 0, 0, 1], free.expect("a free port")))
}
