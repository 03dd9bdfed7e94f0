//! How an exchange with the broker failed: what happened, and what to change.

use std::time::Duration;

use vinbus_transport_std::LinkError;

use super::packets::{Answer, Malformed};
use super::reason::{login_advice, meaning};
use super::report::foreign;

/// Why an exchange did not end as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Name, TCP or TLS, or a connection that broke.
    Link(LinkError),
    /// The WebSocket could not be opened.
    WebSocket(LinkError),
    /// The broker closed the connection and gave no reason; `welcomed` if it had welcomed us before.
    Closed { welcomed: bool },
    /// It did not answer in time; `welcomed` if it did before.
    Silent { step: Duration, welcomed: bool },
    /// The time for all of it is over.
    Over { whole: Duration },
    /// CONNACK refused us.
    Refused(Answer),
    /// It ended the connection and said why.
    Disconnected(Answer),
    /// The first that it said is no MQTT.
    NotMqtt { said: String },
    /// It broke the rules of MQTT.
    Malformed(Malformed),
    /// MQTT cannot say what we have to.
    Unsayable(Malformed),
}

impl Fault {
    /// The broker does not speak the version of the CONNECT.
    pub(super) fn is_of_version(&self) -> bool {
        matches!(self, Self::Refused(Answer { code: 1 | 0x84, .. }))
    }

    /// The broker does not want us as who we say we are.
    pub(super) fn is_of_credentials(&self) -> bool {
        matches!(
            self,
            Self::Refused(Answer {
                code: 4 | 5 | 0x86 | 0x87,
                ..
            })
        )
    }

    /// What happened.
    pub(super) fn value(&self) -> String {
        let shown = humantime::format_duration;
        match self {
            Self::Link(error) | Self::WebSocket(error) => foreign(&error.to_string()),
            Self::Closed { .. } => "the broker closed the connection without a reason".into(),
            Self::Silent { step, .. } => format!("no answer within {}", shown(*step)),
            Self::Over { whole } => format!("the whole look took longer than {}", shown(*whole)),
            Self::Refused(answer) => format!("CONNACK {}", answer.shown()),
            Self::Disconnected(answer) => format!("DISCONNECT {}", answer.shown()),
            Self::NotMqtt { said } => format!("what answers is no MQTT broker; it said \"{said}\""),
            Self::Malformed(Malformed(why)) => {
                format!("the broker breaks the rules of MQTT: {}", foreign(why))
            }
            Self::Unsayable(Malformed(why)) => format!("MQTT cannot say it: {}", foreign(why)),
        }
    }

    /// What to change.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Link(LinkError::ConnectionLost { .. }) => {
                "look into the broker's log, and check the network in between"
            }
            Self::WebSocket(LinkError::ConnectionLost { .. }) => {
                "check that the port speaks WebSocket, with TLS for wss:// and without it for ws://"
            }
            Self::Link(error) | Self::WebSocket(error) => link_advice(error),
            Self::Closed { welcomed: true } => {
                "look into the broker's log; many brokers close like this on a QoS, a topic or a size that they \
                 do not allow, as MQTT 3.1.1 cannot refuse: for a QoS, publish at QoS 0"
            }
            Self::Closed { welcomed: false } => {
                "look into the broker's log; many brokers close like this on a client id, \
                 certificate or user that they do not know"
            }
            Self::Silent { welcomed: true, .. } => {
                "check that the broker is healthy, by its log; or allow more by --timeout"
            }
            Self::Silent { .. } => {
                "check that the port speaks MQTT, with TLS for mqtts:// and without it for mqtt://, and \
                 that the broker is healthy; or allow more by --timeout"
            }
            Self::Over { .. } => {
                "check that the broker is healthy and the way to it fast enough; or allow more by --timeout"
            }
            Self::Refused(answer) => login_advice(answer.code),
            Self::Disconnected(Answer { code: 0x8E, .. }) => {
                "another client uses the same client id: stop it"
            }
            Self::Disconnected(Answer { code: 0x95, .. }) => {
                "have the broker's operator raise its largest packet"
            }
            Self::Disconnected(_) => "ask the broker's operator why, with the time and the reason",
            Self::NotMqtt { .. } => {
                "check host and port in --broker: another program listens there"
            }
            Self::Malformed(_) => {
                "check that the port is the broker's; if so, tell its operator, or try the other version: \
                 --broker-mqtt"
            }
            Self::Unsayable(_) => {
                "check --user, --password-file and --prefix: MQTT has 65535 bytes for each"
            }
        }
    }
}

/// What to change about a line, with our own options where they do it.
fn link_advice(error: &LinkError) -> &'static str {
    match error {
        LinkError::ServerCertificateUnknownCa => {
            "give the certificate of the authority that signed the broker's certificate, by --ca; or, if this is \
             not the broker that you mean, check --broker"
        }
        LinkError::ServerCertificateWrongHost { .. } => {
            "write a host that the certificate names in --broker, or have one issued for this host"
        }
        LinkError::ClientCertificateRequired => {
            "give the certificate and key that the broker's operator issued, by --cert and --key"
        }
        error => error.advice(),
    }
}

impl Answer {
    pub(super) fn shown(&self) -> String {
        let said = self.reason.as_deref().map(foreign);
        let said = said
            .map(|said| format!(" (\"{said}\")"))
            .unwrap_or_default();
        format!("0x{:02X}: {}{said}", self.code, meaning(self.code))
    }
}
