//! The largest message that passes.

use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

use super::super::fault::Fault;
use super::super::packets::{self, Version};
use super::super::reason;
use super::super::report::Report;
use super::super::session::Session;
use super::Trial;

impl Trial<'_> {
    pub(super) async fn size(&self, report: &mut Report, hears: bool) -> Result<(), Fault> {
        let overhead = packets::publish_overhead(self.version, self.topic);
        let stated = self.limits.packet_bytes_max.map(|max| max as usize);
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
                    format!(
                        "one of {more} {}",
                        self.try_size(more, hears).await?.shown()
                    )
                };
                report.ok(
                    "size",
                    format!("a payload of {PAYLOAD_BYTES_MAX} bytes arrives; {more}"),
                );
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
                let what = if hears { "passes" } else { "is not refused" };
                let value = format!(
                    "a payload of {PAYLOAD_BYTES_MAX} bytes {}; the largest payload that {what} on {} has \
                     {largest} bytes",
                    most.shown(),
                    self.topic
                );
                report.failed("size", value, TOO_SMALL);
            }
        }
        Ok(())
    }

    /// The largest payload that passes, or that is not refused where nobody hears it, found by halves; the
    /// smallest is known to.
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
        if let Some(answer) = answer.as_ref().filter(|it| reason::is_refusal(it.code)) {
            session.close().await;
            return Ok(Tried::Refused(answer.shown()));
        }
        if !hears {
            // Without an acknowledgement, a broker that refuses it closes the connection.
            if answer.is_none()
                && let Err(fault) = session.settle().await
            {
                return match fault {
                    Fault::Link(_) => Err(fault),
                    fault => Ok(Tried::Refused(fault.value())),
                };
            }
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
            Self::Arrived | Self::Acknowledged | Self::Untold => true,
            Self::Lost | Self::Refused(_) => false,
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
