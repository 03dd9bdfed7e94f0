//! What the hub is told at start.

use std::num::NonZeroU32;
use std::time::Duration;

use vinbus_protocol::id::AppId;
use vinbus_protocol::limits::DELIVERY_TTL_S_MAX;
use vinbus_protocol::topic::TopicScheme;

use super::DeliverySettings;
#[cfg(doc)]
use super::SubmitError;
use super::lanes::{Bounds, Load};

/// Where the truth about a vehicle's presence comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceSource {
    /// The broker is ours and reports every connection; a vehicle it never saw is offline.
    Connections,
    /// Agents report on the subtopic `vinbus/presence`; a vehicle that never did is unknown. One that
    /// reported to be offline and yet keeps sending messages is online: a broker may lose reports.
    Subtopic,
}

/// Longest time for which a message may be worth sending.
pub const TTL_MAX: Duration = Duration::from_secs(DELIVERY_TTL_S_MAX as u64);

/// What the hub is told at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How topics are spelt.
    pub topics: TopicScheme,
    /// Where presence comes from.
    pub presence: PresenceSource,
    /// Unsent messages of one partner that may wait for one vehicle; one more is
    /// [`SubmitError::VehicleQueueFull`].
    pub vehicle_unsent_max: usize,
    /// Unsent messages that may wait for all vehicles; one more is [`SubmitError::QueueFull`].
    pub unsent_max: usize,
    /// Bytes of unsent messages that may wait for all vehicles, 512 for each message included; more
    /// is [`SubmitError::QueueBytesFull`]. The rest of the store is left to what vehicles send.
    pub unsent_bytes_max: u64,
    /// Unsent messages that one partner may have; one more is [`SubmitError::PartnerQueueFull`].
    pub partner_unsent_max: usize,
    /// Bytes of unsent messages that one partner may have, counted like those of all; more is
    /// [`SubmitError::PartnerBytesFull`].
    pub partner_unsent_bytes_max: u64,
    /// Bytes a second that one vehicle is sent, all partners together, and as many at once; `None` for
    /// as fast as the broker takes them.
    pub vehicle_rate: Option<NonZeroU32>,
    /// How long a message for a vehicle is worth sending where nobody says otherwise; see [`TTL_MAX`].
    pub message_ttl: Duration,
    /// Apps whose messages carry receipts where nobody says otherwise.
    pub receipts_for: Vec<AppId>,
    /// Messages of fleet messages that are put on their way in a second, all together; more than 0.
    pub fleet_rate: u32,
    /// Webhooks at most; one more is [`WebhookError::TooMany`](super::WebhookError::TooMany).
    pub webhooks_max: usize,
    /// The patience of webhook deliveries.
    pub deliveries: DeliverySettings,
}

impl Default for Settings {
    /// The default topics, presence from connections, 1,000 messages for a vehicle, 1,000,000 and
    /// 2 GiB for all and half of that for a partner, 1 MB a second for a vehicle, 200 fleet messages a second, kept for seven days,
    /// 100 webhooks, the default patience.
    fn default() -> Self {
        Self {
            topics: TopicScheme::default(),
            presence: PresenceSource::Connections,
            vehicle_unsent_max: 1_000,
            unsent_max: 1_000_000,
            unsent_bytes_max: 2 << 30,
            partner_unsent_max: 500_000,
            partner_unsent_bytes_max: 1 << 30,
            vehicle_rate: NonZeroU32::new(1_000_000),
            message_ttl: Duration::from_secs(7 * 24 * 60 * 60),
            receipts_for: Vec::new(),
            fleet_rate: 200,
            webhooks_max: 100,
            deliveries: DeliverySettings::default(),
        }
    }
}

impl Settings {
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            lane_messages: self.vehicle_unsent_max,
            partner: Load {
                messages: self.partner_unsent_max,
                bytes: self.partner_unsent_bytes_max,
            },
            all: Load {
                messages: self.unsent_max,
                bytes: self.unsent_bytes_max,
            },
        }
    }
}
