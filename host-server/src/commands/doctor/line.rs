//! The way to the broker: its name, TCP, TLS, the versions of MQTT, the login.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::time::timeout_at;
use vinbus_transport_std::{LinkError, StreamDialer};

use super::certificates::{self, Certificate};
use super::report::{Report, foreign};
use super::session::{Access, Fault, Session};
use super::wire::{Properties, Version};

/// Looks the name up and opens a TCP connection; `None` if there is none.
pub(super) async fn tcp(report: &mut Report, access: &Access) -> Option<TcpStream> {
    let (host, port) = (access.url.host(), access.url.port());
    let looked_up = timeout_at(access.deadline(), tokio::net::lookup_host((host, port))).await;
    let addresses: Vec<SocketAddr> = match looked_up {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            report.failed("name", format!("{host:?} does not resolve: {error}"), DNS);
            return None;
        }
        Err(_) => {
            let fault = Fault::Silent { step: access.step };
            report.failed(
                "name",
                format!("{host:?} does not resolve: {}", fault.value()),
                DNS,
            );
            return None;
        }
    };
    let shown: Vec<_> = addresses.iter().map(|it| it.ip().to_string()).collect();
    report.ok("name", format!("{host} is {}", shown.join(", ")));
    let mut last = None;
    for address in addresses {
        match timeout_at(access.deadline(), TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                report.ok("tcp", format!("{address} accepts connections"));
                return Some(stream);
            }
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                let advice =
                    "check the port in the URL, and that the broker runs and listens on it";
                last = Some((format!("{address} refuses the connection"), advice));
            }
            Ok(Err(error)) => last = Some((format!("{address}: {error}"), ROUTE)),
            Err(_) => {
                let fault = Fault::Silent { step: access.step };
                last = Some((format!("{address}: {}", fault.value()), ROUTE));
            }
        }
    }
    let (value, advice) = last.unwrap_or_else(|| ("the name has no address".into(), DNS));
    report.failed("tcp", value, advice);
    None
}

const DNS: &str = "check the host in the URL and this machine's DNS settings";
const ROUTE: &str = "check the address, the route and the firewalls in between";

/// Looks at all certificates, the server's and our own, and at the clock by them.
pub(super) async fn certificates(
    report: &mut Report,
    access: &Access,
    tcp: TcpStream,
    own: Option<&std::path::Path>,
    uid: &str,
) {
    let mut all: Vec<Certificate> = Vec::new();
    if access.url.scheme().is_tls() {
        let chain = certificates::shown_by_server(access, tcp).await;
        certificates::check_server(report, &chain);
        all.extend(chain);
        all.extend(certificates::check_own(report, own, uid));
    } else {
        let why = "the URL is one without TLS";
        report.skip(&["server-certificate", "own-certificate"], why);
    }
    certificates::check_clock(report, &all);
}

/// Whether the files of our side can be used at all.
pub(super) fn files(report: &mut Report, access: &Access) -> bool {
    let Err(error) = StreamDialer::new(access.url.clone(), &access.tls, access.step) else {
        return true;
    };
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    let value = format!("{error}{}", cause.unwrap_or_default());
    report.failed("tls", value, "correct the file that is named");
    false
}

/// A version that the broker welcomes us with, and what it said.
pub(super) struct Welcome {
    pub(super) version: Version,
    pub(super) properties: Properties,
}

/// Tries both versions, and returns the one to go on with: `preferred`, if it can be.
pub(super) async fn login(
    report: &mut Report,
    access: &Access,
    preferred: Version,
) -> Option<Welcome> {
    let five = attempt(access, Version::V5).await;
    tls(report, access, five.as_ref().err());
    if let Err(fault @ Fault::Link(_)) = &five {
        if !access.url.scheme().is_tls() {
            report.failed("login", fault.value(), fault.advice());
        }
        report.skip(&["mqtt-5", "mqtt-3.1.1"], "there is no connection");
        return None;
    }
    let older = match &five {
        // A login that is refused once is not repeated: some brokers lock it.
        Err(fault @ Fault::Refused { .. }) if !fault.is_of_version() => None,
        Err(Fault::NotMqtt { .. }) => None,
        _ => Some(attempt(access, Version::V311).await),
    };
    let refusal = five.as_ref().err().cloned();
    let five_works = spoken(report, "mqtt-5", Some(&five), preferred == Version::V5);
    let older_works = spoken(
        report,
        "mqtt-3.1.1",
        older.as_ref(),
        preferred == Version::V311,
    );
    let version = match (five_works, older_works, preferred) {
        (true, _, Version::V5) | (true, false, _) => Version::V5,
        (_, true, _) => Version::V311,
        (false, false, _) => {
            let of_older = older.and_then(Result::err);
            let fault = match (refusal, of_older) {
                // What the second attempt says is about us, the first may be about the version.
                (Some(Fault::Refused { .. } | Fault::Closed), Some(fault)) => Some(fault),
                (fault, _) => fault,
            };
            if let Some(fault) = fault {
                report.failed("login", fault.value(), fault.advice());
            }
            return None;
        }
    };
    let who = match &access.credentials {
        Some((user, _)) => format!("user {user:?}"),
        None => "a client without user name".to_owned(),
    };
    report.ok(
        "login",
        format!(
            "the broker welcomes {who} with the client id {}",
            access.client_id
        ),
    );
    let properties = if version == Version::V5 {
        five.ok()
    } else {
        None
    };
    Some(Welcome {
        version,
        properties: properties.unwrap_or_default(),
    })
}

async fn attempt(access: &Access, version: Version) -> Result<Properties, Fault> {
    let session = Session::open(access, version).await?;
    let properties = session.welcome.clone();
    session.close().await;
    Ok(properties)
}

fn tls(report: &mut Report, access: &Access, fault: Option<&Fault>) {
    if !access.url.scheme().is_tls() {
        report.not_tested(
            "tls",
            "the URL is one without TLS: everything can be read on the way",
        );
        return;
    }
    match fault {
        Some(Fault::Link(LinkError::ClientCertificateRefused { alert })) => {
            let value = format!(
                "the broker refuses our certificate: alert {alert}, {}",
                alert_meaning(alert)
            );
            report.failed(
                "tls",
                value,
                "give the certificate and key that the broker's operator issued",
            );
        }
        Some(Fault::Link(LinkError::ConnectionLost { reason })) => report.failed(
            "tls",
            format!("the handshake broke: {}", foreign(reason)),
            "check that the port speaks TLS: plain MQTT usually has another port; else see the broker's log",
        ),
        Some(fault @ Fault::Link(_)) => report.failed("tls", fault.value(), fault.advice()),
        _ => report.ok("tls", "each side trusts the other's certificate"),
    }
}

/// What an alert about our certificate means (RFC 8446, 6.2).
fn alert_meaning(alert: &str) -> &'static str {
    match alert {
        "UnknownCA" => "it does not trust the authority that issued it",
        "CertificateExpired" => "it has expired, or is not valid yet, by the broker's clock",
        "CertificateRevoked" => "its issuer has revoked it",
        "BadCertificate" => "it is damaged, or its signature is wrong",
        "UnsupportedCertificate" => "it is of a kind that the broker does not take",
        "AccessDenied" => "it is valid, but not allowed here",
        "DecryptError" => "the proof that we have its key is wrong",
        _ => "the broker does not say what is wrong with it",
    }
}

/// Says whether a version is spoken; returns whether it works for us.
fn spoken(
    report: &mut Report,
    check: &str,
    tried: Option<&Result<Properties, Fault>>,
    wanted: bool,
) -> bool {
    match tried {
        None => report.not_tested(check, "the first refusal was not about the version"),
        Some(Ok(properties)) => report.ok(check, format!("spoken{}", limits(properties))),
        Some(Err(fault @ Fault::Refused { .. })) if !fault.is_of_version() => {
            report.ok(check, "spoken, but the login is refused");
        }
        Some(Err(fault)) if wanted => {
            let advice = "if the other version works, choose it by --broker-mqtt";
            report.failed(check, format!("does not work: {}", fault.value()), advice);
        }
        Some(Err(fault)) => {
            let advice = "clients that need this version cannot connect; vinbus does not";
            report.warning(check, format!("does not work: {}", fault.value()), advice);
        }
    }
    matches!(tried, Some(Ok(_)))
}

fn limits(properties: &Properties) -> String {
    let mut text = String::new();
    if let Some(bytes) = properties.maximum_packet_size {
        text.push_str(&format!(", packets of at most {bytes} bytes"));
    }
    if let Some(qos) = properties.maximum_qos {
        text.push_str(&format!(", at most QoS {qos}"));
    }
    if properties.retain_available == Some(0) {
        text.push_str(", no retained messages");
    }
    if properties.wildcard_available == Some(0) {
        text.push_str(", no wildcards in subscriptions");
    }
    text
}
