//! Requests whose answers come late, or never.

mod hub_support;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hub_support::{Server, downlink, polled, uplink_topic, vin};
use vinbus_host_server::broker::BrokerEvents as _;
use vinbus_host_server::hub::{NewRequest, RequestOutcome};
use vinbus_host_server::model::{NewDownlink, Presence, Receipts};
use vinbus_protocol::envelope::Content;
use vinbus_protocol::request::{Absent, Request, RequestId};

fn request(id: u64, time: Duration) -> NewRequest {
    let id = RequestId::new(id);
    let content = Content::parse(b"1").unwrap();
    let absent = Absent::Wait;
    let message = downlink(1, 0);
    let mut buffer = [0; 512];
    let asked = Request {
        id,
        absent,
        content,
    };
    let envelope = asked.encode_downlink(&message.app, &mut buffer).unwrap();
    NewRequest {
        id,
        message: NewDownlink {
            envelope: Bytes::copy_from_slice(envelope),
            expires_at: SystemTime::now() + time,
            receipts: Receipts::Asked,
            ..message
        },
        absent,
        has_key: true,
    }
}

async fn outcome(server: &Server, request: &NewRequest) -> RequestOutcome {
    server.hub.request(request.clone()).await.unwrap().outcome
}

#[tokio::test]
async fn answer_that_comes_late_is_had_by_whoever_asks_again_as_long_as_the_message_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    server.hub.presence_changed(vin(1), Presence::Offline);
    let request = request(0xa7, Duration::from_millis(20));
    assert_eq!(outcome(&server, &request).await, RequestOutcome::TimedOut);
    // Until it comes, who asks again is told the same at once.
    assert_eq!(outcome(&server, &request).await, RequestOutcome::TimedOut);
    let topic = uplink_topic(1) + "vinbus/answer";
    let late = r#"{"content":{"vinbus":{"q":"00000000000000a7"},"content":"late"}}"#;
    server.arrive_on(&topic, late).await;
    let answered = RequestOutcome::Answered(Bytes::from_static(b"\"late\""));
    polled("the answer is had", async || {
        outcome(&server, &request).await == answered
    })
    .await;
    server.close().await;
    let server = Server::open(dir.path());
    assert_eq!(outcome(&server, &request).await, answered);
    server.close().await;
}

#[tokio::test]
async fn answers_of_another_vehicle_or_partner_or_to_no_request_are_dropped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    server.hub.presence_changed(vin(1), Presence::Online);
    let request = request(0xa7, Duration::from_secs(60));
    let asking = outcome(&server, &request);
    let answers = async {
        polled("it is open", async || {
            server.counted("vinbus_requests_total", &[("what", "made")]) == 1
        })
        .await;
        let answer = |id: &str, content: &str| {
            format!(r#"{{"content":{{"vinbus":{{"q":"{id}"}},"content":{content}}}}}"#)
        };
        let subtopic = "vinbus/answer";
        let other_partner = uplink_topic(1).replace("/partner/", "/other/");
        for topic in [uplink_topic(2), other_partner] {
            let forged = answer("00000000000000a7", "\"forged\"");
            server.arrive_on(&(topic + subtopic), forged).await;
        }
        let topic = uplink_topic(1) + subtopic;
        for nothing in [
            answer("00000000000000a8", "1"),
            answer("a7", "1"),
            r#"{"content":"00000000000000a7"}"#.to_owned(),
        ] {
            server.arrive_on(&topic, nothing).await;
        }
        let refused = server.counted("vinbus_uplink_refused_total", &[("reason", "answer")]);
        assert_eq!(refused, 5);
        let honest = answer("00000000000000a7", "\"honest\"");
        server.arrive_on(&topic, honest.clone()).await;
        server.arrive_on(&topic, honest).await;
    };
    let (outcome, ()) = tokio::join!(asking, answers);
    let honest = Bytes::from_static(b"\"honest\"");
    assert_eq!(outcome, RequestOutcome::Answered(honest));
    server.close().await;
}
