//! The server, which is killed, started again on the same ports, and whose disk gets full.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use crate::cli_support::{Server, done};
use crate::clock::Clock;
use crate::process::{address, disk_is_full, patient};
use crate::rest::Rest;

pub(crate) struct Host {
    dir: PathBuf,
    options: Vec<String>,
    server: Server,
    clock: Clock,
}

impl Host {
    /// Starts it with these options beside those of its own.
    pub(crate) async fn start(dir: PathBuf, clock: Clock, mut options: Vec<String>) -> Self {
        options.extend(["--http".to_owned(), address().to_string()]);
        let server = launch(&dir, &clock, &options).await;
        Self {
            dir,
            options,
            server,
            clock,
        }
    }

    /// Kills it, and starts it again after this time.
    pub(crate) async fn restart(&mut self, away: Duration) {
        self.server.signal("KILL");
        let status = self.server.ended().await;
        self.log();
        assert_eq!(
            status.signal(),
            Some(9),
            "the server ended by itself: {status}"
        );
        sleep(away).await;
        self.server = launch(&self.dir, &self.clock, &self.options).await;
    }

    /// Its disk is full for this time.
    pub(crate) async fn fill_disk(&self, time: Duration) {
        disk_is_full(self.server.process(), true);
        sleep(time).await;
        disk_is_full(self.server.process(), false);
    }

    pub(crate) fn set_clock_back(&mut self, seconds: i64) {
        self.clock.set_back(seconds);
    }

    /// Makes vehicles, each in a folder that is named by its VIN.
    pub(crate) async fn enroll(&self, out: &Path, options: &[String]) -> Vec<PathBuf> {
        let path = out.display().to_string();
        let options = options.iter().map(String::as_str);
        let args = ["enroll", "vehicles", "--out", &path].into_iter();
        let args: Vec<_> = args.chain(options).collect();
        done(&self.server.command(&args).await);
        let entries = std::fs::read_dir(out).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut folders: Vec<_> = paths.filter(|path| path.is_dir()).collect();
        folders.sort();
        folders
    }

    /// Its interface, which stays where it is when it is killed.
    pub(crate) fn rest(&self) -> Rest {
        Rest::new(self.server.url(), self.server.token())
    }

    /// Keeps what it printed.
    fn log(&self) {
        let log = self.dir.with_extension("log");
        let log = File::options().create(true).append(true).open(log);
        let printed = self.server.printed();
        writeln!(log.unwrap(), "{printed}\n-- the end of this process").unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.log();
    }
}

async fn launch(dir: &Path, clock: &Clock, options: &[String]) -> Server {
    let mut command = patient(Path::new(env!("CARGO_BIN_EXE_host-server")));
    Server::launch(clock.rule(command.args(options)), dir).await
}
