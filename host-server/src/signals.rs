//! SIGINT and SIGTERM: the first one stops the program in good order, the second one at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit status after a second signal, as shells have it for SIGINT.
const EXIT_STATUS: i32 = 130;

/// Hears the two signals.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From here on neither signal ends the process by itself.
    ///
    /// # Errors
    /// What the system said.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The name of the first signal, when it comes.
    pub async fn first(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    /// Ends the process at the next signal, whatever it is doing.
    pub fn end_at_second(mut self) {
        tokio::spawn(async move {
            let signal = self.first().await;
            tracing::warn!(signal, "second signal, ending at once");
            std::process::exit(EXIT_STATUS);
        });
    }
}
