use core::hint::black_box;

use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::topic::{Direction, TopicProfile, TopicScheme};

use crate::{displayed, text, used};

pub fn prove() {
    let profile = black_box(TopicProfile::Table);
    let direction = black_box(Direction::Uplink);
    let (Ok(scheme), Ok(uid), Ok(vin)) = (
        black_box(TopicScheme::new(text(), profile)),
        black_box(Uid::parse(text())),
        black_box(Vin::parse(text())),
    ) else {
        return;
    };
    used(scheme.profile());
    used(scheme.prefix());
    used(scheme.publish_topic(direction, &uid, &vin, black_box(Some(text()))));
    used(scheme.exact_filters(direction, &uid, &vin));
    used(scheme.subtree_filter(direction, &uid, &vin));
    used(scheme.uid_filter(direction, &uid));
    used(scheme.all_filter(direction));
    match black_box(scheme.parse(text())) {
        Ok(parsed) => used((parsed.is_presence(), parsed)),
        Err(error) => displayed(&error),
    }
    match black_box(scheme.parse_filter(text())) {
        Ok(parsed) => used(parsed),
        Err(error) => displayed(&error),
    }
}
