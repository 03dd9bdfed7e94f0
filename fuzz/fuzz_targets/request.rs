//! Whatever comes, a vehicle's account of requests neither panics nor goes on for ever, and has each
//! request carried out and answered once. The input is a list of contents, separated by line feeds; a
//! line that begins with `!` is an app that answers, `~` the clock.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::{Epoch, MessageId};
use vinbus_protocol::envelope::Content;
use vinbus_protocol::request::{Answer, Arrival, Calls, Message, Order, Request, RequestId};

const APP: AppSlot = AppSlot::new(0);

/// The end of the year 9999: every clock is before it.
const CLOCK_MS_MAX: u64 = 253_402_300_799_999;

#[derive(Default)]
struct Seen {
    /// As many as places are remembered in any case.
    handed: HashSet<RequestId>,
    answered: HashSet<RequestId>,
    known: Vec<RequestId>,
}

impl Seen {
    /// Whether a request has a place, or gets one that nobody has to leave: what is pushed out is
    /// forgotten, and may come again. A request that is cancelled before it comes takes one too.
    fn finds_room(&mut self, id: RequestId) -> bool {
        if !self.known.contains(&id) && self.known.len() < 4 {
            self.known.push(id);
        }
        self.known.contains(&id)
    }
}

fuzz_target!(|input: &[u8]| {
    let mut calls = Calls::<4>::new();
    let mut seen = Seen::default();
    let mut now_ms = 0_u64;
    for (number, line) in (1..).zip(input.split(|&byte| byte == b'\n')) {
        match line.first() {
            Some(b'~') => now_ms = (now_ms + (1 << (line.len() % 48))).min(CLOCK_MS_MAX),
            Some(b'!') => {
                if let Some(&id) = seen.known.get(line.len() % seen.known.len().max(1))
                    && calls.may_answer(APP, id).is_ok()
                {
                    assert!(calls.answered(APP, id, number.into()).is_some());
                    assert!(seen.answered.insert(id), "{id} is answered twice");
                }
            }
            _ => came(&mut calls, now_ms, number, line, &mut seen),
        }
        while calls.next_expired(now_ms).is_some() {}
        assert!(calls.poll_timeout().is_none_or(|at| at > now_ms));
    }
});

fn came(calls: &mut Calls<4>, now_ms: u64, number: u32, line: &[u8], seen: &mut Seen) {
    let Ok(content) = Content::parse(line) else {
        return;
    };
    let epoch = Epoch::FIRST;
    let message = Message {
        partner: 0,
        id: MessageId { epoch, number },
    };
    if let Some(answer) = Answer::read(content) {
        let mut buffer = vec![0; answer.encoded_len()];
        assert!(answer.encode_uplink(&mut buffer).is_ok());
    }
    if let Some(Order::Cancel(id)) = Order::read(content)
        && seen.finds_room(id)
    {
        calls.cancel(message, id);
    }
    let Some(request) = Request::read(content) else {
        return;
    };
    if !seen.finds_room(request.id) {
        return;
    }
    let ttl_s = line.len() as u32;
    if let Arrival::New(new) = calls.handle_request(now_ms, message, request.id, ttl_s) {
        assert!(
            seen.handed.insert(request.id),
            "{} is handed twice",
            request.id
        );
        calls.handed(new, APP, Some(number.into()));
    }
}
