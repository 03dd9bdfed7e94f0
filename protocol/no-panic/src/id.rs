use core::hint::black_box;

use vinbus_protocol::id::{AppId, IdError, Uid, Vin};

use crate::{displayed, text, used};

pub fn prove() {
    match black_box(Vin::parse(text())) {
        Ok(vin) => used(Vin::as_str(&vin)),
        Err(error) => error_is_displayed(error),
    }
    match black_box(Uid::parse(text())) {
        Ok(uid) => used(Uid::as_str(&uid)),
        Err(error) => error_is_displayed(error),
    }
    match black_box(AppId::parse(text())) {
        Ok(app) => used(AppId::as_str(&app)),
        Err(error) => error_is_displayed(error),
    }
}

fn error_is_displayed(error: IdError) {
    displayed(&error);
}
