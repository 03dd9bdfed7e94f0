//! Request vectors: requests, answers and orders, written and read.

use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use vinbus_protocol::envelope::{Content, Downlink, DownlinkBody, EncodeError, Uplink};
use vinbus_protocol::id::AppId;
use vinbus_protocol::request::{Absent, Answer, Order, Request, RequestId};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    about: String,
    requests: Vec<RequestCase>,
    answers: Vec<AnswerCase>,
    orders: Vec<OrderCase>,
    read: Vec<Read>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestCase {
    name: String,
    id: String,
    waits: bool,
    app: String,
    content: String,
    #[serde(default)]
    envelope: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerCase {
    name: String,
    id: String,
    content: String,
    #[serde(default)]
    envelope: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderCase {
    order: String,
    id: String,
    #[serde(default)]
    envelope: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    name: String,
    content: String,
    /// Identifier, whether it waits, content.
    #[serde(default)]
    request: Option<(String, bool, String)>,
    #[serde(default)]
    answer: Option<(String, String)>,
    #[serde(default)]
    order: Option<(String, String)>,
}

/// Derives everything that is not an input.
pub(crate) fn derive(file: &mut File) {
    for case in &mut file.requests {
        let request = Request {
            id: id(&case.id),
            absent: match case.waits {
                true => Absent::Wait,
                false => Absent::Refuse,
            },
            content: content(&case.content),
        };
        let app = AppId::parse(&case.app).expect("an app");
        case.envelope = written(|buffer| request.encode_downlink(&app, buffer));
        assert_eq!(Request::read(downlink(&case.envelope)), Some(request));
    }
    for case in &mut file.answers {
        let answer = Answer {
            id: id(&case.id),
            content: content(&case.content),
        };
        case.envelope = written(|buffer| answer.encode_uplink(buffer));
        let uplink = Uplink::decode(case.envelope.as_bytes()).expect("an envelope");
        assert_eq!(Answer::read(uplink.content), Some(answer));
    }
    for case in &mut file.orders {
        let order = match case.order.as_str() {
            "cancel" => Order::Cancel(id(&case.id)),
            "repeat" => Order::Repeat(id(&case.id)),
            other => panic!("no order {other}"),
        };
        case.envelope = written(|buffer| order.encode_downlink(buffer));
        assert_eq!(Order::read(downlink(&case.envelope)), Some(order));
    }
    for case in &mut file.read {
        let content = content(&case.content);
        case.request = Request::read(content).map(|request| {
            let waits = request.absent == Absent::Wait;
            let asked = request.content.as_str().into();
            (request.id.to_string(), waits, asked)
        });
        case.answer = Answer::read(content)
            .map(|answer| (answer.id.to_string(), answer.content.as_str().into()));
        case.order = Order::read(content).map(|order| match order {
            Order::Cancel(id) => ("cancel".into(), id.to_string()),
            Order::Repeat(id) => ("repeat".into(), id.to_string()),
        });
    }
}

fn id(text: &str) -> RequestId {
    RequestId::parse(text).expect("an identifier")
}

fn content(json: &str) -> Content<'_> {
    Content::parse(json.as_bytes()).expect("JSON")
}

fn downlink(envelope: &str) -> Content<'_> {
    let downlink = Downlink::decode(envelope.as_bytes()).expect("an envelope");
    let DownlinkBody::Data(content) = downlink.body else {
        panic!("a popup");
    };
    content
}

fn written(encode: impl for<'b> FnOnce(&'b mut [u8]) -> Result<&'b [u8], EncodeError>) -> String {
    let mut buffer = vec![0xA5; 4096];
    let bytes = encode(&mut buffer).expect("it fits");
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}
