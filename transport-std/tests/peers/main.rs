//! Peers that refuse, stall, lie or babble: each leads to an error of its own, never to a panic,
//! a hang or growth.

mod babble;
mod messages;
mod peer;
mod refusals;
mod silence;

use vinbus_transport_std::MqttVersion;

const VERSIONS: [MqttVersion; 2] = [MqttVersion::V5, MqttVersion::V311];
