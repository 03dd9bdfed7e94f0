//! What a client may do: the rules of the vehicle tree and of the bus, each for its own clients, and
//! both for the administrator.

use mqtt5::WillMessage;
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use tracing::info;
use vinbus_protocol::bus::access::Action;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;
use vinbus_protocol::topic::ParsedTopic;

use super::{Client, Connection, Refused};
use crate::broker::embedded::Denied;
use crate::broker::embedded::access::AllowedFilter;
use crate::broker::embedded::counters::add;
use crate::broker::embedded::quiet::Shown;
use crate::bus::{BusRules, is_of_bus};
use crate::identity::Identity;

/// Where a topic is on which somebody may publish.
pub(super) enum Tree<'t> {
    /// On the vehicle tree, taken apart.
    Vehicle(ParsedTopic<'t>),
    /// On the bus.
    Bus,
}

impl Connection {
    /// Whether a client may publish on a topic, and on which of the two trees.
    pub(super) fn may_publish<'t>(
        &self,
        client: &Client,
        topic: &'t str,
    ) -> Result<Tree<'t>, Denied> {
        match &client.bus {
            Some(session) => session.decide(Action::Publish, topic).map(|_| Tree::Bus),
            None if client.who == Identity::Admin && is_of_bus(topic) => self
                .rules_of_bus()
                .decide_for_admin(Action::Publish, topic)
                .map(|_| Tree::Bus)
                .map_err(|denial| Denied::Bus(denial.to_string())),
            None => self
                .shared
                .access
                .publish(&client.who, topic)
                .map(Tree::Vehicle)
                .map_err(Denied::Vehicle),
        }
    }

    pub(super) fn may_subscribe<'f>(
        &self,
        client: &Client,
        filter: &'f str,
    ) -> Result<AllowedFilter<'f>, Denied> {
        match &client.bus {
            Some(session) => {
                let changes = session.decide(Action::Subscribe, filter)?;
                let allowed = AllowedFilter::of(filter);
                return Ok(AllowedFilter { changes, ..allowed });
            }
            None if client.who == Identity::Admin && is_of_bus(filter) => {
                let decided = self
                    .rules_of_bus()
                    .decide_for_admin(Action::Subscribe, filter);
                decided.map_err(|denial| Denied::Bus(denial.to_string()))?;
            }
            None => {
                let allowed = self.shared.access.subscribe(&client.who, filter);
                return allowed.map_err(Denied::Vehicle);
            }
        }
        Ok(AllowedFilter::of(filter))
    }

    fn rules_of_bus(&self) -> BusRules {
        self.shared
            .bus
            .as_ref()
            .map(|bus| bus.rules)
            .unwrap_or_default()
    }

    pub(super) fn check_will(&self, client: &Client, will: &WillMessage) -> Result<(), Refused> {
        let refused = |code, reason, detail| {
            add(&self.shared.counters.wills_refused);
            Err(Refused {
                code,
                reason,
                detail,
            })
        };
        let who = &client.who;
        if let Err(denial) = self.may_publish(client, &will.topic) {
            let detail = format!("{who}, {}: {denial}", Shown(&will.topic));
            return refused(ReasonCode::NotAuthorized, "the will is not allowed", detail);
        }
        if will.payload.len() > PAYLOAD_BYTES_MAX {
            let detail = format!("{who}, {} bytes", will.payload.len());
            return refused(ReasonCode::PacketTooLarge, "the will is too large", detail);
        }
        Ok(())
    }

    pub(super) fn denied(
        &self,
        client: &Client,
        reason: &'static str,
        topic: &str,
        denial: &Denied,
    ) {
        add(&self.shared.counters.publishes_denied);
        self.log_denial(client, reason, topic, denial);
    }

    pub(super) fn log_denial(
        &self,
        client: &Client,
        reason: &'static str,
        topic: &str,
        denial: &Denied,
    ) {
        if let Some(left_out) = self.may_log(client, reason) {
            let hint = match denial {
                Denied::Bus(_) => " (host-server explain-acl tells what a token may do)",
                Denied::Vehicle(_) => "",
            };
            info!(
                client = %client.who, peer = %self.peer, topic = %Shown(topic), %denial, left_out,
                "{reason}{hint}"
            );
        }
    }
}
