//! What the broker does with messages, tried on a topic of the doctor's own.

use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

use super::report::Report;
use super::session::{Access, Answer, Fault, Session};
use super::wire::{self, Outgoing, Properties, Publish, Version};

/// The checks that need messages.
pub(super) const CHECKS: [&str; 5] = ["publish", "qos", "size", "retained", "no-local"];

/// What is known before.
pub(super) struct Trial<'a> {
    pub(super) access: &'a Access,
    pub(super) version: Version,
    pub(super) welcome: &'a Properties,
    pub(super) topic: &'a str,
}

/// Whether the broker lets us hear what we publish.
#[derive(Debug, PartialEq, Eq)]
enum Echo {
    Heard,
    /// Why not.
    Unheard(String),
}

impl Trial<'_> {
    /// Publishes, and says what became of it.
    pub(super) async fn check(&self, report: &mut Report) {
        let before = report.checks.len();
        if let Err(fault) = self.all(report).await {
            let done: Vec<_> = report.checks[before..]
                .iter()
                .map(|it| it.check.clone())
                .collect();
            let mut left = CHECKS
                .iter()
                .filter(|check| !done.iter().any(|it| it == *check));
            if let Some(check) = left.next() {
                let value = format!("on {}: {}", self.topic, fault.value());
                report.failed(check, value, fault.advice());
            }
            for check in left {
                report.not_tested(check, "the connection is lost");
            }
        }
    }

    async fn all(&self, report: &mut Report) -> Result<(), Fault> {
        let mut session = Session::open(self.access, self.version).await?;
        let granted = session.subscribe(self.topic, 2, false).await?;
        let Some(echo) = self.publish_and_qos(report, &mut session, &granted).await? else {
            session.close().await;
            return Ok(());
        };
        let hears = echo == Echo::Heard;
        session.close().await;
        self.size(report, hears).await?;
        if let Echo::Unheard(why) = echo {
            self.retained_by_word(report, &why);
            report.not_tested("no-local", why);
            return Ok(());
        }
        self.retained(report).await?;
        self.no_local(report).await
    }

    fn payload(&self, mark: &str, len: usize) -> Vec<u8> {
        let mut payload = format!("vinbus doctor {} {mark} ", self.access.client_id).into_bytes();
        payload.resize(payload.len().max(len), b'x');
        payload
    }

    fn qos_max(&self) -> u8 {
        self.welcome.maximum_qos.unwrap_or(2)
    }

    fn message<'m>(&'m self, payload: &'m [u8], qos: u8) -> Outgoing<'m> {
        let qos = qos.min(self.qos_max());
        Outgoing {
            topic: self.topic,
            payload,
            qos,
            retain: false,
        }
    }

    /// Publishes at each QoS; `None` if the broker refuses it.
    async fn publish_and_qos(
        &self,
        report: &mut Report,
        session: &mut Session<'_>,
        granted: &Answer,
    ) -> Result<Option<Echo>, Fault> {
        let mut arrived = Vec::new();
        let mut unheard = granted.is_refusal().then(|| {
            let answer = granted.shown(self.version);
            format!(
                "the broker does not let us hear {}: SUBACK {answer}",
                self.topic
            )
        });
        for qos in [1, 2, 0] {
            if qos > self.qos_max() {
                continue;
            }
            let payload = self.payload(&format!("qos-{qos}"), 0);
            let answer = session.publish(&self.message(&payload, qos)).await?;
            if let Some(answer) = answer.filter(Answer::is_refusal) {
                let value = format!("{} is refused: {}", self.topic, answer.shown(self.version));
                let advice =
                    "ask the broker's operator to let this user publish below its UID, to any VIN";
                report.failed("publish", value, advice);
                report.skip(&CHECKS[1..], "the broker does not let us publish");
                return Ok(None);
            }
            if unheard.is_some() {
                continue;
            }
            match session.hear(|heard| heard.payload == payload).await {
                Ok(heard) => arrived.push((qos, heard)),
                Err(Fault::Silent { .. }) => {
                    unheard = Some(format!(
                        "the broker granted {} but delivered nothing on it: its rules let us publish or \
                         hear, not both",
                        self.topic
                    ));
                }
                Err(fault) => return Err(fault),
            }
        }
        self.tell_publish(report, arrived.first().map(|(_, heard)| heard));
        arrived.sort_by_key(|(qos, _)| *qos);
        Ok(Some(match unheard {
            Some(why) => {
                report.not_tested("qos", why.clone());
                Echo::Unheard(why)
            }
            None => {
                self.tell_qos(report, granted.code, &arrived);
                Echo::Heard
            }
        }))
    }

    fn tell_publish(&self, report: &mut Report, heard: Option<&Publish>) {
        let topic = self.topic;
        match heard {
            Some(heard) if heard.topic != topic => {
                let shown = super::report::foreign(&heard.topic);
                let value = format!("what is published on {topic} arrives on {shown}");
                let advice = "the broker rewrites topics: have its operator switch that off";
                report.warning("publish", value, advice);
            }
            Some(_) => report.ok("publish", format!("what is published on {topic} arrives")),
            None if self.version == Version::V5 && self.qos_max() > 0 => {
                report.ok("publish", format!("{topic} is acknowledged"));
            }
            None => report.not_tested(
                "publish",
                format!(
                    "{topic}: nothing tells whether the broker took it (MQTT 3.1.1 cannot refuse)"
                ),
            ),
        }
    }

    fn tell_qos(&self, report: &mut Report, granted: u8, arrived: &[(u8, Publish)]) {
        let pairs: Vec<_> = arrived
            .iter()
            .map(|(qos, heard)| format!("{qos} arrives as {}", heard.qos))
            .collect();
        let value = format!("granted {granted} of 2; {}", pairs.join(", "));
        let downgraded = arrived.iter().any(|(qos, heard)| heard.qos < *qos) || self.qos_max() < 1;
        if downgraded {
            let advice = "an acknowledgement of this broker does not mean delivery: send what must arrive with \
                          receipts (--receipts-for of serve)";
            report.warning("qos", value, advice);
        } else {
            report.ok("qos", value);
        }
    }

    fn retained_by_word(&self, report: &mut Report, why: &str) {
        if self.welcome.retain_available == Some(0) {
            report.warning(
                "retained",
                "the CONNACK says that nothing is retained",
                NO_PRESENCE,
            );
        } else {
            report.not_tested("retained", why);
        }
    }

    async fn retained(&self, report: &mut Report) -> Result<(), Fault> {
        if self.welcome.retain_available == Some(0) {
            self.retained_by_word(report, "");
            return Ok(());
        }
        let payload = self.payload("retained", 0);
        let seen = self.is_retained(&payload).await;
        // Whatever happened: nothing stays behind.
        let deleted = self.delete_retained(&payload).await;
        match (seen?, deleted?) {
            (true, true) => report.ok(
                "retained",
                "kept for who subscribes later, and deleted again",
            ),
            (true, false) => report.failed(
                "retained",
                format!("the message on {} cannot be deleted", self.topic),
                "have the broker's operator delete it, and allow empty retained messages",
            ),
            (false, _) => report.warning("retained", "a retained message is not kept", NO_PRESENCE),
        }
        Ok(())
    }

    async fn is_retained(&self, payload: &[u8]) -> Result<bool, Fault> {
        let mut session = Session::open(self.access, self.version).await?;
        let message = Outgoing {
            retain: true,
            ..self.message(payload, 1)
        };
        session.publish(&message).await?;
        session.subscribe(self.topic, 1, false).await?;
        let kept = self
            .hears_before_mark(&mut session, payload, "after-retained")
            .await?;
        session.close().await;
        Ok(kept)
    }

    async fn delete_retained(&self, payload: &[u8]) -> Result<bool, Fault> {
        let mut session = Session::open(self.access, self.version).await?;
        let empty = Outgoing {
            retain: true,
            ..self.message(&[], 1)
        };
        session.publish(&empty).await?;
        session.subscribe(self.topic, 1, false).await?;
        let kept = self
            .hears_before_mark(&mut session, payload, "after-deletion")
            .await?;
        session.close().await;
        Ok(!kept)
    }

    /// Publishes a mark, and says whether `payload` comes before it: messages of one topic and QoS keep
    /// their order, so nobody has to wait for what does not come.
    async fn hears_before_mark(
        &self,
        session: &mut Session<'_>,
        payload: &[u8],
        mark: &str,
    ) -> Result<bool, Fault> {
        let mark = self.payload(mark, 0);
        session.publish(&self.message(&mark, 1)).await?;
        let heard = session
            .hear(|heard| heard.payload == payload || heard.payload == mark)
            .await?;
        if heard.payload == mark {
            return Ok(false);
        }
        session.hear(|heard| heard.payload == mark).await?;
        Ok(true)
    }

    async fn no_local(&self, report: &mut Report) -> Result<(), Fault> {
        if self.version == Version::V311 {
            report.not_tested("no-local", "MQTT 3.1.1 does not have it");
            return Ok(());
        }
        let mut session = Session::open(self.access, self.version).await?;
        let granted = session.subscribe(self.topic, 1, true).await?;
        if granted.is_refusal() {
            let value = format!(
                "a subscription with it is refused: {}",
                granted.shown(self.version)
            );
            report.warning("no-local", value, NO_LOCAL_IGNORED);
            return Ok(());
        }
        let own = self.payload("no-local", 0);
        session.publish(&self.message(&own, 1)).await?;
        // What another client publishes afterwards has to come, and tells that the first did not.
        let mark = self.payload("after-no-local", 0);
        let mut beside = Session::open_beside(self.access, self.version).await?;
        beside.publish(&self.message(&mark, 1)).await?;
        beside.close().await;
        let wanted = |message: &Publish| message.payload == own || message.payload == mark;
        let heard = session.hear(wanted).await?.payload == own;
        session.close().await;
        if heard {
            report.warning(
                "no-local",
                "ignored: we hear what we publish",
                NO_LOCAL_IGNORED,
            );
        } else {
            report.ok("no-local", "honoured");
        }
        Ok(())
    }

    async fn size(&self, report: &mut Report, hears: bool) -> Result<(), Fault> {
        let overhead = wire::publish_overhead(self.version, self.topic);
        let stated = self.welcome.maximum_packet_size.map(|max| max as usize);
        let payload_stated = stated.map_or(usize::MAX, |max| max.saturating_sub(overhead));
        if let (Some(max), true) = (stated, payload_stated < PAYLOAD_BYTES_MAX) {
            let tried = self.try_size(payload_stated, hears).await?;
            let value = format!(
                "the CONNACK allows packets of {max} bytes, a payload of {payload_stated} on {}; one of \
                 that size {}",
                self.topic,
                tried.shown()
            );
            report.failed("size", value, TOO_SMALL);
            return Ok(());
        }
        let most = self.try_size(PAYLOAD_BYTES_MAX, hears).await?;
        match most {
            Tried::Arrived => {
                let more = PAYLOAD_BYTES_MAX + 1;
                let more = if more > payload_stated {
                    format!("{more} are more than the CONNACK allows")
                } else {
                    format!("{more} {}", self.try_size(more, hears).await?.shown())
                };
                report.ok("size", format!("{PAYLOAD_BYTES_MAX} bytes arrive; {more}"));
            }
            Tried::Acknowledged => report.not_tested(
                "size",
                format!("{PAYLOAD_BYTES_MAX} bytes are acknowledged; whether they arrive cannot be heard"),
            ),
            Tried::Untold => {
                report.not_tested("size", "whether a large message arrives cannot be heard");
            }
            Tried::Lost | Tried::Refused(_) => {
                let largest = self.largest(hears).await?;
                let value = format!(
                    "{PAYLOAD_BYTES_MAX} bytes: the message {}; the largest payload that passes on {} has \
                     {largest} bytes",
                    most.shown(),
                    self.topic
                );
                report.failed("size", value, TOO_SMALL);
            }
        }
        Ok(())
    }

    /// The largest payload that passes, found by halves; the smallest is known to.
    async fn largest(&self, hears: bool) -> Result<usize, Fault> {
        let (mut passes, mut fails) = (self.payload("size", 0).len(), PAYLOAD_BYTES_MAX);
        while fails - passes > 1 {
            let middle = passes + (fails - passes) / 2;
            if self.try_size(middle, hears).await?.passes() {
                passes = middle;
            } else {
                fails = middle;
            }
        }
        Ok(passes)
    }

    /// Publishes a message of a size, over a connection of its own, which it may cost.
    async fn try_size(&self, len: usize, hears: bool) -> Result<Tried, Fault> {
        let mut session = Session::open(self.access, self.version).await?;
        if hears {
            session.subscribe(self.topic, 1, false).await?;
        }
        let payload = self.payload("size", len);
        let message = self.message(&payload, 1);
        let answer = match session.publish(&message).await {
            Ok(answer) => answer,
            Err(fault @ Fault::Link(_)) => return Err(fault),
            Err(fault) => return Ok(Tried::Refused(fault.value())),
        };
        if let Some(answer) = answer.as_ref().filter(|it| it.is_refusal()) {
            session.close().await;
            return Ok(Tried::Refused(answer.shown(self.version)));
        }
        if !hears {
            session.close().await;
            let told = answer.is_some() && self.version == Version::V5;
            return Ok(if told {
                Tried::Acknowledged
            } else {
                Tried::Untold
            });
        }
        let arrived = self
            .hears_before_mark(&mut session, &payload, "after-size")
            .await;
        match arrived {
            Ok(arrived) => {
                session.close().await;
                Ok(if arrived { Tried::Arrived } else { Tried::Lost })
            }
            Err(fault @ Fault::Link(_)) => Err(fault),
            Err(fault) => Ok(Tried::Refused(fault.value())),
        }
    }
}

/// What became of a message of some size.
#[derive(Debug)]
enum Tried {
    Arrived,
    /// It was taken and never came.
    Lost,
    Acknowledged,
    Untold,
    Refused(String),
}

impl Tried {
    fn passes(&self) -> bool {
        match self {
            Self::Arrived | Self::Acknowledged => true,
            Self::Lost | Self::Untold | Self::Refused(_) => false,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Arrived => "arrives".into(),
            Self::Lost => "is dropped without a word".into(),
            Self::Acknowledged => "is acknowledged".into(),
            Self::Untold => "is taken or not: nothing tells".into(),
            Self::Refused(why) => format!("is refused: {why}"),
        }
    }
}

const TOO_SMALL: &str = "have the broker's operator allow payloads of 131072 bytes, which is packets of 131072 \
                         bytes and the longest topic (mosquitto: message_size_limit, max_packet_size)";

const NO_PRESENCE: &str = "vehicles tell their presence by retained messages: without them a server that starts \
                           later takes all of them for present until they speak; a vinbus broker knows \
                           presence itself";

const NO_LOCAL_IGNORED: &str =
    "who publishes and subscribes on one topic has to know its own messages again";
