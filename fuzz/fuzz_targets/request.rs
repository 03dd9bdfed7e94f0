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

#[derive(Default)]
struct Seen {
    /// As many as places are remembered in any case.
    handed: HashSet<RequestId>,
    answered: HashSet<RequestId>,
    known: Vec<RequestId>,
}

fuzz_target!(|input: &[u8]| {
    let mut calls = Calls::<4>::new();
    let mut seen = Seen::default();
    let mut now_ms = 0_u64;
    for (number, line) in (1..).zip(input.split(|&byte| byte == b'\n')) {
        match line.first() {
            Some(b'~') => now_ms = now_ms.saturating_add(1 << (line.len() % 64)),
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
    if let Some(Order::Cancel(id)) = Order::read(content) {
        calls.cancel(message, id);
    }
    let Some(request) = Request::read(content) else {
        return;
    };
    // What is pushed out of the places is forgotten.
    if seen.known.len() >= 4 && !seen.known.contains(&request.id) {
        return;
    }
    if !seen.known.contains(&request.id) {
        seen.known.push(request.id);
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
