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

/// Length of a vehicle identification number, in bytes: "17 chars with letters and numbers".
pub const VIN_BYTES: usize = 17;

/// Longest UID, in bytes: as long as a common name, by which a certificate names a partner, may be
/// (RFC 5280, appendix A.1).
pub const UID_BYTES_MAX: usize = 64;

/// Longest application identifier (`idApp`), in bytes: the sources name no bound, and a UID's will do.
pub const APP_ID_BYTES_MAX: usize = 64;

/// Longest topic prefix, in bytes (`psa/OVIPPartners-Dev` has 20).
pub const PREFIX_BYTES_MAX: usize = 64;

/// Longest subtopic below a vehicle's topic, in bytes: with it the longest topic stays below 256.
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

/// A connection that lasted this long, in milliseconds, was a good one: the next delay is the first
/// again (SPEC 7.3).
pub const RECONNECT_STABLE_MS: u32 = 10_000;

/// Largest health report, in bytes: its texts and every counter at their largest fit.
pub const HEALTH_BYTES_MAX: usize = 1_280;

/// Longest crash in a health report, in bytes as written: a panic's file, line and message.
pub const HEALTH_CRASH_BYTES_MAX: usize = 256;

/// Longest version and platform in a health report, in bytes as written.
pub const HEALTH_NAME_BYTES_MAX: usize = 32;

/// Health is reported no more often than once in this time, in milliseconds: a flood of bad messages
/// costs one report a minute.
pub const HEALTH_INTERVAL_MS: u64 = 60_000;

/// The slowest link that counts as one, in bytes a second: a fifteenth of the slowest one expected
/// ([`DELIVERY_BYTES_PER_MS_MIN`]), and GPRS where it is bad. A message of the largest size takes 64 s.
pub const LINK_BYTES_PER_S_MIN: u32 = 2_048;

/// Greatest epoch of delivery: nine digits, so that a message's reserved member stays short. Counted
/// in seconds since 2020 they last until 2051, counted in starts for ever.
pub const DELIVERY_EPOCH_MAX: u32 = 999_999_999;

/// Furthest that an epoch leaps which is taken in a hurry, above one that was heard: so far, and at random,
/// that it is hardly that of a life of which nobody heard. There is room for 15,000 leaps.
pub const DELIVERY_LEAP_MAX: u32 = 1 << 16;

/// How long the host waits for a vehicle that came online to say that it speaks delivery, in milliseconds:
/// ten times the first repetition ([`DELIVERY_REPEAT_MS_INITIAL`]). It says so in a round trip, but over a bad
/// link, or from a busy machine, that takes seconds. As long is a vehicle that answers nothing taken to be about to,
/// before messages without receipts pass by those that wait for its answer.
pub const DELIVERY_ANNOUNCEMENT_MS: u64 = 10 * DELIVERY_REPEAT_MS_INITIAL as u64;

/// How long a vehicle waits for a host to greet, in milliseconds of a link that is up: half of what the
/// host waits ([`DELIVERY_ANNOUNCEMENT_MS`]), as it waits on each link.
pub const DELIVERY_SILENCE_MS: u64 = DELIVERY_ANNOUNCEMENT_MS / 2;

/// How long a long message waits for a host to greet, in milliseconds of all the time that the link was up:
/// ten minutes, in which a server is started again or brought up to date. It cannot go without parts, and
/// must not keep the place of others for ever.
pub const DELIVERY_LONG_SILENCE_MS: u64 = 600_000;

/// Longest time that a message may be given, in seconds: 30 days, as the host server allows.
pub const DELIVERY_TTL_S_MAX: u32 = 30 * 24 * 3600;

/// Most bytes that delivery adds to a message: the longest member is
/// `"vinbus":[999999999,999999999,4294967295,2592000]` with 49 bytes, and content that must be
/// wrapped costs `{`, `,"content":` and `}` besides. A part of a long message has up to 91 around its
/// piece of some 128 KiB ([`DELIVERY_PART_BYTES_MAX`]).
pub const DELIVERY_ADDED_BYTES_MAX: usize = 64;

/// Most messages of one direction that are on their way at a time. At 100 ms there and back that is
/// 320 messages a second for one vehicle; a place is 48 bytes, so 10,000 vehicles take 15 MB.
pub const DELIVERY_IN_FLIGHT_MAX: usize = 32;

/// Most that the numbers of unanswered messages may lie apart. Twice the messages in flight, so that
/// one that is lost again and again does not stop the others at once.
pub const DELIVERY_SPAN: u32 = 64;

/// Numbers that a receiver remembers below the highest one: one bit each in 16 bytes. A sender's
/// oldest unanswered message lies less than [`DELIVERY_SPAN`] below its newest, so half would do; the
/// other half is for what a network delays.
pub const DELIVERY_REMEMBERED: u32 = 128;

/// Most bytes on their way at a time, unless it is a single message: two of the longest, 9 s of the
/// slowest link.
pub const DELIVERY_IN_FLIGHT_BYTES_MAX: usize = 2 * PAYLOAD_BYTES_MAX;

/// The slowest link, in bytes per millisecond: an "ATB2" has about 30 KB/s. What is on its way
/// lengthens the time before a repetition by as much.
pub const DELIVERY_BYTES_PER_MS_MIN: u32 = 30;

/// Time before the first repetition while nothing is known of the link, in milliseconds (RFC 6298,
/// section 2).
pub const DELIVERY_REPEAT_MS_INITIAL: u32 = 1_000;

/// Least time before a repetition, in milliseconds: five times [`DELIVERY_RECEIPT_DELAY_MS`], which a
/// receiver may wait.
pub const DELIVERY_REPEAT_MS_MIN: u32 = 100;

/// Longest time between two repetitions, in milliseconds, before jitter: as between reconnections.
pub const DELIVERY_REPEAT_MS_MAX: u32 = RECONNECT_DELAY_MS_MAX;

/// Repetitions without any answer after which a message without an expiry is given up, and after
/// which receipts wait until the peer is heard again. From 1 s on that takes 13 to 17
/// minutes of a link that is up.
pub const DELIVERY_ATTEMPTS_MAX: u8 = 20;

/// Times that patience may end, since anything was answered, before it grows: where a fifth is lost, one of
/// twenty messages is lost twice, and that is no sign of a link that takes longer.
pub const DELIVERY_PATIENT_TIMES: u8 = 2;

/// As many times more for one message while others are answered: its receiver may have no place for it.
pub const DELIVERY_UNLUCKY_TIMES: u8 = 3;

/// A message counts as lost, and is repeated at once, when one that was sent this many later has
/// been answered (RFC 9002, section 6.1.1).
pub const DELIVERY_REORDERING: u32 = 3;

/// How long messages wait for an app that has as many as its ring keeps ([`PENDING_MESSAGES_MAX`]) and
/// confirms none of them, in milliseconds, before newer ones push them out. By then each of its confirmations
/// was repeated at least once, however bad a link that is up ([`DELIVERY_REPEAT_MS_MAX`]): it is the app that
/// hangs.
pub const DELIVERY_APP_PATIENCE_MS: u64 = DELIVERY_REPEAT_MS_MAX as u64;

/// Messages that wait to be written to an app that confirms nothing; the next ones wait in its ring. With those
/// that the ring keeps, as many as may be on their way: so what comes all at once evicts nothing.
pub const DELIVERY_UNWRITTEN_MAX: usize = DELIVERY_IN_FLIGHT_MAX - PENDING_MESSAGES_MAX;

/// After how long a message that waits to be written to its app is told as *at the agent*, in milliseconds, so
/// that it is not repeated: longer than an app takes that reads.
pub const DELIVERY_UNWRITTEN_MS: u64 = 250;

/// How long a receipt may wait for others, in milliseconds: a person does not notice it, and at 400
/// messages a second one message in eight is a receipt.
pub const DELIVERY_RECEIPT_DELAY_MS: u32 = 20;

/// Receipts that do not wait any longer.
pub const DELIVERY_RECEIPT_BATCH: usize = 8;

/// Batches of receipts that an end which goes on leaves out, as the number of the last one need not be noted
/// with each: more than [`DELIVERY_BATCHES_UNNOTED_MAX`]. A host leaves them out whenever a
/// vehicle comes back: there is room for a million times, 28 years with a hundred a day.
pub const DELIVERY_BATCHES_LEFT_OUT: u32 = 1 << 12;

/// Batches after which the last one's number is noted again, before another one goes: one note for so
/// many frames costs nothing, and the one that goes meanwhile stays far below what is left out.
pub const DELIVERY_BATCHES_UNNOTED_MAX: u32 = DELIVERY_BATCHES_LEFT_OUT / 2;

/// Most messages that a receiver accounts for at a time, and so runs in one message of receipts. The run
/// of one message has at most 16 bytes (`19,4294967295,1,`), that of several one or two more for all of
/// them: with 17 for each, receipts have at most 4.3 KiB.
pub const DELIVERY_OPEN_MAX: usize = 256;

/// Most bytes of the content of a message of delivery's own: the greatest receipts, as many numbers of open
/// messages (`4294967295,`, 11 bytes each), both epochs, the batch and an acknowledgement.
pub const DELIVERY_CONTROL_BYTES_MAX: usize = DELIVERY_OPEN_MAX * (17 + 11) + 128;

/// Least time between two answers to frames that ask for one, or that are of another life, in
/// milliseconds, so that a flood of them is not answered by another.
pub const DELIVERY_ANSWER_INTERVAL_MS: u32 = 1_000;

/// Longest content that travels in parts, in bytes: eight times what one message holds. At 30 KB/s it
/// takes 35 s.
pub const DELIVERY_LONG_BYTES_MAX: usize = 1024 * 1024;

/// Largest downlink envelope of a message that travels in parts, in bytes: the longest content, and what
/// may surround it with the longest identifier, each of its bytes escaped. It is never one payload.
pub const DELIVERY_LONG_ENVELOPE_BYTES_MAX: usize = DELIVERY_LONG_BYTES_MAX + 512;

/// Largest uplink envelope of a message that travelled in parts, in bytes, as it is kept: its content and
/// what is around it. It is never one payload.
pub const DELIVERY_LONG_UPLINK_BYTES_MAX: usize = DELIVERY_LONG_BYTES_MAX + r#"{"content":}"#.len();

/// Largest data message that came in parts, as an app gets it, in bytes.
pub const LONG_APP_MESSAGE_BYTES_MAX: usize = DELIVERY_LONG_BYTES_MAX + r#"{"content":}"#.len();

/// Times that a long message begins; then it is given up. A receiver that loses what it stored does so
/// once in a life, and one that does it each time must not have a message sent for ever.
pub const DELIVERY_LONG_BEGINS_MAX: u32 = 8;

/// How long what is stored of a long message waits for its next part, in milliseconds: a night and a day
/// without a link. Whatever is left of the message's time ends it earlier.
pub const DELIVERY_LONG_IDLE_MS: u64 = 24 * 3_600 * 1_000;

/// Most parts of one message, so that crumbs cost a receiver no more than pieces: 4 KiB each.
pub const DELIVERY_PARTS_MAX: u32 = 256;

/// Most bytes of a part as it is written: what a downlink envelope with the longest identifier, each
/// of its bytes escaped, leaves of a payload, rounded down.
pub const DELIVERY_PART_BYTES_MAX: usize = PAYLOAD_BYTES_MAX - 512;

/// The most that surrounds the piece in a part, but for the identifier of its app.
const LONGEST_PART_FRAME: usize = r#"{"idApp":"","popup":false,"content":{"vinbus":[999999999,999999999,4294967295,2592000,1048576,1048576,4294967295],"content":""}}"#.len();

/// What a part is taken to have around its piece, in bytes, where those on their way are counted: the most that
/// surrounds the piece, and an identifier of its app of [`APP_ID_BYTES_MAX`].
pub const DELIVERY_PART_FRAME_BYTES: usize = LONGEST_PART_FRAME + APP_ID_BYTES_MAX;

/// Longest time that a request may be given, in seconds: a person waits no longer, and a longer one is
/// a message whose answer is another.
pub const REQUEST_TIMEOUT_S_MAX: u32 = 600;

/// How long after its deadline an answer is still taken, in milliseconds, for those who make the same
/// request again: twice the longest time between two repetitions ([`DELIVERY_REPEAT_MS_MAX`]).
pub const REQUEST_LATE_MS: u64 = 2 * DELIVERY_REPEAT_MS_MAX as u64;

/// Requests that a vehicle accounts for, of all partners: those that are open, and the latest that are
/// done, so that a repetition is known. As many as one partner may have on their way
/// ([`DELIVERY_IN_FLIGHT_MAX`]); a place is 64 bytes.
pub const REQUEST_PLACES: usize = DELIVERY_IN_FLIGHT_MAX;

/// Bytes of answers that a vehicle keeps for repetitions: two of the longest.
pub const REQUEST_ANSWER_BYTES: usize = 2 * PAYLOAD_BYTES_MAX;

/// Most bytes that a request adds to a content, and an answer: `{"vinbus":{"q":"","w":1},"content":}`
/// and 16 digits are 52.
pub const REQUEST_ADDED_BYTES_MAX: usize = 64;

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
const _: () = assert!(LINK_BYTES_PER_S_MIN < DELIVERY_BYTES_PER_MS_MIN * 1_000);
const _: () = assert!(DELIVERY_IN_FLIGHT_MAX as u32 <= DELIVERY_SPAN);
const _: () = assert!(2 * DELIVERY_SPAN <= DELIVERY_REMEMBERED);
const _: () = assert!(DELIVERY_REMEMBERED == u128::BITS);
const _: () = assert!(DELIVERY_REPEAT_MS_MIN >= 5 * DELIVERY_RECEIPT_DELAY_MS);
const _: () = assert!(DELIVERY_REPEAT_MS_MIN < DELIVERY_REPEAT_MS_INITIAL);
const _: () = assert!(DELIVERY_REPEAT_MS_INITIAL < DELIVERY_REPEAT_MS_MAX);
const _: () = assert!(DELIVERY_APP_PATIENCE_MS >= DELIVERY_REPEAT_MS_MAX as u64);
const _: () = assert!(PENDING_MESSAGES_MAX < DELIVERY_IN_FLIGHT_MAX);
const _: () = assert!(DELIVERY_LEAP_MAX.is_power_of_two());
const _: () = assert!(DELIVERY_EPOCH_MAX / DELIVERY_LEAP_MAX >= 15_000);
const _: () = assert!(DELIVERY_SILENCE_MS < DELIVERY_LONG_SILENCE_MS);
const _: () = assert!(DELIVERY_PATIENT_TIMES + DELIVERY_UNLUCKY_TIMES < DELIVERY_ATTEMPTS_MAX);
const _: () = assert!(DELIVERY_CONTROL_BYTES_MAX < PAYLOAD_BYTES_MAX);
const _: () = assert!(
    DELIVERY_LONG_BYTES_MAX.div_ceil(DELIVERY_PART_BYTES_MAX / 2) < DELIVERY_PARTS_MAX as usize
);
const _: () = assert!(
    PAYLOAD_BYTES_MAX - DELIVERY_PART_BYTES_MAX >= LONGEST_PART_FRAME + 6 * APP_ID_BYTES_MAX
);
const _: () = assert!(
    DELIVERY_LONG_ENVELOPE_BYTES_MAX - DELIVERY_LONG_BYTES_MAX
        >= r#"{"idApp":"","popup":false,"content":}"#.len() + 6 * APP_ID_BYTES_MAX
);
const _: () = assert!(REQUEST_TIMEOUT_S_MAX < DELIVERY_TTL_S_MAX);
