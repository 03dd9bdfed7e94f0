//! What a server that is ready prints: where it is, and what to type next.

use std::io::Write;
use std::net::SocketAddr;

use super::addresses::Addresses;
use crate::config::{Config, DATA_DIR_DEFAULT};
use crate::identity::Identities;
use crate::invocation;

/// The VIN of the examples.
const VIN: &str = "0123456789ABCDEFG";

/// Prints to standard output: first lines of the form `http=ADDR`, for programs, then the rest for
/// people. Nobody has to read it: an output that is closed is no error.
pub(super) fn print(config: &Config, identities: &Identities, addresses: &Addresses) {
    let mut out = std::io::stdout().lock();
    let text = text(config, identities, addresses);
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn text(config: &Config, identities: &Identities, addresses: &Addresses) -> String {
    let partner = &config.partner;
    let lines = addresses.to_string().replace(' ', "\n");
    let data_dir = config.data_dir.display();
    let admin = identities.admin_token_path();
    let partner_dir = identities.partner_dir(partner);
    let mut text = format!(
        "{lines}\n\n\
         vinbus host-server {} is ready; its data are in {data_dir}\n  \
         administrator's token   {}\n  \
         partner {partner}    {}/ (token, password, certificate)\n  \
         what REST can do        http://{}/api/openapi.json\n\n\
         Type next, in other terminals:\n",
        env!("CARGO_PKG_VERSION"),
        admin.display(),
        partner_dir.display(),
        reachable(addresses.http),
    );
    for command in commands(config, addresses) {
        text.push_str("  ");
        text.push_str(&command);
        text.push('\n');
    }
    text.push_str("\nStop with Ctrl-C.\n");
    text
}

fn commands(config: &Config, addresses: &Addresses) -> Vec<String> {
    let host = invocation::of("host-server");
    let data_dir = if config.data_dir.as_os_str() == DATA_DIR_DEFAULT {
        String::new()
    } else {
        format!(" --data-dir {}", config.data_dir.display())
    };
    let url = match reachable(addresses.http).to_string().as_str() {
        "127.0.0.1:8080" => String::new(),
        other => format!(" --url http://{other}"),
    };
    let mut commands = vec![format!("{host} listen{data_dir}{url}")];
    if let Some(mqtts) = addresses.mqtts {
        commands.push(format!("{host} enroll vehicle {VIN} --out car{data_dir}"));
        let port = mqtts.port();
        let partner = config.partner.as_str();
        commands.push(invocation::agent(VIN, "car", port, partner));
    }
    commands.push(format!(
        "{host} send --vin {VIN} --app demo --content '{{\"hello\":\"car\"}}'{data_dir}{url}"
    ));
    commands
}

/// The address to connect to where one listens on all of them.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], address.port()))
    } else {
        address
    }
}
