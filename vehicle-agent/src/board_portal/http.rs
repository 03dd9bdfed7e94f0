//! The requests that the portal answers: `/portal`, which becomes a WebSocket, `/status`, and what
//! browsers get.
//!
//! A connection has one request, without a body. Its head is read byte by byte, so that nothing of
//! what follows is read with it.

use core::fmt::{self, Display};

use embassy_futures::select::{Either, select};
use embedded_io_async::{Read, Write};
use vinbus_protocol::portal::PortalCounters;

use super::Portal;
use super::accept_key::{AcceptKey, KEY_LEN, accept_key};
use super::connection::{AppName, Connection, say_goodbye};
use super::frames::FrameWriter;
use super::limits::{CLOSE_TIMEOUT_MS, REQUEST_TIMEOUT_MS, WRITE_TIMEOUT_MS};
#[cfg(feature = "board-page")]
use super::pages::{AppList, Asked};
use super::pieces::{self, Broken, Pieces};
use super::request::{Request, decoded};
use crate::app_interface::server_frame::link_name;
use crate::clock::Clock;

/// Answers the request of one connection.
pub(super) struct Door<'p, 'b, C, const APPS: usize, const PLACES: usize> {
    pub(super) portal: &'p Portal<'b, APPS, PLACES>,
    pub(super) clock: &'p C,
}

/// A socket with a place.
struct Admitted<'p, 'b, C, const APPS: usize, const PLACES: usize> {
    connection: Connection<'p, 'b, C, APPS, PLACES>,
    /// The app that the address named, if it did.
    app: Option<AppName>,
    /// The proof that the request was understood.
    key: AcceptKey,
}

/// What a request gets.
enum Answer<'p, 'b, C, const APPS: usize, const PLACES: usize> {
    Socket(Admitted<'p, 'b, C, APPS, PLACES>),
    Status,
    #[cfg(feature = "board-page")]
    File(Asked<'p>),
    #[cfg(feature = "board-page")]
    Apps,
    Refused(Refused),
}

/// Status and text of a request that is not served.
type Refused = (&'static str, &'static str);

const BAD_REQUEST: &str = "400 Bad Request";

impl<'p, 'b, C: Clock, const APPS: usize, const PLACES: usize> Door<'p, 'b, C, APPS, PLACES> {
    /// Reads the request into `buffer` and answers it.
    pub(super) async fn serve<R: Read, W: Write>(
        self,
        mut reader: R,
        writer: W,
        buffer: &mut [u8],
    ) {
        let Some(answer) = self.ask(&mut reader, buffer).await else {
            return;
        };
        let frames = &mut FrameWriter::new(Pieces::new(writer, buffer));
        let Some((connection, app)) = self.upgrade(answer, frames.pieces()).await else {
            return;
        };
        // Nothing of what came before is kept while a socket is served: there are as many of these
        // futures as sockets.
        let last_word = if let Err(last_word) = connection.open(app, &mut reader).await {
            last_word
        } else {
            connection.serve(&mut reader, frames).await
        };
        connection.end_with(&last_word);
        let goodbye = say_goodbye(frames, &last_word);
        // Whether it was heard is nobody's concern but the peer's.
        let _ = select(goodbye, self.after(CLOSE_TIMEOUT_MS)).await;
    }

    /// Reads the request; what it gets, unless nobody is there any more.
    async fn ask<R: Read>(
        &self,
        reader: &mut R,
        buffer: &mut [u8],
    ) -> Option<Answer<'p, 'b, C, APPS, PLACES>> {
        let counters = &self.portal.counters;
        let limit = self.after(REQUEST_TIMEOUT_MS);
        let head = match select(read_head(reader, buffer), limit).await {
            Either::First(head) => head,
            Either::Second(()) => None,
        };
        let Some(head) = head else {
            counters.count(|counters| &mut counters.refused_request);
            return None;
        };
        Some(match Request::parse(head) {
            Some(request) => self.answer(&request),
            None => {
                counters.count(|counters| &mut counters.refused_request);
                let text = "this is no request of HTTP/1.1, has a body, or is too long\n";
                Answer::Refused((BAD_REQUEST, text))
            }
        })
    }

    /// Gives the answer; the socket, and the app that its address named, if it is one.
    async fn upgrade<W: Write>(
        &self,
        answer: Answer<'p, 'b, C, APPS, PLACES>,
        pieces: &mut Pieces<'_, W>,
    ) -> Option<(Connection<'p, 'b, C, APPS, PLACES>, Option<AppName>)> {
        let text: &dyn Display = match &answer {
            Answer::Socket(admitted) => &Upgraded(&admitted.key),
            Answer::Status => &Whole("200 OK", "application/json", &Status(self.portal)),
            #[cfg(feature = "board-page")]
            Answer::File(asked) => asked,
            #[cfg(feature = "board-page")]
            Answer::Apps => &Whole("200 OK", "application/json", &AppList(self.portal)),
            Answer::Refused((status, text)) => &Whole(status, "text/plain; charset=utf-8", text),
        };
        self.tell(pieces, text).await.ok()?;
        match answer {
            Answer::Socket(admitted) => Some((admitted.connection, admitted.app)),
            #[cfg(feature = "board-page")]
            Answer::File(asked) => {
                // One that goes without it asks again.
                let _ = select(pieces.write(asked.body()), self.after(WRITE_TIMEOUT_MS)).await;
                None
            }
            #[cfg(feature = "board-page")]
            Answer::Apps => None,
            Answer::Status | Answer::Refused(_) => None,
        }
    }

    fn answer(&self, request: &Request<'_>) -> Answer<'p, 'b, C, APPS, PLACES> {
        #[cfg(feature = "board-page")]
        if let Some(file) = Asked::of(request, self.portal.settings.pages) {
            return Answer::File(file);
        }
        match request.path() {
            "/status" => Answer::Status,
            #[cfg(feature = "board-page")]
            "/apps" => Answer::Apps,
            "/portal" => match self.admit(request) {
                Ok(admitted) => Answer::Socket(admitted),
                Err(refused) => Answer::Refused(refused),
            },
            _ => {
                let text = "there are /portal, a WebSocket, and /status\n";
                Answer::Refused(("404 Not Found", text))
            }
        }
    }

    /// Gives a socket a place, or says why not.
    fn admit(&self, request: &Request<'_>) -> Result<Admitted<'p, 'b, C, APPS, PLACES>, Refused> {
        let counters = &self.portal.counters;
        let key = websocket_key(request)?;
        if let Some(origin) = request.header("origin")
            && !self.portal.allows(origin, request)
        {
            counters.count(|counters| &mut counters.refused_origin);
            let text = "web pages of this origin may not be apps in this vehicle\n";
            return Err(("403 Forbidden", text));
        }
        let is_screen = request.parameter("role") == Some("screen");
        let Some(connection) = Connection::new(self.portal, self.clock, is_screen) else {
            counters.count(|counters| &mut counters.refused_full);
            let text = "the portal has as many sockets as it can; close one\n";
            return Err(("503 Service Unavailable", text));
        };
        Ok(Admitted {
            connection,
            // A name that cannot be one is an empty one, which is unknown.
            app: request
                .parameter("app")
                .map(|app| decoded(app).unwrap_or_default()),
            key: accept_key(key),
        })
    }

    /// Writes an answer in the time that it has.
    async fn tell<W: Write>(
        &self,
        pieces: &mut Pieces<'_, W>,
        answer: &dyn Display,
    ) -> Result<(), Broken> {
        let told = pieces.write_text(answer, pieces::len(answer));
        match select(told, self.after(WRITE_TIMEOUT_MS)).await {
            Either::First(told) => told,
            Either::Second(()) => Err(Broken),
        }
    }

    fn after(&self, ms: u64) -> impl Future<Output = ()> + use<'_, 'p, 'b, C, APPS, PLACES> {
        self.clock
            .sleep_until(self.clock.now_ms().saturating_add(ms))
    }
}

/// Reads up to the empty line behind the headers, or as far as there is room; `None` when the
/// connection ends before that.
async fn read_head<'h, R: Read>(reader: &mut R, buffer: &'h mut [u8]) -> Option<&'h [u8]> {
    let mut len = 0;
    while let Some(next) = buffer.get_mut(len..len + 1) {
        if reader.read(next).await.ok()? == 0 {
            return None;
        }
        len += 1;
        let head = buffer.get(..len)?;
        if head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n") {
            break;
        }
    }
    buffer.get(..len)
}

/// The key of a request that may become a WebSocket (RFC 6455, 4.2.1), or what is wrong with it.
fn websocket_key<'r>(request: &Request<'r>) -> Result<&'r [u8; KEY_LEN], Refused> {
    let bad = |text| (BAD_REQUEST, text);
    if !request.names("connection", "upgrade") || !request.names("upgrade", "websocket") {
        return Err(bad(
            "this is a WebSocket: ask with Connection: Upgrade and Upgrade: websocket\n",
        ));
    }
    if request.header("sec-websocket-version") != Some("13") {
        return Err(bad("the version of WebSocket here is 13\n"));
    }
    let key = request.header("sec-websocket-key");
    key.and_then(|key| key.as_bytes().try_into().ok())
        .ok_or(bad("Sec-WebSocket-Key has to have 24 characters\n"))
}

/// The answer that makes a connection a WebSocket.
struct Upgraded<'k>(&'k AcceptKey);

impl Display for Upgraded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(key) = self;
        f.write_str("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n")?;
        write!(
            f,
            "Upgrade: websocket\r\nSec-WebSocket-Accept: {key}\r\n\r\n"
        )
    }
}

/// An answer with which the connection ends: status, type of the body, body.
struct Whole<'a>(&'a str, &'a str, &'a dyn Display);

impl Display for Whole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(status, kind, body) = self;
        let len = pieces::len(body);
        write!(
            f,
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: {kind}\r\n"
        )?;
        write!(f, "Content-Length: {len}\r\n\r\n{body}")
    }
}

/// The JSON of `/status`, with the names that it has on Linux.
struct Status<'p, 'b, const APPS: usize, const PLACES: usize>(&'p Portal<'b, APPS, PLACES>);

impl<const APPS: usize, const PLACES: usize> Display for Status<'_, '_, APPS, PLACES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(portal) = self;
        let (vin, link) = (portal.vin.as_str(), link_name(portal.link_up.get()));
        let agent = portal.agent.get();
        let sockets = portal.counters();
        let PortalCounters {
            delivered,
            pending,
            popups_queued,
            ..
        } = agent.portal;
        write!(
            f,
            r#"{{"vin":"{vin}","link":"{link}","sessions":{}"#,
            agent.sessions
        )?;
        write!(f, r#","received":{}"#, agent.received)?;
        write!(
            f,
            r#","downlinks":{{"delivered":{delivered},"pending":{pending}"#
        )?;
        write!(
            f,
            r#","popups":{popups_queued},"evictedFromSockets":{}}}"#,
            sockets.evicted
        )?;
        write!(f, r#","refused":{{"oversize":{}"#, agent.oversize)?;
        write!(f, r#","foreignTopic":{}"#, agent.foreign_topics)?;
        let envelope = agent.portal.refused_envelope - agent.oversize;
        write!(f, r#","envelope":{envelope}"#)?;
        write!(f, r#","unknownApp":{}"#, agent.portal.refused_unknown_app)?;
        write!(f, r#","foreignUid":{}"#, agent.portal.refused_foreign_uid)?;
        write!(f, r#","tooLarge":{}"#, agent.portal.refused_too_large)?;
        write!(
            f,
            r#","popupOverflow":{}}}"#,
            agent.portal.popups_overflowed
        )?;
        write!(f, r#","uplinks":{{"accepted":{}"#, agent.uplinks_accepted)?;
        write!(f, r#","refused":{}"#, agent.uplinks_refused)?;
        write!(f, r#","delivered":{}"#, agent.uplinks_delivered)?;
        write!(f, r#","dropped":{}"#, agent.uplinks_dropped)?;
        write!(
            f,
            r#","refusedByBroker":{}}}"#,
            agent.uplinks_refused_by_broker
        )?;
        write!(f, r#","sockets":{{"refusedFull":{}"#, sockets.refused_full)?;
        write!(f, r#","refusedOrigin":{}"#, sockets.refused_origin)?;
        write!(f, r#","refusedRequest":{}"#, sockets.refused_request)?;
        write!(f, r#","slowReaders":{}"#, sockets.slow_readers)?;
        write!(f, r#","ended":{}"#, sockets.ended)?;
        write!(f, r#","refusedFrames":{}}}}}"#, sockets.refused_frames)
    }
}
