//! Why the link to the broker is down, told apart by who must act, each with advice.

use std::fmt;

use crate::url::Scheme;

/// How far an attempt to connect had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Looking up the host name.
    Resolve,
    /// Opening the TCP connection.
    Tcp,
    /// The TLS handshake.
    Tls,
    /// The WebSocket handshake, where it is done apart from MQTT.
    WebSocket,
    /// The MQTT CONNECT; in our own client with the WebSocket handshake before it.
    Mqtt,
    /// Subscribing to the remembered filters.
    Subscribe,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolving the host name",
            Self::Tcp => "opening the TCP connection",
            Self::Tls => "the TLS handshake",
            Self::WebSocket => "opening the WebSocket",
            Self::Mqtt => "waiting for the broker's CONNACK",
            Self::Subscribe => "waiting for the broker's SUBACK",
        })
    }
}

/// An attempt to connect, to tell what its error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// That of the URL.
    pub scheme: Scheme,
    /// Whether the client gives a user name.
    pub has_user_name: bool,
    /// Whether the broker has welcomed this client before, on another connection.
    pub was_welcomed: bool,
}

/// Why the link is down. The client keeps trying after every one of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The host name does not resolve.
    #[error("the host name {host:?} does not resolve: {reason}")]
    HostNotFound {
        /// The name.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// Nothing listens at the address.
    #[error("{address} refused the TCP connection")]
    TcpRefused {
        /// Host and port.
        address: String,
    },
    /// The address cannot be reached.
    #[error("{address} cannot be reached: {reason}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The attempt took too long.
    #[error("timed out {phase}")]
    Timeout {
        /// What was under way.
        phase: Phase,
    },
    /// The server's certificate has expired.
    #[error("the server's certificate has expired")]
    ServerCertificateExpired,
    /// The server's certificate is not valid yet.
    #[error("the server's certificate is not valid yet")]
    ServerCertificateNotYetValid,
    /// No trusted authority has signed the server's certificate.
    #[error("the server's certificate is signed by an unknown CA")]
    ServerCertificateUnknownCa,
    /// The server's certificate is for another name.
    #[error("the server's certificate is not for {host:?}")]
    ServerCertificateWrongHost {
        /// The name in the URL.
        host: String,
    },
    /// The server's certificate is unusable for another reason.
    #[error("the server's certificate is invalid: {reason}")]
    ServerCertificateInvalid {
        /// The reason.
        reason: String,
    },
    /// The server asks for a client certificate and none is set.
    #[error("the server requires a client certificate")]
    ClientCertificateRequired,
    /// The server refuses the client certificate.
    #[error("the server refused the client certificate: alert {alert}, {meaning}")]
    ClientCertificateRefused {
        /// The TLS alert it sent, by its name in rustls, such as `CertificateExpired`.
        alert: String,
        /// What a server means that sends it.
        meaning: &'static str,
    },
    /// The TLS handshake failed for another reason.
    #[error("TLS failed: {reason}")]
    Tls {
        /// The reason.
        reason: String,
    },
    /// The server answered the WebSocket request with another status than 101.
    #[error("the server refused the WebSocket with HTTP status {status}")]
    WebSocketRefused {
        /// The HTTP status.
        status: u16,
    },
    /// The server's WebSocket handshake or framing is broken.
    #[error("the server's WebSocket is broken: {reason}")]
    WebSocketBroken {
        /// The reason.
        reason: String,
    },
    /// Bad user name or password (CONNACK 4, or 0x86 with MQTT 5).
    #[error("the broker refused the user name or password")]
    BadCredentials,
    /// Not authorized (CONNACK 5, or 0x87 with MQTT 5).
    #[error("the broker does not authorize this client")]
    NotAuthorized,
    /// The broker does not welcome a client that gave no user name.
    #[error("the broker does not authorize this client, which gave no user name")]
    UserNameMissing,
    /// The broker refuses the client id.
    #[error("the broker refused the client id")]
    ClientIdRefused,
    /// The broker does not speak this MQTT version.
    #[error("the broker does not speak this version of MQTT")]
    VersionRefused,
    /// The broker is not available.
    #[error("the broker is unavailable")]
    ServerUnavailable,
    /// The broker is busy, or the client connects too often.
    #[error("the broker is busy")]
    ServerBusy,
    /// The broker has banned the client.
    #[error("the broker has banned this client")]
    Banned,
    /// The broker refuses the connection for another reason.
    #[error("the broker refused the connection: {reason}")]
    Refused {
        /// The MQTT 5 reason code.
        reason: String,
    },
    /// The broker no longer grants a remembered subscription.
    #[error("the broker refused the subscription {filter:?}: {reason}")]
    SubscriptionRefused {
        /// The topic filter.
        filter: String,
        /// The reason code.
        reason: String,
    },
    /// A packet is larger than one side accepts.
    #[error("an MQTT packet is too large: {reason}")]
    PacketTooLarge {
        /// Which, and the sizes if known.
        reason: String,
    },
    /// Another client connected under the same client id.
    #[error("another client took over the session of this client id")]
    SessionTakenOver,
    /// The broker shuts down.
    #[error("the broker is shutting down")]
    ServerShuttingDown,
    /// The broker ended the connection and said why.
    #[error("the broker ended the connection: {reason}")]
    Disconnected {
        /// The MQTT 5 reason code.
        reason: String,
    },
    /// The connection broke without a reason, and the broker has never welcomed the client.
    #[error("the connection broke before the broker's CONNACK: {reason}")]
    NotWelcomed {
        /// Whether the URL is one with TLS.
        tls: bool,
        /// What the system said.
        reason: String,
    },
    /// The connection broke without a reason.
    #[error("the connection broke: {reason}")]
    ConnectionLost {
        /// What the system said.
        reason: String,
    },
    /// The broker answered no ping, or took no bytes, for a whole keep-alive time.
    #[error("the broker stayed silent for a whole keep-alive time")]
    KeepAliveLost,
    /// The peer broke the MQTT protocol, or does not speak it.
    #[error("the peer does not follow the MQTT protocol: {reason}")]
    Protocol {
        /// What it did.
        reason: String,
    },
}

impl LinkError {
    /// An open connection that broke. A TLS stream that ends without its farewell is one that the
    /// broker closed, or died with.
    pub(crate) fn lost(error: &std::io::Error) -> Self {
        let reason = match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "the broker closed it".to_owned(),
            _ => error.to_string(),
        };
        Self::ConnectionLost { reason }
    }

    /// What the error means of an attempt that ended before the broker's CONNACK, or with it.
    #[must_use]
    pub fn of_attempt(self, attempt: Attempt) -> Self {
        match self {
            // Else the URL is right, and what breaks is a broker that starts anew, or the way to it.
            Self::ConnectionLost { reason } if !attempt.was_welcomed => Self::NotWelcomed {
                tls: attempt.scheme.is_tls(),
                reason,
            },
            Self::BadCredentials | Self::NotAuthorized if !attempt.has_user_name => {
                Self::UserNameMissing
            }
            other => other,
        }
    }

    /// What the person who runs the client can do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::HostNotFound { .. } => "check the host in the URL and the DNS settings",
            Self::TcpRefused { .. } => {
                "check the port in the URL, and that the broker is running and listens on it"
            }
            Self::Unreachable { .. } => "check the network, the route and the firewalls in between",
            Self::Timeout {
                phase: Phase::Resolve,
            } => "check the DNS settings",
            Self::Timeout { phase: Phase::Tcp } => "check the address and the firewalls in between",
            Self::Timeout { phase: Phase::Tls } => {
                "check that the port speaks TLS: plain MQTT usually has another port"
            }
            Self::Timeout {
                phase: Phase::WebSocket,
            } => {
                "check that the port speaks WebSocket (with TLS, if the URL is wss) and that the broker is healthy"
            }
            Self::Timeout {
                phase: Phase::Mqtt | Phase::Subscribe,
            } => {
                "check that the port speaks MQTT, with TLS for mqtts:// and without it for mqtt://, and that the broker is healthy"
            }
            Self::ServerCertificateExpired => {
                "have the server's certificate renewed, and check this machine's clock"
            }
            Self::ServerCertificateNotYetValid => "check this machine's clock and the server's",
            Self::ServerCertificateUnknownCa => {
                "trust the CA that signed the server's certificate: name its file with --ca (of a host server --broker-ca, --platform-ca)"
            }
            Self::ServerCertificateWrongHost { .. } => {
                "use the host name that the certificate names, or have one issued for this name"
            }
            Self::ServerCertificateInvalid { .. } => "have the server's certificate reissued",
            Self::ClientCertificateRequired => {
                "name the files of the client certificate and key you were given with --cert and --key (of a host server --broker-cert, --broker-key)"
            }
            Self::ClientCertificateRefused { .. } => {
                "check that the client certificate is current and issued by the CA that this broker trusts"
            }
            Self::Tls { .. } => {
                "check that the port speaks TLS 1.2 or 1.3: plain MQTT usually has another port"
            }
            Self::WebSocketRefused { .. } => {
                "check the path in the URL (usually /mqtt) and any proxy"
            }
            Self::WebSocketBroken { .. } => {
                "check that the port and path are the broker's MQTT WebSocket endpoint, with TLS for wss:// and without it for ws://"
            }
            Self::BadCredentials => "check the user name and password",
            Self::NotAuthorized => {
                "check the user name and password (some brokers say so of a wrong password, too); if they are right, ask the broker's operator to authorize this user name, certificate and client id"
            }
            Self::UserNameMissing => {
                "give user name and password; if this broker asks for none, ask its operator to authorize this certificate and client id"
            }
            Self::ClientIdRefused => "choose another client id",
            Self::VersionRefused => "choose the other MQTT version (3.1.1 or 5)",
            Self::ServerUnavailable | Self::ServerBusy | Self::ServerShuttingDown => {
                "wait: the client tries again by itself"
            }
            Self::Banned => "ask the broker's operator why this client is banned",
            Self::Refused { .. } | Self::Disconnected { .. } => {
                "see the reason, and the broker's log"
            }
            Self::SubscriptionRefused { .. } => {
                "ask the broker's operator to allow this topic filter"
            }
            Self::PacketTooLarge { .. } => "agree on a packet size with the broker's operator",
            Self::SessionTakenOver => {
                "two clients share this client id or this VIN: stop one, or give it its own"
            }
            Self::NotWelcomed { tls: false, .. } => {
                "if the port speaks TLS, write mqtts:// (or wss://) in the URL; else see the broker's log: many brokers close like this on a client id or user name that they do not know"
            }
            Self::NotWelcomed { tls: true, .. } => {
                "check that the port speaks TLS: plain MQTT usually has another port; else see the broker's log: many brokers close like this on a client id, certificate or user name that they do not know"
            }
            Self::ConnectionLost { .. } => {
                "wait: the client reconnects by itself; if it goes on, see the broker's log"
            }
            Self::KeepAliveLost => "check the network; the client reconnects by itself",
            Self::Protocol { .. } => {
                "check that the URL names an MQTT broker and the right scheme: mqtts:// (or wss://) if the port speaks TLS"
            }
        }
    }
}
