//! An app: the real `vehicle-agent app`, connected to the board's portal.

use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use crate::PATIENCE;
use crate::board::{APP, Board};
use crate::log::Log;

/// A running app; it is killed when this is dropped.
pub(crate) struct App {
    process: Child,
    input: ChildStdin,
    messages: Log,
    pub(crate) log: Log,
}

impl App {
    /// Starts the app and waits until it is in the foreground.
    pub(crate) async fn in_front(board: &Board) -> Self {
        Self::in_front_with(board, &[]).await
    }

    /// The same with these options.
    pub(crate) async fn in_front_with(board: &Board, options: &[&str]) -> Self {
        let mut app = Self::start(board, APP, options);
        app.log.until("in the foreground").await;
        app
    }

    /// Starts an app with these options.
    pub(crate) fn start(board: &Board, app: &str, options: &[&str]) -> Self {
        Self::at(board.portal, app, options)
    }

    /// Starts an app of the portal at this address.
    pub(crate) fn at(portal: SocketAddr, app: &str, options: &[&str]) -> Self {
        let portal = portal.to_string();
        let mut process = Command::new(env!("CARGO_BIN_EXE_vehicle-agent"))
            .args(["app", "--app", app, "--portal", &portal])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            input: process.stdin.take().unwrap(),
            messages: Log::of("app", process.stdout.take().unwrap()),
            log: Log::of("app", process.stderr.take().unwrap()),
            process,
        }
    }

    /// The next message that it is handed must have this content, byte for byte.
    pub(crate) async fn hears(&mut self, content: &str) {
        self.is_handed(&format!("{{\"content\":{content}}}")).await;
    }

    /// The next message that it is handed must be this one.
    pub(crate) async fn is_handed(&mut self, message: &str) {
        let line = self.messages.until("").await;
        assert!(
            line == message,
            "the app was handed something else: {line:.300}"
        );
    }

    /// Counts the messages that it is handed until there is one with this content, which counts as
    /// well.
    pub(crate) async fn counts_until(&mut self, content: &str) -> usize {
        let last = format!("{{\"content\":{content}}}");
        self.messages.lines_until(&last).await
    }

    /// The numbers of the messages that it is handed, until it was handed the last one: each content is
    /// an `n` of its own.
    pub(crate) async fn numbers_until(&mut self, last: u64) -> Vec<u64> {
        let mut numbers = Vec::new();
        while numbers.last() != Some(&last) {
            let line = self.messages.until("").await;
            let message: Value = serde_json::from_str(&line).unwrap();
            numbers.push(message["content"]["n"].as_u64().expect("a number"));
        }
        numbers
    }

    /// Sends content to the partner, or is given a command.
    pub(crate) async fn says(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.input.write_all(line.as_bytes()).await.unwrap();
    }

    /// Of an app that was started to exit when all that it said is over: whether all of it is delivered.
    pub(crate) async fn hears_that_all_went_well(mut self) -> bool {
        drop(self.input);
        let ended = timeout(PATIENCE, self.process.wait()).await;
        ended.expect("it is told of all").unwrap().success()
    }
}
