//! Topics and payloads of what is told (SPEC 17).

use std::time::SystemTime;

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use vinbus_protocol::bus::{BuildError, BusTopicText, TopicSpec, topics};
use vinbus_protocol::envelope;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

use super::REFUSED;
use super::intake::Refusal;
use crate::bus::ClientName;
use crate::hub::{HubEvent, MessageHead, request_id};
use crate::model::Uplink;
use crate::uplink_json::timestamp;

/// A message for one application.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) topic: BusTopicText,
    pub(super) payload: Bytes,
}

/// What happened in the hub, as `app` is told of it.
///
/// # Errors
/// None: names, VINs and steps are levels of a topic.
pub(super) fn of_hub(
    event: &HubEvent,
    app: &ClientName,
    now: SystemTime,
) -> Result<Event, BuildError> {
    match event {
        HubEvent::Presence {
            vin,
            presence,
            since,
            ..
        } => {
            let own = json!({
                "vin": vin.as_str(), "presence": presence.name(), "since": timestamp(*since),
            });
            event_of(
                &topics::VEHICLE_PRESENCE,
                app,
                &[("vin", vin.as_str())],
                now,
                own,
            )
        }
        HubEvent::Health { vin, uid, report } => {
            let report = RawValue::from_string(report.to_string()).ok();
            let own = json!({ "vin": vin.as_str(), "uid": uid.as_str(), "report": report });
            event_of(
                &topics::VEHICLE_HEALTH,
                app,
                &[("vin", vin.as_str())],
                now,
                own,
            )
        }
        HubEvent::Refused {
            vin,
            uid,
            reason,
            detail,
        } => {
            let own = json!({
                "vin": vin.as_str(), "uid": uid.as_str(), "reason": reason, "detail": detail,
            });
            event_of(
                &topics::VEHICLE_REFUSED,
                app,
                &[("vin", vin.as_str())],
                now,
                own,
            )
        }
        HubEvent::Step {
            id, message, step, ..
        } => {
            let mut own = head(message);
            own["messageId"] = json!(id.0);
            own["step"] = json!(step.name());
            let variables = [("vin", message.vin.as_str()), ("step", step.name())];
            event_of(&topics::VEHICLE_MESSAGE, app, &variables, now, own)
        }
    }
}

/// A message of a vehicle. Its content keeps every byte, or is left out where it does not fit.
///
/// # Errors
/// As [`of_hub`].
pub(super) fn received(
    uplink: &Uplink,
    app: &ClientName,
    now: SystemTime,
) -> Result<Event, BuildError> {
    let message = &uplink.message;
    let content = envelope::Uplink::decode_long(&message.payload);
    let content = content.map_or("null", |decoded| decoded.content.as_str());
    let mut own = json!({
        "vin": message.vin.as_str(),
        "uid": message.uid.as_str(),
        "cursor": uplink.stamped().to_string(),
        "receivedAt": timestamp(message.received_at),
    });
    if let Some(subtopic) = &message.subtopic {
        own["subtopic"] = json!(subtopic);
    }
    if let Some(id) = request_id(content.as_bytes()) {
        own["requestId"] = json!(id);
    }
    let variables = [("vin", message.vin.as_str())];
    let topic = topic(&topics::VEHICLE_RECEIVED, app, &variables)?;
    let mut payload = whole(app, now, own.clone());
    payload.pop();
    payload.extend_from_slice(b",\"content\":");
    payload.extend_from_slice(content.as_bytes());
    payload.push(b'}');
    if payload.len() > PAYLOAD_BYTES_MAX {
        own["contentBytes"] = json!(content.len());
        payload = whole(app, now, own);
    }
    Ok(Event {
        topic,
        payload: payload.into(),
    })
}

/// A message of the bus was not taken on for a vehicle.
///
/// # Errors
/// As [`of_hub`].
pub(super) fn refused(refusal: &Refusal, now: SystemTime) -> Result<Event, BuildError> {
    let mut own = json!({
        "vin": refusal.vehicle,
        "uid": refusal.uid.as_str(),
        "idApp": refusal.id_app.as_str(),
        "step": REFUSED,
        "reason": refusal.error.name(),
        "detail": refusal.error.to_string(),
    });
    if let Some(id) = &refusal.request_id {
        own["requestId"] = json!(id);
    }
    let variables = [("vin", &*refusal.vehicle), ("step", REFUSED)];
    event_of(&topics::VEHICLE_MESSAGE, &refusal.app, &variables, now, own)
}

/// So many events could not be told.
///
/// # Errors
/// As [`of_hub`].
pub(super) fn missed(count: u64, app: &ClientName, now: SystemTime) -> Result<Event, BuildError> {
    event_of(
        &topics::VEHICLE_MISSED,
        app,
        &[],
        now,
        json!({ "count": count }),
    )
}

fn head(message: &MessageHead) -> Value {
    let mut head = json!({
        "vin": message.vin.as_str(),
        "uid": message.uid.as_str(),
        "idApp": message.app.as_str(),
    });
    if let Some(id) = &message.request_id {
        head["requestId"] = json!(id);
    }
    head
}

fn event_of(
    spec: &TopicSpec,
    app: &ClientName,
    variables: &[(&str, &str)],
    now: SystemTime,
    own: Value,
) -> Result<Event, BuildError> {
    Ok(Event {
        topic: topic(spec, app, variables)?,
        payload: whole(app, now, own).into(),
    })
}

fn topic(
    spec: &TopicSpec,
    app: &ClientName,
    variables: &[(&str, &str)],
) -> Result<BusTopicText, BuildError> {
    let app = [("appId", app.as_str())];
    let all: Vec<_> = app.into_iter().chain(variables.iter().copied()).collect();
    spec.topic(&all)
}

/// The object with its base fields.
fn whole(app: &ClientName, now: SystemTime, own: Value) -> Vec<u8> {
    let mut members = Map::new();
    members.insert("appId".to_owned(), json!(app.as_str()));
    members.insert("ts".to_owned(), json!(timestamp(now)));
    if let Value::Object(own) = own {
        members.extend(own);
    }
    // A map of strings and numbers can be written.
    serde_json::to_vec(&members).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use vinbus_protocol::id::{AppId, Uid, Vin};
    use vinbus_protocol::limits::DELIVERY_LONG_BYTES_MAX;

    use super::*;
    use crate::model::{Brief, Cursor, MessageId, NewUplink, Presence, Step};

    const VIN: &str = "0123456789ABCDEFG";

    fn vin() -> Vin {
        Vin::parse(VIN).unwrap()
    }

    fn uid() -> Uid {
        Uid::parse("partner").unwrap()
    }

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1)
    }

    fn check(event: Result<Event, BuildError>, topic: &str, expected: &Value) {
        let event = event.unwrap();
        assert_eq!(event.topic.as_str(), format!("app/myapp/vehicle/{topic}"));
        let payload: Value = serde_json::from_slice(&event.payload).unwrap();
        let mut whole = json!({ "appId": "myapp", "ts": "1970-01-01T00:00:01.000Z" });
        for (name, value) in expected.as_object().unwrap() {
            whole[name] = value.clone();
        }
        assert_eq!(payload, whole);
    }

    fn told(event: &HubEvent) -> Result<Event, BuildError> {
        of_hub(event, &ClientName::parse("myapp").unwrap(), now())
    }

    #[test]
    fn every_event_has_its_topic_and_members() {
        let presence = HubEvent::Presence {
            vin: vin(),
            presence: Presence::Online,
            since: UNIX_EPOCH,
            partners: vec![uid()],
        };
        let expected = json!({
            "vin": VIN, "presence": "online", "since": "1970-01-01T00:00:00.000Z",
        });
        check(told(&presence), &format!("presence/{VIN}"), &expected);

        let health = HubEvent::Health {
            vin: vin(),
            uid: uid(),
            report: r#"{"agent":"1"}"#.into(),
        };
        let expected = json!({ "vin": VIN, "uid": "partner", "report": { "agent": "1" } });
        check(told(&health), &format!("health/{VIN}"), &expected);

        let refused = HubEvent::Refused {
            vin: vin(),
            uid: uid(),
            reason: "missing_content",
            detail: "no".to_owned(),
        };
        let expected = json!({
            "vin": VIN, "uid": "partner", "reason": "missing_content", "detail": "no",
        });
        check(told(&refused), &format!("refused/{VIN}"), &expected);

        for step in Step::ALL {
            let event = HubEvent::Step {
                id: MessageId("m1".to_owned()),
                message: MessageHead {
                    vin: vin(),
                    uid: uid(),
                    app: AppId::parse("demo").unwrap(),
                    expires_at: UNIX_EPOCH,
                    brief: Brief::default(),
                    request_id: Some("r-1".into()),
                },
                step,
                at: UNIX_EPOCH,
            };
            let expected = json!({
                "vin": VIN, "uid": "partner", "idApp": "demo", "messageId": "m1",
                "step": step.name(), "requestId": "r-1",
            });
            check(
                told(&event),
                &format!("message/{VIN}/{}", step.name()),
                &expected,
            );
        }
    }

    fn uplink(content: &str) -> Uplink {
        Uplink {
            cursor: Cursor(7),
            message: NewUplink {
                uid: uid(),
                vin: vin(),
                subtopic: None,
                payload: format!("{{\"content\":{content}}}").into(),
                received_at: UNIX_EPOCH,
            },
        }
    }

    #[test]
    fn content_keeps_its_bytes_and_is_left_out_where_it_does_not_fit() {
        let app = ClientName::parse("myapp").unwrap();
        let content = r#"{"requestId":"r-1", "a" : 1.0}"#;
        let event = received(&uplink(content), &app, now()).unwrap();
        let text = String::from_utf8(event.payload.to_vec()).unwrap();
        assert!(
            text.ends_with(&format!(",\"content\":{content}}}")),
            "{text}"
        );
        let whole: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&whole["requestId"], &whole["cursor"]),
            (&json!("r-1"), &json!("7-000000"))
        );

        let long = format!(r#"{{"a":"{}","requestId":"r-2"}}"#, "x".repeat(300_000));
        let event = received(&uplink(&long), &app, now()).unwrap();
        let told: Value = serde_json::from_slice(&event.payload).unwrap();
        let (id, bytes) = (&told["requestId"], &told["contentBytes"]);
        assert_eq!((id, bytes), (&json!("r-2"), &json!(long.len())));
        for bytes in [PAYLOAD_BYTES_MAX - 12, DELIVERY_LONG_BYTES_MAX] {
            let long = format!("\"{}\"", "x".repeat(bytes - 2));
            let event = received(&uplink(&long), &app, now());
            let expected = json!({
                "vin": VIN, "uid": "partner", "cursor": "7-000000",
                "receivedAt": "1970-01-01T00:00:00.000Z", "contentBytes": bytes,
            });
            check(event, &format!("received/{VIN}"), &expected);
        }
    }
}
