//! The checked configuration, with every default.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use vinbus_protocol::id::{AppId, Uid};
use vinbus_protocol::topic::{PREFIX_DEFAULT, TopicScheme};

use super::bridge::{self, PlatformChoice};
use super::broker::{self, BrokerChoice};
use super::data_dir;
use super::error::ConfigError;
use super::options::{BusTopics, LogFormat, Networks, Profile, ServeOptions};
use super::range::{bytes, count, message_ttl, retention, vehicle_rate, wait};
use super::tokens;
use crate::bridge::{Audience, Rules};
use crate::bus::{self, BusSettings};
use crate::hub;
use crate::store::sqlite::StoreSettings;

/// The partner that a server without any setting has.
const PARTNER_DEFAULT: &str = "demo-partner";

/// Least size of the store: 64 messages of the largest size with all that is kept beside them.
const STORE_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// Least size of the log of uplink messages: several of the largest.
const UPLINK_BYTES_MIN: u64 = 1024 * 1024;

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
    /// How tokens of bus clients are made, which are accepted, and which topics are.
    pub bus: BusSettings,
    /// Which applications of the bus are told what happens.
    pub audience: Audience,
    /// What goes between the bus and vehicles.
    pub rules: Rules,
    /// The platform that they are about, in place of our own bus.
    pub platform: Option<PlatformChoice>,
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
    /// Bytes a second for one vehicle.
    pub vehicle_rate: Option<NonZeroU32>,
    /// Fleet messages' messages a second.
    pub fleet_rate: u32,
    /// How long a message waits for its vehicle by default.
    pub message_ttl: Duration,
    /// Apps whose messages carry receipts by default.
    pub receipts_for: Vec<AppId>,
    /// Webhooks of all partners.
    pub webhooks_max: usize,
    /// Where webhooks of partners may lead.
    pub webhook_networks: Networks,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_filter: String,
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
pub(super) fn check(options: &ServeOptions, rules: Rules) -> Result<Config, ConfigError> {
    let platform = bridge::platform(options, &rules)?;
    if options.broker.is_some() && !rules.is_empty() && platform.is_none() {
        return Err(ConfigError::NoBus);
    }
    let partner = partner(options)?;
    let queues = hub::Settings::default();
    Ok(Config {
        data_dir: data_dir(options.data_dir.as_deref()),
        http: options
            .http
            .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))),
        allow_origin: list(options.allow_origin.as_deref(), "allow-origin")?,
        scheme: scheme(options)?,
        broker: broker::check(options, &partner)?,
        partner,
        bus: BusSettings {
            tokens: tokens::check(options)?,
            lenient: options.bus_topics == Some(BusTopics::Lenient),
        },
        audience: bridge::audience(options)?,
        rules,
        platform,
        limits: limits(options)?,
        store: store(options)?,
        vehicle_unsent_max: count(
            options.vehicle_unsent_max,
            queues.vehicle_unsent_max,
            "vehicle-unsent-max",
        )?,
        unsent_max: count(options.unsent_max, queues.unsent_max, "unsent-max")?,
        vehicle_rate: vehicle_rate(options.vehicle_rate, queues.vehicle_rate, "vehicle-rate")?,
        fleet_rate: count(options.fleet_rate, queues.fleet_rate as usize, "fleet-rate")? as u32,
        message_ttl: message_ttl(options.message_ttl, queues.message_ttl, "message-ttl")?,
        receipts_for: list(options.receipts_for.as_deref(), "receipts-for")?
            .into_iter()
            .map(|text| {
                AppId::parse(&text).map_err(|reason| ConfigError::VehicleApp {
                    option: "receipts-for",
                    text,
                    reason,
                })
            })
            .collect::<Result<_, _>>()?,
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
    if bus::is_of_bus(prefix) {
        return Err(ConfigError::PrefixOfBus {
            prefix: prefix.to_owned(),
        });
    }
    TopicScheme::new(prefix, profile.into()).map_err(|reason| ConfigError::Prefix {
        prefix: prefix.to_owned(),
        reason,
    })
}

/// What is kept. The logs begin to delete before the whole is full, so that a server that runs for
/// long refuses nothing on their account.
fn store(options: &ServeOptions) -> Result<StoreSettings, ConfigError> {
    let default = StoreSettings::default();
    let quota_bytes = options.store_bytes_max.unwrap_or(default.quota_bytes);
    let quota_bytes = bytes(quota_bytes, STORE_BYTES_MIN, "store-bytes-max")?;
    let uplink_bytes_max = options.uplink_bytes_max.unwrap_or(quota_bytes / 2);
    let uplink_bytes_max = bytes(uplink_bytes_max, UPLINK_BYTES_MIN, "uplink-bytes-max")?;
    if uplink_bytes_max >= quota_bytes {
        return Err(ConfigError::LogFillsStore {
            uplink_bytes_max,
            quota_bytes,
        });
    }
    Ok(StoreSettings {
        uplink_age_max: retention(
            options.uplink_retention,
            default.uplink_age_max,
            "uplink-retention",
        )?,
        uplink_bytes_max,
        trace_age_max: retention(
            options.trace_retention,
            default.trace_age_max,
            "trace-retention",
        )?,
        downlink_bytes_max: (quota_bytes - uplink_bytes_max) / 2,
        quota_bytes,
    })
}

fn limits(options: &ServeOptions) -> Result<HttpLimits, ConfigError> {
    let default = HttpLimits::default();
    let rate = count(
        options.requests_per_second_max,
        default.requests_per_second_max as usize,
        "requests-per-second-max",
    )?;
    Ok(HttpLimits {
        connections_max: count(
            options.http_connections_max,
            default.connections_max,
            "http-connections-max",
        )?,
        streams_max: count(options.streams_max, default.streams_max, "streams-max")?,
        requests_per_second_max: u32::try_from(rate).unwrap_or(u32::MAX),
        request_time_max: wait(
            options.request_time_max,
            default.request_time_max,
            "request-time-max",
        )?,
        header_time_max: wait(
            options.header_time_max,
            default.header_time_max,
            "header-time-max",
        )?,
        write_time_max: wait(
            options.write_time_max,
            default.write_time_max,
            "write-time-max",
        )?,
    })
}

fn partner(options: &ServeOptions) -> Result<Uid, ConfigError> {
    match (&options.partner, &options.broker_username) {
        (Some(partner), _) => uid("partner", partner),
        (None, Some(login)) => Uid::parse(login).map_err(|reason| ConfigError::LoginIsNoUid {
            login: login.clone(),
            reason,
        }),
        (None, None) => uid("partner", PARTNER_DEFAULT),
    }
}

pub(super) fn uid(option: &'static str, text: &str) -> Result<Uid, ConfigError> {
    Uid::parse(text).map_err(|reason| ConfigError::Uid {
        option,
        text: text.to_owned(),
        reason,
    })
}

/// The parts of a list with commas; an empty text is a list of none.
pub(super) fn list(text: Option<&str>, option: &'static str) -> Result<Vec<String>, ConfigError> {
    let text = text.unwrap_or_default();
    let parts = text.split(',').filter(|_| !text.trim().is_empty());
    parts
        .map(|part| match part.trim() {
            "" => Err(ConfigError::EmptyName {
                option,
                text: text.to_owned(),
            }),
            part => Ok(part.to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn nothing_given_is_a_whole_configuration() {
        let config = check(&ServeOptions::default(), Rules::default()).unwrap();
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
            check(&options, Rules::default()).unwrap().store
        };
        for store in [
            with(None, None),
            with(Some(16 * MIB), None),
            with(Some(16 * MIB), Some(16 * MIB - 1)),
        ] {
            assert!(store.uplink_bytes_max + store.downlink_bytes_max < store.quota_bytes);
        }
        assert_eq!(with(Some(64 * MIB), Some(MIB)).uplink_bytes_max, MIB);
    }

    #[test]
    fn a_list_with_an_empty_name_is_refused() {
        let list = |text| list(Some(text), "receipts-for");
        assert_eq!(list(" a, b").unwrap(), ["a", "b"]);
        assert_eq!(list(" ").unwrap(), [""; 0]);
        for wrong in ["a,,b", ",a", "a, ", ","] {
            let shown = list(wrong).unwrap_err().to_string();
            let expected = format!("--receipts-for {wrong:?} has an empty name");
            assert!(shown.contains(&expected), "{shown}");
        }
    }

    #[test]
    fn options_that_contradict_each_other_are_named() {
        let says = |options: ServeOptions, part: &str| {
            let shown = check(&options, Rules::default()).unwrap_err().to_string();
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
            "--streams-max 0 is too little: at least 1",
        );
        says(
            ServeOptions {
                store_bytes_max: Some(16 * MIB),
                uplink_bytes_max: Some(16 * MIB),
                ..Default::default()
            },
            "--uplink-bytes-max 16777216 must be less than --store-bytes-max 16777216",
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
        says(
            ServeOptions {
                prefix: Some("app/psa".into()),
                ..Default::default()
            },
            "--prefix \"app/psa\" is where the bus has its topics",
        );
    }
}
