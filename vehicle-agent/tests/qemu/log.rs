//! The lines that a program prints, to be waited for.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::PATIENCE;

/// The output of a program.
pub(crate) struct Log {
    name: String,
    lines: mpsc::UnboundedReceiver<String>,
    seen: Vec<String>,
}

impl Log {
    /// Collects the lines of `output`.
    pub(crate) fn of(name: &str, output: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let (line, lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut output = BufReader::new(output).lines();
            while let Ok(Some(text)) = output.next_line().await {
                // The case may have ended.
                let _ = line.send(text);
            }
        });
        Self {
            name: name.to_owned(),
            lines,
            seen: Vec::new(),
        }
    }

    /// Waits for the next line that contains `text`.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match timeout_at(deadline, self.lines.recv()).await {
                Ok(Some(line)) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Ok(None) => panic!("{} ended without {text:?}:\n{}", self.name, self.shown()),
                Err(_) => panic!("{} does not print {text:?}:\n{}", self.name, self.shown()),
            }
        }
    }

    /// Waits until the program has ended; all that it printed.
    pub(crate) async fn rest(&mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match timeout_at(deadline, self.lines.recv()).await {
                Ok(Some(line)) => self.seen.push(line),
                Ok(None) => return self.seen.join("\n"),
                Err(_) => panic!("{} does not end:\n{}", self.name, self.shown()),
            }
        }
    }

    /// The lines so far, each cut to what can be read.
    fn shown(&self) -> String {
        let cut = |line: &String| line.chars().take(300).collect::<String>();
        self.seen.iter().map(cut).collect::<Vec<_>>().join("\n")
    }
}
