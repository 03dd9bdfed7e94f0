//! Which broker carries the messages: the options of the embedded one, or of somebody else's.

use std::net::SocketAddr;
use std::path::PathBuf;

use rustls_pki_types::ServerName;
use vinbus_protocol::id::Uid;
use vinbus_transport_std::BrokerUrl;

use super::MQTTS_PORT_DEFAULT;
use super::error::ConfigError;
use super::listen::{Listen, LocalListen};
use super::options::{MqttVersion, ServeOptions};
use super::range::{count, wait};
use super::settings::uid;
use crate::broker::embedded::Limits;

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
        /// Its bounds.
        limits: Limits,
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

/// Checks the options of the broker that is chosen, and that there are none of the other.
pub(super) fn check(options: &ServeOptions, partner: &Uid) -> Result<BrokerChoice, ConfigError> {
    match &options.broker {
        Some(text) => {
            let url = text.parse().map_err(ConfigError::BrokerUrl)?;
            external(url, options, partner).map(BrokerChoice::External)
        }
        None => embedded(options),
    }
}

fn external(
    url: BrokerUrl,
    options: &ServeOptions,
    partner: &Uid,
) -> Result<ExternalBroker, ConfigError> {
    let beside = "beside --broker, which replaces the embedded broker";
    refuse(options, is_of_embedded, beside)?;
    Ok(ExternalBroker {
        url,
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
    refuse(options, is_of_external, "without --broker")?;
    Ok(BrokerChoice::Embedded {
        mqtt: options.mqtt.map_or(
            Some(SocketAddr::from(([127, 0, 0, 1], 1883))),
            LocalListen::address,
        ),
        mqtts: options.mqtts.map_or(
            Some(SocketAddr::from(([0, 0, 0, 0], MQTTS_PORT_DEFAULT))),
            Listen::address,
        ),
        server_names: server_names(options)?,
        limits: limits(options)?,
    })
}

/// Names that a certificate can carry: DNS names, those with `*.` before them, and IP addresses.
fn server_names(options: &ServeOptions) -> Result<Vec<String>, ConfigError> {
    let Some(names) = &options.server_names else {
        return Ok(Vec::new());
    };
    names
        .split(',')
        .map(str::trim)
        .map(|name| {
            let bare = name.strip_prefix("*.").unwrap_or(name);
            match ServerName::try_from(bare) {
                Ok(_) => Ok(name.to_owned()),
                Err(_) => Err(ConfigError::ServerName {
                    name: name.to_owned(),
                }),
            }
        })
        .collect()
}

fn limits(options: &ServeOptions) -> Result<Limits, ConfigError> {
    let default = Limits::default();
    let connections_max = count(
        options.mqtt_connections_max,
        default.connections_max,
        "mqtt-connections-max",
    )?;
    Ok(Limits {
        connections_max,
        // Behind an address translator all vehicles share one address.
        connections_per_address_max: count(
            options.mqtt_connections_per_address_max,
            connections_max,
            "mqtt-connections-per-address-max",
        )?,
        connections_per_partner_max: count(
            options.mqtt_connections_per_partner_max,
            default.connections_per_partner_max,
            "mqtt-connections-per-partner-max",
        )?,
        unknown_max: count(
            options.mqtt_unknown_max,
            default.unknown_max,
            "mqtt-unknown-max",
        )?,
        unknown_per_address_max: count(
            options.mqtt_unknown_per_address_max,
            default.unknown_per_address_max,
            "mqtt-unknown-per-address-max",
        )?,
        handshake_time_max: wait(
            options.mqtt_handshake_time_max,
            default.handshake_time_max,
            "mqtt-handshake-time-max",
        )?,
        write_stall_max: wait(
            options.mqtt_write_time_max,
            default.write_stall_max,
            "mqtt-write-time-max",
        )?,
        // None at all is no limit here.
        publishes_per_second_max: options
            .mqtt_publishes_per_second_max
            .unwrap_or(default.publishes_per_second_max),
        filters_per_client_max: count(
            options.mqtt_filters_per_client_max,
            default.filters_per_client_max,
            "mqtt-filters-per-client-max",
        )?,
        wildcard_filters_max: count(
            options.mqtt_wildcard_filters_max,
            default.wildcard_filters_max,
            "mqtt-wildcard-filters-max",
        )?,
        wildcard_filters_per_identity_max: count(
            options.mqtt_wildcard_filters_per_identity_max,
            default.wildcard_filters_per_identity_max,
            "mqtt-wildcard-filters-per-identity-max",
        )?,
        wildcard_filters_per_app_max: count(
            options.mqtt_wildcard_filters_per_app_max,
            default.wildcard_filters_per_app_max,
            "mqtt-wildcard-filters-per-app-max",
        )?,
        retained_max: count(
            options.mqtt_retained_max,
            default.retained_max,
            "mqtt-retained-max",
        )?,
        shutdown_time_max: default.shutdown_time_max,
    })
}

/// Whether an option says something about the embedded broker alone.
fn is_of_embedded(option: &str) -> bool {
    option.starts_with("mqtt") || matches!(option, "server-names" | "allow-origin" | "bus-events")
}

/// Whether an option says something about an external broker alone.
fn is_of_external(option: &str) -> bool {
    option.starts_with("broker-")
}

fn refuse(
    options: &ServeOptions,
    is_refused: fn(&str) -> bool,
    beside: &'static str,
) -> Result<(), ConfigError> {
    match options.given().find(|option| is_refused(option)) {
        Some(option) => Err(ConfigError::NoEffect { option, beside }),
        None => Ok(()),
    }
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
    use std::time::Duration;

    use clap::Args;

    use super::*;

    fn limits_of(options: &ServeOptions) -> Limits {
        limits(options).unwrap()
    }

    #[test]
    fn every_limit_is_the_one_that_is_given() {
        let seconds = Duration::from_secs;
        let options = ServeOptions {
            mqtt_connections_max: Some(1),
            mqtt_connections_per_address_max: Some(2),
            mqtt_connections_per_partner_max: Some(3),
            mqtt_unknown_max: Some(4),
            mqtt_unknown_per_address_max: Some(5),
            mqtt_handshake_time_max: Some(seconds(6)),
            mqtt_write_time_max: Some(seconds(7)),
            mqtt_publishes_per_second_max: Some(8),
            mqtt_filters_per_client_max: Some(9),
            mqtt_wildcard_filters_max: Some(10),
            mqtt_wildcard_filters_per_identity_max: Some(11),
            mqtt_wildcard_filters_per_app_max: Some(12),
            mqtt_retained_max: Some(13),
            ..Default::default()
        };
        let expected = Limits {
            connections_max: 1,
            connections_per_address_max: 2,
            connections_per_partner_max: 3,
            unknown_max: 4,
            unknown_per_address_max: 5,
            handshake_time_max: seconds(6),
            write_stall_max: seconds(7),
            publishes_per_second_max: 8,
            filters_per_client_max: 9,
            wildcard_filters_max: 10,
            wildcard_filters_per_identity_max: 11,
            wildcard_filters_per_app_max: 12,
            retained_max: 13,
            shutdown_time_max: Limits::default().shutdown_time_max,
        };
        assert_eq!(limits_of(&options), expected);
    }

    #[test]
    fn one_address_may_have_all_connections_unless_told_otherwise() {
        let options = ServeOptions {
            mqtt_connections_max: Some(7),
            ..Default::default()
        };
        assert_eq!(limits_of(&options).connections_per_address_max, 7);
    }

    #[test]
    fn the_defaults_of_the_limits_are_those_of_their_descriptions() {
        let command = ServeOptions::augment_args(clap::Command::new("serve"));
        let check = |name: &str, default: &str| {
            let named = |argument: &&clap::Arg| argument.get_id() == name;
            let option = command.get_arguments().find(named).unwrap();
            let help = option.get_help().unwrap().to_string();
            let said = format!("[default: {default}]");
            assert!(help.contains(&said), "{name}: {said}: {help}");
        };
        let limits = limits_of(&ServeOptions::default());
        let time = |time| humantime::format_duration(time).to_string();
        for (name, default) in [
            ("mqtt_connections_max", limits.connections_max),
            (
                "mqtt_connections_per_partner_max",
                limits.connections_per_partner_max,
            ),
            ("mqtt_unknown_max", limits.unknown_max),
            (
                "mqtt_unknown_per_address_max",
                limits.unknown_per_address_max,
            ),
            (
                "mqtt_publishes_per_second_max",
                limits.publishes_per_second_max as usize,
            ),
            ("mqtt_filters_per_client_max", limits.filters_per_client_max),
            ("mqtt_wildcard_filters_max", limits.wildcard_filters_max),
            (
                "mqtt_wildcard_filters_per_identity_max",
                limits.wildcard_filters_per_identity_max,
            ),
            (
                "mqtt_wildcard_filters_per_app_max",
                limits.wildcard_filters_per_app_max,
            ),
            ("mqtt_retained_max", limits.retained_max),
        ] {
            check(name, &default.to_string());
        }
        check("mqtt_handshake_time_max", &time(limits.handshake_time_max));
        check("mqtt_write_time_max", &time(limits.write_stall_max));
    }

    #[test]
    fn a_server_name_is_a_host_name_or_an_address() {
        let names = |names: &str| {
            server_names(&ServeOptions {
                server_names: Some(names.to_owned()),
                ..Default::default()
            })
        };
        let right = names("vinbus.example, 192.0.2.1,::1,*.cars.example").unwrap();
        assert_eq!(
            right,
            ["vinbus.example", "192.0.2.1", "::1", "*.cars.example"]
        );
        for wrong in ["a b", "", "a,,b", "https://a", "a:8886", "br\u{f6}ker", "*"] {
            let shown = names(wrong).unwrap_err().to_string();
            assert!(shown.contains("--server-names"), "{wrong}: {shown}");
        }
    }
}
