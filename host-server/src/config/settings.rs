//! The checked configuration, with every default.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use vinbus_protocol::id::Uid;
use vinbus_protocol::topic::{PREFIX_DEFAULT, TopicScheme};
use vinbus_transport_std::BrokerUrl;

use super::error::ConfigError;
use super::listen::{Listen, LocalListen};
use super::options::{LogFormat, MqttVersion, Networks, Profile, ServeOptions};
use super::{MQTTS_PORT_DEFAULT, data_dir};
use crate::broker::embedded::Limits;
use crate::hub;
use crate::store::sqlite::StoreSettings;

/// The partner that a server without any setting has.
const PARTNER_DEFAULT: &str = "demo-partner";

/// What the server runs by.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of everything that is kept.
    pub data_dir: PathBuf,
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// Which broker carries the messages.
    pub broker: BrokerChoice,
    /// Prefix and profile of all topics.
    pub scheme: TopicScheme,
    /// The UID that the administrator sends as by default.
    pub partner: Uid,
    /// Web origins whose pages may speak MQTT over WebSocket.
    pub allow_origin: Vec<String>,
    /// The bounds of the HTTP side.
    pub limits: HttpLimits,
    /// How much is kept.
    pub store: StoreSettings,
    /// Unsent messages of one partner for one vehicle.
    pub vehicle_unsent_max: usize,
    /// Unsent messages for all vehicles.
    pub unsent_max: usize,
    /// How long a message waits for its vehicle by default.
    pub message_ttl: Duration,
    /// Webhooks of all partners.
    pub webhooks_max: usize,
    /// Where webhooks of partners may lead.
    pub webhook_networks: Networks,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_filter: String,
}

/// Which broker carries the messages.
#[derive(Clone, Debug)]
pub enum BrokerChoice {
    /// Our own, in this process.
    Embedded {
        /// Where plain MQTT listens, if at all.
        mqtt: Option<SocketAddr>,
        /// Where MQTT over TLS listens, if at all.
        mqtts: Option<SocketAddr>,
        /// The names in the server certificate, beside the loopback ones.
        server_names: Vec<String>,
        /// Connections open at once.
        connections_max: usize,
    },
    /// Somebody else's.
    External(ExternalBroker),
}

/// How to reach an external broker.
#[derive(Clone, Debug)]
pub struct ExternalBroker {
    /// Where it is.
    pub url: BrokerUrl,
    /// The protocol version to speak.
    pub version: MqttVersion,
    /// Whose uplink to subscribe to; none for everybody's.
    pub uids: Vec<Uid>,
    /// PEM file of the authority behind its certificate.
    pub ca: Option<PathBuf>,
    /// PEM files of our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Our user name and the file with our password.
    pub credentials: Option<(String, PathBuf)>,
}

/// The bounds of the HTTP side; what happens at each is said at its option.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Connections open at once.
    pub connections_max: usize,
    /// Event streams open at once.
    pub streams_max: usize,
    /// Requests a second of one principal.
    pub requests_per_second_max: u32,
    /// Longest time for one answer.
    pub request_time_max: Duration,
    /// Longest time for the head of a request.
    pub header_time_max: Duration,
    /// Longest time without progress on a write.
    pub write_time_max: Duration,
}

impl HttpLimits {
    /// Longest time for the body of a request: half of what its answer may take.
    #[must_use]
    pub fn body_time_max(&self) -> Duration {
        self.request_time_max / 2
    }
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            streams_max: 256,
            requests_per_second_max: 2000,
            request_time_max: Duration::from_secs(30),
            header_time_max: Duration::from_secs(30),
            write_time_max: Duration::from_secs(30),
        }
    }
}

/// Checks the options against each other and fills in the defaults.
pub(super) fn check(options: &ServeOptions) -> Result<Config, ConfigError> {
    let partner = partner(options)?;
    let queues = hub::Settings::default();
    Ok(Config {
        data_dir: data_dir(options.data_dir.as_deref()),
        http: options
            .http
            .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))),
        allow_origin: list(options.allow_origin.as_deref()),
        scheme: scheme(options)?,
        broker: broker(options, &partner)?,
        partner,
        limits: limits(options)?,
        store: store(options)?,
        vehicle_unsent_max: count(
            options.vehicle_unsent_max,
            queues.vehicle_unsent_max,
            "vehicle-unsent-max",
        )?,
        unsent_max: count(options.unsent_max, queues.unsent_max, "unsent-max")?,
        message_ttl: message_ttl(options, queues.message_ttl)?,
        // None at all is a choice here.
        webhooks_max: options
            .webhooks_max
            .map_or(queues.webhooks_max, |max| max as usize),
        webhook_networks: options.webhook_networks.unwrap_or_default(),
        log_format: options.log_format.unwrap_or_default(),
        log_filter: options
            .log_filter
            .clone()
            .unwrap_or_else(|| "info".to_owned()),
    })
}

fn scheme(options: &ServeOptions) -> Result<TopicScheme, ConfigError> {
    let prefix = options.prefix.as_deref().unwrap_or(PREFIX_DEFAULT);
    let profile = options.profile.unwrap_or(Profile::Table);
    TopicScheme::new(prefix, profile.into()).map_err(|reason| ConfigError::Prefix {
        prefix: prefix.to_owned(),
        reason,
    })
}

/// A bound that lets something through.
fn count(given: Option<u32>, default: usize, option: &'static str) -> Result<usize, ConfigError> {
    match given {
        Some(0) => Err(ConfigError::Zero { option }),
        Some(count) => Ok(count as usize),
        None => Ok(default),
    }
}

/// What is kept. The logs begin to delete before the whole is full, so that a server that runs for
/// long refuses nothing on their account.
fn store(options: &ServeOptions) -> Result<StoreSettings, ConfigError> {
    let default = StoreSettings::default();
    let quota_bytes = options.store_bytes_max.unwrap_or(default.quota_bytes);
    let uplink_bytes_max = options.uplink_bytes_max.unwrap_or(quota_bytes / 2);
    if uplink_bytes_max >= quota_bytes {
        return Err(ConfigError::LogFillsStore {
            uplink_bytes_max,
            quota_bytes,
        });
    }
    Ok(StoreSettings {
        uplink_age_max: options.uplink_retention.unwrap_or(default.uplink_age_max),
        uplink_bytes_max,
        trace_age_max: options.trace_retention.unwrap_or(default.trace_age_max),
        downlink_bytes_max: (quota_bytes - uplink_bytes_max) / 2,
        quota_bytes,
    })
}

fn message_ttl(options: &ServeOptions, default: Duration) -> Result<Duration, ConfigError> {
    match options.message_ttl.unwrap_or(default) {
        ttl if (Duration::from_secs(1)..=hub::TTL_MAX).contains(&ttl) => Ok(ttl),
        _ => Err(ConfigError::MessageTtl),
    }
}

fn limits(options: &ServeOptions) -> Result<HttpLimits, ConfigError> {
    let default = HttpLimits::default();
    let rate = options
        .requests_per_second_max
        .unwrap_or(default.requests_per_second_max);
    if rate == 0 {
        return Err(ConfigError::Zero {
            option: "requests-per-second-max",
        });
    }
    Ok(HttpLimits {
        connections_max: count(
            options.http_connections_max,
            default.connections_max,
            "http-connections-max",
        )?,
        streams_max: count(options.streams_max, default.streams_max, "streams-max")?,
        requests_per_second_max: rate,
        request_time_max: options.request_time_max.unwrap_or(default.request_time_max),
        header_time_max: options.header_time_max.unwrap_or(default.header_time_max),
        write_time_max: options.write_time_max.unwrap_or(default.write_time_max),
    })
}

fn partner(options: &ServeOptions) -> Result<Uid, ConfigError> {
    match (&options.partner, &options.broker_username) {
        (Some(partner), _) => uid("partner", partner),
        (None, Some(login)) => uid("broker-username", login),
        (None, None) => uid("partner", PARTNER_DEFAULT),
    }
}

fn uid(option: &'static str, text: &str) -> Result<Uid, ConfigError> {
    Uid::parse(text).map_err(|reason| ConfigError::Uid {
        option,
        text: text.to_owned(),
        reason,
    })
}

fn broker(options: &ServeOptions, partner: &Uid) -> Result<BrokerChoice, ConfigError> {
    match &options.broker {
        Some(address) => external(&address.0, options, partner).map(BrokerChoice::External),
        None => embedded(options),
    }
}

fn external(
    url: &BrokerUrl,
    options: &ServeOptions,
    partner: &Uid,
) -> Result<ExternalBroker, ConfigError> {
    let beside = "beside --broker, which replaces the embedded broker";
    refuse(options.mqtt.is_some(), "mqtt", beside)?;
    refuse(options.mqtts.is_some(), "mqtts", beside)?;
    refuse(options.server_names.is_some(), "server-names", beside)?;
    refuse(
        options.mqtt_connections_max.is_some(),
        "mqtt-connections-max",
        beside,
    )?;
    Ok(ExternalBroker {
        url: url.clone(),
        version: options.broker_mqtt.unwrap_or_default(),
        uids: uids(options, partner)?,
        ca: options.broker_ca.clone(),
        identity: both(
            ("broker-cert", options.broker_cert.clone()),
            ("broker-key", options.broker_key.clone()),
        )?,
        credentials: both(
            ("broker-username", options.broker_username.clone()),
            ("broker-password-file", options.broker_password_file.clone()),
        )?,
    })
}

fn uids(options: &ServeOptions, partner: &Uid) -> Result<Vec<Uid>, ConfigError> {
    match options.broker_uids.as_deref() {
        None => Ok(vec![partner.clone()]),
        Some("all") => Ok(Vec::new()),
        Some(list) => list
            .split(',')
            .map(|text| uid("broker-uids", text.trim()))
            .collect(),
    }
}

fn embedded(options: &ServeOptions) -> Result<BrokerChoice, ConfigError> {
    let beside = "without --broker";
    refuse(options.broker_ca.is_some(), "broker-ca", beside)?;
    refuse(options.broker_uids.is_some(), "broker-uids", beside)?;
    refuse(options.broker_mqtt.is_some(), "broker-mqtt", beside)?;
    refuse(options.broker_cert.is_some(), "broker-cert", beside)?;
    refuse(options.broker_key.is_some(), "broker-key", beside)?;
    refuse(options.broker_username.is_some(), "broker-username", beside)?;
    refuse(
        options.broker_password_file.is_some(),
        "broker-password-file",
        beside,
    )?;
    Ok(BrokerChoice::Embedded {
        mqtt: options.mqtt.map_or(
            Some(SocketAddr::from(([127, 0, 0, 1], 1883))),
            LocalListen::address,
        ),
        mqtts: options.mqtts.map_or(
            Some(SocketAddr::from(([0, 0, 0, 0], MQTTS_PORT_DEFAULT))),
            Listen::address,
        ),
        server_names: list(options.server_names.as_deref()),
        connections_max: count(
            options.mqtt_connections_max,
            Limits::default().connections_max,
            "mqtt-connections-max",
        )?,
    })
}

/// The parts of a list with commas.
fn list(text: Option<&str>) -> Vec<String> {
    text.unwrap_or_default()
        .split(',')
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}

fn refuse(given: bool, option: &'static str, beside: &'static str) -> Result<(), ConfigError> {
    if given {
        return Err(ConfigError::NoEffect { option, beside });
    }
    Ok(())
}

/// Two options that come together or not at all.
fn both<A, B>(
    (first, a): (&'static str, Option<A>),
    (second, b): (&'static str, Option<B>),
) -> Result<Option<(A, B)>, ConfigError> {
    let incomplete = |given, missing| Err(ConfigError::Incomplete { given, missing });
    match (a, b) {
        (Some(a), Some(b)) => Ok(Some((a, b))),
        (None, None) => Ok(None),
        (Some(_), None) => incomplete(first, second),
        (None, Some(_)) => incomplete(second, first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_given_is_a_whole_configuration() {
        let config = check(&ServeOptions::default()).unwrap();
        assert_eq!(config.http.to_string(), "127.0.0.1:8080");
        assert_eq!(config.scheme, TopicScheme::default());
        let BrokerChoice::Embedded { mqtt, mqtts, .. } = config.broker else {
            panic!("{:?}", config.broker)
        };
        assert_eq!(mqtt.unwrap().to_string(), "127.0.0.1:1883");
        assert_eq!(mqtts.unwrap().to_string(), "0.0.0.0:8886");
    }

    #[test]
    fn logs_delete_before_the_store_is_full() {
        let with = |store_bytes_max, uplink_bytes_max| {
            let options = ServeOptions {
                store_bytes_max,
                uplink_bytes_max,
                ..Default::default()
            };
            check(&options).unwrap().store
        };
        for store in [
            with(None, None),
            with(Some(1000), None),
            with(Some(1000), Some(999)),
        ] {
            assert!(store.uplink_bytes_max + store.downlink_bytes_max < store.quota_bytes);
        }
        assert_eq!(with(Some(1000), Some(600)).uplink_bytes_max, 600);
    }

    #[test]
    fn options_that_contradict_each_other_are_named() {
        let says = |options: ServeOptions, part: &str| {
            let shown = check(&options).unwrap_err().to_string();
            assert!(shown.contains(part), "{shown}");
        };
        says(
            ServeOptions {
                broker: "mqtt://b".parse().ok(),
                mqtt: Some("off".parse().unwrap()),
                ..Default::default()
            },
            "--mqtt has no effect beside --broker",
        );
        says(
            ServeOptions {
                broker_ca: Some("ca.pem".into()),
                ..Default::default()
            },
            "--broker-ca has no effect without --broker",
        );
        says(
            ServeOptions {
                broker: "mqtts://b".parse().ok(),
                broker_key: Some("key.pem".into()),
                ..Default::default()
            },
            "--broker-key needs --broker-cert",
        );
        says(
            ServeOptions {
                streams_max: Some(0),
                ..Default::default()
            },
            "--streams-max must be at least 1",
        );
        says(
            ServeOptions {
                store_bytes_max: Some(1000),
                uplink_bytes_max: Some(1000),
                ..Default::default()
            },
            "--uplink-bytes-max 1000 must be less than --store-bytes-max 1000",
        );
        says(
            ServeOptions {
                broker: "mqtt://b".parse().ok(),
                mqtt_connections_max: Some(1),
                ..Default::default()
            },
            "--mqtt-connections-max has no effect beside --broker",
        );
        says(
            ServeOptions {
                prefix: Some("a/#".into()),
                ..Default::default()
            },
            "--prefix \"a/#\"",
        );
    }
}
