//! One WebSocket of the portal, from hello to goodbye.
//!
//! A reader and a writer run side by side, so a program that never reads cannot keep what it sends
//! from being judged, and one that floods cannot keep its messages from being written. Only the
//! writer ends the socket: whoever wants that says so in the [`Outbox`].

use std::fmt::Display;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};

use super::outbox::{Item, Outbox};
use super::{FRAME_BYTES_MAX, FromSocket, News, Peer, Shared};
use crate::app_interface::client_frame::{ClientFrame, Lifecycle, WithId, shown};
use crate::app_interface::rate::{Rate, Verdict};
use crate::app_interface::refusal::{Ending, Refusal};
use crate::app_interface::server_frame::{Explained, ServerFrame, kind};

/// A program has this long to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// The closing handshake is given up after this time.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// "onApplicationUnloaded gives 100 ms to save".
const SAVE_TIME: Duration = Duration::from_millis(100);

type Sink = SplitSink<WebSocket, Message>;
type Stream = SplitStream<WebSocket>;

/// Serves a socket until it ends. `app` is the app that the address named, if it did.
pub(super) async fn serve(socket: WebSocket, shared: Arc<Shared>, app: Option<String>) {
    let (mut sink, mut stream) = socket.split();
    let peer = match app {
        Some(app) => named(&shared, &app),
        None => timeout(HELLO_TIMEOUT, hello(&mut stream, &shared))
            .await
            .unwrap_or(Err(Refusal::NoHello("no \"hello\" came within 10 seconds"))),
    };
    let peer = match peer {
        Ok(peer) => peer,
        Err(refusal) => {
            shared.status.count(|portal| &mut portal.ended);
            let code = 1008;
            return close(sink, stream, code, refusal.reason(), &refusal).await;
        }
    };
    let socket = Opened {
        id: shared.next_socket(),
        peer,
        outbox: Arc::new(Outbox::default()),
        rate: Rate::new(shared.frames_per_second),
        opened: Instant::now(),
    };
    let outbox = Arc::clone(&socket.outbox);
    let told = socket.run(&shared, &mut sink, &mut stream).await;
    // One that does not read cannot be told.
    if told.or(outbox.ending()).is_some_and(Ending::is_fault) {
        shared.status.count(|portal| &mut portal.ended);
    }
    if let Some(ending) = told {
        close(sink, stream, ending.code(), ending.reason(), &ending).await;
    }
}

/// A socket that said who it is.
struct Opened {
    id: u64,
    peer: Peer,
    outbox: Arc<Outbox>,
    rate: Rate,
    opened: Instant,
}

impl Opened {
    /// Runs until the socket ends; returns the reason if its program can still be told.
    async fn run(
        mut self,
        shared: &Shared,
        sink: &mut Sink,
        stream: &mut Stream,
    ) -> Option<Ending> {
        let agent = &shared.news;
        let outbox = Arc::clone(&self.outbox);
        let opened = News::Opened(Arc::clone(&outbox));
        if agent.send(self.news(opened)).await.is_err() {
            return Some(Ending::Stopping);
        }
        let (socket, peer) = (self.id, self.peer);
        let written = || FromSocket {
            socket,
            peer,
            news: News::Written,
        };
        let told = tokio::select! {
            told = write(&outbox, sink, agent, written) => told,
            () = self.read(shared, stream) => None,
        };
        // The agent may be gone already; then nobody wants to know.
        let _ = agent.send(self.news(News::Gone)).await;
        told
    }

    fn news(&self, news: News) -> FromSocket {
        FromSocket {
            socket: self.id,
            peer: self.peer,
            news,
        }
    }

    /// Reads until the program has gone.
    async fn read(&mut self, shared: &Shared, stream: &mut Stream) {
        loop {
            let text = match stream.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Binary(_))) => {
                    let refusal = match self.judge() {
                        Verdict::Pass => Refusal::Binary,
                        Verdict::Refuse => self.too_fast(),
                        Verdict::End => return self.end(Ending::Flood).await,
                    };
                    self.refuse(shared, None, &refusal).await;
                    continue;
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                    match self.judge() {
                        Verdict::Pass => {}
                        Verdict::Refuse => self.refuse(shared, None, &self.too_fast()).await,
                        Verdict::End => return self.end(Ending::Flood).await,
                    }
                    continue;
                }
                // Pongs are written here.
                Some(Err(error)) if is_too_slow(&error) => {
                    return self.outbox.end(Ending::SlowReader);
                }
                Some(Err(error)) => match fault(&error) {
                    Some(ending) => return self.end(ending).await,
                    None => return,
                },
                Some(Ok(Message::Close(_))) | None => return,
            };
            let WithId { item, id } = ClientFrame::parse(&text);
            let refusal = match (self.judge(), item) {
                (Verdict::End, _) => return self.end(Ending::Flood).await,
                (Verdict::Pass, Ok(_)) => {
                    if shared
                        .news
                        .send(self.news(News::Frame(text)))
                        .await
                        .is_err()
                    {
                        return self.end(Ending::Stopping).await;
                    }
                    continue;
                }
                (Verdict::Pass, Err(refusal)) => refusal,
                (Verdict::Refuse, _) => self.too_fast(),
            };
            self.refuse(shared, id, &refusal).await;
        }
    }

    /// Whether a frame that comes now is within the rate.
    fn judge(&mut self) -> Verdict {
        let now_ms = self.opened.elapsed().as_millis() as u64;
        self.rate.take(now_ms)
    }

    fn too_fast(&self) -> Refusal {
        Refusal::Rate {
            per_second: self.rate.per_second(),
        }
    }

    /// Tells the program, and lets the writer do so before the next frame is read: else a burst of
    /// bad frames would fill the outbox of a program that reads well.
    async fn refuse(&self, shared: &Shared, id: Option<&str>, refusal: &Refusal) {
        shared.status.count(|portal| &mut portal.refused_frames);
        self.outbox.push(Item::Notice(refusal_frame(id, refusal)));
        tokio::task::yield_now().await;
    }

    /// Has the writer end the socket, and waits for it to do so.
    async fn end(&self, ending: Ending) {
        self.outbox.end(ending);
        std::future::pending::<()>().await;
    }
}

fn named(shared: &Shared, app: &str) -> Result<Peer, Refusal> {
    let slot = shared.slot(|installed| installed == app);
    Ok(Peer::App {
        slot: slot.ok_or_else(|| Refusal::UnknownApp(shown(app.chars())))?,
        background: false,
        confirms: false,
    })
}

async fn hello(stream: &mut Stream, shared: &Shared) -> Result<Peer, Refusal> {
    loop {
        match stream.next().await {
            Some(Ok(Message::Text(text))) => {
                return match ClientFrame::parse(&text).item? {
                    ClientFrame::Hello(role) => shared.peer(role),
                    _ => Err(Refusal::NoHello("the first frame was another")),
                };
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_) | Message::Close(_)) | Err(_)) | None => {
                let what = "the socket ended, or sent something else than text";
                return Err(Refusal::NoHello(what));
            }
        }
    }
}

/// The frame that tells of a refusal.
pub(super) fn refusal_frame(id: Option<&str>, refusal: &Refusal) -> String {
    let value = Explained(refusal.reason(), refusal);
    let frame = ServerFrame::new(refusal.frame_type());
    frame.with_value(&value).with_id(id).to_string()
}

/// Writes until the socket is to end; `None` when its program can no longer be told why, because
/// the connection broke or a frame is half written. The agent gets `written` when it waits for that.
async fn write(
    outbox: &Outbox,
    sink: &mut Sink,
    agent: &mpsc::Sender<FromSocket>,
    written: impl Fn() -> FromSocket,
) -> Option<Ending> {
    loop {
        let text = match outbox.front().await {
            Ok(text) => text,
            Err(ending) => {
                if matches!(ending, Ending::Closed | Ending::NotLoaded) {
                    let unloaded = ServerFrame::new(Lifecycle::Unload.name()).to_string();
                    sink.send(Message::text(unloaded)).await.ok()?;
                    // What the app sends meanwhile is still taken.
                    sleep(SAVE_TIME).await;
                }
                return Some(ending);
            }
        };
        tokio::select! {
            sent = sink.send(Message::text(text)) => match sent {
                Ok(()) => {
                    if outbox.written() {
                        // Nobody waits for it if the agent is gone.
                        let _ = agent.send(written()).await;
                    }
                }
                Err(error) => {
                    if is_too_slow(&error) {
                        outbox.end(Ending::SlowReader);
                    }
                    return None;
                }
            },
            _ = outbox.ended() => return None,
        }
    }
}

/// Why a WebSocket failed.
fn cause(error: &axum::Error) -> Option<&tungstenite::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Whether the program took nothing for too long, rather than the connection broken: where the other side is gone, the
/// system says so, with a number.
fn is_too_slow(error: &axum::Error) -> bool {
    let Some(tungstenite::Error::Io(error)) = cause(error) else {
        return false;
    };
    error.kind() == ErrorKind::TimedOut && error.raw_os_error().is_none()
}

/// What the program did wrong in what it sent; `None` where the connection broke.
fn fault(error: &axum::Error) -> Option<Ending> {
    match cause(error)? {
        tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }) => {
            Some(Ending::FrameTooLarge(FRAME_BYTES_MAX))
        }
        tungstenite::Error::Utf8(_) => Some(Ending::Utf8),
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        tungstenite::Error::Protocol(_) => Some(Ending::Protocol),
        _ => None,
    }
}

/// Says why, closes, and waits a little for the other side to do the same, so that it can read it.
async fn close(
    mut sink: Sink,
    mut stream: Stream,
    code: u16,
    reason: &'static str,
    message: &impl Display,
) {
    let value = Explained(reason, message);
    let frame = ServerFrame::new(kind::ERROR).with_value(&value).to_string();
    let closing = async {
        sink.send(Message::text(frame)).await?;
        let reason = reason.into();
        sink.send(Message::Close(Some(CloseFrame { code, reason })))
            .await?;
        while let Some(Ok(_)) = stream.next().await {}
        Ok::<(), axum::Error>(())
    };
    // The program may have gone without reading; there is nobody left to tell then.
    let _ = timeout(CLOSE_TIMEOUT, closing).await;
}
