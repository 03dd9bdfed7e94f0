//! How to start our programs, for the hints that they print.

use std::env;

/// `name` as it has to be typed by whoever started this program.
pub(crate) fn of(name: &str) -> String {
    // Cargo tells the programs that it runs where it is.
    if env::var_os("CARGO").is_none() {
        return name.to_owned();
    }
    let profile = if cfg!(debug_assertions) {
        ""
    } else {
        " --release"
    };
    format!("cargo run -q{profile} --bin {name} --")
}

/// Starts an agent for `vin` with the files in `folder`, for an app of `partner`.
pub(crate) fn agent(vin: &str, folder: &str, mqtts_port: u16, partner: &str) -> String {
    format!(
        "{} run --vin {vin} --broker mqtts://localhost:{mqtts_port} --ca {folder}/ca.pem \
         --cert {folder}/cert.pem --key {folder}/key.pem --app demo={partner}",
        of("vehicle-agent")
    )
}
