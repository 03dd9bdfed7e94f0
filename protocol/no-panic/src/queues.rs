use core::hint::black_box;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::PopupAction;
use vinbus_protocol::pending::{self, PendingRing};
use vinbus_protocol::popup::{self, PopupQueue};
use vinbus_protocol::record_ring::{self, RecordRing};
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
    used((black_box(&mut *ring).len(), ring.is_empty()));
    used(black_box(&mut *ring).record_bytes_max());
    used((ring.next_number(), ring.first_number()));
    used(black_box(&mut *ring).push(bytes()).is_ok());
    let filled = black_box(&mut *ring).push_with(number() as usize, |bytes| used(bytes.len()));
    used(filled.is_ok());
    match black_box(&mut *ring).make_room(number() as usize, number() as usize) {
        Ok(evicted) => used(evicted.total()),
        Err(error) => displayed(&error),
    }
    used(black_box(&mut *ring).fits(number() as usize));
    used(black_box(&mut *ring).front());
    used(black_box(&mut *ring).pop_front());
    used(black_box(&mut *ring).pop_through(number()));
    black_box(&mut *ring).iter().for_each(used);
}

fn pending() {
    let mut ring = PendingRing::new(space());
    let ring = &mut ring;
    used(pending::storage_bytes_for(number() as usize));
    match black_box(&mut *ring).push(bytes()) {
        Ok(pushed) => used(pushed),
        Err(error) => displayed(&error),
    }
    let filled = black_box(&mut *ring).push_with(number() as usize, |bytes| used(bytes.len()));
    used(filled.is_ok());
    black_box(&mut *ring).hand_out().for_each(used);
    used(black_box(&mut *ring).confirm(number()));
    used(black_box(&mut *ring).drain(|record| used(record)));
    black_box(&mut *ring).iter().for_each(used);
    used((ring.len(), ring.is_empty(), ring.record_bytes_max()));
    used(*ring.counters());
}

fn uplink() {
    let mut queue: UplinkQueue<_, 8> = UplinkQueue::new(space(), black_box(DropPolicy::Oldest));
    let queue = &mut queue;
    let slot = AppSlot::new(number() as u8);
    used(uplink_queue::storage_bytes_for(
        number() as usize,
        number() as usize,
    ));
    match black_box(&mut *queue).push(slot, black_box(Some(text())), bytes()) {
        Ok(evicted) => used(evicted),
        Err(error) => displayed(&error),
    }
    used(
        black_box(&mut *queue)
            .front()
            .map(|waiting| waiting.payload),
    );
    used(black_box(&mut *queue).confirm(number()));
    used((queue.len(), queue.is_empty(), queue.policy()));
    used(queue.counters().sent);
}

fn popups() {
    let mut queue = PopupQueue::new(space());
    let queue = &mut queue;
    used(popup::storage_bytes_for(number() as usize));
    used(black_box(&mut *queue).push(bytes()).is_ok());
    black_box(&mut *queue).handle_elapsed(number());
    used(black_box(&mut *queue).handle_answer(number(), black_box(PopupAction::Ok)));
    used(black_box(&mut *queue).poll());
    used(black_box(&mut *queue).next_step_in_ms());
    used(black_box(&mut *queue).front());
    used(black_box(&mut *queue).take_front());
    used(black_box(&mut *queue).waiting());
}
