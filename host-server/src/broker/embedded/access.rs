//! Who may speak and hear what: the topic rules, as pure functions of an identity and a topic.
//!
//! | identity | may publish | may subscribe |
//! |----------|-------------|---------------|
//! | vehicle  | uplink of its own VIN, any UID | downlink of its own VIN: one UID, anything below the VIN |
//! | partner  | downlink of its own UID, any VIN | uplink of its own UID: any VIN or one, anything below |
//! | admin    | the vehicle tree | the vehicle tree |
//! | bus client | nothing here | nothing here |
//!
//! Topics of the bus have rules of their own (`connection::bus`). Everything else is denied with a [`Denial`]. Wills are publishes. Shared subscriptions
//! (`$share/{group}/…`) follow the rule of the filter behind them and are not for vehicles.

use std::fmt;

use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::limits::TOPIC_BYTES_MAX;
use vinbus_protocol::topic::{Direction, ParsedFilter, ParsedTopic, TopicScheme};

use crate::identity::Identity;

/// Most levels of a topic or filter below the prefix: direction, `uid`, UID, `opa`, VIN and ten more.
const LEVELS_MAX: usize = 15;

/// Longest filter: a topic, two levels of wildcards and the share's prefix.
const FILTER_BYTES_MAX: usize = TOPIC_BYTES_MAX + 128;

/// Why something is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denial {
    /// The topic or filter is outside the vehicle tree, or not shaped as its topics are.
    NotVehicleTree,
    /// It has more levels than any topic of ours.
    TooManyLevels,
    /// It is longer than any topic of ours.
    TooLong,
    /// The other direction: a vehicle speaks uplink and hears downlink, a partner the reverse.
    WrongDirection,
    /// A vehicle names another VIN.
    ForeignVin,
    /// A partner names another UID.
    ForeignUid,
    /// A wildcard stands for UIDs.
    WildcardUid,
    /// A vehicle's wildcard stands for VINs.
    WildcardVin,
    /// A vehicle asks for a shared subscription.
    SharedByVehicle,
    /// A client of the bus names the vehicle tree.
    BusClient,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotVehicleTree => "it is not a topic of the vehicle tree",
            Self::TooManyLevels => "it has too many levels",
            Self::TooLong => "it is too long",
            Self::WrongDirection => "the direction is not for this kind of client",
            Self::ForeignVin => "a vehicle may name its own VIN only",
            Self::ForeignUid => "a partner may name its own UID only",
            Self::WildcardUid => "a wildcard may not stand for the UID",
            Self::WildcardVin => "a vehicle may not use a wildcard for the VIN",
            Self::SharedByVehicle => "a vehicle may not share a subscription",
            Self::BusClient => "the vehicle tree is not for clients of the bus",
        })
    }
}

/// A filter that may be subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AllowedFilter<'f> {
    /// The name of the group that shares it.
    pub(super) share: Option<&'f str>,
    /// The filter without `$share/{group}/`.
    pub(super) filter: &'f str,
    /// Whether it holds a wildcard, which every publish has to be compared with.
    pub(super) wildcard: bool,
    /// For a client of the bus, how often it had been changed when this was decided.
    pub(super) changes: u64,
}

impl<'f> AllowedFilter<'f> {
    /// A filter that is allowed, taken apart.
    pub(super) fn of(filter: &'f str) -> Self {
        let shared = filter.strip_prefix("$share/");
        let (share, filter) = match shared.and_then(|shared| shared.split_once('/')) {
            Some((group, filter)) => (Some(group), filter),
            None => (None, filter),
        };
        Self {
            share,
            filter,
            wildcard: filter.contains(['+', '#']),
            changes: 0,
        }
    }
}

/// The rules for one topic scheme.
#[derive(Clone, Debug)]
pub(super) struct Access {
    topics: TopicScheme,
}

impl Access {
    pub(super) fn new(topics: TopicScheme) -> Self {
        Self { topics }
    }

    pub(super) fn topics(&self) -> &TopicScheme {
        &self.topics
    }

    /// Whether `who` may publish on `topic`.
    pub(super) fn publish<'t>(
        &self,
        who: &Identity,
        topic: &'t str,
    ) -> Result<ParsedTopic<'t>, Denial> {
        self.check_size(topic, TOPIC_BYTES_MAX)?;
        let parsed = self
            .topics
            .parse(topic)
            .map_err(|_| Denial::NotVehicleTree)?;
        match who {
            Identity::Admin => Ok(parsed),
            Identity::Vehicle(_) if parsed.direction != Direction::Uplink => {
                Err(Denial::WrongDirection)
            }
            Identity::Vehicle(vin) if parsed.vin != *vin => Err(Denial::ForeignVin),
            Identity::Partner(_) if parsed.direction != Direction::Downlink => {
                Err(Denial::WrongDirection)
            }
            Identity::Partner(uid) if parsed.uid != *uid => Err(Denial::ForeignUid),
            Identity::Vehicle(_) | Identity::Partner(_) => Ok(parsed),
            Identity::BusClient(_) => Err(Denial::BusClient),
        }
    }

    /// Whether `who` may subscribe `filter`, which is a valid MQTT filter.
    pub(super) fn subscribe<'f>(
        &self,
        who: &Identity,
        filter: &'f str,
    ) -> Result<AllowedFilter<'f>, Denial> {
        self.check_size(filter, FILTER_BYTES_MAX)?;
        let allowed = AllowedFilter::of(filter);
        let hears = self
            .topics
            .parse_filter(allowed.filter)
            .map_err(|_| Denial::NotVehicleTree)?;
        match who {
            Identity::Admin => {}
            Identity::Vehicle(_) if allowed.share.is_some() => return Err(Denial::SharedByVehicle),
            Identity::Vehicle(vin) => check_vehicle_filter(vin, &hears)?,
            Identity::Partner(uid) => check_partner_filter(uid, &hears)?,
            Identity::BusClient(_) => return Err(Denial::BusClient),
        }
        Ok(allowed)
    }

    fn check_size(&self, text: &str, bytes_max: usize) -> Result<(), Denial> {
        if text.len() > bytes_max {
            return Err(Denial::TooLong);
        }
        let of_prefix = self.topics.prefix().matches('/').count() + 1;
        let levels = text.matches('/').count() + 1;
        // A shared filter has two levels more.
        if levels > of_prefix + LEVELS_MAX + 2 {
            return Err(Denial::TooManyLevels);
        }
        Ok(())
    }
}

/// One partner's downlink of its own.
fn check_vehicle_filter(own: &Vin, hears: &ParsedFilter) -> Result<(), Denial> {
    if hears.direction != Some(Direction::Downlink) {
        return Err(Denial::WrongDirection);
    }
    if hears.uid.is_none() {
        return Err(Denial::WildcardUid);
    }
    match &hears.vin {
        None => Err(Denial::WildcardVin),
        Some(vin) if vin == own => Ok(()),
        Some(_) => Err(Denial::ForeignVin),
    }
}

/// The uplink of its own, of any vehicle.
fn check_partner_filter(own: &Uid, hears: &ParsedFilter) -> Result<(), Denial> {
    if hears.direction != Some(Direction::Uplink) {
        return Err(Denial::WrongDirection);
    }
    match &hears.uid {
        None => Err(Denial::WildcardUid),
        Some(uid) if uid == own => Ok(()),
        Some(_) => Err(Denial::ForeignUid),
    }
}

#[cfg(test)]
mod tests {
    use vinbus_protocol::topic::{PREFIX_DEFAULT, TopicProfile};

    use super::*;

    const VIN: &str = "0123456789ABCDEFG";
    const OTHER_VIN: &str = "0123456789ABCDEFH";

    fn identities() -> [Identity; 3] {
        [
            Identity::Vehicle(Vin::parse(VIN).unwrap()),
            Identity::Partner(Uid::parse("acme").unwrap()),
            Identity::Admin,
        ]
    }

    /// Checks the outcome for a vehicle, a partner and the admin.
    fn check_publish(topic: &str, expected: [Option<Denial>; 3]) {
        let access = Access::new(TopicScheme::default());
        let topic = format!("{PREFIX_DEFAULT}/{topic}");
        let outcomes = identities().map(|who| access.publish(&who, &topic).err());
        assert_eq!(outcomes, expected, "{topic}");
    }

    fn check_subscribe(filter: &str, expected: [Option<Denial>; 3]) {
        let access = Access::new(TopicScheme::default());
        let filter = format!("{PREFIX_DEFAULT}/{filter}");
        let outcomes = identities().map(|who| access.subscribe(&who, &filter).err());
        assert_eq!(outcomes, expected, "{filter}");
    }

    #[test]
    fn publish_rules() {
        use Denial::{ForeignUid, ForeignVin, NotVehicleTree, TooManyLevels, WrongDirection};
        let wrong = Some(WrongDirection);
        let not_tree = [Some(NotVehicleTree); 3];
        let table = [
            (format!("from/uid/acme/opa/{VIN}/"), [None, wrong, None]),
            (format!("from/uid/acme/opa/{VIN}"), [None, wrong, None]),
            (format!("from/uid/other/opa/{VIN}/a/b"), [None, wrong, None]),
            (
                format!("from/uid/acme/opa/{VIN}/vinbus/presence"),
                [None, wrong, None],
            ),
            (
                format!("from/uid/acme/opa/{OTHER_VIN}/"),
                [Some(ForeignVin), wrong, None],
            ),
            (format!("to/uid/acme/opa/{VIN}/"), [wrong, None, None]),
            (
                format!("to/uid/acme/opa/{OTHER_VIN}/x"),
                [wrong, None, None],
            ),
            (
                format!("to/uid/other/opa/{VIN}/"),
                [wrong, Some(ForeignUid), None],
            ),
            (format!("from/uid/acme/opa/{VIN}x/"), not_tree),
            ("from/uid/acme/opa/short/".to_owned(), not_tree),
            (format!("FROM/uid/acme/opa/{VIN}/"), not_tree),
            (format!("from/uid//opa/{VIN}/"), not_tree),
            ("".to_owned(), not_tree),
            (
                format!("from/uid/acme/opa/{VIN}/{}", "/".repeat(30)),
                [Some(TooManyLevels); 3],
            ),
        ];
        for (topic, expected) in table {
            check_publish(&topic, expected);
        }
    }

    #[test]
    fn subscribe_rules() {
        use Denial::{
            ForeignUid, ForeignVin, NotVehicleTree, TooManyLevels, WildcardUid, WildcardVin,
            WrongDirection,
        };
        let wrong = Some(WrongDirection);
        let not_tree = [Some(NotVehicleTree); 3];
        let wild_uid = Some(WildcardUid);
        let table = [
            (format!("to/uid/acme/opa/{VIN}/"), [None, wrong, None]),
            (format!("to/uid/acme/opa/{VIN}"), [None, wrong, None]),
            (format!("to/uid/acme/opa/{VIN}/#"), [None, wrong, None]),
            (format!("to/uid/other/opa/{VIN}/+/x"), [None, wrong, None]),
            (
                format!("to/uid/acme/opa/{OTHER_VIN}/#"),
                [Some(ForeignVin), wrong, None],
            ),
            (
                "to/uid/acme/opa/#".to_owned(),
                [Some(WildcardVin), wrong, None],
            ),
            (
                "to/uid/acme/opa/+/".to_owned(),
                [Some(WildcardVin), wrong, None],
            ),
            (format!("to/uid/+/opa/{VIN}/#"), [wild_uid, wrong, None]),
            ("to/uid/#".to_owned(), [wild_uid, wrong, None]),
            ("to/#".to_owned(), [wild_uid, wrong, None]),
            (format!("+/uid/acme/opa/{VIN}/#"), [wrong, wrong, None]),
            ("#".to_owned(), [wrong, wrong, None]),
            ("from/uid/acme/opa/#".to_owned(), [wrong, None, None]),
            ("from/uid/acme/opa/+".to_owned(), [wrong, None, None]),
            ("from/uid/acme/opa/+/".to_owned(), [wrong, None, None]),
            ("from/uid/acme/opa/+/#".to_owned(), [wrong, None, None]),
            (format!("from/uid/acme/opa/{VIN}/#"), [wrong, None, None]),
            (format!("from/uid/acme/opa/{VIN}/"), [wrong, None, None]),
            (
                "from/uid/other/opa/#".to_owned(),
                [wrong, Some(ForeignUid), None],
            ),
            ("from/uid/+/opa/#".to_owned(), [wrong, wild_uid, None]),
            ("from/uid/#".to_owned(), [wrong, wild_uid, None]),
            ("from/uid/acme/#".to_owned(), [wrong, None, None]),
            ("from/uid/acme/opa/short/#".to_owned(), not_tree),
            ("from/uid/acme".to_owned(), not_tree),
            ("elsewhere".to_owned(), not_tree),
            (format!("to{}", "/a".repeat(40)), [Some(TooManyLevels); 3]),
        ];
        for (filter, expected) in table {
            check_subscribe(&filter, expected);
        }
    }

    #[test]
    fn nothing_outside_the_prefix_is_for_anybody() {
        let access = Access::new(TopicScheme::default());
        for who in identities() {
            for filter in [
                "#",
                "+/#",
                "$SYS/#",
                "psa/#",
                "psa/OVIPPartners-Dev",
                "psa/OVIPPartners-Developers/#",
                "$share/group",
                "$share/group/#",
            ] {
                let denied = access.subscribe(&who, filter);
                assert_eq!(denied, Err(Denial::NotVehicleTree), "{who} {filter}");
                let denied = access.publish(&who, filter);
                assert_eq!(denied, Err(Denial::NotVehicleTree), "{who} {filter}");
            }
        }
    }

    #[test]
    fn shared_subscription_follows_the_filter_behind_it_and_is_not_for_vehicles() {
        let access = Access::new(TopicScheme::default());
        let [vehicle, partner, _] = identities();
        let filter = format!("{PREFIX_DEFAULT}/from/uid/acme/opa/#");
        let shared = format!("$share/workers/{filter}");
        let allowed = access.subscribe(&partner, &shared).unwrap();
        assert_eq!((allowed.share, allowed.filter), (Some("workers"), &*filter));
        assert!(allowed.wildcard);

        let foreign = shared.replace("acme", "other");
        assert_eq!(
            access.subscribe(&partner, &foreign),
            Err(Denial::ForeignUid)
        );
        let own = format!("$share/workers/{PREFIX_DEFAULT}/to/uid/acme/opa/{VIN}/");
        assert_eq!(
            access.subscribe(&vehicle, &own),
            Err(Denial::SharedByVehicle)
        );
    }

    #[test]
    fn sample_profile_swaps_the_directions() {
        let scheme = TopicScheme::new("a/b", TopicProfile::Sample).unwrap();
        let access = Access::new(scheme);
        let [vehicle, partner, _] = identities();
        let (from, to) = ("a/b/from/uid/acme/opa", "a/b/to/uid/acme/opa");
        assert!(access.publish(&vehicle, &format!("{to}/{VIN}")).is_ok());
        assert!(access.publish(&partner, &format!("{from}/{VIN}")).is_ok());
        assert!(access.subscribe(&vehicle, &format!("{from}/{VIN}")).is_ok());
        assert!(access.subscribe(&partner, &format!("{to}/#")).is_ok());
        assert_eq!(
            access.subscribe(&partner, &format!("{from}/#")),
            Err(Denial::WrongDirection)
        );
    }

    #[test]
    fn overlong_text_is_denied_without_being_parsed() {
        let access = Access::new(TopicScheme::default());
        let long = format!("{PREFIX_DEFAULT}/{}", "x".repeat(100_000));
        assert_eq!(
            access.publish(&Identity::Admin, &long),
            Err(Denial::TooLong)
        );
        assert_eq!(
            access.subscribe(&Identity::Admin, &long),
            Err(Denial::TooLong)
        );
    }
}
