//! Every option of `serve`, as it may be given: on the command line, in the environment, in a file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;
use vinbus_protocol::topic::TopicProfile;

use super::listen::{self, Listen, LocalListen};
use super::{bytes, count, time};

/// The heading of what concerns the bus and its clients.
const BUS: &str = "Bus";

/// The heading of what concerns another platform.
const PLATFORM: &str = "Another platform's bus";

/// The heading of the bounds of the embedded broker.
const BROKER_LIMITS: &str = "Limits of the embedded broker (MQTT)";

/// Declares the options once, and how those given nearer hide those given farther away.
macro_rules! options {
    ($(#[$struct_meta:meta])* pub struct $name:ident { $($(#[$meta:meta])* pub $field:ident: Option<$type:ty>,)* }) => {
        $(#[$struct_meta])*
        pub struct $name { $($(#[$meta])* pub $field: Option<$type>,)* }

        impl $name {
            /// These options, and from `farther` those that are not given here.
            #[must_use]
            pub fn over(self, farther: Self) -> Self {
                Self { $($field: self.$field.or(farther.$field),)* }
            }

            /// The keys of the options in a file; an option that it cannot give is none.
            pub(super) fn keys() -> impl Iterator<Item = String> {
                let all = [$(stringify!($field)),*].into_iter();
                all.filter(|field| *field != "config").map(|field| field.replace('_', "-"))
            }

            /// The names of the options that are given, without their dashes in front.
            pub(super) fn given(&self) -> impl Iterator<Item = String> {
                let all = [$((stringify!($field), self.$field.is_some()),)*];
                let given = all.into_iter().filter(|(_, given)| *given);
                given.map(|(field, _)| field.replace('_', "-"))
            }
        }
    };
}

options! {
/// The options of `serve`. What is not given has the default that its description names.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServeOptions {
    /// A TOML file with these options: each key is an option's name without the dashes, such as
    /// `data-dir = "/var/lib/vinbus"`. The command line and the environment win over it. Tables
    /// `[[bridge]]` in it say which messages go between the bus and vehicles (docs/examples/bridge.toml).
    #[arg(long, value_name = "FILE", env = "VINBUS_CONFIG")]
    #[serde(skip)]
    pub config: Option<PathBuf>,

    /// The folder for certificates, credentials and the database; made at first start. One server
    /// at a time uses it. [default: vinbus-data]
    #[arg(long, value_name = "DIR", env = "VINBUS_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// Where REST, event stream and MQTT over WebSocket (`/mqtt`) listen. Port 0 chooses a free
    /// one. [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", env = "VINBUS_HTTP", value_parser = listen::address, help_heading = "Listeners")]
    #[serde(default, deserialize_with = "listen::deserialize_address")]
    pub http: Option<SocketAddr>,

    /// Where plain MQTT listens, on loopback only, or `off`. [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDR", env = "VINBUS_MQTT", help_heading = "Listeners")]
    pub mqtt: Option<LocalListen>,

    /// Where MQTT over TLS with a client certificate listens, or `off`. [default: 0.0.0.0:8886]
    #[arg(long, value_name = "ADDR", env = "VINBUS_MQTTS", help_heading = "Listeners")]
    pub mqtts: Option<Listen>,

    /// Host names or IP addresses, separated by commas, that vehicles reach this server by.
    /// The server's certificate names them and localhost; it is made anew when they change, so give
    /// them at each start, or in the configuration file. [default: localhost,127.0.0.1,::1]
    #[arg(long, value_name = "NAMES", env = "VINBUS_SERVER_NAMES", help_heading = "Listeners")]
    pub server_names: Option<String>,

    /// Web origins, separated by commas, whose pages may speak MQTT over WebSocket besides those of the
    /// server itself, such as `https://console.example`. Other pages are answered 403; programs send no
    /// origin. [default: none]
    #[arg(long, value_name = "ORIGINS", env = "VINBUS_ALLOW_ORIGIN", help_heading = "Listeners")]
    pub allow_origin: Option<String>,

    /// Use this broker in place of the embedded one: mqtt://, mqtts://, ws:// or wss://, then host
    /// and port.
    #[arg(long, value_name = "URL", env = "VINBUS_BROKER", help_heading = "External broker")]
    pub broker: Option<String>,

    /// The certificate authority that signed the broker's certificate, a PEM file.
    #[arg(long, value_name = "FILE", env = "VINBUS_BROKER_CA", help_heading = "External broker")]
    pub broker_ca: Option<PathBuf>,

    /// Our client certificate for the broker, a PEM file.
    #[arg(long, value_name = "FILE", env = "VINBUS_BROKER_CERT", help_heading = "External broker")]
    pub broker_cert: Option<PathBuf>,

    /// The private key of that certificate, a PEM file.
    #[arg(long, value_name = "FILE", env = "VINBUS_BROKER_KEY", help_heading = "External broker")]
    pub broker_key: Option<PathBuf>,

    /// Our user name at the broker, the partner's UID.
    #[arg(long, value_name = "NAME", env = "VINBUS_BROKER_USERNAME", help_heading = "External broker")]
    pub broker_username: Option<String>,

    /// A file with our password at the broker; a line end after it is not part of it.
    #[arg(long, value_name = "FILE", env = "VINBUS_BROKER_PASSWORD_FILE", help_heading = "External broker")]
    pub broker_password_file: Option<PathBuf>,

    /// Whose messages from vehicles are subscribed to there: UIDs, separated by commas, or `all`,
    /// which only the broker's owner may. [default: the UID of --partner]
    #[arg(long, value_name = "UIDS", env = "VINBUS_BROKER_UIDS", help_heading = "External broker")]
    pub broker_uids: Option<String>,

    /// The protocol version spoken there. [default: 5]
    #[arg(long, env = "VINBUS_BROKER_MQTT", help_heading = "External broker")]
    pub broker_mqtt: Option<MqttVersion>,

    /// The UID that the administrator sends as where a request names none. [default:
    /// --broker-username, else demo-partner]
    #[arg(long, value_name = "UID", env = "VINBUS_PARTNER", help_heading = "Topics")]
    pub partner: Option<String>,

    /// What every topic begins with. [default: psa/OVIPPartners-Dev]
    #[arg(long, value_name = "LEVELS", env = "VINBUS_PREFIX", help_heading = "Topics")]
    pub prefix: Option<String>,

    /// Who publishes where: `table` (the host on to/…/, vehicles on from/…/) or `sample` (the other
    /// way round, without the trailing slash). Both ends need the same. [default: table]
    #[arg(long, env = "VINBUS_PROFILE", help_heading = "Topics")]
    pub profile: Option<Profile>,

    /// Which topics the bus takes: `strict`, app/{appId}/{resource}/{scope}/…, or `lenient`, where
    /// app/{appId}/{name} is one too, for those who have the permission {name} or *. [default: strict]
    #[arg(long, env = "VINBUS_BUS_TOPICS", help_heading = BUS)]
    pub bus_topics: Option<BusTopics>,

    /// Which applications of the bus are told what happens to whose vehicles and messages: APP=UID,
    /// separated by commas. Their clients need the permissions `vehicle.presence`, `vehicle.received`,
    /// `vehicle.message` and so on, or `vehicle.*`. [default: none]
    #[arg(long, value_name = "APP=UID", env = "VINBUS_BUS_EVENTS", help_heading = BUS)]
    pub bus_events: Option<String>,

    /// Carry what the tables `[[bridge]]` say to and from this SERMAS-like platform in place of our own
    /// bus: http:// or https://, host, and port.
    #[arg(long, value_name = "URL", env = "VINBUS_PLATFORM", help_heading = PLATFORM)]
    pub platform: Option<String>,

    /// Our client there, as APP/CLIENT. A vinbus host server gives it the permission `platform.vehicle` to
    /// tell of vehicles there.
    #[arg(long, value_name = "APP/CLIENT", env = "VINBUS_PLATFORM_CLIENT", help_heading = PLATFORM)]
    pub platform_client: Option<String>,

    /// A file with the secret of that client; a line end after it is not part of it.
    #[arg(long, value_name = "FILE", env = "VINBUS_PLATFORM_SECRET_FILE", help_heading = PLATFORM)]
    pub platform_secret_file: Option<PathBuf>,

    /// The certificate authority that signed the platform's certificate, a PEM file. [default: those of
    /// the system]
    #[arg(long, value_name = "FILE", env = "VINBUS_PLATFORM_CA", help_heading = PLATFORM)]
    pub platform_ca: Option<PathBuf>,

    /// What the platform is: a `vinbus` host server takes each new token in the session that runs, so
    /// that nothing is missed. [default: sermas]
    #[arg(long, env = "VINBUS_PLATFORM_KIND", help_heading = PLATFORM)]
    pub platform_kind: Option<PlatformKind>,

    /// The issuer (`iss`) of the tokens that bus clients get. [default: vinbus]
    #[arg(long, value_name = "NAME", env = "VINBUS_TOKEN_ISSUER", help_heading = BUS)]
    pub token_issuer: Option<String>,

    /// How long the token of a bus client lives. 1s to 7days. [default: 12h]
    #[arg(long, value_name = "TIME", env = "VINBUS_TOKEN_LIFETIME", value_parser = time::parse, help_heading = BUS)]
    #[serde(default, deserialize_with = "time::deserialize")]
    pub token_lifetime: Option<Duration>,

    /// How long a refresh token lives. 1s to 7days. [default: 1day]
    #[arg(long, value_name = "TIME", env = "VINBUS_REFRESH_TOKEN_LIFETIME", value_parser = time::parse, help_heading = BUS)]
    #[serde(default, deserialize_with = "time::deserialize")]
    pub refresh_token_lifetime: Option<Duration>,

    /// How long a key signs tokens; then a new one does, and the old one is kept until the tokens that
    /// it signed are over. At least 1h. [default: 30days]
    #[arg(long, value_name = "TIME", env = "VINBUS_TOKEN_KEY_ROTATION", value_parser = time::parse, help_heading = BUS)]
    #[serde(default, deserialize_with = "time::deserialize")]
    pub token_key_rotation: Option<Duration>,

    /// Accept the tokens of this issuer as well: the `iss` in them, such as
    /// `https://keycloak.example/realms/sermas`. Their clients are known here by `token create-client`.
    #[arg(long, value_name = "ISS", env = "VINBUS_TRUSTED_ISSUER", help_heading = BUS)]
    pub trusted_issuer: Option<String>,

    /// The keys of that issuer as a JSON Web Key Set: a URL, or a file.
    #[arg(long, value_name = "URL|FILE", env = "VINBUS_TRUSTED_JWKS", help_heading = BUS)]
    pub trusted_jwks: Option<String>,

    /// The audience (`aud`) that its tokens must name. [default: account]
    #[arg(long, value_name = "NAME", env = "VINBUS_TRUSTED_AUDIENCE", help_heading = BUS)]
    pub trusted_audience: Option<String>,

    /// How its tokens are signed; others are refused, whatever they say. [default: RS256]
    #[arg(long, env = "VINBUS_TRUSTED_ALGORITHM", help_heading = BUS)]
    pub trusted_algorithm: Option<TokenAlgorithm>,

    /// HTTP connections open at once; one more is answered 503. At least 1. [default: 1024]
    #[arg(long, value_name = "COUNT", env = "VINBUS_HTTP_CONNECTIONS_MAX", value_parser = count::parse, help_heading = "Limits")]
    pub http_connections_max: Option<u32>,

    /// Event streams open at once; one more is answered 503. At least 1. [default: 256]
    #[arg(long, value_name = "COUNT", env = "VINBUS_STREAMS_MAX", value_parser = count::parse, help_heading = "Limits")]
    pub streams_max: Option<u32>,

    /// REST requests a second for each principal, and twice as many in a burst; what is over is
    /// answered 429. At least 1. [default: 2000]
    #[arg(long, value_name = "COUNT", env = "VINBUS_REQUESTS_PER_SECOND_MAX", value_parser = count::parse, help_heading = "Limits")]
    pub requests_per_second_max: Option<u32>,

    /// A request is answered within this time. 1ms to 1day. [default: 30s]
    #[arg(long, value_name = "TIME", env = "VINBUS_REQUEST_TIME_MAX", value_parser = time::parse, help_heading = "Limits")]
    #[serde(default, deserialize_with = "time::deserialize")]
    pub request_time_max: Option<Duration>,

    /// A client sends its request's head within this time, and is idle no longer. 1ms to 1day.
    /// [default: 30s]
    #[arg(long, value_name = "TIME", env = "VINBUS_HEADER_TIME_MAX", value_parser = time::parse, help_heading = "Limits")]
    #[serde(default, deserialize_with = "time::deserialize")]
    pub header_time_max: Option<Duration>,

    /// A client that takes nothing of its answer for this time is disconnected. 1ms to 1day.
    /// [default: 30s]
    #[arg(long, value_name = "TIME", env = "VINBUS_WRITE_TIME_MAX", value_parser = time::parse, help_heading = "Limits")]
    #[serde(default, deserialize_with = "time::deserialize")]
    pub write_time_max: Option<Duration>,

    /// Messages of one partner that may wait for one vehicle; one more is answered 429.
    /// At least 1. [default: 1000]
    #[arg(long, value_name = "COUNT", env = "VINBUS_VEHICLE_UNSENT_MAX", value_parser = count::parse, help_heading = "Limits")]
    pub vehicle_unsent_max: Option<u32>,

    /// Messages that may wait for all vehicles together; one more is answered 503. Those of one
    /// partner may be half as many; one more is answered 429. At least 1. [default: 1000000]
    #[arg(long, value_name = "COUNT", env = "VINBUS_UNSENT_MAX", value_parser = count::parse, help_heading = "Limits")]
    pub unsent_max: Option<u32>,

    /// Bytes a second that one vehicle is sent, with as many at once after a pause: what its link
    /// carries, such as 30kB or 100kB over a slow mobile network. At least 2048, or 0 for as fast as the
    /// broker takes them. [default: 1MB]
    #[arg(long, value_name = "BYTES", env = "VINBUS_VEHICLE_RATE", value_parser = bytes::parse, help_heading = "Limits")]
    #[serde(default, deserialize_with = "bytes::deserialize")]
    pub vehicle_rate: Option<u64>,

    /// Messages of fleet messages that are put on their way in a second, all fleet messages together. At
    /// least 1. [default: 200]
    #[arg(long, value_name = "COUNT", env = "VINBUS_FLEET_RATE", value_parser = count::parse, help_heading = "Limits")]
    pub fleet_rate: Option<u32>,

    /// How long a message waits for its vehicle where the request names no `ttl`; then it is given up,
    /// as its trace tells. 1s to 30days. [default: 7days]
    #[arg(long, value_name = "TIME", env = "VINBUS_MESSAGE_TTL", value_parser = time::parse, help_heading = "Limits")]
    #[serde(default, deserialize_with = "time::deserialize")]
    pub message_ttl: Option<Duration>,

    /// Messages for these apps carry receipts where the request says nothing of them; their `idApp`s,
    /// with commas between. [default: none]
    #[arg(long, value_name = "IDAPPS", env = "VINBUS_RECEIPTS_FOR", help_heading = "Limits")]
    pub receipts_for: Option<String>,

    /// Webhooks, of all partners together; one more is answered 409. 0 allows none. [default: 100]
    #[arg(long, value_name = "COUNT", env = "VINBUS_WEBHOOKS_MAX", value_parser = count::parse, help_heading = "Limits")]
    pub webhooks_max: Option<u32>,

    /// Where webhooks of partners may lead: to addresses of the `public` internet, or `any`. Those of
    /// the administrator may lead anywhere. For `public`, no proxy of the environment is used.
    /// [default: public]
    #[arg(long, env = "VINBUS_WEBHOOK_NETWORKS", help_heading = "Limits")]
    pub webhook_networks: Option<Networks>,

    /// Connections of clients that have logged in, WebSockets included; one more is refused. At least 1.
    /// [default: 10000]
    #[arg(long, value_name = "COUNT", env = "VINBUS_MQTT_CONNECTIONS_MAX", value_parser = count::parse, help_heading = BROKER_LIMITS)]
    pub mqtt_connections_max: Option<u32>,

    /// Such connections from one IP address, which vehicles behind an address translator share; one
    /// more is refused. At least 1. [default: as --mqtt-connections-max]
    #[arg(long, value_name = "COUNT", env = "VINBUS_MQTT_CONNECTIONS_PER_ADDRESS_MAX", value_parser = count::parse, help_heading = BROKER_LIMITS)]
    pub mqtt_connections_per_address_max: Option<u32>,

    /// Such connections of one partner, or of the administrator; one more is refused. Up to 4 MiB of
    /// messages may wait for each that reads too slowly. At least 1. [default: 256]
    #[arg(long, value_name = "COUNT", env = "VINBUS_MQTT_CONNECTIONS_PER_PARTNER_MAX", value_parser = count::parse, help_heading = BROKER_LIMITS)]
    pub mqtt_connections_per_partner_max: Option<u32>,

    /// Connections that have not logged in yet; one more is closed at once. At least 1. [default: 512]
    #[arg(long, value_name = "COUNT", env = "VINBUS_MQTT_UNKNOWN_MAX", value_parser = count::parse, help_heading = BROKER_LIMITS)]
    pub mqtt_unknown_max: Option<u32>,

    /// Such connections from one IP address, which vehicles behind an address translator share; one more
    /// is closed at once. At least 1. [default: 128]
    #[arg(long, value_name = "COUNT", env = "VINBUS_MQTT_UNKNOWN_PER_ADDRESS_MAX", value_parser = count::parse, help_heading = BROKER_LIMITS)]
    pub mqtt_unknown_per_address_max: Option<u32>,

    /// A TLS handshake takes no longer; the login after it has 10s more. 1ms to 1day. [default: 10s]
    #[arg(long, value_name = "TIME", env = "VINBUS_MQTT_HANDSHAKE_TIME_MAX", value_parser = time::parse, help_heading = BROKER_LIMITS)]
    #[serde(default, deserialize_with = "time::deserialize")]
    pub mqtt_handshake_time_max: Option<Duration>,

    /// A client that takes nothing of what is sent to it for this time is disconnected. 1ms to 1day.
    /// [default: 20s]
    #[arg(long, value_name = "TIME", env = "VINBUS_MQTT_WRITE_TIME_MAX", value_parser = time::parse, help_heading = BROKER_LIMITS)]
    #[serde(default, deserialize_with = "time::deserialize")]
    pub mqtt_write_time_max: Option<Duration>,

    /// Messages that one client may publish in a second, and as many in a burst; a faster one is slowed
    /// down. 0 is no limit. [default: 50000]
    #[arg(long, value_name = "COUNT", env = "VINBUS_MQTT_PUBLISHES_PER_SECOND_MAX", value_parser = count::parse, help_heading = BROKER_LIMITS)]
    pub mqtt_publishes_per_second_max: Option<u32>,

    /// Topic filters that one client may subscribe to; one more is refused. At least 1. [default: 256]
    #[arg(long, value_name = "COUNT", env = "VINBUS_MQTT_FILTERS_PER_CLIENT_MAX", value_parser = count::parse, help_heading = BROKER_LIMITS)]
    pub mqtt_filters_per_client_max: Option<u32>,

    /// Topic filters with wildcards of all clients; one more is refused. Each costs time for every
    /// message: with 300, 10,000 messages a second are left. At least 1. [default: 300]
    #[arg(long, value_name = "COUNT", env = "VINBUS_MQTT_WILDCARD_FILTERS_MAX", value_parser = count::parse, help_heading = BROKER_LIMITS)]
    pub mqtt_wildcard_filters_max: Option<u32>,

    /// Those of one vehicle, partner or client of the bus, on all its connections; one more is refused. At
    /// least 1.
    /// [default: 64]
    #[arg(long, value_name = "COUNT", env = "VINBUS_MQTT_WILDCARD_FILTERS_PER_IDENTITY_MAX", value_parser = count::parse, help_heading = BROKER_LIMITS)]
    pub mqtt_wildcard_filters_per_identity_max: Option<u32>,

    /// Those of all clients of one app of the bus; one more is refused. At least 1. [default: 128]
    #[arg(long, value_name = "COUNT", env = "VINBUS_MQTT_WILDCARD_FILTERS_PER_APP_MAX", value_parser = count::parse, help_heading = BROKER_LIMITS)]
    pub mqtt_wildcard_filters_per_app_max: Option<u32>,

    /// Presence messages of vehicles that are retained; one more is delivered without. At least 1.
    /// [default: 100000]
    #[arg(long, value_name = "COUNT", env = "VINBUS_MQTT_RETAINED_MAX", value_parser = count::parse, help_heading = BROKER_LIMITS)]
    pub mqtt_retained_max: Option<u32>,

    /// How long messages from vehicles are kept. A webhook that has not received them keeps them
    /// longer, up to --uplink-bytes-max. At least 1s. [default: 30days]
    #[arg(long, value_name = "TIME", env = "VINBUS_UPLINK_RETENTION", value_parser = time::parse, help_heading = "Storage")]
    #[serde(default, deserialize_with = "time::deserialize")]
    pub uplink_retention: Option<Duration>,

    /// Bytes of messages from vehicles that are kept; when there are more, the oldest are deleted,
    /// read or not. At least 1MiB, and less than --store-bytes-max. [default: half of that]
    #[arg(long, value_name = "BYTES", env = "VINBUS_UPLINK_BYTES_MAX", value_parser = bytes::parse, help_heading = "Storage")]
    #[serde(default, deserialize_with = "bytes::deserialize")]
    pub uplink_bytes_max: Option<u64>,

    /// How long it is kept what became of messages that were sent to vehicles or given up. At least
    /// 1s. [default: 30days]
    #[arg(long, value_name = "TIME", env = "VINBUS_TRACE_RETENTION", value_parser = time::parse, help_heading = "Storage")]
    #[serde(default, deserialize_with = "time::deserialize")]
    pub trace_retention: Option<Duration>,

    /// Bytes the database may take on disk; when full, messages are answered 507 and vehicles'
    /// messages stay unacknowledged. At least 16MiB. [default: 10GiB]
    #[arg(long, value_name = "BYTES", env = "VINBUS_STORE_BYTES_MAX", value_parser = bytes::parse, help_heading = "Storage")]
    #[serde(default, deserialize_with = "bytes::deserialize")]
    pub store_bytes_max: Option<u64>,

    /// How log lines look. [default: text]
    #[arg(long, env = "VINBUS_LOG_FORMAT", help_heading = "Logging")]
    pub log_format: Option<LogFormat>,

    /// What is logged: a level (off, error, warn, info, debug or trace), levels of modules such as
    /// `vinbus_host_server::api=debug`, or both, separated by commas.
    /// [default: info]
    #[arg(long = "log", value_name = "FILTER", env = "VINBUS_LOG", help_heading = "Logging")]
    #[serde(rename = "log")]
    pub log_filter: Option<String>,
}
}

/// A version of MQTT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(try_from = "String")]
pub enum MqttVersion {
    /// Version 5.
    #[default]
    #[value(name = "5")]
    V5,
    /// Version 3.1.1.
    #[value(name = "3.1.1")]
    V311,
}

impl TryFrom<String> for MqttVersion {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        ValueEnum::from_str(&text, false).map_err(|_| "expected \"5\" or \"3.1.1\"")
    }
}

/// Which of the two contradicting topic descriptions is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// The topic table.
    Table,
    /// The code samples.
    Sample,
}

impl From<Profile> for TopicProfile {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Table => Self::Table,
            Profile::Sample => Self::Sample,
        }
    }
}

/// Which topics the bus takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum BusTopics {
    /// Those with a resource and a scope.
    #[default]
    Strict,
    /// Also those of an app and one name.
    Lenient,
}

/// What another platform is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformKind {
    /// One of SERMAS.
    #[default]
    Sermas,
    /// Another host server.
    Vinbus,
}

/// How the tokens of another issuer are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
pub enum TokenAlgorithm {
    /// RSA.
    #[default]
    #[value(name = "RS256")]
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256.
    #[value(name = "ES256")]
    #[serde(rename = "ES256")]
    Es256,
}

/// Networks that a webhook may lead to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Networks {
    /// The public internet only.
    #[default]
    Public,
    /// The host's own networks as well.
    Any,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
