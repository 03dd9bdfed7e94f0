use core::hint::black_box;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::{AppMessage, Content};
use vinbus_protocol::id::{AppId, Uid};
use vinbus_protocol::portal::{AppEvent, AppState, PopupAnswer, Portal};
use vinbus_protocol::request::RequestId;

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
    match Portal::install(black_box(&mut portal), app, uid, space()) {
        Ok(slot) => {
            displayed(&slot);
            used(AppSlot::index(slot));
        }
        Err(error) => displayed(&error),
    }
}

fn inputs(portal: &mut AnyPortal, slot: AppSlot, uid: &Uid) {
    Portal::handle_nac(black_box(&mut *portal), number(), black_box(true));
    match Portal::handle_downlink(black_box(&mut *portal), number(), uid, bytes()) {
        Ok(disposition) => used(disposition),
        Err(refusal) => displayed(&refusal),
    }
    if let (Ok(app), Ok(content)) = (AppId::parse(text()), Content::parse(bytes())) {
        match Portal::handle_data(black_box(&mut *portal), number(), uid, &app, content) {
            Ok(disposition) => used(disposition),
            Err(refusal) => displayed(&refusal),
        }
        let id = RequestId::new(number());
        match Portal::handle_request(black_box(&mut *portal), number(), uid, &app, id, content) {
            Ok(disposition) => used(disposition),
            Err(refusal) => displayed(&refusal),
        }
    }
    if let Ok(message) = AppMessage::decode(bytes()) {
        let portal = black_box(&mut *portal);
        match Portal::handle_undelivered(portal, number(), slot, number(), &message) {
            Ok(pushed) => used(pushed),
            Err(refusal) => displayed(&refusal),
        }
    }
    Portal::handle_room(black_box(&mut *portal), slot, number() as usize);
    let event = black_box(AppEvent::Shown);
    match Portal::handle_app(black_box(&mut *portal), number(), slot, event) {
        Ok(state) => {
            used(AppState::is_loading(state));
            used(AppState::is_loaded(state));
            used(AppState::has_screen(state));
            used(AppState::after(state, event));
        }
        Err(error) => displayed(&error),
    }
    let answer = black_box(PopupAnswer::Ok);
    used(Portal::handle_popup_answer(
        black_box(&mut *portal),
        number(),
        number(),
        answer,
    ));
}

fn outputs(portal: &mut AnyPortal, slot: AppSlot) {
    used(Portal::poll_output(black_box(&mut *portal), number()));
    used(Portal::poll_deadline(black_box(&*portal)));
    Portal::hand_out(black_box(&mut *portal), slot).for_each(used);
    used(Portal::mark_handed_out(
        black_box(&mut *portal),
        slot,
        number(),
    ));
    used(Portal::confirm(black_box(&mut *portal), slot, number()));
    Portal::skip_numbers(black_box(&mut *portal), slot, number());
    used(Portal::confirm_one(black_box(&mut *portal), slot, number()));
    used(Portal::drain(black_box(&mut *portal), slot, |record| {
        used(record);
    }));
}

fn looks(portal: &mut AnyPortal, slot: AppSlot, app: &AppId) {
    let portal = &*black_box(portal);
    used(Portal::pending(portal, slot).map(|ring| ring.len()));
    Portal::apps(portal).for_each(|app| used(app.state));
    used(Portal::slot(portal, app));
    used(Portal::state(portal, slot));
    used(Portal::foreground(portal));
    used(Portal::popups_waiting(portal));
    used(Portal::popups_usage(portal));
    used(Portal::counters(portal).delivered);
}
