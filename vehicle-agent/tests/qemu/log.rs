//! The lines that a program prints, to be waited for.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::PATIENCE;

tokio::task_local! {
    /// All that the programs of a case print, to be shown if it fails.
    pub(crate) static TRANSCRIPT: Arc<Mutex<String>>;

    /// What a case has measured, to be shown on its line.
    pub(crate) static REPORT: Arc<Mutex<String>>;
}

/// Shows what a case has measured on its line.
pub(crate) fn report(figures: &str) {
    REPORT.with(|report| *report.lock().unwrap() = format!(": {figures}"));
}

/// Longest part of a line that is shown, in characters.
const SHOWN: usize = 300;

/// The output of a program.
pub(crate) struct Log {
    name: &'static str,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Log {
    /// Collects the lines of `output`.
    pub(crate) fn of(name: &'static str, output: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let (line, lines) = mpsc::unbounded_channel();
        let transcript = TRANSCRIPT.get();
        tokio::spawn(async move {
            let mut output = BufReader::new(output).lines();
            while let Ok(Some(text)) = output.next_line().await {
                let shown: String = text.chars().take(SHOWN).collect();
                let shown = format!("{name}: {shown}\n");
                transcript.lock().unwrap().push_str(&shown);
                // The case may have ended.
                let _ = line.send(text);
            }
        });
        Self { name, lines }
    }

    /// Waits for the next line that contains `text`.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let shown: String = text.chars().take(SHOWN).collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match timeout_at(deadline, self.lines.recv()).await {
                Ok(Some(line)) if line.contains(text) => return line,
                Ok(Some(_)) => {}
                Ok(None) => panic!("the {} ended without {shown:?}", self.name),
                Err(_) => panic!("the {} does not print {shown:?}", self.name),
            }
        }
    }

    /// Counts the lines until there is one that contains `text`, which counts as well.
    pub(crate) async fn lines_until(&mut self, text: &str) -> usize {
        let mut lines = 1;
        while !self.until("").await.contains(text) {
            lines += 1;
        }
        lines
    }

    /// Waits until the program has ended; what it printed meanwhile.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = String::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match timeout_at(deadline, self.lines.recv()).await {
                Ok(Some(line)) => rest.push_str(&line),
                Ok(None) => return rest,
                Err(_) => panic!("the {} does not end", self.name),
            }
        }
    }
}
