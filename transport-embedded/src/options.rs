//! The settings of a session.

use embassy_time::Duration;
use vinbus_protocol::limits::LINK_BYTES_PER_S_MIN;

/// Quality of service of what is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Qos {
    /// At most once: a message is gone once it is written.
    AtMostOnce,
    /// At least once: a message is kept until the broker has acknowledged it.
    #[default]
    AtLeastOnce,
}

/// The message that the broker publishes, retained, when the connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'c, 'o> {
    /// Its topic, of at most 128 bytes.
    pub topic: &'c str,
    /// Its payload.
    pub payload: &'o [u8],
}

/// User name and password. `Debug` does not show the password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'o> {
    /// The user name.
    pub user_name: &'o str,
    /// The password.
    pub password: &'o [u8],
}

impl core::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Credentials")
            .field("user_name", &self.user_name)
            .finish_non_exhaustive()
    }
}

/// The settings of a session, which copies what is borrowed for `'c` and keeps what is for `'o`.
#[derive(Clone, Copy, Debug)]
pub struct Options<'c, 'o> {
    /// Names the session at the broker; at most 64 bytes.
    pub client_id: &'c str,
    /// What the broker publishes when the connection breaks.
    pub will: Option<Will<'c, 'o>>,
    /// Where the broker asks for them.
    pub credentials: Option<Credentials<'o>>,
    /// Longest silence on the connection, in seconds.
    pub keep_alive_s: u16,
    /// Time for the broker's welcome and for taking the subscriptions.
    pub connect_timeout: Duration,
    /// Time for the broker to acknowledge a message, or to take anything at all, after which the
    /// connection is given up: MQTT lets a message be sent again on another connection only.
    pub answer_timeout: Duration,
    /// The slowest link that counts as one, in bytes a second. A message has that much longer than
    /// `answer_timeout` to be written: a broker that takes a byte now and then takes nothing.
    pub bytes_per_s_min: u32,
    /// Quality of service of what is published.
    pub qos: Qos,
}

impl<'c> Options<'c, '_> {
    /// 60 s keep-alive, 15 s to connect, 20 s to acknowledge, [`LINK_BYTES_PER_S_MIN`], QoS 1, neither will nor credentials.
    #[must_use]
    pub fn new(client_id: &'c str) -> Self {
        Self {
            client_id,
            will: None,
            credentials: None,
            keep_alive_s: 60,
            connect_timeout: Duration::from_secs(15),
            answer_timeout: Duration::from_secs(20),
            bytes_per_s_min: LINK_BYTES_PER_S_MIN,
            qos: Qos::AtLeastOnce,
        }
    }
}
