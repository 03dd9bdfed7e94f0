//! `doctor`: which broker to look at, and as whom.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::config::{self, MqttVersion, Profile, ServeOptions};

const EXIT_STATUS: &str = "\
One line for each check: its verdict (ok, warning, failed, not tested), its name, what was \
found, and after `->` what to change. What could not be tested says why; the checks that a \
failure kept the doctor from reaching share the last line. With --json each is an object with \
`check`, `verdict`, `value` and, where something is to be changed, `advice`.

What is published goes to one topic of the doctor's own, below a VIN that no vehicle can have \
(VINBUSDOCTOR00000: a VIN has no I and no O), with payloads that no vehicle and no server takes \
for a message; `--no-publish` leaves that away. Nothing stays on the broker: the session ends \
with the connection, and the one retained message is deleted again, unless the doctor or the \
line is cut in between.

A broker of the bus is looked at with --token-file: the line, the token's times, the login and \
the filters that --filter names. Nothing is published then.

The last line counts the verdicts. All ends after 24 times --timeout and --listen, whatever the \
broker does. Exit status: 0 no check failed (there may be warnings), 1 a check failed, 2 there \
was no look: the command line or the configuration is wrong, a file that it names cannot be \
read, or the report cannot be printed. A file that can be read and not be used, such as a key of \
another certificate, is a check that failed.";

/// `doctor`: the options of `serve --broker`, which have shorter names here as well.
#[derive(Args, Debug)]
#[command(after_help = EXIT_STATUS)]
pub struct DoctorArgs {
    /// A TOML file with the options of `serve`, which says what is not said here.
    #[arg(long, value_name = "FILE", env = "VINBUS_CONFIG")]
    pub config: Option<PathBuf>,
    /// The broker: mqtt://, mqtts://, ws:// or wss://, then host, port and, for WebSocket, path. Where no
    /// port is written it is 1883, 8883, 80 or 443.
    #[arg(
        long,
        value_name = "URL",
        env = "VINBUS_BROKER",
        required_unless_present = "config"
    )]
    pub broker: Option<String>,
    /// The certificate authority that signed the broker's certificate, a PEM file. [default: those of
    /// the system]
    #[arg(
        long,
        visible_alias = "ca",
        value_name = "FILE",
        env = "VINBUS_BROKER_CA"
    )]
    pub broker_ca: Option<PathBuf>,
    /// Our client certificate, a PEM file.
    #[arg(
        long,
        visible_alias = "cert",
        value_name = "FILE",
        env = "VINBUS_BROKER_CERT"
    )]
    pub broker_cert: Option<PathBuf>,
    /// The private key of that certificate, a PEM file.
    #[arg(
        long,
        visible_alias = "key",
        value_name = "FILE",
        env = "VINBUS_BROKER_KEY"
    )]
    pub broker_key: Option<PathBuf>,
    /// Our user name, the partner's UID.
    #[arg(
        long,
        visible_alias = "user",
        value_name = "NAME",
        env = "VINBUS_BROKER_USERNAME"
    )]
    pub broker_username: Option<String>,
    /// A file with our password; a line end after it is not part of it.
    #[arg(
        long,
        visible_alias = "password-file",
        value_name = "FILE",
        env = "VINBUS_BROKER_PASSWORD_FILE"
    )]
    pub broker_password_file: Option<PathBuf>,
    /// A file with a token (JWT): look as a client of the bus, with its own filters, in place of a partner.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["broker_username", "broker_password_file"])]
    pub token_file: Option<PathBuf>,
    /// With a token: filters to subscribe to, separated by commas, such as app/myapp/ui/content/#.
    #[arg(long = "filter", value_name = "FILTERS", requires = "token_file")]
    pub filter: Option<String>,
    /// Whose messages from vehicles would be subscribed to: UIDs, separated by commas, or `all`.
    /// [default: the UID of --partner]
    #[arg(long, value_name = "UIDS", env = "VINBUS_BROKER_UIDS")]
    pub broker_uids: Option<String>,
    /// The protocol version that would be spoken; both are tried. [default: 5]
    #[arg(long, env = "VINBUS_BROKER_MQTT")]
    pub broker_mqtt: Option<MqttVersion>,
    /// The UID in the topics. [default: --broker-username, else demo-partner]
    #[arg(long, value_name = "UID", env = "VINBUS_PARTNER")]
    pub partner: Option<String>,
    /// What every topic begins with. [default: psa/OVIPPartners-Dev]
    #[arg(long, value_name = "LEVELS", env = "VINBUS_PREFIX")]
    pub prefix: Option<String>,
    /// The topic profile that would be used; it is compared with what the broker allows. [default: table]
    #[arg(long, env = "VINBUS_PROFILE")]
    pub profile: Option<Profile>,
    /// Publish nothing at all; delivery and the true size limit are then not tested.
    #[arg(long)]
    pub no_publish: bool,
    /// How long to listen to what vehicles say, which tells the topic profile where the broker allows
    /// both. At most 10min.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = listen_time, allow_hyphen_values = true)]
    pub listen: Duration,
    /// How long the broker may take for one answer. 100ms to 1min.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = step_time, allow_hyphen_values = true)]
    pub timeout: Duration,
    /// Print the checks as one JSON object.
    #[arg(long)]
    pub json: bool,
}

impl DoctorArgs {
    /// What a client of the bus would subscribe to.
    #[must_use]
    pub fn filters(&self) -> Vec<&str> {
        let filters = self.filter.as_deref().unwrap_or_default().split(',');
        let filters = filters.map(str::trim).filter(|filter| !filter.is_empty());
        filters.collect()
    }

    /// What `serve` would be told.
    #[must_use]
    pub fn serve_options(&self) -> ServeOptions {
        ServeOptions {
            config: self.config.clone(),
            broker: self.broker.clone(),
            broker_ca: self.broker_ca.clone(),
            broker_cert: self.broker_cert.clone(),
            broker_key: self.broker_key.clone(),
            broker_username: self.broker_username.clone(),
            broker_password_file: self.broker_password_file.clone(),
            broker_uids: self.broker_uids.clone(),
            broker_mqtt: self.broker_mqtt,
            partner: self.partner.clone(),
            prefix: self.prefix.clone(),
            profile: self.profile,
            ..ServeOptions::default()
        }
    }
}

fn listen_time(text: &str) -> Result<Duration, String> {
    between(
        text,
        Duration::ZERO,
        Duration::from_secs(600),
        "at most 10min",
    )
}

fn step_time(text: &str) -> Result<Duration, String> {
    let least = Duration::from_millis(100);
    between(text, least, Duration::from_secs(60), "100ms to 1min")
}

fn between(text: &str, min: Duration, max: Duration, range: &str) -> Result<Duration, String> {
    let time = config::parse_time(text)?;
    if time < min || time > max {
        return Err(format!("expected {range}"));
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    #[test]
    fn an_option_of_serve_is_called_and_set_here_as_there() {
        let ours = DoctorArgs::augment_args(Command::new("doctor"));
        let theirs = ServeOptions::augment_args(Command::new("serve"));
        let mut same = 0;
        for our in ours.get_arguments().filter(|it| it.get_env().is_some()) {
            let their = theirs
                .get_arguments()
                .find(|it| it.get_id() == our.get_id());
            let their = their.unwrap_or_else(|| panic!("serve has no {}", our.get_id()));
            assert_eq!(our.get_long(), their.get_long());
            assert_eq!(our.get_env(), their.get_env());
            assert_eq!(our.get_value_names(), their.get_value_names());
            same += 1;
        }
        assert_eq!(
            same, 12,
            "config, broker and what is needed to reach it, topics"
        );
    }
}
