//! What a vehicle may say of a message, word by word, and what its sender is told.
//! The vehicle is the protocol's own endpoint, behind a broker that the test plays.

mod hub_support;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hub_support::car::Car;
use hub_support::{Server, downlink};
use vinbus_host_server::model::{Cursor, MessageId, NewDownlink, RECEIPT_SUBTOPIC, Receipts, Step};
use vinbus_protocol::delivery;

async fn submit(server: &Server, n: usize) -> MessageId {
    let message = NewDownlink {
        envelope: Bytes::from(format!(
            "{{\"idApp\":\"app\",\"popup\":false,\"content\":{{\"n\":{n}}}}}"
        )),
        receipts: Receipts::Asked,
        expires_at: SystemTime::now() + Duration::from_secs(3600),
        ..downlink(1, n)
    };
    server.hub.submit_downlink(message).await.unwrap().id
}

/// Waits until this is the last that was told of a message.
async fn told_last(car: &mut Car, server: &Server, id: &MessageId, step: Step) {
    car.until(server, step.name(), async |_| {
        server.steps(id).await.last() == Some(&step)
    })
    .await;
}

/// The steps that the log tells of messages, each with the message's identifier.
async fn logged(server: &Server) -> Vec<(String, String)> {
    let page = server.hub.uplink_after(Cursor(0), None, None, 10_000).await;
    let entries = page.unwrap().messages.into_iter();
    entries
        .map(|entry| {
            assert_eq!(entry.message.subtopic.as_deref(), Some(RECEIPT_SUBTOPIC));
            let value: serde_json::Value = serde_json::from_slice(&entry.message.payload).unwrap();
            let member = |name: &str| value["content"][name].as_str().unwrap().to_owned();
            (member("id"), member("step"))
        })
        .collect()
}

#[tokio::test]
async fn whatever_a_vehicle_says_of_a_message_its_sender_is_told() {
    use delivery::Step as Said;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let mut car = Car::new(7, &server);
    car.meet(&server).await;
    for (n, said) in Said::ALL.into_iter().enumerate() {
        let told = match said {
            Said::Expired => Step::Expired,
            // A word of a part says nothing of a message that went as one.
            Said::PartStored | Said::PartMissing => Step::Told(Said::BadContent),
            said => Step::Told(said),
        };
        car.step = said;
        let id = submit(&server, n).await;
        told_last(&mut car, &server, &id, told).await;
        let steps = server.steps(&id).await;
        assert_eq!(steps, [Step::Accepted, Step::Sent, told], "{said}");
        let logged = logged(&server).await;
        let of_it = logged.iter().filter(|(of, _)| *of == id.0);
        let of_it: Vec<_> = of_it.map(|(_, step)| step.as_str()).collect();
        assert_eq!(of_it, ["sent", told.name()], "{said}");
    }
}
