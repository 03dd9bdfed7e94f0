//! The golden vectors: their file format, and how this crate fills in what it derives.
//!
//! Shared by the test that holds the crate against the files, by the example that writes them, and by
//! the image that runs the same comparison on a board, where there is a heap and no file system.

mod bus;
mod bytes;
mod delivery;
mod health;
mod messages;
mod presence;
mod request;
mod topics;

#[cfg(not(target_os = "none"))]
pub(crate) mod files;

use alloc::string::String;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Hands the names of all files, without their endings, to a macro.
macro_rules! every_file {
    ($take:ident) => {
        $take!(
            "downlink", "uplink", "app", "json", "sizes", "presence", "health", "topics", "bus",
            "delivery", "request"
        )
    };
}
pub(crate) use every_file;

/// What the text of a file should be: everything derived anew from the inputs that `current` has.
pub(crate) fn derived(name: &str, current: &str) -> String {
    match name {
        "bus" => fill_in(name, current, bus::derive),
        "delivery" => fill_in(name, current, delivery::derive),
        "health" => fill_in(name, current, health::derive),
        "presence" => fill_in(name, current, presence::derive),
        "request" => fill_in(name, current, request::derive),
        "topics" => fill_in(name, current, topics::derive),
        _ => fill_in(name, current, messages::derive),
    }
}

fn fill_in<F: Serialize + DeserializeOwned>(
    name: &str,
    current: &str,
    derive: fn(&mut F),
) -> String {
    let mut file: F = serde_json::from_str(current)
        .unwrap_or_else(|error| panic!("{name}.json is no vector file: {error}"));
    derive(&mut file);
    serde_json::to_string_pretty(&file).expect("vectors are plain data") + "\n"
}
