use core::hint::black_box;

use vinbus_protocol::envelope::Content;
use vinbus_protocol::health::{self, Counters, Health, Pools, Troubles, Usage};

use crate::{bytes, displayed, number, space, text, used};

pub fn prove() {
    let count = black_box(number() as u32);
    let health = black_box(Health {
        agent: text(),
        platform: text(),
        uptime_s: count,
        crash: black_box(Some(text())),
        stack: black_box(Some(Usage::default())),
        pools: black_box(Pools::default()),
        counters: Counters::default(),
        troubles: Troubles::default(),
    });
    match black_box(Health::encode(&health, space())) {
        Ok(bytes) => used(bytes),
        Err(error) => displayed(&error),
    }
    if let Ok(content) = Content::parse(bytes()) {
        used(health::reported(content));
    }
}
