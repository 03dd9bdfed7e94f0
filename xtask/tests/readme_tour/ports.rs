//! Free ports in place of the default ones, so that the tour runs beside anything else.

use std::net::TcpListener;

/// The default ports that the tour uses, what sets each, and the free one in its place.
pub(crate) struct Ports(Vec<Port>);

struct Port {
    default: u16,
    variable: &'static str,
    free: u16,
}

const DEFAULTS: &[(u16, &str)] = &[
    (8080, "VINBUS_HTTP"),
    (8886, "VINBUS_MQTTS"),
    (1883, "VINBUS_MQTT"),
    (8090, "VINBUS_AGENT_PORTAL"),
];

/// Finds a free port for each default one.
pub(crate) fn free() -> Ports {
    // Below the range from which the system takes ports for connections and for port 0, so that
    // nobody gets one between here and its use.
    let mut candidates = (20_000..32_000).skip(std::process::id() as usize % 11_000);
    let ports = DEFAULTS.iter().map(|&(default, variable)| {
        let free = candidates
            .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
            .expect("one of so many ports is free");
        Port {
            default,
            variable,
            free,
        }
    });
    Ports(ports.collect())
}

/// Writes the free ports where the text has the default ones.
pub(crate) fn replace(text: &str, ports: &Ports) -> String {
    ports.0.iter().fold(text.to_owned(), |text, port| {
        text.replace(&format!(":{}", port.default), &format!(":{}", port.free))
    })
}

impl Ports {
    /// The settings that put the free ports in the place of the default ones.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let mut variables: Vec<_> = self
            .0
            .iter()
            .map(|port| (port.variable.to_owned(), format!("127.0.0.1:{}", port.free)))
            .collect();
        let http = replace("http://127.0.0.1:8080", self);
        for name in ["VINBUS_URL", "PLATFORM"] {
            variables.push((name.to_owned(), http.clone()));
        }
        variables
    }
}
