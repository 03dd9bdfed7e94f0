//! How to start our programs, for the hints that they print.

use std::env;
use std::path::{Path, PathBuf};

/// `name` as it has to be typed by whoever started this program.
pub(crate) fn of(name: &str) -> String {
    // Cargo tells the programs that it runs where it is.
    if env::var_os("CARGO").is_none() {
        return beside_us(name);
    }
    let profile = if cfg!(debug_assertions) {
        ""
    } else {
        " --release"
    };
    format!("cargo run -q{profile} --bin {name} --")
}

/// `name` in the folder that this program was started from by path; as it is when the shell found us.
fn beside_us(name: &str) -> String {
    let program = env::args_os().next().map(PathBuf::from);
    match program.as_deref().and_then(Path::parent) {
        Some(folder) if !folder.as_os_str().is_empty() => folder.join(name).display().to_string(),
        Some(_) | None => name.to_owned(),
    }
}

/// Starts an agent for `vin` with the files in `folder`, for an app of `partner`.
pub(crate) fn agent(vin: &str, folder: &str, mqtts_port: u16, partner: &str) -> String {
    format!(
        "{} run --vin {vin} --broker mqtts://localhost:{mqtts_port} --ca {folder}/ca.pem \
         --cert {folder}/cert.pem --key {folder}/key.pem --app demo={partner}",
        of("vehicle-agent")
    )
}
