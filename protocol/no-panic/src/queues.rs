use core::hint::black_box;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::PopupAction;
use vinbus_protocol::pending::{self, PendingRing};
use vinbus_protocol::popup::{self, PopupQueue};
use vinbus_protocol::record_ring::{self, Evicted, PushError, RecordRing};
use vinbus_protocol::uplink_queue::{self, DropPolicy, UplinkQueue};

use crate::{bytes, displayed, number, space, text, used};

// Each queue is taken from the optimiser's sight before each call, so that it may be in any state
// that its type allows, reachable or not.

pub fn prove() {
    records();
    pending();
    uplink();
    popups();
}

fn records() {
    let mut ring = RecordRing::new(space());
    let ring = &mut ring;
    used(record_ring::storage_bytes_for(
        number() as usize,
        number() as usize,
    ));
    used(RecordRing::len(black_box(&*ring)));
    used(RecordRing::is_empty(black_box(&*ring)));
    used(RecordRing::record_bytes_max(black_box(&*ring)));
    used(RecordRing::next_number(black_box(&*ring)));
    used(RecordRing::first_number(black_box(&*ring)));
    used(RecordRing::push(black_box(&mut *ring), bytes()).is_ok());
    let len = number() as usize;
    let filled = RecordRing::push_with(black_box(&mut *ring), len, |bytes| used(bytes.len()));
    used(filled.is_ok());
    let inserted = RecordRing::insert_with(black_box(&mut *ring), number(), len, |bytes| {
        used(bytes.len());
    });
    used(inserted.is_ok());
    used(RecordRing::remove(black_box(&mut *ring), number()));
    let stay = number() as usize;
    match RecordRing::make_room(black_box(&mut *ring), len, number() as usize, stay) {
        Ok(evicted) => used(Evicted::total(evicted)),
        Err(PushError::TooLarge(error)) => displayed(&error),
        Err(PushError::Full) => {}
    }
    used(RecordRing::fits(black_box(&*ring), len));
    used(RecordRing::room(black_box(&*ring)));
    used(RecordRing::usage(black_box(&*ring)));
    used(RecordRing::front(black_box(&*ring)));
    used(RecordRing::pop_front(black_box(&mut *ring)));
    used(RecordRing::pop_through(black_box(&mut *ring), number()));
    RecordRing::iter(black_box(&*ring)).for_each(used);
    RecordRing::skip_to(black_box(&mut *ring), number());
}

fn pending() {
    let mut ring = PendingRing::new(space());
    let ring = &mut ring;
    used(pending::storage_bytes_for(number() as usize));
    match PendingRing::push(black_box(&mut *ring), bytes()) {
        Ok(pushed) => used(pushed),
        Err(error) => displayed(&error),
    }
    let len = number() as usize;
    let filled = PendingRing::push_with(black_box(&mut *ring), len, |bytes| used(bytes.len()));
    used(filled.is_ok());
    PendingRing::hand_out(black_box(&mut *ring)).for_each(used);
    used(PendingRing::mark_handed_out(
        black_box(&mut *ring),
        number(),
    ));
    used(PendingRing::confirm(black_box(&mut *ring), number()));
    used(PendingRing::pass(black_box(&mut *ring)));
    used(PendingRing::put_back(black_box(&mut *ring), number(), bytes()).is_ok());
    let fill = |bytes: &mut [u8]| used(bytes.len());
    let kept = PendingRing::put_back_with(black_box(&mut *ring), number(), len, fill);
    used(kept.is_ok());
    PendingRing::skip_to(black_box(&mut *ring), number());
    used(PendingRing::confirm_one(black_box(&mut *ring), number()));
    used(PendingRing::first_number(black_box(&*ring)));
    used(PendingRing::next_number(black_box(&*ring)));
    used(PendingRing::drain(black_box(&mut *ring), |record| {
        used(record);
    }));
    PendingRing::iter(black_box(&*ring)).for_each(used);
    used(PendingRing::len(black_box(&*ring)));
    used(PendingRing::is_empty(black_box(&*ring)));
    used(PendingRing::record_bytes_max(black_box(&*ring)));
    used(PendingRing::usage(black_box(&*ring)));
    used(*PendingRing::counters(black_box(&*ring)));
}

fn uplink() {
    let mut queue: UplinkQueue<_, 8> = UplinkQueue::new(space(), black_box(DropPolicy::Oldest));
    let queue = &mut queue;
    let slot = AppSlot::new(number() as u8);
    used(uplink_queue::storage_bytes_for(
        number() as usize,
        number() as usize,
    ));
    let subtopic = black_box(Some(text()));
    match UplinkQueue::push(black_box(&mut *queue), slot, subtopic, bytes()) {
        Ok(evicted) => used(evicted),
        Err(error) => displayed(&error),
    }
    let len = number() as usize;
    let fill = |bytes: &mut [u8]| used(bytes.len());
    match UplinkQueue::push_with(black_box(&mut *queue), slot, subtopic, len, fill) {
        Ok(evicted) => used(evicted),
        Err(error) => displayed(&error),
    }
    used(UplinkQueue::front(black_box(&*queue)).map(|waiting| waiting.payload));
    UplinkQueue::begin(black_box(&mut *queue));
    used(UplinkQueue::in_flight(black_box(&*queue)));
    used(UplinkQueue::confirm(black_box(&mut *queue), number()));
    used(UplinkQueue::len(black_box(&*queue)));
    used(UplinkQueue::is_empty(black_box(&*queue)));
    used(UplinkQueue::policy(black_box(&*queue)));
    used(UplinkQueue::usage(black_box(&*queue)));
    used(UplinkQueue::counters(black_box(&*queue)).sent);
}

fn popups() {
    let mut queue = PopupQueue::new(space());
    let queue = &mut queue;
    used(popup::storage_bytes_for(number() as usize));
    used(PopupQueue::push(black_box(&mut *queue), bytes()).is_ok());
    PopupQueue::handle_elapsed(black_box(&mut *queue), number());
    let action = black_box(PopupAction::Ok);
    used(PopupQueue::handle_answer(
        black_box(&mut *queue),
        number(),
        action,
    ));
    used(PopupQueue::poll(black_box(&mut *queue)));
    used(PopupQueue::next_step_in_ms(black_box(&*queue)));
    used(PopupQueue::front(black_box(&*queue)));
    used(PopupQueue::take_front(black_box(&mut *queue)));
    used(PopupQueue::waiting(black_box(&*queue)));
    used(PopupQueue::usage(black_box(&*queue)));
}
