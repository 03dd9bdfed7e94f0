//! Topic vectors: topics and filters built from identifiers, and both taken apart.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::topic::{Direction, TopicError, TopicProfile, TopicScheme};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    about: String,
    build: Vec<Build>,
    parse: Vec<Parse>,
    filters: Vec<Filter>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    prefix: String,
    profile: Profile,
    direction: Way,
    uid: String,
    vin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subtopic: Option<String>,
    #[serde(default)]
    publish_topic: String,
    #[serde(default)]
    exact_filters: Vec<String>,
    #[serde(default)]
    subtree_filter: String,
    #[serde(default)]
    uid_filter: String,
    #[serde(default)]
    all_filter: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parse {
    name: String,
    prefix: String,
    profile: Profile,
    topic: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parsed: Option<Parsed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parsed {
    direction: Way,
    uid: String,
    vin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subtopic: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    name: String,
    prefix: String,
    profile: Profile,
    filter: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hears: Option<Hears>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hears {
    direction: Option<Way>,
    uid: Option<String>,
    vin: Option<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Profile {
    Table,
    Sample,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Way {
    Downlink,
    Uplink,
}

/// Derives everything that is not an input.
pub(crate) fn derive(file: &mut File) {
    for case in &mut file.build {
        case.derive();
    }
    for case in &mut file.parse {
        case.derive();
    }
    for case in &mut file.filters {
        case.derive();
    }
}

impl Build {
    fn derive(&mut self) {
        let scheme = scheme(&self.prefix, self.profile);
        let direction = match self.direction {
            Way::Downlink => Direction::Downlink,
            Way::Uplink => Direction::Uplink,
        };
        let uid = Uid::parse(&self.uid).expect("a UID");
        let vin = Vin::parse(&self.vin).expect("a VIN");
        self.publish_topic = scheme
            .publish_topic(direction, &uid, &vin, self.subtopic.as_deref())
            .expect("a subtopic")
            .as_str()
            .into();
        self.exact_filters = scheme
            .exact_filters(direction, &uid, &vin)
            .map(|filter| filter.as_str().into())
            .into();
        self.subtree_filter = scheme.subtree_filter(direction, &uid, &vin).as_str().into();
        self.uid_filter = scheme.uid_filter(direction, &uid).as_str().into();
        self.all_filter = scheme.all_filter(direction).as_str().into();
    }
}

impl Parse {
    fn derive(&mut self) {
        (self.parsed, self.error) = (None, None);
        match scheme(&self.prefix, self.profile).parse(&self.topic) {
            Ok(topic) => {
                self.parsed = Some(Parsed {
                    direction: topic.direction.into(),
                    uid: topic.uid.as_str().into(),
                    vin: topic.vin.as_str().into(),
                    subtopic: topic.subtopic.map(Into::into),
                });
            }
            Err(error) => self.error = Some(error_name(error).into()),
        }
    }
}

impl Filter {
    fn derive(&mut self) {
        (self.hears, self.error) = (None, None);
        match scheme(&self.prefix, self.profile).parse_filter(&self.filter) {
            Ok(filter) => {
                self.hears = Some(Hears {
                    direction: filter.direction.map(Way::from),
                    uid: filter.uid.map(|uid| uid.as_str().into()),
                    vin: filter.vin.map(|vin| vin.as_str().into()),
                });
            }
            Err(error) => self.error = Some(error_name(error).into()),
        }
    }
}

impl From<Direction> for Way {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Downlink => Self::Downlink,
            Direction::Uplink => Self::Uplink,
        }
    }
}

fn scheme(prefix: &str, profile: Profile) -> TopicScheme {
    let profile = match profile {
        Profile::Table => TopicProfile::Table,
        Profile::Sample => TopicProfile::Sample,
    };
    TopicScheme::new(prefix, profile).expect("a prefix")
}

fn error_name(error: TopicError) -> &'static str {
    match error {
        TopicError::Prefix => "prefix",
        TopicError::Direction => "direction",
        TopicError::Shape => "shape",
        TopicError::Uid(_) => "uid",
        TopicError::Vin(_) => "vin",
        TopicError::Subtopic(_) => "subtopic",
    }
}
