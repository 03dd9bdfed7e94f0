//! Everything a client of the bus is told before it starts.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use super::PlatformUrl;
use crate::message::Qos;
use crate::options::{ClientOptions, MqttVersion, Session};
use crate::tls::TlsOptions;
use crate::url::BrokerUrl;

/// How long a broker may keep what comes while a new token takes the old one's place.
const SESSION_EXPIRY: Duration = Duration::from_secs(60);

/// Any text will do: the token is the user name.
const PASSWORD: &str = "vinbus";

/// The options of a client of the bus. [`new`](Self::new) sets every default; each method changes
/// one.
#[derive(Clone)]
pub struct BusOptions {
    pub(super) platform: PlatformUrl,
    pub(super) app_id: String,
    pub(super) client_id: String,
    pub(super) secret: String,
    pub(super) password: String,
    pub(super) qos: Qos,
    pub(super) session_id: Option<String>,
    pub(super) renewal_in_place: bool,
    pub(super) mqtt: ClientOptions,
}

impl BusOptions {
    /// MQTT 5 over WebSocket at the platform's own `/mqtt`, QoS 1, none of its own messages (No
    /// Local), messages of all sessions. `client_id` is the platform's name for the client, and
    /// `secret` what it was given with that name.
    pub fn new(
        platform: PlatformUrl,
        app_id: impl Into<String>,
        client_id: impl Into<String>,
        secret: impl Into<String>,
    ) -> Self {
        let mqtt = ClientOptions::new(platform.broker(), random_client_id())
            .no_local(true)
            .session(Session::Kept {
                expiry: SESSION_EXPIRY,
            });
        Self {
            platform,
            app_id: app_id.into(),
            client_id: client_id.into(),
            secret: secret.into(),
            password: PASSWORD.to_owned(),
            qos: Qos::AtLeastOnce,
            session_id: None,
            renewal_in_place: false,
            mqtt,
        }
    }

    /// The MQTT client identifier (default random at each start). One that stays the same lets a program
    /// that was started again take over its connection and the session that a platform keeps; two
    /// programs with the same one throw each other out.
    #[must_use]
    pub fn mqtt_client_id(mut self, client_id: impl Into<String>) -> Self {
        self.mqtt.client_id = client_id.into();
        self
    }

    /// A broker at another place than the platform's `/mqtt`.
    #[must_use]
    pub fn broker(mut self, url: BrokerUrl) -> Self {
        self.mqtt.url = url;
        self
    }

    /// Protocol version (default MQTT 5). With 3.1.1 there is no No Local, and nothing is kept
    /// while a token is changed.
    #[must_use]
    pub fn version(mut self, version: MqttVersion) -> Self {
        self.mqtt.version = version;
        if version == MqttVersion::V311 {
            self.mqtt.session = Session::Clean;
        }
        self
    }

    /// The MQTT password, beside the token as the user name (default some text: platforms take any).
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = password.into();
        self
    }

    /// Quality of service of all publishes and subscriptions (default at least once).
    #[must_use]
    pub fn qos(mut self, qos: Qos) -> Self {
        self.qos = qos;
        self
    }

    /// Whom to trust, for `https://` and `wss://` alike (default the system's authorities).
    #[must_use]
    pub fn tls(mut self, tls: TlsOptions) -> Self {
        self.mqtt.tls = tls;
        self
    }

    /// Whether to offer each new token to the session that runs, so that nothing is missed while
    /// another connection is made (default no). For vinbus host servers alone, with MQTT 5 and QoS 1
    /// or 2: another platform could let others hear the token. What does not take it gets another
    /// connection, as without this.
    #[must_use]
    pub fn renewal_in_place(mut self, renewal_in_place: bool) -> Self {
        self.renewal_in_place = renewal_in_place;
        self
    }

    /// Whether the platform's answer to an offered token can be trusted: MQTT 3.1.1 has no refusal.
    pub(super) fn offers_tokens(&self) -> bool {
        self.renewal_in_place && self.mqtt.version == MqttVersion::V5 && self.qos != Qos::AtMostOnce
    }

    /// Passes over the messages of other sessions from the beginning; see
    /// [`BusClient::set_session`](super::BusClient::set_session).
    #[must_use]
    pub fn session_id(mut self, session_id: impl Into<String>) -> Self {
        self.session_id = Some(session_id.into());
        self
    }

    /// Everything else about the MQTT connection: `|mqtt| mqtt.keep_alive(…)`.
    #[must_use]
    pub fn mqtt(mut self, change: impl FnOnce(ClientOptions) -> ClientOptions) -> Self {
        self.mqtt = change(self.mqtt);
        self
    }
}

impl fmt::Debug for BusOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusOptions")
            .field("platform", &self.platform)
            .field("app_id", &self.app_id)
            .field("client_id", &self.client_id)
            .field("qos", &self.qos)
            .field("session_id", &self.session_id)
            .field("mqtt", &self.mqtt)
            .finish_non_exhaustive()
    }
}

/// A client id that no other client has. Not secret; see [`random`](crate::driver::random).
fn random_client_id() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("vinbus-{:016x}", random())
}
