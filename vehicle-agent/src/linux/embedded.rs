//! The link of boards on Linux: the embedded MQTT client over TCP or TLS.

use std::fmt;
use std::time::Duration;

use anyhow::ensure;
use vinbus_transport_embedded::{ConnectError, Credentials, Mqtt, Options, Qos, TokioStream, Will};
use vinbus_transport_std::{
    Attempt, BrokerUrl, ByteStream, LinkError, MqttVersion, Phase, StreamDialer,
};

use crate::embedded_link::{Dial, EmbeddedLink, EmbeddedSession};
use crate::identity::Identity;
use crate::link::{Link, NotConnected};
use crate::linux::args::BrokerArgs;
use crate::linux::connection::{self, user_name};
use crate::presence;

/// Bytes to receive a message of the largest size.
const RECEIVE_BYTES: usize = 133_000;

/// Bytes to send a message of the largest size.
const SEND_BYTES: usize = 136_000;

/// Time to open a stream, and time for a write to make progress.
const STREAM_TIMEOUT: Duration = Duration::from_secs(15);

/// All that is known of a stream that broke without an error.
const ENDED: &str = "the broker closed it, or does not answer";

/// Takes note of why a link is down.
pub(crate) type Report = Box<dyn Fn(String) + Send + Sync>;

/// Whether the embedded client can speak to a broker in the way that was asked for.
pub(crate) fn speaks(url: &BrokerUrl, version: MqttVersion) -> bool {
    version == MqttVersion::V5 && !url.scheme().is_web_socket()
}

/// Keeps the kernel from giving this process memory in pages of 2 MB, of which the buffers
/// of a vehicle would use a few KB.
pub(crate) fn use_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::warn!(%error, "the kernel may use huge pages; the vehicles may take more memory");
    }
}

/// The embedded link, with its attempts to connect in memory of their own: a vehicle that is connected
/// does not keep the room of them, which is larger than all the rest.
#[derive(Debug)]
pub(crate) struct ThriftyLink(EmbeddedLink<'static, StreamDial>);

impl Link for ThriftyLink {
    type Session<'s> = EmbeddedSession<'s, 'static, StreamDial>;

    const PACES_ITSELF: bool = <EmbeddedLink<'static, StreamDial> as Link>::PACES_ITSELF;

    async fn connect<const APPS: usize>(
        &mut self,
        identity: &Identity<APPS>,
    ) -> Result<Self::Session<'_>, NotConnected> {
        Box::pin(self.0.connect(identity)).await
    }
}

/// The link of a vehicle that lives as long as the process, as do its buffers and settings.
///
/// Each buffer has room for the largest message. The kernel gives it memory page by page when it is
/// first used, so that small messages take little. `report` hears why the link is down.
///
/// # Errors
/// When an option or a certificate file is wrong.
pub(crate) fn open<const APPS: usize>(
    args: &BrokerArgs,
    identity: &Identity<APPS>,
    credentials: &connection::Credentials<'_>,
    report: Report,
) -> anyhow::Result<ThriftyLink> {
    ensure!(
        speaks(&args.access.url, args.mqtt_version),
        "--transport embedded speaks MQTT 5 over mqtt:// and mqtts:// only; use --transport std"
    );
    let vin = identity.vin();
    let mut options = Options::new(vin.as_str().to_owned().leak());
    options.will = presence::will(identity).map(|(topic, payload)| Will {
        topic: topic.as_str().to_owned().leak(),
        payload: payload.as_bytes(),
    });
    if let (Some(name), Some(password)) = (&args.access.username, credentials.password) {
        options.credentials = Some(Credentials {
            user_name: user_name(name, vin).leak(),
            password: password.as_bytes().to_vec().leak(),
        });
    }
    options.qos = match args.qos {
        vinbus_transport_std::Qos::AtMostOnce => Qos::AtMostOnce,
        vinbus_transport_std::Qos::AtLeastOnce | vinbus_transport_std::Qos::ExactlyOnce => {
            Qos::AtLeastOnce
        }
    };
    let dial = StreamDial {
        dialer: StreamDialer::new(
            args.access.url.clone(),
            &credentials.tls(args, vin)?,
            STREAM_TIMEOUT,
        )?,
        url: args.access.url.clone(),
        has_user_name: options.credentials.is_some(),
        was_welcomed: false,
        report,
    };
    let (receive, send) = (vec![0; RECEIVE_BYTES].leak(), vec![0; SEND_BYTES].leak());
    let mqtt = Mqtt::new(receive, send, &options)?;
    Ok(ThriftyLink(EmbeddedLink::new(mqtt, dial)))
}

/// TCP and TLS of Linux.
pub(crate) struct StreamDial {
    dialer: StreamDialer,
    url: BrokerUrl,
    has_user_name: bool,
    /// The broker has welcomed the vehicle, on whatever connection.
    was_welcomed: bool,
    report: Report,
}

impl fmt::Debug for StreamDial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamDial")
            .field("dialer", &self.dialer)
            .finish_non_exhaustive()
    }
}

impl StreamDial {
    fn down(&self, error: &LinkError) {
        let advice = error.advice();
        tracing::warn!(url = %self.url, %error, advice, "link down");
        (self.report)(format!("{error}; {advice}"));
    }
}

impl Dial for StreamDial {
    type Stream = TokioStream<Box<dyn ByteStream>>;

    async fn dial(&mut self) -> Option<Self::Stream> {
        let dialed = tokio::time::timeout(STREAM_TIMEOUT, self.dialer.dial()).await;
        match dialed.unwrap_or(Err(LinkError::Timeout { phase: Phase::Tcp })) {
            Ok(stream) => Some(TokioStream::new(stream)),
            Err(error) => {
                self.down(&error);
                None
            }
        }
    }

    fn failed(&mut self, error: ConnectError) {
        let cause = self.dialer.error().unwrap_or_else(|| meaning(error));
        // What the broker says of subscriptions comes after its welcome.
        let is_welcomed = matches!(
            error,
            ConnectError::SubscriptionRefused | ConnectError::SubscriptionUnconfirmed
        );
        self.down(&match is_welcomed {
            true => cause,
            false => cause.of_attempt(Attempt {
                scheme: self.url.scheme(),
                has_user_name: self.has_user_name,
                was_welcomed: self.was_welcomed,
            }),
        });
        self.was_welcomed |= is_welcomed;
    }

    fn lost(&mut self) {
        self.was_welcomed = true;
        let cause = self.dialer.error();
        self.down(&cause.unwrap_or_else(|| LinkError::ConnectionLost {
            reason: ENDED.to_owned(),
        }));
    }
}

/// What the embedded client's error is called here.
fn meaning(error: ConnectError) -> LinkError {
    match error {
        ConnectError::Timeout => LinkError::Timeout { phase: Phase::Mqtt },
        ConnectError::BadCredentials => LinkError::BadCredentials,
        ConnectError::NotAuthorized => LinkError::NotAuthorized,
        ConnectError::ClientId => LinkError::ClientIdRefused,
        ConnectError::Unavailable => LinkError::ServerUnavailable,
        // The embedded client does not tell which.
        ConnectError::Refused | ConnectError::SubscriptionRefused => LinkError::Refused {
            reason: error.to_string(),
        },
        ConnectError::Protocol | ConnectError::Buffers => LinkError::Protocol {
            reason: error.to_string(),
        },
        ConnectError::Stream => LinkError::ConnectionLost {
            reason: ENDED.to_owned(),
        },
        ConnectError::SubscriptionUnconfirmed => LinkError::ConnectionLost {
            reason: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use vinbus_transport_std::TlsOptions;

    use super::*;

    /// What is told of each of these, one after the other. `None` is the loss of a session.
    fn told(url: &str, has_user_name: bool, ends: &[Option<ConnectError>]) -> Vec<String> {
        let url: BrokerUrl = url.parse().unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let report = Arc::clone(&told);
        let mut dial = StreamDial {
            dialer: StreamDialer::new(url.clone(), &TlsOptions::default(), STREAM_TIMEOUT).unwrap(),
            url,
            has_user_name,
            was_welcomed: false,
            report: Box::new(move |text| report.lock().unwrap().push(text)),
        };
        for end in ends {
            match end {
                Some(error) => dial.failed(*error),
                None => dial.lost(),
            }
        }
        drop(dial);
        Arc::into_inner(told).unwrap().into_inner().unwrap()
    }

    #[test]
    fn url_is_suspected_until_the_broker_has_welcomed_the_vehicle() {
        use ConnectError::{Stream, SubscriptionRefused, SubscriptionUnconfirmed};
        for welcome in [
            None,
            Some(SubscriptionRefused),
            Some(SubscriptionUnconfirmed),
        ] {
            let told = told("mqtt://h", true, &[Some(Stream), welcome, Some(Stream)]);
            assert!(told[0].contains("write mqtts://"), "{told:?}");
            for later in &told[1..] {
                assert!(!later.contains("mqtts://"), "{told:?}");
            }
        }
    }

    #[test]
    fn vehicle_without_a_user_name_that_is_refused_is_told_so() {
        for error in [ConnectError::BadCredentials, ConnectError::NotAuthorized] {
            let told = |has_user_name| told("mqtt://h", has_user_name, &[Some(error)]).remove(0);
            assert!(told(false).contains("gave no user name"), "{error}");
            assert!(!told(true).contains("gave no user name"), "{error}");
        }
    }
}
