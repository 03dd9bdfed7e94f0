//! What a server that is ready prints: where it is, and what to type next.

use std::io::Write;
use std::net::Ipv4Addr;

use vinbus_protocol::id::Vin;

use super::addresses::Addresses;
use crate::config::{BrokerChoice, Config, DATA_DIR_DEFAULT};
use crate::identity::{Identities, Sessions};
use crate::invocation;

/// The VIN of the examples.
const VIN: &str = "0123456789ABCDEFG";

/// Prints to standard output: first lines of the form `http=ADDR`, for programs, then the rest for
/// people. Nobody has to read it: an output that is closed is no error.
pub(super) fn print(
    config: &Config,
    identities: &Identities,
    addresses: &Addresses,
    link: &Result<(), String>,
    sessions: &Sessions,
) {
    let mut out = std::io::stdout().lock();
    let text = text(config, identities, addresses, link, sessions);
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn text(
    config: &Config,
    identities: &Identities,
    addresses: &Addresses,
    link: &Result<(), String>,
    sessions: &Sessions,
) -> String {
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
         console                 {}\n  \
         what REST can do        http://{}/api/openapi.json\n  \
         vehicles                {}\n\n\
         Type next, in other terminals:\n",
        env!("CARGO_PKG_VERSION"),
        admin.display(),
        partner_dir.display(),
        console(config, addresses, sessions),
        addresses.reachable_http(),
        vehicles(config, addresses, link),
    );
    for command in commands(config, identities, addresses) {
        text.push_str("  ");
        text.push_str(&command);
        text.push('\n');
    }
    text.push_str("\nStop with Ctrl-C.\n");
    text
}

/// Where the console is, with a link that signs in to it.
fn console(config: &Config, addresses: &Addresses, sessions: &Sessions) -> String {
    let address = addresses.reachable_http();
    let host = if address.ip() == Ipv4Addr::LOCALHOST {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    };
    let minutes = sessions.link_life().as_secs() / 60;
    let host_server = invocation::of("host-server");
    let again = format!("{host_server} console{}", data_dir_option(config));
    match sessions.link() {
        Some(link) => format!(
            "http://{host}/#sign-in={}\n                          \
             (opens it once, within {minutes} minutes; then: {again})",
            link.expose()
        ),
        None => format!("http://{host}/ (for a link to sign in: {again})"),
    }
}

/// How vehicles reach us, and who else can.
fn vehicles(config: &Config, addresses: &Addresses, link: &Result<(), String>) -> String {
    if let BrokerChoice::External(broker) = &config.broker {
        let by = format!("by the broker {} (--broker)", broker.url);
        return match link {
            Ok(()) => by,
            Err(reason) => format!(
                "{by}\n                          NOT CONNECTED, and tried again until it is: {reason}"
            ),
        };
    }
    match addresses.mqtts {
        None => "not over TLS (--mqtts off)".to_owned(),
        Some(address) if address.ip().is_unspecified() => format!(
            "port {port} on all networks of this machine, with a certificate; for this machine \
             alone: --mqtts 127.0.0.1:{port}",
            port = address.port()
        ),
        Some(address) => format!("{address}, with a certificate"),
    }
}

/// What leads another command to our data folder.
fn data_dir_option(config: &Config) -> String {
    if config.data_dir.as_os_str() == DATA_DIR_DEFAULT {
        return String::new();
    }
    format!(" --data-dir {}", config.data_dir.display())
}

/// What to type next. Who has enrolled a vehicle knows how to start its agent.
fn commands(config: &Config, identities: &Identities, addresses: &Addresses) -> Vec<String> {
    let host = invocation::of("host-server");
    let data_dir = data_dir_option(config);
    // A record that cannot be read hides nothing but a hint.
    let enrolled = identities.last_vehicle().unwrap_or_default();
    let mut commands = vec![format!("{host} listen{data_dir}")];
    if let (Some(mqtts), None) = (addresses.mqtts, &enrolled) {
        commands.push(format!("{host} enroll vehicle {VIN} --out car{data_dir}"));
        let port = mqtts.port();
        let partner = config.partner.as_str();
        commands.push(invocation::agent(VIN, "car", port, partner));
    }
    let vin = enrolled.as_ref().map_or(VIN, Vin::as_str);
    commands.push(format!(
        "{host} send --vin {vin} --app demo --content '{{\"hello\":\"car\"}}'{data_dir}"
    ));
    commands
}
