use core::hint::black_box;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::{Epoch, MessageId, Step};
use vinbus_protocol::envelope::Content;
use vinbus_protocol::id::AppId;
use vinbus_protocol::json::Object;
use vinbus_protocol::request::{
    Admitted, Answer, Arrival, Call, Calls, Message, Order, Request, RequestId,
};

use crate::{bytes, displayed, number, space, text, used};

type Places = Calls<4>;

// As the queues, both may be in any state that their types allow before each call.

pub fn prove() {
    wire();
    let mut call = Call::new(number(), id(), number());
    caller(&mut call);
    let mut calls: Places = Calls::new();
    came(&mut calls);
    gone(&mut calls);
}

fn id() -> RequestId {
    black_box(RequestId::new(number()))
}

fn slot() -> AppSlot {
    AppSlot::new(number() as u8)
}

fn message() -> Message {
    black_box(Message {
        partner: number() as u8,
        id: MessageId {
            epoch: Epoch::FIRST,
            number: number() as u32,
        },
    })
}

fn wire() {
    used(RequestId::parse(text()));
    if let Some(mut object) = Object::open(text())
        && let Ok(Some(member)) = object.next_member()
    {
        used(RequestId::read(member.name));
    }
    used(RequestId::value(id()));
    displayed(&id());
    let Ok(content) = Content::parse(bytes()) else {
        return;
    };
    if let (Some(request), Ok(app)) = (Request::read(content), AppId::parse(text())) {
        used(Request::encode_downlink(&request, &app, space()).is_ok());
    }
    if let Some(answer) = Answer::read(content) {
        used(Answer::encoded_len(&answer));
        used(Answer::encode_uplink(&answer, space()).is_ok());
    }
    if let Some(order) = Order::read(content) {
        used(Order::encode_downlink(&order, space()).is_ok());
    }
}

fn caller(call: &mut Call) {
    Call::handle_answered(black_box(&mut *call), number());
    used(Call::handle_answer(black_box(&mut *call)));
    Call::handle_end(black_box(&mut *call));
    used(Call::cancel(black_box(&mut *call), number()));
    Call::pass_time(black_box(&mut *call), number());
    used(Call::poll_transmit(
        black_box(&mut *call),
        number(),
        number() as u32,
    ));
    used((Call::state(call), Call::poll_timeout(black_box(&*call))));
}

fn admitted(calls: &mut Places) -> Option<Admitted> {
    let calls = black_box(calls);
    match Calls::handle_request(calls, number(), message(), id(), number() as u32) {
        Arrival::New(new) => Some(new),
        Arrival::Known(report) => {
            used(report);
            None
        }
        Arrival::Answered(report, number) => {
            used((report, number));
            None
        }
    }
}

fn came(calls: &mut Places) {
    if let Some(new) = admitted(calls) {
        used(Calls::handed(
            black_box(&mut *calls),
            new,
            slot(),
            black_box(None),
        ));
    }
    if let Some(new) = admitted(calls) {
        used(Calls::held(black_box(&mut *calls), new, slot(), number()));
    }
    if let Some(new) = admitted(calls) {
        let step = black_box(Step::Denied);
        used(Calls::refused(black_box(&mut *calls), new, step));
    }
}

fn gone(calls: &mut Places) {
    used(Calls::came_back(black_box(&mut *calls), slot(), number()));
    let taken = number() == 0;
    used(Calls::next_gone(
        black_box(&mut *calls),
        slot(),
        taken,
        |n| n == number(),
    ));
    if let Err(refusal) = Calls::may_answer(black_box(&*calls), slot(), id()) {
        displayed(&refusal);
    }
    used(Calls::answered(
        black_box(&mut *calls),
        slot(),
        id(),
        number(),
    ));
    Calls::resume_answered(black_box(&mut *calls), message(), slot(), id(), number());
    used(Calls::answer(black_box(&*calls), number() as u8, id()));
    used(Calls::cancel(black_box(&mut *calls), message(), id()));
    used(Calls::next_expired(black_box(&mut *calls), number()));
    used((Calls::open(calls), Calls::poll_timeout(black_box(&*calls))));
}
