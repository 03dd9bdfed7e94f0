//! Every bound of the protocol, each with its source, tied together by constant assertions.
//!
//! A bound that is full is never silent: the module that holds it says what is refused or dropped
//! and counts it.

/// Largest MQTT payload of a vehicle message, in bytes: "the max size for a MQTT message is
/// 128 Kio". One byte more is refused before it is sent, and counted and dropped when received.
pub const PAYLOAD_BYTES_MAX: usize = 128 * 1024;

/// Largest message that the agent hands to an app, in bytes. It never travels over MQTT: a popup's
/// outcome names the action where the popup named the app and the text, so that the outcome of a
/// popup of [`PAYLOAD_BYTES_MAX`] may be longer than the popup was. It always fits.
pub const APP_MESSAGE_BYTES_MAX: usize =
    PAYLOAD_BYTES_MAX - SHORTEST_POPUP_FRAME.len() + LONGEST_OUTCOME_FRAME.len();

/// The least that may surround the content of a popup.
const SHORTEST_POPUP_FRAME: &str = r#"{"idApp":"a","popup":true,"popupText":"","content":}"#;

/// The most that surrounds the content of a popup's outcome, or of any other message for an app.
const LONGEST_OUTCOME_FRAME: &str =
    r#"{"popupAction":"WebPortal.cancelBtnPopupRequestClicked","content":}"#;

/// Largest MQTT packet that carries a vehicle message, in bytes: the payload, the longest topic,
/// and room for the fixed header, the packet identifier and the properties a broker may add.
pub const PACKET_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 1024;

/// Length of a vehicle identification number, in bytes.
pub const VIN_BYTES: usize = 17;

/// Longest UID, in bytes.
pub const UID_BYTES_MAX: usize = 64;

/// Longest application identifier (`idApp`), in bytes.
pub const APP_ID_BYTES_MAX: usize = 64;

/// Longest topic prefix, in bytes (`psa/OVIPPartners-Dev` has 20).
pub const PREFIX_BYTES_MAX: usize = 64;

/// Longest subtopic below a vehicle's topic, in bytes.
pub const SUBTOPIC_BYTES_MAX: usize = 64;

/// Longest topic or topic filter of the vehicle tree, in bytes: prefix, `/from/uid/`, UID, `/opa/`,
/// VIN, `/` and subtopic.
pub const TOPIC_BYTES_MAX: usize =
    PREFIX_BYTES_MAX + 10 + UID_BYTES_MAX + 5 + VIN_BYTES + 1 + SUBTOPIC_BYTES_MAX;

/// Deepest nesting of objects and arrays in an envelope, the envelope's own object included. That
/// leaves 127 for its content, which is the deepest that `serde_json` reads into a `Value`.
pub const JSON_DEPTH_MAX: usize = 128;

/// Data messages kept for an app that is not in the foreground: "the last 10 data messages".
pub const PENDING_MESSAGES_MAX: usize = 10;

/// Longest text of a popup, in bytes of its JSON string as written, quotes excluded.
pub const POPUP_TEXT_BYTES_MAX: usize = 4096;

/// A popup nobody answers closes after this time, in milliseconds.
pub const POPUP_SHOWN_MS: u64 = 15_000;

/// Popups are opened no more often than once in this time, in milliseconds.
pub const POPUP_INTERVAL_MS: u64 = 20_000;

/// Popups that wait while another is on screen or the interval runs; one more is refused.
pub const POPUP_QUEUE_MAX: usize = 5;

/// An app has this long, in milliseconds, to report `WebPortal.onApplicationLoaded` or is closed.
pub const APP_LOADED_TIMEOUT_MS: u64 = 10_000;

/// Longest level of a topic of the bus, in bytes: an application, a resource, an identifier.
pub const BUS_LEVEL_BYTES_MAX: usize = 96;

/// Longest topic or topic filter of the bus, in bytes. The longest of the topic map is
/// `app/:appId/dialogue/speech/:sessionId/:messageId/:chunkId`, with all variables at their longest.
pub const BUS_TOPIC_BYTES_MAX: usize = 512;

/// Most levels of a topic or topic filter of the bus; the topic map has up to 7.
pub const BUS_TOPIC_LEVELS_MAX: usize = 16;

/// First delay before a reconnection, in milliseconds.
pub const RECONNECT_DELAY_MS_MIN: u32 = 500;

/// Longest delay before a reconnection, in milliseconds.
pub const RECONNECT_DELAY_MS_MAX: u32 = 60_000;

/// Largest health report, in bytes: its texts and every counter at their largest fit.
pub const HEALTH_BYTES_MAX: usize = 1024;

/// Longest crash in a health report, in bytes as written: a panic's file, line and message.
pub const HEALTH_CRASH_BYTES_MAX: usize = 256;

/// Longest version and platform in a health report, in bytes as written.
pub const HEALTH_NAME_BYTES_MAX: usize = 32;

/// Health is reported no more often than once in this time, in milliseconds: a flood of bad messages
/// costs one report a minute.
pub const HEALTH_INTERVAL_MS: u64 = 60_000;

const _: () = assert!(PAYLOAD_BYTES_MAX == 131_072);
const _: () = assert!(APP_MESSAGE_BYTES_MAX == PAYLOAD_BYTES_MAX + 15);
const _: () = assert!(PACKET_BYTES_MAX - PAYLOAD_BYTES_MAX >= TOPIC_BYTES_MAX + 512);
const _: () = assert!(TOPIC_BYTES_MAX <= 256);
const _: () =
    assert!(BUS_TOPIC_BYTES_MAX >= "app//dialogue/speech///".len() + 4 * BUS_LEVEL_BYTES_MAX);
const _: () = assert!(PACKET_BYTES_MAX - PAYLOAD_BYTES_MAX >= BUS_TOPIC_BYTES_MAX + 512);
const _: () = assert!(POPUP_TEXT_BYTES_MAX < PAYLOAD_BYTES_MAX);
const _: () = assert!(POPUP_SHOWN_MS < POPUP_INTERVAL_MS);
const _: () = assert!(RECONNECT_DELAY_MS_MIN < RECONNECT_DELAY_MS_MAX);
