//! Messages with receipts (SPEC 16), at the vehicle's end: each is handed on once, and its sender told
//! what became of it.
//!
//! [`Receipts`] holds one endpoint for each partner, and knows where each message is that is
//! accounted for. It moves no message: the [`Desk`](crate::desk::Desk) asks it what a frame is, and
//! tells it what the portal did.
//!
//! | a message is | event | then its sender is told |
//! |---|---|---|
//! | new | the app is in the foreground and confirms what it gets | *handed*; it is pending |
//! | new | the app is in the foreground and confirms nothing | *taken*; on Linux it is being handed (`handing`) |
//! | new | the same, and reads slowly | *at the agent*; it is pending, and follows as the app reads |
//! | new | the app is in the background | *held*; it is pending |
//! | new | the portal refuses it | why |
//! | pending | the app confirms it, or takes it without confirming | *confirmed*, *taken* |
//! | pending, *at the agent* | the app goes to the background | *held* |
//! | pending | newer ones take its place | *evicted* |
//! | pending | its time is over | *expired*; it is taken out |
//!
//! The other way, messages of apps wait in [`uplinks`], which says what becomes of them.

#[cfg(feature = "notes")]
mod handing;
#[cfg(not(feature = "notes"))]
#[path = "receipts/handing_absent.rs"]
mod handing;
mod leaving;
#[cfg(feature = "parts")]
mod long_uplinks;
#[cfg(not(feature = "parts"))]
#[path = "receipts/long_uplinks_absent.rs"]
mod long_uplinks;
mod memory;
#[cfg(feature = "parts")]
mod parts;
#[cfg(not(feature = "parts"))]
#[path = "receipts/parts_absent.rs"]
mod parts;
mod places;
#[cfg(feature = "notes")]
mod unnoted;
#[cfg(not(feature = "notes"))]
#[path = "receipts/unnoted_absent.rs"]
mod unnoted;
mod uplinks;

use heapless::Vec;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::{
    self, CONTROL_APP, Carried, Control, Endpoint, Epoch, Event, Header, Marked, Message,
    MessageId, Offer, Part, Received, Run, Snapshot, Step, Verdict,
};
use vinbus_protocol::envelope::{Content, Downlink, DownlinkBody, Uplink};
use vinbus_protocol::id::AppId;
use vinbus_protocol::limits::{
    DELIVERY_ADDED_BYTES_MAX, DELIVERY_TTL_S_MAX, HEALTH_BYTES_MAX, PAYLOAD_BYTES_MAX,
};
use vinbus_protocol::portal::Refusal;
#[cfg(feature = "requests")]
use vinbus_protocol::request;
use vinbus_protocol::request::Order;

pub(crate) use self::leaving::Leaving;
use self::long_uplinks::LongUplinks;
pub(crate) use self::long_uplinks::marked;
#[cfg(feature = "parts")]
pub(crate) use self::parts::PartFate;
#[cfg(feature = "parts")]
use self::parts::Transfer;
use self::places::{PLACES_MAX, Place, take};
use self::unnoted::Unnoted;
use self::uplinks::Uplinks;
pub(crate) use self::uplinks::Waiting;
use crate::apps::{Fate, SendRefusal};
use crate::clock::NEVER;
use crate::desk::DeliveryCounters;

/// Messages of one partner that are accounted for; what comes beyond is repeated by its sender. On Linux an app that
/// reads nothing and confirms nothing may have 32 of them, and leaves as many for the partner's other apps.
pub(crate) const OPEN_MAX: usize = if cfg!(feature = "notes") { 64 } else { 32 };

// All that is to be told of them fits into one frame.
const _: () = assert!(OPEN_MAX * 17 + 128 <= HEALTH_BYTES_MAX);

/// The ends of a vehicle with up to `APPS` partners, and what apps send with receipts, in a buffer `Q`; up
/// to `SENT` messages to each partner are on their way.
#[derive(Debug)]
pub(crate) struct Receipts<Q, const APPS: usize, const SENT: usize> {
    epoch: Epoch,
    /// In the order of the partners.
    endpoints: Vec<Endpoint<SENT, OPEN_MAX>, APPS>,
    /// What has come of a long message of each partner, where long ones are taken.
    #[cfg(feature = "parts")]
    transfers: Vec<Transfer<Q>, APPS>,
    places: Vec<Place, PLACES_MAX>,
    /// New messages for which there was none.
    crowded: u32,
    uplinks: Uplinks<Q>,
    /// How far those are that go in parts.
    longs: LongUplinks<APPS>,
    unnoted: Unnoted<APPS>,
    /// A session has come up, on which partners are told the epochs.
    is_offered: bool,
    /// Since when the link is up; [`NEVER`] while it is down.
    up_since_ms: u64,
    /// The partner that was given its turn last.
    turn: usize,
    random: u32,
}

/// What a message that came is.
#[derive(Debug)]
pub(crate) enum Arrived<'p> {
    /// None of our business.
    Plain,
    /// Taken care of, or to be dropped.
    Done,
    /// New.
    New(New, AppId, Carried<'p>),
    /// New, and a part of a long message.
    Part(New, Part, AppId, Carried<'p>),
    /// What a partner wants of a request.
    #[cfg_attr(
        not(feature = "requests"),
        expect(dead_code, reason = "there are none")
    )]
    Order(Order),
}

/// A new message that is to be reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct New {
    pub(crate) partner: usize,
    pub(crate) id: MessageId,
    pub(crate) ends_at_ms: Option<u64>,
}

#[cfg(feature = "requests")]
impl New {
    /// Its name among those of all partners.
    pub(crate) fn message(&self) -> request::Message {
        // There are as many partners as apps at most, and an app's slot is one byte.
        let partner = self.partner as u8;
        let id = self.id;
        request::Message { partner, id }
    }

    /// Seconds that it has left.
    pub(crate) fn left_s(&self, now_ms: u64) -> u32 {
        let left_ms = self.ends_at_ms.map(|at| at.saturating_sub(now_ms));
        left_ms.map_or(u32::MAX, |left_ms| (left_ms / 1_000) as u32)
    }
}

impl<Q: AsRef<[u8]> + AsMut<[u8]>, const APPS: usize, const SENT: usize> Receipts<Q, APPS, SENT> {
    /// Without partners yet: it is large, and costs a board no stack as long as there is nothing in it.
    #[inline]
    pub(crate) fn new(epoch: Epoch, random: u32, uplinks: Q) -> Self {
        Self {
            epoch,
            endpoints: Vec::new(),
            #[cfg(feature = "parts")]
            transfers: Vec::new(),
            places: Vec::new(),
            crowded: 0,
            uplinks: Uplinks::new(uplinks),
            longs: LongUplinks::new(),
            unnoted: Unnoted::new(),
            is_offered: false,
            up_since_ms: NEVER,
            turn: 0,
            // A xorshift generator never leaves 0.
            random: random | 1,
        }
    }

    /// Adds an end without memory, for one more partner.
    pub(crate) fn add_partner(&mut self) {
        let endpoint = Endpoint::new(Snapshot::fresh(self.epoch), self.next_random());
        // There are at most as many as apps.
        let _ = self.endpoints.push(endpoint);
        self.unnoted.add_partner();
    }

    /// Begins in this epoch, if nobody has heard of another one.
    pub(crate) fn begin(&mut self, epoch: Epoch) {
        if self.is_offered {
            return;
        }
        self.epoch = epoch;
        for endpoint in &mut self.endpoints {
            endpoint.begin(epoch);
        }
    }

    /// The greatest epoch of its ends.
    pub(crate) fn epoch(&self) -> Epoch {
        let epochs = self.endpoints.iter().map(Endpoint::epoch);
        epochs.max().unwrap_or(self.epoch)
    }

    /// What all ends have counted on the wire.
    pub(crate) fn counters(&self) -> DeliveryCounters {
        let mut counters = DeliveryCounters {
            busy: self.crowded,
            ..DeliveryCounters::default()
        };
        for endpoint in &self.endpoints {
            counters.add(&endpoint.counters());
        }
        counters
    }

    /// What is offered to a partner.
    pub(crate) fn offered(&self, partner: usize) -> Option<Offer> {
        self.endpoints.get(partner).map(Endpoint::offer)
    }

    /// The link came up or went down.
    pub(crate) fn link_changed(&mut self, now_ms: u64, up: bool) {
        for endpoint in &mut self.endpoints {
            endpoint.handle_link(now_ms, up);
        }
        if self.is_up() {
            self.longs
                .link_ended(now_ms.saturating_sub(self.up_since_ms));
        }
        self.is_offered |= up;
        self.up_since_ms = if up { now_ms } else { NEVER };
        self.uplinks.end_plain();
    }

    /// Takes what came from a partner.
    pub(crate) fn arrived<'p>(
        &mut self,
        now_ms: u64,
        partner: usize,
        payload: &'p [u8],
    ) -> Arrived<'p> {
        if !delivery::mentioned(payload) {
            return Arrived::Plain;
        }
        let Ok(downlink) = Downlink::decode(payload) else {
            return Arrived::Plain;
        };
        let DownlinkBody::Data(content) = downlink.body else {
            return Arrived::Plain;
        };
        let is_control = downlink.app.as_str() == CONTROL_APP;
        match delivery::read(content) {
            Received::Control(control) if is_control => {
                self.control(now_ms, partner, &control);
                Arrived::Done
            }
            Received::Message(header, carried) if !is_control => {
                match (self.message(now_ms, partner, &header), header.part) {
                    (Some(new), None) => Arrived::New(new, downlink.app, carried),
                    (Some(new), Some(part)) => Arrived::Part(new, part, downlink.app, carried),
                    (None, _) => Arrived::Done,
                }
            }
            #[cfg(feature = "requests")]
            Received::Plain if is_control => match Order::read(content) {
                Some(order) => Arrived::Order(order),
                None => Arrived::Plain,
            },
            Received::Plain | Received::Message(..) | Received::Control(_) => Arrived::Plain,
        }
    }

    fn control(&mut self, now_ms: u64, partner: usize, control: &Control<'_>) {
        if let Some(endpoint) = self.endpoints.get_mut(partner) {
            let uplinks = &mut self.uplinks;
            let batch = endpoint.handle_control(now_ms, control, |Run { step, first, count }| {
                let last = first.saturating_add(count.saturating_sub(1));
                uplinks.told(partner, first, last, step);
            });
            // A restart that it tells of comes before what it tells.
            self.settle(now_ms, partner);
            self.longs.settle_told(partner, &mut self.uplinks);
            self.uplinks.settle_told();
            if let (Some(batch), Some(endpoint)) = (batch, self.endpoints.get_mut(partner)) {
                endpoint.acknowledge(batch);
            }
        }
    }

    fn message(&mut self, now_ms: u64, partner: usize, header: &Header) -> Option<New> {
        // Its end is to have room as well.
        let has_place = self.places.len() + self.unnoted.len() < PLACES_MAX;
        let endpoint = self.endpoints.get_mut(partner)?;
        let verdict = endpoint.handle_message(now_ms, header);
        self.settle(now_ms, partner);
        let Verdict::New(id) = verdict else {
            return None;
        };
        let endpoint = self.endpoints.get_mut(partner)?;
        if !has_place {
            endpoint.forget(id);
            self.crowded = self.crowded.wrapping_add(1);
            return None;
        }
        let ttl_ms = u64::from(header.ttl_s).saturating_mul(1_000);
        let ends_at_ms = (ttl_ms > 0).then(|| now_ms.saturating_add(ttl_ms));
        Some(New {
            partner,
            id,
            ends_at_ms,
        })
    }

    /// The partner has lost its memory, or we have changed our life: what it sent is told to nobody.
    fn settle(&mut self, now_ms: u64, partner: usize) {
        let Some(endpoint) = self.endpoints.get_mut(partner) else {
            return;
        };
        while let Some(event) = endpoint.poll_event(now_ms) {
            match event {
                Event::PeerRestarted | Event::EpochChanged(_) => {
                    while take(&mut self.places, |it| it.partner == partner).is_some() {}
                    #[cfg(feature = "parts")]
                    if let Some(transfer) = self.transfers.get_mut(partner) {
                        transfer.drop_stored();
                    }
                    self.uplinks.peer_restarted(partner);
                    self.longs.peer_restarted(partner);
                }
                Event::Lost { number, loss } => self.uplinks.lost(partner, number, loss),
            }
        }
    }

    /// Takes a message of an app, under the ticket that is returned. As a payload it has at most `longest`
    /// bytes.
    ///
    /// # Errors
    /// A [`SendRefusal`]; nothing is taken then.
    pub(crate) fn accept(
        &mut self,
        partner: usize,
        slot: AppSlot,
        subtopic: Option<&str>,
        content: Content<'_>,
        longest: usize,
    ) -> Result<u64, SendRefusal> {
        let endpoint = self.endpoints.get(partner).ok_or(SendRefusal::UnknownApp)?;
        let epoch = endpoint.epoch();
        let len = Uplink { content }
            .encoded_len()
            .saturating_add(DELIVERY_ADDED_BYTES_MAX);
        let longest = longest.min(PAYLOAD_BYTES_MAX);
        let max = longest.min(self.uplinks.content_bytes_max());
        if len > max {
            return self.accept_long((partner, slot), subtopic, content, max);
        }
        let widest = Header {
            epoch,
            peer: epoch,
            number: u32::MAX,
            ttl_s: DELIVERY_TTL_S_MAX,
            part: None,
        };
        Marked::new(widest, content).map_err(SendRefusal::TooDeep)?;
        let waiting = self.uplinks.len();
        self.uplinks
            .push(partner, slot, subtopic, content.as_bytes())
            .ok_or(SendRefusal::QueueFull { waiting })
    }

    /// Takes back a message that was taken last.
    pub(crate) fn cancel(&mut self, ticket: u64) {
        self.unnumber(ticket);
        self.uplinks.remove(ticket);
    }

    /// Whether the link is up.
    pub(crate) fn is_up(&self) -> bool {
        self.up_since_ms != NEVER
    }

    /// The message of an app with this ticket.
    pub(crate) fn uplink(&self, ticket: u64) -> Option<Waiting<'_>> {
        self.uplinks.get(ticket)
    }

    /// The next fate that an app is to be told.
    pub(crate) fn next_settled(&mut self) -> Option<(AppSlot, u64, Fate)> {
        self.refuse_too_long();
        self.uplinks.next_settled()
    }

    /// The broker refused the message with this ticket, or took it without a number.
    pub(crate) fn handle_fate(&mut self, ticket: u64, fate: Fate) {
        self.unnumber(ticket);
        self.uplinks.settle(ticket, fate);
        self.uplinks.end_plain();
    }

    /// The broker did not say what became of a message without a number.
    pub(crate) fn try_again(&mut self) {
        self.uplinks.end_plain();
    }

    /// A new message could not be noted: it is new when it comes again.
    pub(crate) fn forget(&mut self, new: New) {
        if let Some(endpoint) = self.endpoints.get_mut(new.partner) {
            endpoint.forget(new.id);
        }
    }

    /// A new message could not be read: it was repeated in a form that no buffer holds.
    pub(crate) fn refused(&mut self, now_ms: u64, new: New, step: Step) {
        self.report(now_ms, new.partner, new.id, step);
    }

    /// A new message is with its app, which is in the foreground and confirms nothing.
    pub(crate) fn delivered(&mut self, now_ms: u64, new: New) {
        self.report(now_ms, new.partner, new.id, Step::Taken);
    }

    /// Tells what became of a request.
    #[cfg(feature = "requests")]
    pub(crate) fn tell(&mut self, now_ms: u64, report: request::Report) {
        let request::Message { partner, id } = report.message;
        self.report(now_ms, usize::from(partner), id, report.step);
    }

    fn report(&mut self, now_ms: u64, partner: usize, id: MessageId, step: Step) {
        let Some(endpoint) = self.endpoints.get_mut(partner) else {
            return;
        };
        if endpoint.report(now_ms, id, step) && step.is_final() {
            self.unnoted.ended(partner, id, step);
        }
    }
}

/// A message of an app, as its endpoint needs to know it.
fn message(now_ms: u64, bytes: usize) -> Message {
    let ttl_ms = u64::from(DELIVERY_TTL_S_MAX).saturating_mul(1_000);
    Message {
        bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        expires_at_ms: Some(now_ms.saturating_add(ttl_ms)),
        key: None,
        // A host that lost its memory lost the message with it.
        repeatable: true,
    }
}

/// What the sender is told of a refusal.
pub(crate) fn step_of(refusal: &Refusal) -> Step {
    match refusal {
        Refusal::Envelope(_) => Step::BadContent,
        Refusal::UnknownApp => Step::UnknownApp,
        Refusal::TooLarge { .. } => Step::TooLarge,
        Refusal::ForeignUid { .. } | Refusal::PopupOverflow { .. } => Step::Denied,
    }
}
