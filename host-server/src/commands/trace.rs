//! `trace`: what became of a message for a vehicle, step by step.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::client::Server;
use super::{AskError, print};
use crate::cli::TraceArgs;
use crate::model::lost_request;

/// A message as the server shows it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Traced {
    uid: String,
    vin: String,
    app: String,
    #[serde(default)]
    receipts: String,
    #[serde(default)]
    without_receipts: bool,
    key: Option<String>,
    expires_at: String,
    steps: Vec<TracedStep>,
    transfer: Option<Transfer>,
    request: Option<IgnoredAny>,
    #[serde(default)]
    message: Envelope,
}

/// What tells a popup from a message that could have had receipts.
#[derive(Default, Deserialize)]
struct Envelope {
    #[serde(default)]
    popup: bool,
}

/// How far a message is that travels in parts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transfer {
    bytes: u64,
    stored: u64,
    begun: u64,
    vehicle_max: Option<u64>,
}

#[derive(Deserialize)]
struct TracedStep {
    step: String,
    at: String,
}

/// Prints one line for each step, or the server's own words.
///
/// # Errors
/// An [`AskError`].
pub async fn run(args: TraceArgs) -> Result<(), AskError> {
    let server = Server::new(&args.access)?;
    let url = server.at(&["messages", &args.id]);
    let answer = server.send(server.get(url)).await?;
    let told: Box<RawValue> = answer
        .json()
        .await
        .map_err(|error| server.strange(&error))?;
    let text = if args.json {
        // JSON has line ends between its tokens only.
        told.get().replace(['\n', '\r'], " ") + "\n"
    } else {
        lines(&serde_json::from_str(told.get()).map_err(|error| server.strange(&error))?)
    };
    print(&text)
}

fn lines(message: &Traced) -> String {
    let line = |TracedStep { step, at }: &TracedStep| {
        let reason = reason(step, message);
        let line = format!("{at}  {step:<15}  {reason}");
        line.trim_end().to_owned() + "\n"
    };
    let mut lines: String = message.steps.iter().map(line).collect();
    if let Some(transfer) = &message.transfer {
        lines += &progress(transfer);
    }
    lines
}

/// How far a message is that travels in parts, as one line.
fn progress(transfer: &Transfer) -> String {
    let Transfer {
        bytes,
        stored,
        begun,
        vehicle_max,
    } = transfer;
    let mut line = format!("in parts: the vehicle has {stored} of {bytes} bytes");
    if *begun > 1 {
        line += &format!(", begun {begun} times");
    }
    match vehicle_max {
        Some(max) if max < bytes => {
            line += &format!("; it announced that it takes at most {max} in parts");
        }
        Some(_) | None => {}
    }
    line + "\n"
}

/// Whether a message came to a step since it was sent again, if it was.
fn came_to(message: &Traced, step: &str) -> bool {
    let steps = message.steps.iter().rev();
    let mut steps = steps.take_while(|it| it.step != "sent_again");
    steps.any(|it| it.step == step)
}

/// How far a message came whose time is over.
fn how_far(message: &Traced) -> &'static str {
    let came_to = |step: &str| came_to(message, step);
    let is_request = message.request.is_some();
    if came_to("handed") && is_request {
        "the app was given it, and did not answer"
    } else if came_to("handed") {
        "the app was given it, and did not confirm it"
    } else if came_to("held_background") || came_to("held_privacy") {
        "it waited in the vehicle, and its app did not take it"
    } else if came_to("at_agent") {
        "the vehicle had it, and its app did not take it"
    } else if came_to("part_stored") {
        "the vehicle had a part of it, and not all"
    } else if came_to("sent") {
        "it was sent, and the vehicle never said that it has it"
    } else if message.steps.iter().any(|it| it.step == "sent_again") {
        "the vehicle had lost it with its memory, and was not reached again"
    } else if came_to("held") {
        "it was never sent, as the vehicle was not reached"
    } else {
        "it was never sent, as its turn did not come"
    }
}

/// What a step means, as far as this program knows it.
fn reason(step: &str, message: &Traced) -> String {
    let Traced {
        uid,
        vin,
        app,
        key,
        expires_at,
        ..
    } = message;
    match step {
        "accepted" => {
            let key = key.as_ref().map(|key| format!(", key {key}"));
            let key = key.unwrap_or_default();
            format!("from {uid} for {app} in {vin}{key}, worth sending until {expires_at}")
        }
        "superseded" => "a newer message of its key took its place before it was sent".to_owned(),
        "held" => "the vehicle is offline, or does not listen to this partner".to_owned(),
        "sent" if message.without_receipts => {
            "the broker has it; it went without receipts, as the vehicle offers none: nobody tells \
             what becomes of it"
                .to_owned()
        }
        "sent" if message.message.popup => {
            "the broker has it; a popup carries no receipts: nobody tells what becomes of it".to_owned()
        }
        "sent" if message.receipts == "no" => {
            "the broker has it; no receipts were asked for: nobody tells what becomes of it".to_owned()
        }
        "sent" => "the broker has it".to_owned(),
        "rejected" => "the broker can never carry it; the server's log says why".to_owned(),
        "expired" => format!("{}; its time was over at {expires_at}", how_far(message)),
        "at_agent" => "the vehicle has it".to_owned(),
        "held_background" => "it waits for its app, which is in the background".to_owned(),
        "held_privacy" => "it waits, as privacy is asked for".to_owned(),
        "handed" => "the app was given it, and is to confirm it".to_owned(),
        "taken" => "the app was given it, in a way in which it confirms nothing".to_owned(),
        "confirmed" => "the app has confirmed that it has it".to_owned(),
        "part_stored" => "the vehicle has a part of it, and more follow".to_owned(),
        "part_missing" => "the vehicle had lost what was stored: it begins again".to_owned(),
        "known" | "given_up" | "peer_restarted" if message.request.is_some() => {
            lost_request(step).to_owned()
        }
        "known" => {
            "the vehicle had it before, and does not know any more what became of it: the app may have it"
                .to_owned()
        }
        "evicted" if came_to(message, "handed") => {
            "the app was given it and did not confirm it, and newer messages took its place: it may \
             have it"
                .to_owned()
        }
        "evicted" => {
            "newer messages took its place before its app took it; one that confirms all that it gets \
             may have it"
                .to_owned()
        }
        "unknown_app" => format!("{app} is not installed in the vehicle"),
        "too_large" => "the vehicle cannot take a message of this size".to_owned(),
        "bad_content" => "the vehicle could not read it".to_owned(),
        "denied" => format!("the vehicle does not let {uid} send to {app}"),
        "refused_by_app" => "the app refused it".to_owned(),
        "given_up" => "the vehicle never said what became of it".to_owned(),
        "peer_restarted" => {
            let why = match (message.receipts.as_str(), &message.key) {
                ("repeatable", Some(_)) => ", as a newer value of its key may have come to the app",
                _ => "",
            };
            format!(
                "the vehicle, or this server, lost what it knew of it: the app may have it or not, and it is not sent \
                 again{why}"
            )
        }
        "sent_again" => {
            "the vehicle, or this server, lost what it knew of it: as it may be repeated, it is sent once more"
                .to_owned()
        }
        "unsupported" => "the vehicle answers no requests".to_owned(),
        "answered" => "the app has answered the request".to_owned(),
        "not_there" => {
            "the app was not in the foreground, and the request did not wait for it".to_owned()
        }
        "cancelled" => "the request was cancelled".to_owned(),
        "busy" => "the vehicle has as many open requests as it may".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(steps: &[&str], request: bool) -> String {
        let steps = steps
            .iter()
            .map(|step| format!(r#"{{"step":"{step}","at":"T"}}"#));
        let steps = steps.collect::<Vec<_>>().join(",");
        let request = match request {
            true => r#","request":{"requestId":"00a7","absent":"wait"}"#,
            false => "",
        };
        let told = format!(
            r#"{{"uid":"u","vin":"v","app":"a","expiresAt":"E","steps":[{steps}]{request}}}"#
        );
        lines(&serde_json::from_str(&told).unwrap())
    }

    fn last(steps: &[&str], request: bool) -> String {
        traced(steps, request).lines().last().unwrap().to_owned()
    }

    #[test]
    fn message_that_was_evicted_is_told_as_with_the_app_if_it_was_handed() {
        for (steps, told) in [
            (&["sent", "held_background"][..], "before its app took it"),
            (&["sent", "handed"], "the app was given it"),
            (&["handed", "sent_again", "sent"], "before its app took it"),
        ] {
            let line = last(&[steps, &["evicted"]].concat(), false);
            assert!(line.contains(told), "{steps:?}: {line}");
        }
    }

    #[test]
    fn message_of_which_nothing_more_is_told_is_told_with_the_reason() {
        let nobody = ": nobody tells what becomes of it";
        for (more, told, end) in [
            (r#""yes""#, "the broker has it", ""),
            (
                r#""yes","withoutReceipts":true"#,
                "as the vehicle offers none",
                nobody,
            ),
            (r#""no""#, "no receipts were asked for", nobody),
            (
                r#""no","message":{"idApp":"a","popup":true,"popupText":"t"}"#,
                "a popup carries no receipts",
                nobody,
            ),
        ] {
            let told_of = format!(
                r#"{{"uid":"u","vin":"v","app":"a","expiresAt":"E","receipts":{more},
                    "steps":[{{"step":"sent","at":"T"}}]}}"#
            );
            let line = lines(&serde_json::from_str(&told_of).unwrap());
            assert!(line.ends_with(&format!("{told}{end}\n")), "{line}");
        }
    }

    #[test]
    fn message_whose_time_is_over_is_told_with_how_far_it_came() {
        for (steps, told) in [
            (&["accepted"][..], "never sent, as its turn did not come"),
            (
                &["accepted", "held"],
                "never sent, as the vehicle was not reached",
            ),
            (
                &["accepted", "held", "sent"],
                "the vehicle never said that it has it",
            ),
            (
                &["accepted", "sent", "at_agent"],
                "the vehicle had it, and its app",
            ),
            (&["accepted", "sent", "part_stored"], "a part of it"),
            (
                &["accepted", "sent", "held_background"],
                "it waited in the vehicle",
            ),
            (
                &["accepted", "held_privacy", "sent_again"],
                "was not reached again",
            ),
            (
                &["accepted", "held_privacy", "sent_again", "sent"],
                "the vehicle never said that it has it",
            ),
            (
                &["accepted", "sent", "held_privacy", "handed"],
                "did not confirm it",
            ),
        ] {
            let last = last(&[steps, &["expired"][..]].concat(), false);
            assert!(last.contains(told), "{steps:?}: {last}");
            assert!(last.ends_with("its time was over at E"), "{last}");
        }
        let last = last(&["accepted", "sent", "handed", "expired"], true);
        assert!(last.contains("did not answer"), "{last}");
    }

    #[test]
    fn request_that_was_lost_is_told_as_its_caller_was() {
        for (step, told) in [
            ("known", "the vehicle started again"),
            ("peer_restarted", "the vehicle started again"),
            ("given_up", "the vehicle never said"),
        ] {
            let last = last(&["accepted", "sent", step], true);
            assert!(last.contains(told), "{last}");
            assert!(last.contains("may have begun with it or not"), "{last}");
            let message = self::last(&["accepted", "sent", step], false);
            assert!(!message.contains("begun"), "{message}");
        }
    }
}
