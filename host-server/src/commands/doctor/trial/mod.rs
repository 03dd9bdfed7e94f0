//! What the broker does with messages, tried on a topic of the doctor's own.

mod size;

use bytes::Bytes;

use super::access::Access;
use super::fault::Fault;
use super::packets::{Answer, Limits, Outgoing, Publish, Version};
use super::reason;
use super::report::Report;
use super::session::Session;

/// The checks that need messages.
pub(super) const CHECKS: [&str; 5] = ["publish", "qos", "size", "retained", "no-local"];

/// What is known before.
pub(super) struct Trial<'a> {
    pub(super) access: &'a Access,
    pub(super) version: Version,
    pub(super) limits: &'a Limits,
    pub(super) topic: &'a str,
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
        let heard = self.publish_and_qos(report, &mut session, &granted).await?;
        session.close().await;
        let Some(hears) = heard else {
            return Ok(());
        };
        self.size(report, hears).await?;
        if !hears {
            const WHY: &str = "what we publish cannot be heard (see qos)";
            self.retained_by_word(report, WHY);
            report.not_tested("no-local", WHY);
            return Ok(());
        }
        self.retained(report).await?;
        self.no_local(report).await
    }

    fn payload(&self, mark: &str, len: usize) -> Bytes {
        let mut payload = format!("vinbus doctor {} {mark} ", self.access.client_id).into_bytes();
        payload.resize(payload.len().max(len), b'x');
        payload.into()
    }

    fn qos_max(&self) -> u8 {
        self.limits.qos_max.unwrap_or(2)
    }

    fn message(&self, payload: &Bytes, qos: u8) -> Outgoing<'_> {
        let qos = qos.min(self.qos_max());
        Outgoing {
            topic: self.topic,
            payload: payload.clone(),
            qos,
            retain: false,
        }
    }

    /// Publishes at each QoS; whether it can be heard, `None` if the broker refuses it.
    async fn publish_and_qos(
        &self,
        report: &mut Report,
        session: &mut Session<'_>,
        granted: &Answer,
    ) -> Result<Option<bool>, Fault> {
        let mut arrived = Vec::new();
        let mut unheard = reason::is_refusal(granted.code).then(|| {
            let answer = granted.shown();
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
            if let Some(answer) = answer.filter(|it| reason::is_refusal(it.code)) {
                let value = format!("{} is refused: {}", self.topic, answer.shown());
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
                        "the broker granted {} but delivered nothing on it: by its rules, or because it takes \
                         in itself what is for vehicles",
                        self.topic
                    ));
                }
                Err(fault) => return Err(fault),
            }
        }
        self.tell_publish(report, arrived.first().map(|(_, heard)| heard));
        arrived.sort_by_key(|(qos, _)| *qos);
        let hears = unheard.is_none();
        match unheard {
            Some(why) => report.not_tested("qos", why),
            None => self.tell_qos(report, granted.code, &arrived),
        }
        Ok(Some(hears))
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
        if self.limits.no_retained {
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
        if self.limits.no_retained {
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

    async fn is_retained(&self, payload: &Bytes) -> Result<bool, Fault> {
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

    async fn delete_retained(&self, payload: &Bytes) -> Result<bool, Fault> {
        let mut session = Session::open(self.access, self.version).await?;
        let empty = Outgoing {
            retain: true,
            ..self.message(&Bytes::new(), 1)
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
        payload: &Bytes,
        mark: &str,
    ) -> Result<bool, Fault> {
        let mark = self.payload(mark, 0);
        session.publish(&self.message(&mark, 1)).await?;
        let heard = session
            .hear(|heard| heard.payload == *payload || heard.payload == mark)
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
        if reason::is_refusal(granted.code) {
            let value = format!("a subscription with it is refused: {}", granted.shown());
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
}

const NO_PRESENCE: &str = "vehicles tell their presence by retained messages: without them a server that starts \
                           later takes all of them for present until they speak; a vinbus broker knows \
                           presence itself";

const NO_LOCAL_IGNORED: &str =
    "who publishes and subscribes on one topic has to know its own messages again";
