use core::hint::black_box;

use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::topic::{Direction, ParsedTopic, TopicProfile, TopicScheme};

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
    used(TopicScheme::default());
    used(TopicScheme::profile(&scheme));
    used(TopicScheme::prefix(&scheme));
    let subtopic = black_box(Some(text()));
    match black_box(TopicScheme::publish_topic(
        &scheme, direction, &uid, &vin, subtopic,
    )) {
        Ok(topic) => used(topic),
        Err(error) => displayed(&error),
    }
    used(TopicScheme::exact_filters(&scheme, direction, &uid, &vin));
    used(TopicScheme::subtree_filter(&scheme, direction, &uid, &vin));
    used(TopicScheme::uid_filter(&scheme, direction, &uid));
    used(TopicScheme::all_filter(&scheme, direction));
    match black_box(TopicScheme::parse(&scheme, text())) {
        Ok(parsed) => {
            used(ParsedTopic::is_presence(&parsed));
            used(ParsedTopic::is_health(&parsed));
            used(parsed);
        }
        Err(error) => displayed(&error),
    }
    match black_box(TopicScheme::parse_filter(&scheme, text())) {
        Ok(parsed) => used(parsed),
        Err(error) => displayed(&error),
    }
}
