//! Everything a client is told before it starts. Values are checked once, by [`connect`], so a
//! wrong option is an error at once and never a reconnect loop.
//!
//! [`connect`]: crate::connect

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::ClientConfig;
use vinbus_protocol::limits::{RECONNECT_DELAY_MS_MAX, RECONNECT_DELAY_MS_MIN};

use crate::credentials::{Credentials, Identity};
use crate::message::Qos;
use crate::tls::{Pem, TlsError, TlsOptions};
use crate::url::BrokerUrl;

/// Version of the MQTT protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MqttVersion {
    /// MQTT 5.
    #[default]
    V5,
    /// MQTT 3.1.1.
    V311,
}

/// What the broker keeps for the client between connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Session {
    /// Nothing: every connection starts afresh.
    #[default]
    Clean,
    /// Subscriptions and unacknowledged messages, for this long (MQTT 5; a 3.1.1 broker keeps
    /// them as long as it likes).
    Kept {
        /// Time after which the broker may forget the session, in whole seconds.
        expiry: Duration,
    },
}

/// The message that the broker publishes for the client when its connection breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Topic, without wildcards.
    pub topic: String,
    /// At most 65,535 bytes: MQTT carries no more in a CONNECT.
    pub payload: Bytes,
    /// Quality of service.
    pub qos: Qos,
    /// Whether the broker keeps it as the topic's retained message.
    pub retain: bool,
}

/// The options of a client. [`new`](Self::new) sets every default; each method changes one.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    pub(crate) url: BrokerUrl,
    pub(crate) client_id: String,
    pub(crate) version: MqttVersion,
    pub(crate) tls: TlsOptions,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) session: Session,
    pub(crate) no_local: bool,
    pub(crate) will: Option<Will>,
    pub(crate) keep_alive: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) answer_timeout: Duration,
    pub(crate) reconnect_min: Duration,
    pub(crate) reconnect_max: Duration,
    pub(crate) outbound_messages_max: usize,
    pub(crate) inbound_messages_max: usize,
    pub(crate) receive_maximum: u16,
}

impl ClientOptions {
    /// MQTT 5, a clean session, no credentials, no will, the system's certificate authorities.
    /// `client_id` names the session at the broker; two clients with one id throw each other out.
    pub fn new(url: BrokerUrl, client_id: impl Into<String>) -> Self {
        Self {
            url,
            client_id: client_id.into(),
            version: MqttVersion::default(),
            tls: TlsOptions::default(),
            credentials: None,
            session: Session::default(),
            no_local: false,
            will: None,
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(15),
            answer_timeout: Duration::from_secs(20),
            reconnect_min: Duration::from_millis(u64::from(RECONNECT_DELAY_MS_MIN)),
            reconnect_max: Duration::from_millis(u64::from(RECONNECT_DELAY_MS_MAX)),
            outbound_messages_max: 64,
            inbound_messages_max: 64,
            receive_maximum: 64,
        }
    }

    /// Protocol version (default MQTT 5).
    #[must_use]
    pub fn version(mut self, version: MqttVersion) -> Self {
        self.version = version;
        self
    }

    /// All TLS options at once, for `mqtts://` and `wss://`.
    #[must_use]
    pub fn tls(mut self, tls: TlsOptions) -> Self {
        self.tls = tls;
        self
    }

    /// Trust only the certificate authorities in this PEM file.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.ca = Some(Pem::File(path.into()));
        self
    }

    /// Trust only the certificate authorities in this PEM text.
    #[must_use]
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.ca = Some(Pem::Bytes(pem.into()));
        self
    }

    /// Present this certificate (PEM files of the chain and of the private key).
    #[must_use]
    pub fn identity_files(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.tls.identity = Some(Identity {
            certificate: Pem::File(certificate.into()),
            key: Pem::File(key.into()),
        });
        self
    }

    /// Present this certificate (PEM texts of the chain and of the private key).
    #[must_use]
    pub fn identity_pem(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.tls.identity = Some(Identity {
            certificate: Pem::Bytes(certificate.into()),
            key: Pem::Bytes(key.into()),
        });
        self
    }

    /// MQTT user name and password.
    #[must_use]
    pub fn credentials(
        mut self,
        user_name: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        self.credentials = Some(Credentials {
            user_name: user_name.into(),
            password: password.into(),
        });
        self
    }

    /// What the broker keeps between connections (default nothing).
    #[must_use]
    pub fn session(mut self, session: Session) -> Self {
        self.session = session;
        self
    }

    /// Whether to be spared the messages that this client itself publishes (default no). MQTT 5
    /// only, and not with shared subscriptions, which cannot have it.
    #[must_use]
    pub fn no_local(mut self, no_local: bool) -> Self {
        self.no_local = no_local;
        self
    }

    /// What the broker publishes when the connection breaks (default nothing).
    #[must_use]
    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    /// Longest silence on the connection, 1 s to 65,535 s in whole seconds (default 30 s). A
    /// broker that answers no ping, or takes no bytes, for this long has lost the link.
    #[must_use]
    pub fn keep_alive(mut self, keep_alive: Duration) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// Time for one attempt to connect, from name resolution to the broker's welcome and the
    /// answer to the remembered subscriptions (default 15 s).
    #[must_use]
    pub fn connect_timeout(mut self, connect_timeout: Duration) -> Self {
        self.connect_timeout = connect_timeout;
        self
    }

    /// Time the broker has to acknowledge a publish or a subscription (default 20 s).
    #[must_use]
    pub fn answer_timeout(mut self, answer_timeout: Duration) -> Self {
        self.answer_timeout = answer_timeout;
        self
    }

    /// Shortest and longest pause before a reconnection (default 0.5 s and 60 s).
    #[must_use]
    pub fn reconnect_delays(mut self, min: Duration, max: Duration) -> Self {
        self.reconnect_min = min;
        self.reconnect_max = max;
        self
    }

    /// Messages that may wait to be sent (default 64, so at most 8 MiB). When they do, a further
    /// [`publish`](crate::Client::publish) waits for a place.
    #[must_use]
    pub fn outbound_messages_max(mut self, max: usize) -> Self {
        self.outbound_messages_max = max;
        self
    }

    /// Messages that may wait in the inbox (default 64, so at most 8 MiB). When they do, nothing
    /// is read from the connection.
    #[must_use]
    pub fn inbound_messages_max(mut self, max: usize) -> Self {
        self.inbound_messages_max = max;
        self
    }

    /// QoS 1 and 2 messages that may be unacknowledged at a time in either direction (default
    /// 64, so at most 8 MiB each way). The broker is told with MQTT 5; with 3.1.1 its own limit
    /// holds inwards.
    #[must_use]
    pub fn receive_maximum(mut self, max: u16) -> Self {
        self.receive_maximum = max;
        self
    }

    /// Checks all that [`connect`](crate::connect) checks, files included, and connects to nothing.
    ///
    /// # Errors
    ///
    /// [`OptionsError`] says which option is wrong.
    pub fn check(&self) -> Result<(), OptionsError> {
        self.check_values()?;
        self.tls_config()?;
        Ok(())
    }

    /// The TLS configuration, if the URL asks for TLS.
    pub(crate) fn tls_config(&self) -> Result<Option<Arc<ClientConfig>>, TlsError> {
        let tls = self.url.scheme().is_tls();
        tls.then(|| self.tls.client_config()).transpose()
    }

    /// Checks what the types cannot.
    pub(crate) fn check_values(&self) -> Result<(), OptionsError> {
        if self.client_id.is_empty() || self.client_id.len() > usize::from(u16::MAX) {
            return Err(OptionsError::ClientId {
                len: self.client_id.len(),
            });
        }
        if let Some(credentials) = &self.credentials {
            credentials.check()?;
        }
        for (name, value) in [
            ("outbound_messages_max", self.outbound_messages_max),
            ("inbound_messages_max", self.inbound_messages_max),
            ("receive_maximum", usize::from(self.receive_maximum)),
        ] {
            if value == 0 {
                return Err(OptionsError::Zero { name });
            }
        }
        for (name, value) in [
            ("connect_timeout", self.connect_timeout),
            ("answer_timeout", self.answer_timeout),
        ] {
            if value.is_zero() {
                return Err(OptionsError::Zero { name });
            }
        }
        let seconds = self.keep_alive.as_secs();
        if !(1..=u64::from(u16::MAX)).contains(&seconds) {
            return Err(OptionsError::KeepAlive { seconds });
        }
        if self.reconnect_min.is_zero() || self.reconnect_min > self.reconnect_max {
            return Err(OptionsError::ReconnectDelays {
                min: self.reconnect_min,
                max: self.reconnect_max,
            });
        }
        match &self.will {
            Some(will) if !is_topic_name(&will.topic) => Err(OptionsError::WillTopic {
                topic: will.topic.clone(),
            }),
            Some(will) if will.payload.len() > usize::from(u16::MAX) => {
                Err(OptionsError::WillTooLarge {
                    len: will.payload.len(),
                    max: usize::from(u16::MAX),
                })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether a text may be published on: 1 to 65,535 bytes without wildcard or NUL.
pub(crate) fn is_topic_name(topic: &str) -> bool {
    (1..=usize::from(u16::MAX)).contains(&topic.len()) && !topic.contains(['+', '#', '\0'])
}

/// Which option is wrong.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The client id is empty or longer than MQTT can carry.
    #[error("the client id has {len} bytes: give 1 to 65,535")]
    ClientId {
        /// Its length in bytes.
        len: usize,
    },
    /// The user name or the password is longer than MQTT can carry.
    #[error("the {name} has {len} bytes: MQTT carries at most 65,535")]
    Credential {
        /// Which.
        name: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// A bound or a time is zero, so nothing could pass.
    #[error("{name} is 0, so nothing could pass: give at least 1")]
    Zero {
        /// The option.
        name: &'static str,
    },
    /// The keep-alive is out of range.
    #[error("the keep-alive is {seconds} s: give 1 s to 65,535 s")]
    KeepAlive {
        /// The value in whole seconds.
        seconds: u64,
    },
    /// The reconnect delays are zero or the wrong way round.
    #[error("the reconnect delays run from {min:?} to {max:?}: give a shorter, then a longer one")]
    ReconnectDelays {
        /// The shortest delay.
        min: Duration,
        /// The longest delay.
        max: Duration,
    },
    /// The will's topic is empty, too long, or contains a wildcard.
    #[error("the will's topic {topic:?} is empty, too long or has a wildcard")]
    WillTopic {
        /// The topic.
        topic: String,
    },
    /// The will's payload is longer than MQTT can carry.
    #[error("the will has {len} bytes: MQTT carries at most {max}")]
    WillTooLarge {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> ClientOptions {
        ClientOptions::new("mqtts://broker.example:8886".parse().unwrap(), "client")
    }

    fn will(topic: &str, len: usize) -> Will {
        Will {
            topic: topic.to_owned(),
            payload: vec![0; len].into(),
            qos: Qos::AtMostOnce,
            retain: false,
        }
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let options = options()
            .credentials("user", "the password")
            .identity_pem("the certificate", "the private key");
        let text = format!("{options:?}");
        assert!(text.contains("user"), "{text}");
        assert!(!text.contains("the "), "{text}");
    }

    #[test]
    fn every_wrong_option_is_named() {
        let second = Duration::from_secs(1);
        let error = |options: ClientOptions| options.check_values().unwrap_err().to_string();
        let long = "x".repeat(65_536);
        for (options, name) in [
            (ClientOptions::new(options().url, ""), "client id"),
            (ClientOptions::new(options().url, long.clone()), "client id"),
            (options().credentials(long.clone(), ""), "user name"),
            (options().credentials("", long), "password"),
            (options().outbound_messages_max(0), "outbound_messages_max"),
            (options().inbound_messages_max(0), "inbound_messages_max"),
            (options().receive_maximum(0), "receive_maximum"),
            (options().connect_timeout(Duration::ZERO), "connect_timeout"),
            (options().answer_timeout(Duration::ZERO), "answer_timeout"),
            (options().keep_alive(second / 2), "keep-alive"),
            (options().keep_alive(65_536 * second), "keep-alive"),
            (
                options().reconnect_delays(Duration::ZERO, second),
                "reconnect",
            ),
            (options().reconnect_delays(2 * second, second), "reconnect"),
            (options().will(will("a/+", 1)), "topic"),
            (options().will(will("a", 65_536)), "will"),
        ] {
            assert!(error(options).contains(name), "{name}");
        }
        options().will(will("a", 65_535)).check_values().unwrap();
    }
}
