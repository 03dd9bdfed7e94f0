//! Presence vectors: what an agent publishes, and what the host server makes of it.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use vinbus_protocol::envelope::Uplink;
use vinbus_protocol::presence;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    about: String,
    #[serde(default)]
    subtopic: String,
    build: Vec<Build>,
    parse: Vec<Parse>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    online: bool,
    #[serde(default)]
    payload: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parse {
    name: String,
    payload: String,
    #[serde(default)]
    online: Option<bool>,
}

/// Derives everything that is not an input.
pub(crate) fn derive(file: &mut File) {
    file.subtopic = presence::SUBTOPIC.into();
    for case in &mut file.build {
        case.payload = presence::payload(case.online).into();
    }
    for case in &mut file.parse {
        let message = Uplink::decode(case.payload.as_bytes()).expect("an uplink message");
        case.online = presence::reported(message.content);
    }
}
