//! The broker, and how to speak to it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use vinbus_protocol::topic::{PREFIX_DEFAULT, TopicProfile, TopicScheme};
use vinbus_protocol::uplink_queue::DropPolicy;
use vinbus_transport_std::{BrokerUrl, MqttVersion, Qos};

use crate::linux::args::whole;
use crate::linux::connection;

/// Options of every command that names a broker: where it is, who the vehicle is there, and how topics
/// are spelt.
#[derive(Clone, Debug, Args)]
pub struct AccessArgs {
    /// mqtts://host:8886, mqtt://host:1883, wss://host/mqtt or ws://host/mqtt.
    #[arg(long = "broker", env = "VINBUS_AGENT_BROKER", value_name = "URL")]
    pub url: BrokerUrl,

    /// User name, where the broker asks for one; {vin} stands for the VIN.
    #[arg(
        long,
        env = "VINBUS_AGENT_USERNAME",
        value_name = "NAME",
        requires = "password_file"
    )]
    pub username: Option<String>,

    /// File whose first line is the password.
    #[arg(
        long,
        env = "VINBUS_AGENT_PASSWORD_FILE",
        value_name = "FILE",
        requires = "username"
    )]
    pub password_file: Option<PathBuf>,

    /// Which of `to` and `from` is the downlink: table (to) or sample (from), as on the host.
    #[arg(long, env = "VINBUS_AGENT_PROFILE", default_value = "table")]
    pub profile: Profile,

    /// The topics' prefix, as on the host.
    #[arg(long, env = "VINBUS_AGENT_PREFIX", default_value = PREFIX_DEFAULT, value_name = "PREFIX")]
    pub prefix: String,

    /// Also hear subtopics of the vehicle's topic. Costs the broker a wildcard filter per vehicle.
    #[arg(long, env = "VINBUS_AGENT_SUBTREE")]
    pub subtree: bool,
}

impl AccessArgs {
    /// The scheme of the topics.
    ///
    /// # Errors
    /// When the prefix is none; the message says why.
    pub(crate) fn scheme(&self) -> anyhow::Result<TopicScheme> {
        let profile = match self.profile {
            Profile::Table => TopicProfile::Table,
            Profile::Sample => TopicProfile::Sample,
        };
        TopicScheme::new(&self.prefix, profile).map_err(|error| {
            anyhow::anyhow!(
                "--prefix {:?} cannot begin a topic: {error}; the default is {PREFIX_DEFAULT:?}",
                self.prefix
            )
        })
    }

    /// The password, if there is one.
    ///
    /// # Errors
    /// When its file cannot be read, or holds none.
    pub(crate) fn password(&self) -> anyhow::Result<Option<String>> {
        let file = self.password_file.as_deref();
        file.map(connection::read_password).transpose()
    }
}

/// Options of every command that speaks to a broker.
#[derive(Clone, Debug, Args)]
pub struct BrokerArgs {
    /// Where it is, and who the vehicle is there.
    #[command(flatten)]
    pub access: AccessArgs,

    /// Trust only the authorities in this PEM file, not the system's.
    #[arg(long, env = "VINBUS_AGENT_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Version of MQTT.
    #[arg(long, env = "VINBUS_AGENT_MQTT_VERSION", value_name = "5|3.1.1", default_value = "5", value_parser = mqtt_version)]
    pub mqtt_version: MqttVersion,

    /// Quality of service of what apps send: with 1 a message waits until the broker has it, and
    /// may arrive twice after a break; with 0 until it is written, and may be lost in one.
    #[arg(long, env = "VINBUS_AGENT_QOS", default_value = "1", value_name = "0|1", value_parser = qos)]
    pub qos: Qos,

    /// Which message goes when the queue of those that wait for the broker is full.
    #[arg(long, env = "VINBUS_AGENT_UPLINK_DROP", default_value = "oldest")]
    pub uplink_drop: Drop,

    /// Bytes of that queue, which holds at most 1,024 messages, and of a second one for messages with
    /// receipts, which always refuses the newest. 1024 to 1073741824 [default: 4194304, simulated: 4096].
    #[arg(long, env = "VINBUS_AGENT_UPLINK_QUEUE", value_name = "BYTES",
        value_parser = whole::<1_024, 1_073_741_824>)]
    pub uplink_queue: Option<u32>,
}

impl BrokerArgs {
    pub(crate) fn drop_policy(&self) -> DropPolicy {
        match self.uplink_drop {
            Drop::Oldest => DropPolicy::Oldest,
            Drop::Newest => DropPolicy::Newest,
        }
    }
}

/// `--profile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// The source document's topic table.
    Table,
    /// The source document's code samples.
    Sample,
}

/// `--uplink-drop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Drop {
    /// The oldest that is not being sent goes: the partner gets the latest.
    Oldest,
    /// The new one is refused, and the app is told at once.
    Newest,
}

fn mqtt_version(text: &str) -> Result<MqttVersion, String> {
    match text {
        "5" => Ok(MqttVersion::V5),
        "3.1.1" => Ok(MqttVersion::V311),
        _ => Err("it is 5 or 3.1.1".into()),
    }
}

fn qos(text: &str) -> Result<Qos, String> {
    match text {
        "0" => Ok(Qos::AtMostOnce),
        "1" => Ok(Qos::AtLeastOnce),
        _ => Err("it is 0 or 1".into()),
    }
}
