//! The specification repeats the limits; this holds the two together.

use std::collections::BTreeMap;

use vinbus_protocol::limits;

macro_rules! limits {
    ($($name:ident),+ $(,)?) => {
        [$((stringify!($name), u64::try_from(limits::$name).expect("a limit fits"))),+]
    };
}

#[test]
fn every_limit_stands_in_the_specification_with_its_value() {
    let in_code = BTreeMap::from(limits![
        PAYLOAD_BYTES_MAX,
        APP_MESSAGE_BYTES_MAX,
        PACKET_BYTES_MAX,
        VIN_BYTES,
        UID_BYTES_MAX,
        APP_ID_BYTES_MAX,
        PREFIX_BYTES_MAX,
        SUBTOPIC_BYTES_MAX,
        TOPIC_BYTES_MAX,
        JSON_DEPTH_MAX,
        PENDING_MESSAGES_MAX,
        POPUP_TEXT_BYTES_MAX,
        POPUP_SHOWN_MS,
        POPUP_INTERVAL_MS,
        POPUP_QUEUE_MAX,
        APP_LOADED_TIMEOUT_MS,
        BUS_LEVEL_BYTES_MAX,
        BUS_TOPIC_BYTES_MAX,
        BUS_TOPIC_LEVELS_MAX,
        RECONNECT_DELAY_MS_MIN,
        RECONNECT_DELAY_MS_MAX,
        RECONNECT_STABLE_MS,
        LINK_BYTES_PER_S_MIN,
        HEALTH_BYTES_MAX,
        HEALTH_CRASH_BYTES_MAX,
        HEALTH_NAME_BYTES_MAX,
        HEALTH_INTERVAL_MS,
        DELIVERY_EPOCH_MAX,
        DELIVERY_LEAP_MAX,
        DELIVERY_ANNOUNCEMENT_MS,
        DELIVERY_SILENCE_MS,
        DELIVERY_LONG_SILENCE_MS,
        DELIVERY_TTL_S_MAX,
        DELIVERY_ADDED_BYTES_MAX,
        DELIVERY_IN_FLIGHT_MAX,
        DELIVERY_SPAN,
        DELIVERY_REMEMBERED,
        DELIVERY_IN_FLIGHT_BYTES_MAX,
        DELIVERY_BYTES_PER_MS_MIN,
        DELIVERY_REPEAT_MS_INITIAL,
        DELIVERY_REPEAT_MS_MIN,
        DELIVERY_REPEAT_MS_MAX,
        DELIVERY_ATTEMPTS_MAX,
        DELIVERY_PATIENT_TIMES,
        DELIVERY_UNLUCKY_TIMES,
        DELIVERY_REORDERING,
        DELIVERY_APP_PATIENCE_MS,
        DELIVERY_UNWRITTEN_MAX,
        DELIVERY_UNWRITTEN_MS,
        DELIVERY_RECEIPT_DELAY_MS,
        DELIVERY_RECEIPT_BATCH,
        DELIVERY_BATCHES_LEFT_OUT,
        DELIVERY_BATCHES_UNNOTED_MAX,
        DELIVERY_OPEN_MAX,
        DELIVERY_CONTROL_BYTES_MAX,
        DELIVERY_ANSWER_INTERVAL_MS,
        DELIVERY_LONG_BYTES_MAX,
        DELIVERY_LONG_ENVELOPE_BYTES_MAX,
        LONG_APP_MESSAGE_BYTES_MAX,
        DELIVERY_LONG_BEGINS_MAX,
        DELIVERY_LONG_IDLE_MS,
        DELIVERY_LONG_UPLINK_BYTES_MAX,
        DELIVERY_PARTS_MAX,
        DELIVERY_PART_BYTES_MAX,
        DELIVERY_PART_FRAME_BYTES,
        REQUEST_TIMEOUT_S_MAX,
        REQUEST_LATE_MS,
        REQUEST_PLACES,
        REQUEST_ANSWER_BYTES,
        REQUEST_ADDED_BYTES_MAX,
    ]);
    assert_eq!(in_specification(), in_code);
    let declared = include_str!("../src/limits.rs")
        .matches("pub const ")
        .count();
    assert_eq!(
        in_code.len(),
        declared,
        "a limit is missing here and in docs/SPEC.md"
    );
}

/// The rows `| `NAME` | 1,234 | unit |` of the specification.
fn in_specification() -> BTreeMap<&'static str, u64> {
    include_str!("../../docs/SPEC.md")
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
            let (value, _) = rest.split_once(" | ")?;
            Some((name, value.replace(',', "").parse().ok()?))
        })
        .collect()
}
