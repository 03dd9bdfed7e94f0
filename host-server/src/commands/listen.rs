//! `listen`: prints the messages of vehicles as they arrive, one JSON object a line.
//!
//! Follows the server's event stream and resumes after the last line it printed whenever the
//! connection breaks, so that every message is printed once. What the server deleted before it could
//! be printed is told on standard error.

use std::io::{self, Write};
use std::time::Duration;

use reqwest::Response;
use serde::Deserialize;
use vinbus_protocol::id::Vin;

use super::client::{ClientError, Server};
use super::event_stream::{Event, EventStream};
use crate::cli::ListenArgs;

/// First pause before a reconnection; it doubles up to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// Longest pause before a reconnection.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Why listening ended.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The server refuses for good, or could not be reached at the start.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// Lines cannot be printed.
    #[error("a line could not be printed: {0}")]
    Output(io::Error),
}

impl ListenError {
    /// Whether what was typed is at fault.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Server(error) => error.is_usage(),
            Self::Output(_) => false,
        }
    }
}

/// Prints lines until the reader of our output is gone; the caller ends it on a signal.
///
/// # Errors
/// A [`ListenError`].
pub async fn run(args: ListenArgs) -> Result<(), ListenError> {
    let mut listener = Listener {
        server: Server::new(&args.access)?,
        resume_after: args.after.map(|after| after.to_string()),
        vin: args.vin,
        printed: Ok(()),
    };
    let answer = listener.connect().await?;
    eprintln!("listening at {}", listener.server.url());
    listener.follow(answer).await
}

struct Listener {
    server: Server,
    vin: Option<Vin>,
    resume_after: Option<String>,
    printed: io::Result<()>,
}

impl Listener {
    async fn connect(&self) -> Result<Response, ClientError> {
        let mut url = self.server.at(&["messages", "stream"]);
        if let Some(vin) = &self.vin {
            url.query_pairs_mut().append_pair("vin", vin.as_str());
        }
        let mut request = self.server.get(url);
        if let Some(cursor) = &self.resume_after {
            request = request.header("last-event-id", cursor);
        }
        self.server.send(request).await
    }

    async fn follow(&mut self, first: Response) -> Result<(), ListenError> {
        let mut answer = first;
        loop {
            let broke = self.print(answer).await;
            match std::mem::replace(&mut self.printed, Ok(())) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(ListenError::Output(error)),
                Ok(()) => {}
            }
            eprintln!("{broke}; connecting again");
            answer = self.reconnect().await?;
        }
    }

    /// Connects again, for as long as it takes. Each reason why not is told once.
    async fn reconnect(&self) -> Result<Response, ClientError> {
        let mut pause = PAUSE_MIN;
        let mut told = String::new();
        loop {
            tokio::time::sleep(pause).await;
            match self.connect().await {
                Ok(answer) => {
                    eprintln!("listening at {} again", self.server.url());
                    return Ok(answer);
                }
                Err(error) if error.is_passing() => {
                    pause = PAUSE_MAX.min(2 * pause);
                    let reason = error.to_string();
                    if reason != told {
                        eprintln!("{reason}\ntrying again until it works");
                        told = reason;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Prints what the stream has until it breaks or printing fails; says how it broke.
    async fn print(&mut self, mut answer: Response) -> String {
        let mut events = EventStream::default();
        loop {
            let bytes = match answer.chunk().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return "the server closed the connection, as when it stops".to_owned(),
                Err(error) => {
                    return format!("the connection broke off ({})", Server::broken(&error));
                }
            };
            let mut found = Vec::new();
            if let Err(error) = events.push(&bytes, |event| found.push(event)) {
                return self.server.strange(&error).to_string();
            }
            for event in found {
                self.take(event);
                if self.printed.is_err() {
                    return "nobody reads what is printed".to_owned();
                }
            }
        }
    }

    fn take(&mut self, event: Event) {
        match (event.kind.as_str(), event.data) {
            ("", Some(data)) => self.printed = print_line(data),
            ("lost", Some(data)) => eprintln!("{}", lost(&data)),
            // Types that a newer server may send say nothing that has to be printed.
            _ => {}
        }
        if event.id.is_some() {
            self.resume_after = event.id;
        }
    }
}

#[derive(Deserialize)]
struct Lost {
    lost: u64,
}

/// What an event `lost` tells.
fn lost(data: &[u8]) -> String {
    let count = serde_json::from_slice(data).map_or(0, |Lost { lost }| lost);
    format!(
        "{count} messages (of all partners) were deleted before they could be printed: they are \
         older than what the server keeps"
    )
}

/// Prints one object as one line. A line end in it stands between JSON tokens, so that a space
/// means the same.
fn print_line(mut object: Vec<u8>) -> io::Result<()> {
    for byte in &mut object {
        if *byte == b'\n' {
            *byte = b' ';
        }
    }
    object.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&object)?;
    out.flush()
}
