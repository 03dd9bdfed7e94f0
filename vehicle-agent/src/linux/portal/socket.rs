//! One WebSocket of the portal, from hello to goodbye.
//!
//! A reader and a writer run side by side, so a program that never reads cannot keep what it sends
//! from being judged, and one that floods cannot keep its messages from being written. Only the
//! writer ends the socket: whoever wants that says so in the [`Outbox`].

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::frame::{self, ClientFrame, Lifecycle, Refusal, Role};
use super::outbox::{Ending, Item, Outbox};
use super::rate::{Rate, Verdict};
use super::{FRAME_BYTES_MAX, FromSocket, News, Shared};

/// A program has this long to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// A frame that was not read for this long ends the socket.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The closing handshake is given up after this time.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// "onApplicationUnloaded gives 100 ms to save".
const SAVE_TIME: Duration = Duration::from_millis(100);

type Sink = SplitSink<WebSocket, Message>;
type Stream = SplitStream<WebSocket>;

/// Serves a socket until it ends. `app` is the app that the address named, if it did.
pub(super) async fn serve(socket: WebSocket, shared: Arc<Shared>, app: Option<String>) {
    let (mut sink, mut stream) = socket.split();
    let hello = match app {
        Some(app) => Ok(Role::App {
            app,
            background: false,
        }),
        None => timeout(HELLO_TIMEOUT, hello(&mut stream))
            .await
            .unwrap_or_else(|_| Err(refuse_hello("no \"hello\" came within 10 seconds"))),
    };
    let peer = match hello.and_then(|role| shared.peer(&role)) {
        Ok(peer) => peer,
        Err(refusal) => return close(sink, stream, &refusal).await,
    };
    let socket = Opened {
        id: shared.next_socket(),
        peer,
        outbox: Arc::new(Outbox::default()),
        rate: Rate::new(shared.frames_per_second, Instant::now()),
    };
    if let Some(ending) = socket.run(&shared.news, &mut sink, &mut stream).await {
        close(sink, stream, &farewell(ending)).await;
    }
}

/// A socket that said who it is.
struct Opened {
    id: u64,
    peer: super::Peer,
    outbox: Arc<Outbox>,
    rate: Rate,
}

impl Opened {
    /// Runs until the socket ends; returns the reason if its program can still be told.
    async fn run(
        mut self,
        agent: &mpsc::Sender<FromSocket>,
        sink: &mut Sink,
        stream: &mut Stream,
    ) -> Option<Ending> {
        let outbox = Arc::clone(&self.outbox);
        let opened = News::Opened(Arc::clone(&outbox));
        if agent.send(self.news(opened)).await.is_err() {
            return Some(Ending::Stopping);
        }
        let told = tokio::select! {
            told = write(&outbox, sink) => told,
            () = self.read(agent, stream) => None,
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
    async fn read(&mut self, agent: &mpsc::Sender<FromSocket>, stream: &mut Stream) {
        loop {
            let text = match stream.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Binary(_))) => {
                    self.refuse(&Refusal::new(
                        "bad-frame",
                        "frames are JSON text, this was binary",
                    ))
                    .await;
                    continue;
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Err(error)) if is_too_long(&error) => {
                    return self.end(Ending::FrameTooLarge).await;
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            };
            match self.rate.take(Instant::now()) {
                Verdict::Pass => {}
                Verdict::Refuse => {
                    self.refuse_flood(&text).await;
                    continue;
                }
                Verdict::End => return self.end(Ending::Flood).await,
            }
            match ClientFrame::parse(&text) {
                Ok(frame) => {
                    if agent.send(self.news(News::Frame(frame))).await.is_err() {
                        return self.end(Ending::Stopping).await;
                    }
                }
                Err(refusal) => self.refuse(&refusal).await,
            }
        }
    }

    /// Tells the program, and lets the writer do so before the next frame is read: else a burst of
    /// bad frames would fill the outbox of a program that reads well.
    async fn refuse(&self, refusal: &Refusal) {
        self.outbox.push(Item::Notice(frame::error_frame(refusal)));
        tokio::task::yield_now().await;
    }

    async fn refuse_flood(&self, text: &str) {
        let per_second = self.rate.per_second();
        let message = format!(
            "more than {per_second} frames a second; this one was dropped, send it again later"
        );
        let id = match ClientFrame::parse(text) {
            Ok(ClientFrame::Send { id, .. } | ClientFrame::TakePending { id, .. }) => id,
            Ok(_) => None,
            Err(refusal) => refusal.id,
        };
        self.refuse(&Refusal::new("rate", message).with_id(id))
            .await;
    }

    /// Has the writer end the socket, and waits for it to do so.
    async fn end(&self, ending: Ending) {
        self.outbox.end(ending);
        std::future::pending::<()>().await;
    }
}

async fn hello(stream: &mut Stream) -> Result<Role, Refusal> {
    loop {
        match stream.next().await {
            Some(Ok(Message::Text(text))) => {
                return match ClientFrame::parse(&text)? {
                    ClientFrame::Hello(role) => Ok(role),
                    _ => Err(refuse_hello("the first frame was another")),
                };
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_) | Message::Close(_)) | Err(_)) | None => {
                return Err(refuse_hello(
                    "the socket ended, or sent something else than text",
                ));
            }
        }
    }
}

fn refuse_hello(what: &str) -> Refusal {
    let how = r#"say {"type":"hello","value":{"appId":"…"}} first, or open /portal?app=…"#;
    Refusal::new("no-hello", format!("{what}: {how}"))
}

/// Writes until the socket is to end; `None` when its program can no longer be told why, because
/// the connection broke or a frame is half written.
async fn write(outbox: &Outbox, sink: &mut Sink) -> Option<Ending> {
    loop {
        let text = match outbox.front().await {
            Ok(text) => text,
            Err(ending) => {
                if matches!(ending, Ending::Closed | Ending::NotLoaded) {
                    let unloaded = frame::server_frame(Lifecycle::Unload.name(), None, None);
                    sink.send(Message::text(unloaded)).await.ok()?;
                    // What the app sends meanwhile is still taken.
                    sleep(SAVE_TIME).await;
                }
                return Some(ending);
            }
        };
        tokio::select! {
            sent = timeout(WRITE_TIMEOUT, sink.send(Message::text(text))) => match sent {
                Ok(Ok(())) => outbox.written(),
                Ok(Err(_)) | Err(_) => return None,
            },
            _ = outbox.ended() => return None,
        }
    }
}

/// Whether a frame was over the limit, rather than the connection broken.
fn is_too_long(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.to_string().contains("too long") {
            return true;
        }
        source = error.source();
    }
    false
}

fn farewell(ending: Ending) -> Refusal {
    let (reason, message) = match ending {
        Ending::SlowReader => (
            "slow-reader",
            "the app did not read its messages; they are kept as pending".to_owned(),
        ),
        Ending::TakenOver => (
            "taken-over",
            "another socket said hello with this identity".to_owned(),
        ),
        Ending::Closed => ("closed", "the app was closed".to_owned()),
        Ending::NotLoaded => (
            "not-loaded",
            "the app did not send WebPortal.onApplicationLoaded within 10 seconds".to_owned(),
        ),
        Ending::Flood => (
            "flood",
            "the app kept sending although its frames were refused; slow down".to_owned(),
        ),
        Ending::FrameTooLarge => (
            "frame-too-large",
            format!("a frame has at most {FRAME_BYTES_MAX} bytes; send less, or in parts"),
        ),
        Ending::Stopping => (
            "stopping",
            "the agent stops; connect again later".to_owned(),
        ),
    };
    Refusal::new(reason, message)
}

/// Says why, closes, and waits a little for the other side to do the same, so that it can read it.
async fn close(mut sink: Sink, mut stream: Stream, refusal: &Refusal) {
    let code = match refusal.reason {
        "closed" => 1000,
        "stopping" => 1001,
        "frame-too-large" => 1009,
        _ => 1008,
    };
    let closing = async {
        let text = frame::error_frame(refusal);
        sink.send(Message::text(text)).await?;
        let reason = refusal.reason.into();
        sink.send(Message::Close(Some(CloseFrame { code, reason })))
            .await?;
        while let Some(Ok(_)) = stream.next().await {}
        Ok::<(), axum::Error>(())
    };
    // The program may have gone without reading; there is nobody left to tell then.
    let _ = timeout(CLOSE_TIMEOUT, closing).await;
}
