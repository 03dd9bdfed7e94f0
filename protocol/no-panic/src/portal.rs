use core::hint::black_box;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::AppMessage;
use vinbus_protocol::id::{AppId, Uid};
use vinbus_protocol::portal::{AppEvent, PopupAnswer, Portal};

use crate::{bytes, displayed, number, space, text, used};

type AnyPortal = Portal<&'static mut [u8], 4>;

// As the queues, the portal may be in any state that its type allows before each call.

pub fn prove() {
    let mut portal: AnyPortal = Portal::new(space());
    let (Ok(app), Ok(uid)) = (
        black_box(AppId::parse(text())),
        black_box(Uid::parse(text())),
    ) else {
        return;
    };
    let slot = AppSlot::new(number() as u8);
    inputs(&mut portal, slot, &uid);
    outputs(&mut portal, slot);
    looks(&mut portal, slot, &app);
    match black_box(&mut portal).install(app, uid, space()) {
        Ok(slot) => {
            displayed(&slot);
            used(slot.index());
        }
        Err(error) => displayed(&error),
    }
}

fn inputs(portal: &mut AnyPortal, slot: AppSlot, uid: &Uid) {
    black_box(&mut *portal).handle_nac(number(), black_box(true));
    match black_box(&mut *portal).handle_downlink(number(), uid, bytes()) {
        Ok(disposition) => used(disposition),
        Err(refusal) => displayed(&refusal),
    }
    if let Ok(message) = AppMessage::decode(bytes()) {
        match black_box(&mut *portal).handle_undelivered(number(), slot, &message) {
            Ok(pushed) => used(pushed),
            Err(refusal) => displayed(&refusal),
        }
    }
    let event = black_box(AppEvent::Shown);
    match black_box(&mut *portal).handle_app(number(), slot, event) {
        Ok(state) => {
            used((state.is_loading(), state.is_loaded(), state.has_screen()));
            used(state.after(event));
        }
        Err(error) => displayed(&error),
    }
    let answer = black_box(PopupAnswer::Ok);
    used(black_box(&mut *portal).handle_popup_answer(number(), number(), answer));
}

fn outputs(portal: &mut AnyPortal, slot: AppSlot) {
    used(black_box(&mut *portal).poll_output(number()));
    used(black_box(&mut *portal).poll_deadline());
    black_box(&mut *portal).hand_out(slot).for_each(used);
    used(black_box(&mut *portal).confirm(slot, number()));
    used(black_box(&mut *portal).drain(slot, |record| used(record)));
}

fn looks(portal: &mut AnyPortal, slot: AppSlot, app: &AppId) {
    let portal = black_box(portal);
    used(portal.pending(slot).map(|ring| ring.len()));
    portal.apps().for_each(|app| used(app.state));
    used(portal.slot(app));
    used(portal.state(slot));
    used(portal.foreground());
    used(portal.popups_waiting());
    used(portal.counters().delivered);
}
