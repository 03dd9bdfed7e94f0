//! One WebSocket of the portal, from hello to goodbye.
//!
//! A reader and a writer run side by side, so a program that never reads cannot keep what it sends
//! from being judged, and one that floods cannot keep its messages from being written. Whoever wants
//! the socket to end says so in its outbox.

use core::cell::{Cell, RefCell};
use core::fmt::Display;
use core::pin::{Pin, pin};

use embassy_futures::select::{Either, Either3, select, select3};
use embassy_futures::yield_now;
use embedded_io_async::{Read, Write};
use vinbus_protocol::limits::APP_ID_BYTES_MAX;

use super::Portal;
use super::frames::FrameWriter;
use super::limits::{
    CLOSE_TIMEOUT_MS, HELLO_TIMEOUT_MS, PING_INTERVAL_MS, SAVE_TIME_MS, WRITE_TIMEOUT_MS,
};
use super::message::{Message, NoMessage, Partial, Progress, opcode};
use super::outbox::Front;
use super::pieces::Broken;
use super::place::{Mail, Peer, Phase, Place};
use crate::app_interface::client_frame::{ClientFrame, Lifecycle, Role, WithId, shown};
use crate::app_interface::rate::{Rate, Verdict};
use crate::app_interface::refusal::{Ending, Refusal};
use crate::app_interface::server_frame::{Explained, ServerFrame, kind};
use crate::clock::Clock;

/// The name of an app in the address of its socket.
pub(super) type AppName = heapless::String<APP_ID_BYTES_MAX>;

/// What is left to say when a socket ends.
pub(super) enum LastWord {
    /// Nothing: the connection broke, or a frame is half written.
    None,
    /// The peer has closed it.
    Close,
    /// Why the portal ends it.
    Ending(Ending),
    /// Why nobody is served.
    Refusal(Refusal),
}

/// A socket with a place, which is taken until this is dropped.
pub(super) struct Connection<'p, 'b, C, const APPS: usize, const PLACES: usize> {
    portal: &'p Portal<'b, APPS, PLACES>,
    place: &'p Place<'b>,
    clock: &'p C,
    /// Every frame counts, whatever it is: fragments, empty ones too, pings and pongs.
    rate: RefCell<Rate>,
    /// A ping is to be sent.
    ping: Cell<bool>,
}

impl<'p, 'b, C, const APPS: usize, const PLACES: usize> Connection<'p, 'b, C, APPS, PLACES> {
    /// Takes a place, if one is free: for the screen, one of its own if there is any.
    pub(super) fn new(
        portal: &'p Portal<'b, APPS, PLACES>,
        clock: &'p C,
        is_screen: bool,
    ) -> Option<Self> {
        let free = |place: &&Place<'_>| place.phase.get() == Phase::Free;
        let of = |for_screen| {
            let mut places = portal.places.iter().filter(free);
            places.find(|place| place.for_screen == for_screen)
        };
        let own = if is_screen { of(true) } else { None };
        let place = own.or_else(|| of(false))?;
        place.phase.set(Phase::Opening);
        Some(Self {
            portal,
            place,
            clock,
            rate: RefCell::new(Rate::new(portal.settings.frames_per_second)),
            ping: Cell::new(false),
        })
    }
}

impl<C, const APPS: usize, const PLACES: usize> Drop for Connection<'_, '_, C, APPS, PLACES> {
    fn drop(&mut self) {
        match self.place.phase.get() {
            Phase::Opened(peer) | Phase::Queued(peer) | Phase::Seated(peer) => {
                self.place.phase.set(Phase::Gone(peer));
                self.portal.news.signal(());
            }
            Phase::Opening => self.place.free(),
            Phase::Free | Phase::Gone(_) => {}
        }
    }
}

/// A message that is in the buffer.
struct Arrived {
    message: Message,
    /// Some frame of it was one too many.
    too_fast: bool,
}

impl<C: Clock, const APPS: usize, const PLACES: usize> Connection<'_, '_, C, APPS, PLACES> {
    /// Finds out who is there: `app`, if the address of the socket named one, or who says hello.
    pub(super) async fn open<R: Read>(
        &self,
        app: Option<AppName>,
        rx: &mut R,
    ) -> Result<(), LastWord> {
        let peer = match app {
            Some(app) => self.peer_named(app).map_err(LastWord::Refusal)?,
            None => self.hello(rx).await?,
        };
        if self.place.for_screen && peer != Peer::Screen {
            let refusal = Refusal::NoHello("the address said that this is the screen");
            return Err(LastWord::Refusal(refusal));
        }
        self.place.phase.set(Phase::Opened(peer));
        self.portal.news.signal(());
        Ok(())
    }

    /// Serves a socket that is open until it ends.
    pub(super) async fn serve<R: Read, W: Write>(
        &self,
        rx: &mut R,
        tx: &mut FrameWriter<'_, W>,
    ) -> LastWord {
        match select(self.write(tx), self.read(rx)).await {
            Either::First(last_word) | Either::Second(last_word) => last_word,
        }
    }

    /// The socket has ended: the place is free, or the agent's, though the goodbye may take its time.
    pub(super) fn end_with(self, last_word: &LastWord) {
        if self.is_fault(last_word) {
            let counters = &self.portal.counters;
            counters.count(|counters| &mut counters.ended);
        }
    }

    async fn hello<R: Read>(&self, rx: &mut R) -> Result<Peer, LastWord> {
        let deadline = self
            .clock
            .sleep_until(self.clock.now_ms() + HELLO_TIMEOUT_MS);
        let len = match select(self.next_message(rx), deadline).await {
            Either::First(Ok(Arrived {
                message: Message::Text(len),
                ..
            })) => len,
            Either::First(Ok(Arrived {
                message: Message::Binary,
                ..
            })) => {
                return Err(LastWord::Refusal(Refusal::NoHello("something binary came")));
            }
            Either::First(Err(no_message)) => return Err(no_message.into()),
            Either::Second(()) => {
                let refusal = Refusal::NoHello("no \"hello\" came within 10 seconds");
                return Err(LastWord::Refusal(refusal));
            }
        };
        let receive = self.place.receive.borrow();
        let text = text(&receive, len).ok_or(LastWord::Ending(Ending::Utf8))?;
        match ClientFrame::parse(text).item {
            Ok(ClientFrame::Hello(role)) => self.peer(role),
            Ok(_) => Err(Refusal::NoHello("the first frame was another")),
            Err(refusal) => Err(refusal),
        }
        .map_err(LastWord::Refusal)
    }

    /// The app in the address of the socket.
    fn peer_named(&self, name: AppName) -> Result<Peer, Refusal> {
        match self.portal.slot(|installed| installed == name.as_str()) {
            Some(slot) => Ok(Peer::App {
                slot,
                background: false,
                confirms: false,
            }),
            None => Err(Refusal::UnknownApp(name)),
        }
    }

    fn peer(&self, role: Role<'_>) -> Result<Peer, Refusal> {
        let Role::App {
            app,
            background,
            confirm,
        } = role
        else {
            return Ok(Peer::Screen);
        };
        let slot = self.portal.slot(|installed| app.is(installed));
        let slot = slot.ok_or_else(|| Refusal::UnknownApp(shown(app.chars())))?;
        Ok(Peer::App {
            slot,
            background,
            confirms: confirm,
        })
    }

    /// Reads until the program has gone, or is to go.
    async fn read<R: Read>(&self, rx: &mut R) -> LastWord {
        loop {
            let arrived = match self.next_message(rx).await {
                Ok(arrived) => arrived,
                Err(no_message) => return no_message.into(),
            };
            match arrived.message {
                Message::Binary => self.refuse(None, &Refusal::Binary),
                Message::Text(len) if arrived.too_fast => self.refuse_flood(len),
                Message::Text(len) => {
                    if text(&self.place.receive.borrow(), len).is_none() {
                        return LastWord::Ending(Ending::Utf8);
                    }
                    self.hand_over(len).await;
                    continue;
                }
            }
            self.let_it_be_written().await;
        }
    }

    /// The writer writes why before the next frame is read: else a burst of bad frames would fill the
    /// outbox of a program that reads well.
    async fn let_it_be_written(&self) {
        yield_now().await;
    }

    /// Gives the frame in the buffer to the agent and waits until it is done with it.
    async fn hand_over(&self, len: usize) {
        self.place.mail.set(Mail::Waiting(len));
        self.portal.news.signal(());
        while self.place.mail.get() != Mail::None {
            self.place.taken.wait().await;
        }
    }

    /// Reads the next message into the buffer; answers pings on the way. Each frame of it that comes
    /// too fast is told, and the whole is not taken then.
    #[expect(
        clippy::await_holding_refcell_ref,
        reason = "nobody else touches the buffer while there is no mail in it"
    )]
    async fn next_message<R: Read>(&self, rx: &mut R) -> Result<Arrived, NoMessage> {
        let mut buffer = self.place.receive.borrow_mut();
        let mut partial = Partial::default();
        let mut fragment_refused = false;
        loop {
            let silent = self.wait_for_silence();
            let progress = match select(partial.read(rx, &mut buffer), silent).await {
                Either::First(progress) => progress?,
                Either::Second(()) => return Err(NoMessage::Ended(Ending::Silent)),
            };
            let verdict = self.rate.borrow_mut().take(self.clock.now_ms());
            let too_fast = match verdict {
                Verdict::Pass => false,
                // Nothing is written before the hello.
                Verdict::Refuse if self.place.phase.get() == Phase::Opening => {
                    return Err(NoMessage::Ended(Ending::Flood));
                }
                Verdict::Refuse => true,
                Verdict::End => return Err(NoMessage::Ended(Ending::Flood)),
            };
            match progress {
                Progress::Complete(message) => {
                    let too_fast = too_fast || fragment_refused;
                    return Ok(Arrived { message, too_fast });
                }
                Progress::Partial | Progress::Pong | Progress::Ping(_) if too_fast => {
                    fragment_refused |= progress == Progress::Partial;
                    self.refuse(None, &self.rate_refusal());
                    self.let_it_be_written().await;
                }
                Progress::Partial | Progress::Pong => {}
                Progress::Ping(len) => {
                    let payload = buffer.get(partial.len()..).and_then(|rest| rest.get(..len));
                    let payload = heapless::Vec::from_slice(payload.unwrap_or_default());
                    self.place.pong.set(payload.ok());
                    self.place.to_write.signal(());
                }
            }
        }
    }

    /// Completes when it is sure that nobody is there.
    async fn wait_for_silence(&self) {
        let now_ms = self.clock.now_ms();
        self.clock.sleep_until(now_ms + PING_INTERVAL_MS).await;
        self.ping.set(true);
        self.place.to_write.signal(());
        self.clock.sleep_until(now_ms + 2 * PING_INTERVAL_MS).await;
    }

    fn refuse_flood(&self, len: usize) {
        let receive = self.place.receive.borrow();
        let WithId { id, .. } = ClientFrame::parse(text(&receive, len).unwrap_or_default());
        self.refuse(id, &self.rate_refusal());
    }

    fn rate_refusal(&self) -> Refusal {
        let per_second = self.rate.borrow().per_second();
        Refusal::Rate { per_second }
    }

    fn refuse(&self, id: Option<&str>, refusal: &Refusal) {
        let counters = &self.portal.counters;
        counters.count(|counters| &mut counters.refused_frames);
        let value = Explained(refusal.reason(), refusal);
        let frame = ServerFrame::new(kind::ERROR).with_value(&value).with_id(id);
        self.place.outbox.borrow_mut().push_notice(&frame);
        self.place.to_write.signal(());
    }

    /// Writes until the socket is to end.
    async fn write<W: Write>(&self, tx: &mut FrameWriter<'_, W>) -> LastWord {
        loop {
            if let Some(ending) = self.ending() {
                return self.end(ending, tx).await;
            }
            let sent = if let Some(frame) = self.control_frame(tx) {
                self.send(pin!(frame)).await
            } else if self.place.outbox.borrow().is_empty() {
                self.place.to_write.wait().await;
                true
            } else {
                self.send_front(tx).await
            };
            if !sent {
                return LastWord::None;
            }
        }
    }

    /// A ping or pong that is to be sent now.
    fn control_frame<'w, 'f, W: Write>(
        &self,
        tx: &'w mut FrameWriter<'f, W>,
    ) -> Option<impl Future<Output = Result<(), Broken>> + use<'w, 'f, C, W, APPS, PLACES>> {
        if let Some(payload) = self.place.pong.take() {
            Some(tx.control(opcode::PONG, &[], &payload))
        } else {
            let ping = self.ping.take();
            ping.then(|| tx.control(opcode::PING, &[], &[]))
        }
    }

    async fn send_front<W: Write>(&self, tx: &mut FrameWriter<'_, W>) -> bool {
        let front = Front(&self.place.outbox);
        let sent = self.send(pin!(tx.text(&front))).await;
        if sent {
            let listed = self.place.outbox.borrow_mut().written();
            if listed.is_some() {
                self.place.listed.set(listed);
            }
            self.portal.news.signal(());
        }
        sent
    }

    /// Whether all of it was given to the network, before the time was up or the socket was to end.
    /// Pinned by the caller, because a future that is passed on takes its room once more.
    async fn send(&self, sending: Pin<&mut dyn Future<Output = Result<(), Broken>>>) -> bool {
        let limit = self
            .clock
            .sleep_until(self.clock.now_ms() + WRITE_TIMEOUT_MS);
        match select3(self.ended(), limit, sending).await {
            Either3::Third(sent) => sent.is_ok(),
            Either3::First(()) => false,
            Either3::Second(()) => {
                self.place.end(Ending::SlowReader);
                false
            }
        }
    }

    /// Whether the program has itself to blame for the end.
    fn is_fault(&self, last_word: &LastWord) -> bool {
        match last_word {
            LastWord::Ending(ending) => ending.is_fault(),
            LastWord::Refusal(_) => true,
            LastWord::Close => false,
            // One that does not read cannot be told.
            LastWord::None => self.ending().is_some_and(Ending::is_fault),
        }
    }

    fn ending(&self) -> Option<Ending> {
        self.place.outbox.borrow().ending()
    }

    async fn ended(&self) {
        while self.ending().is_none() {
            self.place.to_write.wait().await;
        }
    }

    /// Tells an app that is closed so; what it sends in the time that it has is still taken.
    async fn end<W: Write>(&self, ending: Ending, tx: &mut FrameWriter<'_, W>) -> LastWord {
        if matches!(ending, Ending::Closed | Ending::NotLoaded) {
            let frame = ServerFrame::new(Lifecycle::Unload.name());
            let now_ms = self.clock.now_ms();
            let limit = self.clock.sleep_until(now_ms + CLOSE_TIMEOUT_MS);
            let told = pin!(tx.text(&frame));
            match select(told, limit).await {
                Either::First(Ok(())) => self.clock.sleep_until(now_ms + SAVE_TIME_MS).await,
                Either::First(Err(_)) | Either::Second(()) => return LastWord::None,
            }
        }
        LastWord::Ending(ending)
    }
}

fn text(buffer: &[u8], len: usize) -> Option<&str> {
    core::str::from_utf8(buffer.get(..len)?).ok()
}

impl From<NoMessage> for LastWord {
    fn from(no_message: NoMessage) -> Self {
        match no_message {
            NoMessage::Gone => Self::None,
            NoMessage::Closed => Self::Close,
            NoMessage::Ended(ending) => Self::Ending(ending),
        }
    }
}

/// Says why, and closes.
pub(super) async fn say_goodbye<W: Write>(
    tx: &mut FrameWriter<'_, W>,
    last_word: &LastWord,
) -> Result<(), Broken> {
    let (code, reason, text): (_, _, &dyn Display) = match last_word {
        LastWord::None => return Ok(()),
        LastWord::Close => return tx.control(opcode::CLOSE, &[], &[]).await,
        LastWord::Ending(ending) => (ending.code(), ending.reason(), ending),
        LastWord::Refusal(refusal) => (1008, refusal.reason(), refusal),
    };
    let value = Explained(reason, text);
    tx.text(&ServerFrame::new(kind::ERROR).with_value(&value))
        .await?;
    tx.control(opcode::CLOSE, &u16::to_be_bytes(code), reason.as_bytes())
        .await
}
