//! A program that runs beside the chore until it is dropped, and whose lines can be waited for.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a line may take to appear: an emulator is slow, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Program {
    name: &'static str,
    process: Child,
    lines: Receiver<String>,
    shown: Vec<String>,
}

impl Program {
    /// Starts `command`.
    pub(super) fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let (sender, lines) = channel();
        follow(
            process.stdout.take().context("it is piped")?,
            sender.clone(),
        );
        follow(process.stderr.take().context("it is piped")?, sender);
        Ok(Self {
            name,
            process,
            lines,
            shown: Vec::new(),
        })
    }

    /// Types a line.
    pub(super) fn types(&mut self, line: &str) -> Result<()> {
        let input = self.process.stdin.as_mut().context("it is piped")?;
        writeln!(input, "{line}").with_context(|| format!("{} does not read `{line}`", self.name))
    }

    /// Waits for a line with `part` in it, which may have been printed already, and returns what
    /// stands behind `part`.
    pub(super) fn prints(&mut self, part: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = 0;
        loop {
            for line in &self.shown[seen..] {
                if let Some((_, after)) = line.split_once(part) {
                    return Ok(after.to_owned());
                }
            }
            seen = self.shown.len();
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.shown.push(line),
                Err(_) => bail!(
                    "{} does not print `{part}`; it shows\n{}",
                    self.name,
                    self.shown.join("\n")
                ),
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn follow(stream: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
}
