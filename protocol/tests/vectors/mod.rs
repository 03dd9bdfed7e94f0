//! The golden vectors: their file format, and how this crate fills in what it derives.
//!
//! Shared by the test that holds the crate against the files and by the example that writes them.

mod bus;
mod bytes;
mod messages;
mod presence;
mod topics;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A file's text as it is, and as it should be after deriving everything anew from its inputs.
pub(crate) struct Comparison {
    pub(crate) path: PathBuf,
    pub(crate) current: String,
    pub(crate) derived: String,
}

/// All vector files, each compared with what this crate says today.
pub(crate) fn compare_all() -> Vec<Comparison> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let mut all: Vec<Comparison> = ["downlink", "uplink", "app", "json", "sizes"]
        .map(|name| compare(&folder, name, messages::derive))
        .into();
    all.push(compare(&folder, "presence", presence::derive));
    all.push(compare(&folder, "topics", topics::derive));
    all.push(compare(&folder, "bus", bus::derive));
    all
}

fn compare<F: Serialize + DeserializeOwned>(
    folder: &Path,
    name: &str,
    derive: fn(&mut F),
) -> Comparison {
    let path = folder.join(name).with_extension("json");
    let current = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
    let mut file: F = serde_json::from_str(&current)
        .unwrap_or_else(|error| panic!("{} is not a vector file: {error}", path.display()));
    derive(&mut file);
    let derived = serde_json::to_string_pretty(&file).expect("vectors are plain data") + "\n";
    Comparison {
        path,
        current,
        derived,
    }
}
