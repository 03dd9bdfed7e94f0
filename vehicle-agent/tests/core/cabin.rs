//! Apps that come, go and count what they are given.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::sync::Notify;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::AppMessage;
use vinbus_protocol::health::Health;
use vinbus_protocol::limits::PENDING_MESSAGES_MAX;
use vinbus_protocol::record_ring::Record;
use vinbus_vehicle_agent::apps::{Apps, Kept, Notice, Request, SendRefusal, Told};
use vinbus_vehicle_agent::desk::{Counters, DeliveryCounters, DownlinkRefusal};
use vinbus_vehicle_agent::notes::{NotNoted, Note};

/// One app.
#[derive(Debug, Default)]
pub(crate) struct App {
    pub(crate) running: bool,
    /// Given to it and not yet read: numbers and messages.
    outbox: VecDeque<(u64, Vec<u8>)>,
    /// Given to it and read.
    pub(crate) read: Vec<String>,
    /// Handed out but not confirmed: the number of the last, and the messages.
    handed_out: Option<(u64, Vec<String>)>,
    pub(crate) accepted: Vec<String>,
    /// Accepted and without a fate.
    unsettled: VecDeque<String>,
    pub(crate) delivered: Vec<String>,
    pub(crate) dropped: Vec<String>,
    pub(crate) refused: Vec<String>,
}

/// Something that an app asks for.
#[derive(Debug)]
pub(crate) enum Wish {
    Send(AppSlot, String),
    Return(AppSlot, u64, Vec<u8>),
    Other(Request<'static>),
}

/// The apps of one vehicle, as the driver of the test sees them.
#[derive(Debug, Default)]
pub(crate) struct Cabin {
    pub(crate) apps: Vec<App>,
    wishes: VecDeque<Wish>,
    changed: Rc<Notify>,
    pub(crate) counters: Counters,
    /// What apps send goes with receipts.
    pub(crate) receipts: bool,
    /// The disk takes no number of a message.
    pub(crate) disk_is_full: bool,
    /// Somebody sends what the portal refuses.
    pub(crate) may_refuse: bool,
}

pub(crate) type SharedCabin = Rc<RefCell<Cabin>>;

impl Cabin {
    pub(crate) fn new(apps: usize) -> SharedCabin {
        let apps = (0..apps).map(|_| App::default()).collect();
        Rc::new(RefCell::new(Self {
            apps,
            ..Self::default()
        }))
    }

    pub(crate) fn wish(&mut self, wish: Wish) {
        self.wishes.push_back(wish);
        self.changed.notify_one();
    }

    pub(crate) fn has_wishes(&self) -> bool {
        !self.wishes.is_empty()
    }

    fn app(&mut self, slot: AppSlot) -> &mut App {
        &mut self.apps[usize::from(slot.index())]
    }

    /// The app reads what it was given.
    pub(crate) fn read(&mut self, slot: AppSlot) {
        let app = self.app(slot);
        let read = app
            .outbox
            .drain(..)
            .map(|(_, message)| String::from_utf8(message).unwrap());
        app.read.extend(read);
    }

    /// The app confirms what was handed out, which it has read then. One that has asked again waits
    /// for that answer first, as the same messages are in it.
    pub(crate) fn confirm(&mut self, slot: AppSlot) {
        let asks = |wish: &Wish| matches!(wish, Wish::Other(Request::TakePending { slot: of, .. }) if *of == slot);
        if self.wishes.iter().any(asks) {
            return;
        }
        if let Some((upto, messages)) = self.app(slot).handed_out.take() {
            self.app(slot).read.extend(messages);
            self.wish(Wish::Other(Request::ConfirmPending { slot, upto }));
        }
    }

    /// The app crashes: what it has not read comes back.
    pub(crate) fn crash(&mut self, slot: AppSlot) {
        let app = self.app(slot);
        app.running = false;
        app.handed_out = None;
        let unread: Vec<_> = app.outbox.drain(..).collect();
        for (number, message) in unread {
            self.wish(Wish::Return(slot, number, message));
        }
        self.wish(Wish::Other(Request::Unloaded(slot)));
    }

    /// The vehicle loses power: everything that was not read is gone.
    pub(crate) fn power_cut(&mut self) {
        self.wishes.clear();
        for app in &mut self.apps {
            app.running = false;
            app.outbox.clear();
            app.unsettled.clear();
            app.handed_out = None;
        }
    }
}

/// When a message was sent, as its content tells: `{"content":"APP-N"}`.
fn sent_as(message: &str) -> u64 {
    let digits = message.split('-').next_back().unwrap();
    digits.trim_end_matches(['"', '}']).parse().unwrap()
}

/// The apps, as the agent sees them.
#[derive(Debug)]
pub(crate) struct FakeApps {
    cabin: SharedCabin,
    current: Option<Wish>,
}

impl FakeApps {
    pub(crate) fn new(cabin: &SharedCabin) -> Self {
        Self {
            cabin: Rc::clone(cabin),
            current: None,
        }
    }
}

impl Apps for FakeApps {
    async fn next(&mut self) -> Request<'_> {
        loop {
            let changed = Rc::clone(&self.cabin.borrow().changed);
            let wish = self.cabin.borrow_mut().wishes.pop_front();
            if let Some(wish) = wish {
                return match self.current.insert(wish) {
                    Wish::Send(slot, content) => Request::Send {
                        slot: *slot,
                        subtopic: None,
                        content: content.as_bytes(),
                        receipts: self.cabin.borrow().receipts,
                    },
                    Wish::Return(slot, number, message) => Request::Return {
                        slot: *slot,
                        number: *number,
                        message,
                    },
                    Wish::Other(request) => *request,
                };
            }
            changed.notified().await;
        }
    }

    fn deliver(&mut self, slot: AppSlot, number: u64, message: AppMessage<'_>) {
        let mut bytes = vec![0; message.encoded_len()];
        message.encode(&mut bytes).unwrap();
        let mut cabin = self.cabin.borrow_mut();
        if cabin.app(slot).running {
            cabin.app(slot).outbox.push_back((number, bytes));
        } else {
            cabin.wish(Wish::Return(slot, number, bytes));
        }
    }

    fn room(&self, _: AppSlot) -> usize {
        usize::MAX
    }

    fn watch(&mut self, _: AppSlot, _: u64) -> bool {
        false
    }

    fn confirms(&self, _: AppSlot) -> bool {
        false
    }

    fn kept(&mut self, _: AppSlot, _: Kept<'_>) -> Told {
        Told::No
    }

    fn hand_out<'r>(
        &mut self,
        slot: AppSlot,
        records: impl Iterator<Item = Record<'r>>,
        kept: bool,
    ) {
        let records: Vec<_> = records
            .map(|record| {
                (
                    record.number,
                    String::from_utf8(record.bytes.to_vec()).unwrap(),
                )
            })
            .collect();
        assert!(records.len() <= PENDING_MESSAGES_MAX);
        let in_order = records.is_sorted_by_key(|(_, message)| sent_as(message));
        assert!(in_order, "pending, oldest first: {records:?}");
        let last = records.last().map(|(number, _)| *number);
        let mut cabin = self.cabin.borrow_mut();
        let running = cabin.app(slot).running;
        // What was handed out before and not confirmed is among these.
        cabin.app(slot).handed_out = None;
        match (kept, last) {
            (true, Some(last)) if running => {
                let messages = records.into_iter().map(|(_, message)| message).collect();
                cabin.app(slot).handed_out = Some((last, messages));
            }
            (true, _) => {}
            (false, _) if running => {
                let unread = records.into_iter();
                let unread = unread.map(|(number, message)| (number, message.into_bytes()));
                cabin.app(slot).outbox.extend(unread);
            }
            (false, _) => {
                for (number, message) in records {
                    cabin.wish(Wish::Return(slot, number, message.into_bytes()));
                }
            }
        }
    }

    fn answer(&mut self, slot: AppSlot, outcome: Result<(), SendRefusal>) {
        let Some(Wish::Send(_, content)) = self.current.take() else {
            panic!("an answer without a question");
        };
        match outcome {
            Ok(()) => {
                let mut cabin = self.cabin.borrow_mut();
                let app = cabin.app(slot);
                app.unsettled.push_back(content.clone());
                app.accepted.push(content);
            }
            Err(refusal) => panic!("{refusal}"),
        }
    }

    fn accepted(&mut self, _: AppSlot, _: u64) -> Result<(), SendRefusal> {
        Ok(())
    }

    fn note(&mut self, note: Note<'_>) -> Result<(), NotNoted> {
        match note {
            Note::Numbered { .. } if self.cabin.borrow().disk_is_full => Err(NotNoted),
            _ => Ok(()),
        }
    }

    fn keep(&mut self) -> Result<(), NotNoted> {
        Ok(())
    }

    fn tell(&mut self, slot: AppSlot, notice: Notice<'_>) {
        let mut cabin = self.cabin.borrow_mut();
        let app = cabin.app(slot);
        match notice {
            Notice::Delivered => app.delivered.extend(app.unsettled.pop_front()),
            Notice::Dropped { in_flight } => {
                let older = usize::from(in_flight == Some(slot));
                app.dropped.extend(app.unsettled.remove(older));
            }
            Notice::Refused => app.refused.extend(app.unsettled.pop_front()),
            Notice::NotLoaded => cabin.crash(slot),
            Notice::Short
            | Notice::RequestOver { .. }
            | Notice::Settled { .. }
            | Notice::Hide
            | Notice::PopupShown { .. }
            | Notice::PopupClosed { .. }
            | Notice::PopupOverflow { .. } => {}
        }
    }

    fn link_changed(&mut self, _: bool) {}

    fn downlink_refused(&mut self, topic: &str, refusal: DownlinkRefusal) {
        assert!(self.cabin.borrow().may_refuse, "{topic}: {refusal}");
    }

    fn counted(&mut self, counters: &Counters, _: impl FnOnce() -> DeliveryCounters) {
        self.cabin.borrow_mut().counters = *counters;
    }

    fn examine<'h>(&'h self, health: &mut Health<'h>) {
        health.platform = "test";
    }
}
