//! What an app that reads slowly gets, and what it is told of the rest.

use super::*;
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use vinbus_protocol::envelope::Content;
use vinbus_protocol::limits::{APP_MESSAGE_BYTES_MAX, POPUP_TEXT_BYTES_MAX};

use crate::app_interface::client_frame::FRAME_ID_BYTES_MAX;
use crate::board_portal::limits::OUTBOX_BYTES_MIN;

fn outbox(bytes: usize) -> RefCell<Outbox<'static>> {
    RefCell::new(Outbox::new(vec![0; bytes].leak()))
}

fn push(outbox: &RefCell<Outbox<'_>>, n: usize) {
    let json = n.to_string();
    let content = Content::parse(json.as_bytes()).unwrap();
    let message = AppMessage::Data(content);
    outbox.borrow_mut().push_message(n as u64, &message);
}

fn unwritten(outbox: &RefCell<Outbox<'_>>) -> Vec<String> {
    let mut left = Vec::new();
    while outbox.borrow_mut().find_unwritten() {
        let (number, text) = {
            let outbox = outbox.borrow();
            let (number, message) = outbox.unwritten().unwrap();
            (number, String::from_utf8(message.to_vec()).unwrap())
        };
        assert_eq!(text, message(number as usize), "it kept its number");
        left.push(text);
        outbox.borrow_mut().returned();
    }
    left
}

fn message(n: usize) -> String {
    format!(r#"{{"content":{n}}}"#)
}

#[test]
fn message_in_a_frame_stays_until_it_is_written() {
    let outbox = outbox(256);
    (0..3).for_each(|n| push(&outbox, n));
    let kind = "WebPortal.onCurrentNotificationReceived";
    let frame = |n| format!(r#"{{"type":"{kind}","value":{}}}"#, message(n));
    assert_eq!(Front(&outbox).to_string(), frame(0));
    assert_eq!(outbox.borrow_mut().written(), None);
    assert_eq!(Front(&outbox).to_string(), frame(1));
    assert_eq!(unwritten(&outbox), [message(1), message(2)]);
}

#[test]
fn slow_reader_is_ended_and_the_newest_messages_stay() {
    // Ten records of 12 + 9 + 13 bytes.
    let outbox = outbox(340);
    (0..10).for_each(|n| push(&outbox, n));
    assert_eq!(outbox.borrow().ending(), None);
    (0..3).for_each(|n| push(&outbox, n));
    assert_eq!(outbox.borrow().ending(), Some(Ending::SlowReader));
    assert_eq!(outbox.borrow().evicted(), 3);
    let expected: Vec<_> = (3..10).chain(0..3).map(message).collect();
    assert_eq!(unwritten(&outbox), expected);
}

#[test]
fn message_without_room_is_told_before_and_notices_have_theirs() {
    let outbox = outbox(OUTBOX_BYTES_MIN);
    assert_eq!(outbox.borrow().room(), usize::MAX);
    outbox.borrow_mut().push_notice(&"shown");
    assert!(outbox.borrow().room() >= APP_MESSAGE_BYTES_MAX);
    let json = format!("\"{}\"", "x".repeat(100_000));
    let content = Content::parse(json.as_bytes()).unwrap();
    let message = AppMessage::Data(content);
    outbox.borrow_mut().push_message(0, &message);
    let room = outbox.borrow().room();
    assert!((20_000..message.encoded_len()).contains(&room), "{room}");
    // As much as fits.
    let json = format!("\"{}\"", "x".repeat(room - r#"{"content":""}"#.len()));
    let content = Content::parse(json.as_bytes()).unwrap();
    outbox
        .borrow_mut()
        .push_message(1, &AppMessage::Data(content));
    assert_eq!(outbox.borrow().room(), 0);
    // And the longest popup.
    outbox
        .borrow_mut()
        .push_notice(&"p".repeat(POPUP_TEXT_BYTES_MAX));
    assert_eq!(outbox.borrow().ending(), None);
}

#[test]
fn room_is_told_once_for_each_frame_that_is_written_while_messages_wait_for_it() {
    let outbox = outbox(256);
    let more = |outbox: &RefCell<Outbox<'_>>| outbox.borrow_mut().has_more_room();
    (0..3).for_each(|n| push(&outbox, n));
    outbox.borrow_mut().written();
    assert!(!more(&outbox), "none waits");
    outbox.borrow_mut().fall_short();
    assert!(!more(&outbox), "nothing was written since");
    outbox.borrow_mut().written();
    assert!(more(&outbox));
    assert!(!more(&outbox), "once");
}

#[test]
fn number_of_frames_is_bounded_as_well() {
    let outbox = outbox(100_000);
    for n in 0..OUTBOX_FRAMES_MAX {
        outbox.borrow_mut().push_notice(&n);
    }
    assert_eq!(outbox.borrow().ending(), None);
    push(&outbox, 7);
    assert_eq!(outbox.borrow().ending(), Some(Ending::SlowReader));
    assert_eq!(unwritten(&outbox), [message(7)], "it is not lost");
}

#[test]
fn message_that_is_kept_waits_for_room_and_is_not_returned() {
    let outbox = outbox(256);
    let frame = "k".repeat(100);
    let push = |frame: &str| outbox.borrow_mut().push_kept(&frame);
    assert_eq!(push(&"k".repeat(300)), Told::No, "it never fits");
    assert_eq!(push(&frame), Told::Yes);
    assert_eq!(push(&frame), Told::Later);
    assert_eq!(outbox.borrow().ending(), None);
    assert_eq!(Front(&outbox).to_string(), frame);
    outbox.borrow_mut().written();
    assert_eq!(push(&frame), Told::Yes);
    assert!(unwritten(&outbox).is_empty(), "it is in the pending ring");
    outbox.borrow_mut().end(Ending::Closed);
    assert_eq!(push(&frame), Told::No);
}

fn list(outbox: &RefCell<Outbox<'_>>, messages: usize, confirm: bool) {
    let texts: Vec<_> = (0..messages).map(message).collect();
    let records = texts.iter().zip(5..).map(|(text, number)| Record {
        number,
        bytes: text.as_bytes(),
    });
    outbox.borrow_mut().push_list("\"i\"", records, confirm);
}

const ANSWER: &str = r#"{"type":"WebPortal.getPendingNotifications","id":"i","value":["#;

#[test]
fn answer_is_one_frame_and_is_taken_when_it_was_written() {
    let outbox = outbox(256);
    list(&outbox, 2, false);
    push(&outbox, 9);
    let frame = format!(r#"{ANSWER}{},{}]}}"#, message(0), message(1));
    assert_eq!(Front(&outbox).to_string(), frame);
    let taken = Some(6);
    assert_eq!(outbox.borrow_mut().written(), Some(Listed { taken }));
    assert!(Front(&outbox).to_string().contains(&message(9)));
}

#[test]
fn answer_that_is_confirmed_names_its_last_number_and_takes_nothing() {
    let outbox = outbox(256);
    list(&outbox, 2, true);
    let numbers = r#""upto":6,"numbers":[5,6]"#;
    let frame = format!("{ANSWER}{},{}],{numbers}}}", message(0), message(1));
    assert_eq!(Front(&outbox).to_string(), frame);
    assert_eq!(outbox.borrow_mut().written(), Some(Listed { taken: None }));
    assert!(outbox.borrow().is_empty());
}

#[test]
fn answer_without_messages_is_an_empty_list() {
    for (confirm, numbers) in [(false, ""), (true, r#","numbers":[]"#)] {
        let outbox = outbox(256);
        list(&outbox, 0, confirm);
        assert_eq!(Front(&outbox).to_string(), format!("{ANSWER}]{numbers}}}"));
        assert_eq!(outbox.borrow_mut().written(), Some(Listed { taken: None }));
    }
}

#[test]
fn answer_has_as_many_messages_as_fit_and_says_which() {
    let outbox = outbox(256);
    list(&outbox, 20, false);
    let frame = Front(&outbox).to_string();
    let handed = frame.matches("content").count();
    assert!((2..20).contains(&handed), "{handed}");
    let end = format!(r#"{}],"more":true}}"#, message(handed - 1));
    assert!(frame.ends_with(&end), "{frame}");
    let taken = Some(5 + handed as u64 - 1);
    assert_eq!(outbox.borrow_mut().written(), Some(Listed { taken }));
}

#[test]
fn message_that_never_fits_is_counted_and_stands_in_no_way() {
    let outbox = outbox(256);
    let json = format!("\"{}\"", "x".repeat(250));
    let content = Content::parse(json.as_bytes()).unwrap();
    let message = AppMessage::Data(content);
    outbox.borrow_mut().push_message(0, &message);
    let records = [json.as_str(), "{}"].into_iter().zip(0..);
    let records = records.map(|(text, number)| Record {
        number,
        bytes: text.as_bytes(),
    });
    outbox.borrow_mut().push_list("\"i\"", records, false);
    assert_eq!(outbox.borrow().ending(), None);
    assert_eq!(outbox.borrow().evicted(), 2);
    assert_eq!(Front(&outbox).to_string(), format!("{ANSWER}{{}}]}}"));
}

#[test]
fn outbox_of_the_least_size_hands_out_the_largest_message() {
    let outbox = outbox(OUTBOX_BYTES_MIN);
    let largest = "x".repeat(APP_MESSAGE_BYTES_MAX);
    let record = Record {
        number: 0,
        bytes: largest.as_bytes(),
    };
    let id = "i".repeat(FRAME_ID_BYTES_MAX);
    outbox
        .borrow_mut()
        .push_list(&id, core::iter::once(record), true);
    assert_eq!(outbox.borrow().evicted(), 0);
    assert!(Front(&outbox).to_string().contains(&largest));
}

#[test]
fn messages_of_an_answer_are_not_returned_as_they_are_still_pending() {
    let outbox = outbox(256);
    list(&outbox, 2, false);
    push(&outbox, 3);
    assert_eq!(unwritten(&outbox), [message(3)]);
}
