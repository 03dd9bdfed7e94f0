//! Who this vehicle is towards the broker: its VIN, the topic scheme, and the partners it listens to.

use heapless::Vec;

use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::topic::{Direction, LevelError, TopicScheme, TopicText};

/// A vehicle and the at most `APPS` partners whose apps it has.
#[derive(Clone, Debug)]
pub struct Identity<const APPS: usize> {
    vin: Vin,
    scheme: TopicScheme,
    uids: Vec<Uid, APPS>,
    subtree: bool,
}

impl<const APPS: usize> Identity<APPS> {
    /// A vehicle without partners. With `subtree` it also hears the subtopics below its own topic,
    /// at the price of a wildcard filter in the broker.
    #[must_use]
    pub fn new(vin: Vin, scheme: TopicScheme, subtree: bool) -> Self {
        Self {
            vin,
            scheme,
            uids: Vec::new(),
            subtree,
        }
    }

    /// Adds a partner, once however often it is named; `false` when there are `APPS` others.
    pub(crate) fn add(&mut self, uid: &Uid) -> bool {
        self.uids.contains(uid) || self.uids.push(uid.clone()).is_ok()
    }

    /// The vehicle.
    #[must_use]
    pub fn vin(&self) -> &Vin {
        &self.vin
    }

    /// The scheme that spells its topics.
    #[must_use]
    pub fn scheme(&self) -> &TopicScheme {
        &self.scheme
    }

    /// The partners, in the order in which they were added.
    pub fn uids(&self) -> impl Iterator<Item = &Uid> {
        self.uids.iter()
    }

    /// The filters to subscribe to: for each partner the vehicle's downlink topic with and without
    /// its trailing slash, or one wildcard filter if subtopics are heard as well. Each is made when it
    /// is asked for, so that an iterator that is kept is small.
    pub fn filters(&self) -> impl Iterator<Item = TopicText> {
        let each = if self.subtree { 1 } else { 2 };
        let uids = self.uids.iter();
        uids.flat_map(move |uid| (0..each).map(move |form| self.filter(uid, form)))
    }

    fn filter(&self, uid: &Uid, form: usize) -> TopicText {
        let downlink = Direction::Downlink;
        if self.subtree {
            return self.scheme.subtree_filter(downlink, uid, &self.vin);
        }
        let [slash, bare] = self.scheme.exact_filters(downlink, uid, &self.vin);
        if form == 0 { slash } else { bare }
    }

    /// The topic on which the vehicle speaks to a partner.
    ///
    /// # Errors
    /// A [`LevelError`] for a subtopic that cannot be part of a topic.
    pub fn uplink_topic(&self, uid: &Uid, subtopic: Option<&str>) -> Result<TopicText, LevelError> {
        self.scheme
            .publish_topic(Direction::Uplink, uid, &self.vin, subtopic)
    }

    /// The partner that speaks on `topic`, if it is a downlink topic of this vehicle.
    #[must_use]
    pub fn speaker(&self, topic: &str) -> Option<Uid> {
        let parsed = self.scheme.parse(topic).ok()?;
        (parsed.direction == Direction::Downlink && parsed.vin == self.vin).then_some(parsed.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(subtree: bool) -> Identity<4> {
        let vin = Vin::parse("0123456789ABCDEFG").unwrap();
        let mut identity = Identity::new(vin, TopicScheme::default(), subtree);
        for uid in ["A", "B", "A"] {
            assert!(identity.add(&Uid::parse(uid).unwrap()));
        }
        identity
    }

    #[test]
    fn each_partner_is_heard_on_two_exact_filters_once() {
        let identity = identity(false);
        let filters: std::vec::Vec<_> = identity.filters().map(|f| std::format!("{f}")).collect();
        let tree = "psa/OVIPPartners-Dev/to/uid";
        assert_eq!(
            filters,
            [
                std::format!("{tree}/A/opa/0123456789ABCDEFG/"),
                std::format!("{tree}/A/opa/0123456789ABCDEFG"),
                std::format!("{tree}/B/opa/0123456789ABCDEFG/"),
                std::format!("{tree}/B/opa/0123456789ABCDEFG"),
            ]
        );
    }

    #[test]
    fn subtree_needs_one_filter_per_partner() {
        let identity = identity(true);
        assert_eq!(identity.filters().count(), 2);
        assert!(identity.filters().all(|filter| filter.ends_with("EFG/#")));
    }

    #[test]
    fn only_the_own_downlink_has_a_speaker() {
        let identity = identity(false);
        let speaker = |topic: &str| identity.speaker(topic);
        let tree = "psa/OVIPPartners-Dev";
        let own = std::format!("{tree}/to/uid/B/opa/0123456789ABCDEFG");
        assert_eq!(speaker(&own).unwrap().as_str(), "B");
        for other in [
            "to/uid/B/opa/0123456789ABCDEFX",
            "from/uid/B/opa/0123456789ABCDEFG",
            "to",
        ] {
            assert_eq!(speaker(&std::format!("{tree}/{other}")), None, "{other}");
        }
    }
}
