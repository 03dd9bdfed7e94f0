use core::hint::black_box;

use vinbus_protocol::checksum;
use vinbus_protocol::delivery as control;
use vinbus_protocol::delivery::parts::{self, Assembly, PartError, Progress};
use vinbus_protocol::delivery::{
    Batch, Carried, Control, ControlFrame, Endpoint, Epoch, Event, Header, Loss, Marked, Message,
    MessageId, Offer, Open, Part, Receipts, Received, Run, Snapshot, Step, Transmit, Window,
};
use vinbus_protocol::envelope::Content;
use vinbus_protocol::id::AppId;

use crate::{bytes, displayed, number, space, text, used};

// The endpoint is taken from the optimiser's sight before each call, so that it may be in any state
// that its type allows, reachable or not.
type End = Endpoint<8, 24>;

pub fn prove() {
    values();
    let mut end: End = Endpoint::new(black_box(Snapshot::fresh(Epoch::FIRST)), number() as u32);
    if let Some(snapshot) = Snapshot::from_bytes(black_box(&[0; control::SNAPSHOT_BYTES])) {
        used(Snapshot::to_bytes(&snapshot));
        end = Endpoint::new(snapshot, number() as u32);
    }
    let end = &mut end;
    used(Endpoint::begin(black_box(&mut *end), epoch()));
    sent(end);
    came(end);
    time(end);
    look(end);
}

fn epoch() -> Epoch {
    black_box(Epoch::new(number() as u32)).unwrap_or(Epoch::FIRST)
}

fn offer() -> Offer {
    black_box(Offer {
        epoch: epoch(),
        long_bytes_max: number() as u32,
    })
}

fn id() -> MessageId {
    black_box(MessageId {
        epoch: epoch(),
        number: number() as u32,
    })
}

fn step() -> Step {
    black_box(Step::from_code(number() as u32)).unwrap_or(Step::Known)
}

fn message() -> Message {
    black_box(Message {
        bytes: number() as u32,
        expires_at_ms: black_box(None),
        key: black_box(None),
        repeatable: number() == 0,
    })
}

fn values() {
    used(Epoch::next(epoch()));
    used(Epoch::at(number()));
    used(Epoch::number(epoch()));
    used((
        Step::code(step()),
        Step::is_final(step()),
        Step::is_success(step()),
    ));
    used(Step::name(step()));
    displayed(&step());
    used(Loss::name(black_box(Loss::Expired)));
    let mut window = Window::new(number() as u32, u128::from(number()));
    used(Window::novelty(&window, number() as u32));
    Window::insert(black_box(&mut window), number() as u32);
    Window::remove(black_box(&mut window), number() as u32);
    used((Window::highest(&window), Window::seen(&window)));
    used(control::announcement(offer(), space()).is_ok());
    used(parts::piece(text(), number() as usize, number() as usize));
}

fn sent(end: &mut End) {
    match Endpoint::submit(black_box(&mut *end), number(), message()) {
        Ok(submitted) => used(submitted),
        Err(error) => displayed(&error),
    }
    if let Err(error) =
        Endpoint::resume_sent(black_box(&mut *end), number(), number() as u32, message())
    {
        displayed(&error);
    }
    used(Endpoint::withdraw(black_box(&mut *end), number() as u32));
}

fn came(end: &mut End) {
    used(control::mentioned(bytes()));
    let Ok(content) = Content::parse(bytes()) else {
        return;
    };
    used(control::announced(content));
    match control::read(content) {
        Received::Plain => {}
        Received::Message(header, carried) => message_came(end, &header, &carried, content),
        Received::Control(control) => control_came(end, &control),
    }
    Endpoint::handle_announcement(black_box(&mut *end), number(), offer());
    Endpoint::take_parts(black_box(&mut *end), number() as u32);
    Endpoint::await_open(end);
    used((Endpoint::offer(end), Endpoint::peer_takes_parts(end)));
    Endpoint::handle_link(black_box(&mut *end), number(), number() == 0);
    Endpoint::acknowledge(
        black_box(&mut *end),
        black_box(Batch {
            epoch: epoch(),
            number: number() as u32,
        }),
    );
    used(Endpoint::report(
        black_box(&mut *end),
        number(),
        id(),
        step(),
    ));
    used(Endpoint::forget(black_box(&mut *end), id()));
    used(Endpoint::resume_open(
        black_box(&mut *end),
        number(),
        id(),
        step(),
    ));
}

fn message_came(end: &mut End, header: &Header, carried: &Carried<'_>, content: Content<'_>) {
    used(Endpoint::handle_message(
        black_box(&mut *end),
        number(),
        header,
    ));
    used((Carried::len(carried), Carried::is_empty(carried)));
    used(Carried::pieces(carried));
    used(Carried::copy_to(carried, space()).is_ok());
    Carried::characters(carried)
        .into_iter()
        .flatten()
        .for_each(used);
    match Marked::new(*header, content) {
        Ok(marked) => written(&marked),
        Err(error) => displayed(&error),
    }
    written(&Marked::part(*header, text()));
    let part = black_box(Part {
        offset: number() as u32,
        ..Part::first(text())
    });
    let progress = black_box(Progress::default());
    if let Ok(progress) = Progress::after(progress, part, number() as usize, number() as usize) {
        used(Progress::is_whole(&progress));
    }
    let mut assembly = Assembly::new(space());
    let assembly = black_box(&mut assembly);
    used(checksum::crc32(bytes()));
    match Assembly::add(assembly, part, carried) {
        Ok(last) => used(last),
        Err(error) => {
            used(PartError::step(error));
            displayed(&error);
        }
    }
    let assembly = black_box(assembly);
    used(Assembly::restore(assembly, part, text()).is_ok());
    Assembly::truncate(assembly, number() as usize);
    let assembly = black_box(assembly);
    used(Assembly::whole(assembly).is_ok());
    used(Assembly::stored_from(assembly, number() as usize));
    used((Assembly::stored(assembly), Assembly::bytes_max(assembly)));
    Assembly::clear(assembly);
}

fn written(marked: &Marked<'_>) {
    used(Marked::encoded_len(marked));
    used(Marked::encode(marked, space()).is_ok());
    used(Marked::encode_uplink(marked, space()).is_ok());
    if let Ok(app) = AppId::parse(text()) {
        used(Marked::encode_downlink(marked, &app, space()).is_ok());
    }
}

fn control_came(end: &mut End, control: &Control<'_>) {
    used(Endpoint::handle_control(
        black_box(&mut *end),
        number(),
        control,
        used,
    ));
    if let Some(receipts) = control.receipts {
        Receipts::runs(&receipts).for_each(|run: Run| used(run));
    }
    if let Some(open) = control.open {
        Open::numbers(&open).for_each(used);
    }
}

fn time(end: &mut End) {
    match Endpoint::poll_event(black_box(&mut *end), number()) {
        Some(Event::Lost { number, loss }) => used((number, loss)),
        Some(Event::PeerRestarted) | None => {}
        Some(Event::EpochChanged(epoch)) => used(epoch),
    }
    match Endpoint::poll_transmit(black_box(&mut *end), number(), number() as u32) {
        Some(Transmit::Control(frame)) => {
            used(ControlFrame::encode_uplink(&frame, space()).is_ok());
            used(ControlFrame::encode_downlink(&frame, space()).is_ok());
        }
        Some(Transmit::Message(header)) => used(header),
        None => {}
    }
    if let Some(frame) = Endpoint::poll_control(black_box(&mut *end), number(), number() as u32) {
        let open = black_box([number() as u32, number() as u32]);
        let frame = ControlFrame::with_open(frame, open.into_iter());
        used(frame.encode_downlink(space()).is_ok());
    }
    used(Endpoint::control_timeout(black_box(&*end)));
    used(Endpoint::poll_timeout(black_box(&*end)));
}

fn look(end: &End) {
    used(Endpoint::snapshot(black_box(end)));
    used((
        Endpoint::epoch(black_box(end)),
        Endpoint::peer(black_box(end)),
    ));
    used((
        Endpoint::is_established(black_box(end)),
        Endpoint::unanswered(black_box(end)),
    ));
    used(Endpoint::open(black_box(end)));
    Endpoint::open_messages(black_box(end)).for_each(used);
    used(Endpoint::counters(black_box(end)));
}
