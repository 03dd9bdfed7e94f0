//! Messages with receipts from a vehicle for which a server has no place, and those whose numbers come out of
//! order: none is lost, stored twice or dropped without being counted.

mod hub_support;

use hub_support::Server;
use hub_support::car::Car;
use vinbus_host_server::broker::Outcome;
use vinbus_host_server::model::Cursor;
use vinbus_protocol::delivery::{Header, Marked, Part};
use vinbus_protocol::envelope::Content;
use vinbus_protocol::limits::DELIVERY_IN_FLIGHT_MAX;

/// A message or a part with a number, as the vehicle sends it.
struct Sent {
    number: u32,
    /// Where it begins in the whole, and the whole, of a part.
    part: Option<(u32, &'static str)>,
    text: &'static str,
}

const fn short(number: u32) -> Sent {
    let (part, text) = (None, r#""short""#);
    Sent { number, part, text }
}

const fn part(number: u32, offset: u32, text: &'static str) -> Sent {
    let part = Some((offset, "[1,2,3,4]"));
    Sent { number, part, text }
}

async fn arrive(server: &Server, car: &Car, sent: Sent) -> Outcome {
    let whole = |(offset, whole)| Part {
        offset,
        ..Part::first(whole)
    };
    let header = Header {
        epoch: car.endpoint.epoch(),
        peer: car.endpoint.peer().unwrap(),
        number: sent.number,
        ttl_s: 60,
        part: sent.part.map(whole),
    };
    let mut buffer = [0; 256];
    let payload = match header.part {
        Some(_) => Marked::part(header, sent.text).encode_uplink(&mut buffer),
        None => {
            let content = Content::parse(sent.text.as_bytes()).unwrap();
            let marked = Marked::new(header, content).unwrap();
            marked.encode_uplink(&mut buffer)
        }
    };
    server.arrive(1, payload.unwrap().to_vec()).await
}

async fn log(server: &Server) -> Vec<String> {
    let page = server.hub.uplink_after(Cursor(0), None, None, 1_000).await;
    let messages = page.unwrap().messages.into_iter();
    let payloads = messages.map(|it| it.message.payload.to_vec());
    payloads
        .map(|payload| String::from_utf8(payload).unwrap())
        .collect()
}

#[tokio::test]
async fn part_and_message_that_find_no_place_are_counted_and_taken_when_they_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let mut car = Car::new(7, &server);
    car.meet(&server).await;
    // The vehicle acknowledges no receipt of these.
    let places = 2 * DELIVERY_IN_FLIGHT_MAX as u32;
    for number in 1..=places {
        let came = arrive(&server, &car, short(number)).await;
        assert!(matches!(came, Outcome::StoredAs(_)), "{number}: {came:?}");
    }
    let next = places + 1;
    let came = arrive(&server, &car, part(next, 0, "[1,2")).await;
    assert_eq!(came, Outcome::Refused);
    server.counts("busy", 1).await;
    let came = arrive(&server, &car, short(next + 1)).await;
    assert_eq!(came, Outcome::Refused);
    server.counts("busy", 2).await;
    let parts = server.counted("vinbus_uplink_parts_total", &[("outcome", "stored")]);
    assert_eq!(parts, 0);
    car.until(&server, "there is a place", async |car| {
        arrive(&server, car, part(next, 0, "[1,2")).await == Outcome::Stored
    })
    .await;
    let came = arrive(&server, &car, short(next + 1)).await;
    assert!(matches!(came, Outcome::StoredAs(_)), "{came:?}");
    let came = arrive(&server, &car, part(next + 2, 4, ",3,4]")).await;
    assert_eq!(came, Outcome::Stored);
    let log = log(&server).await;
    assert_eq!(log.len() as u32, places + 2);
    assert_eq!(log.last().unwrap(), r#"{"content":[1,2,3,4]}"#);
    server.close().await;
}

#[tokio::test]
async fn part_whose_number_lies_below_others_that_came_is_taken_and_one_below_the_last_part_drops_nothing()
 {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let mut car = Car::new(7, &server);
    car.meet(&server).await;
    let came = arrive(&server, &car, short(9)).await;
    assert!(matches!(came, Outcome::StoredAs(_)), "{came:?}");
    let began = arrive(&server, &car, part(3, 0, "[1,2")).await;
    assert_eq!(began, Outcome::Stored);
    // The first number of all is below that of the part: it was refused before, and comes late.
    let late = arrive(&server, &car, part(1, 0, "[1,2")).await;
    assert_eq!(late, Outcome::Refused);
    let again = arrive(&server, &car, part(3, 0, "[1,2")).await;
    assert_eq!(again, Outcome::Refused);
    server.counts("came_again", 1).await;
    let went_on = arrive(&server, &car, part(5, 4, ",3,4")).await;
    assert_eq!(went_on, Outcome::Stored);
    let ended = arrive(&server, &car, part(7, 8, "]")).await;
    assert_eq!(ended, Outcome::Stored);
    let expected = [r#"{"content":"short"}"#, r#"{"content":[1,2,3,4]}"#];
    assert_eq!(log(&server).await, expected);
    server.close().await;
}
