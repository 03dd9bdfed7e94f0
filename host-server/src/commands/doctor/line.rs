//! The way to the broker: its name, TCP, TLS, WebSocket, the versions of MQTT, the login.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::time::timeout_at;
use vinbus_transport_std::LinkError;

use super::access::{Access, Login};
use super::certificates::{self, Certificate};
use super::fault::Fault;
use super::files::Unusable;
use super::packets::{Limits, Version};
use super::port;
use super::report::{Report, foreign};
use super::session::{self, Session};

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
            let value = format!("{host:?} does not resolve: {}", access.late().value());
            report.failed("name", value, DNS);
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
                    "check the port in --broker, and that the broker runs and listens on it";
                last = Some((format!("{address} refuses the connection"), advice));
            }
            Ok(Err(error)) => last = Some((format!("{address}: {error}"), ROUTE)),
            Err(_) => {
                last = Some((format!("{address}: {}", access.late().value()), ROUTE));
            }
        }
    }
    let (value, advice) = last.unwrap_or_else(|| ("the name has no address".into(), DNS));
    report.failed("tcp", value, advice);
    None
}

const DNS: &str = "check the host in --broker and this machine's DNS settings";
const ROUTE: &str = "check the address, the route and the firewalls in between";

/// Looks at all certificates, the server's and our own, and at the clock; returns the CN of ours.
pub(super) async fn certificates(
    report: &mut Report,
    access: &Access,
    tcp: TcpStream,
    uid: Option<&str>,
    unusable: Option<&Unusable>,
) -> Option<String> {
    let mut all: Vec<Certificate> = Vec::new();
    let mut own: Option<Certificate> = None;
    if access.url.scheme().is_tls() {
        let chain = certificates::shown_by_server(access, tcp).await;
        certificates::check_server(report, &chain);
        all.extend(chain);
        own = certificates::check_own(report, access.certificate.as_deref(), uid, unusable);
        all.extend(own.clone());
    } else {
        let why = "the URL is one without TLS";
        report.skip(&["server-certificate", "own-certificate"], why);
    }
    let told = session::told_time(access).await;
    certificates::check_clock(report, &all, told);
    own?.common_name
}

/// A version that the broker welcomes us with, and what it said.
pub(super) struct Welcome {
    pub(super) version: Version,
    pub(super) limits: Limits,
}

/// Tries both versions, and returns the one to go on with: `preferred`, if it can be. `own` is the CN of our
/// certificate.
pub(super) async fn login(
    report: &mut Report,
    access: &Access,
    preferred: Version,
    own: Option<&str>,
) -> Option<Welcome> {
    let five = attempt(access, Version::V5).await;
    if let Err(fault) = &five
        && let Some(spoken) = port::instead(access, fault).await
    {
        let check = spoken.check(access);
        if check != "tls" {
            tls(report, access, None);
        }
        report.failed(check, spoken.value(access), spoken.advice(access));
        return None;
    }
    tls(report, access, five.as_ref().err());
    web_socket(report, access, five.as_ref().err());
    if let Err(fault @ (Fault::Link(_) | Fault::WebSocket(_))) = &five {
        let is_told = matches!(fault, Fault::WebSocket(_)) || access.url.scheme().is_tls();
        if !is_told {
            report.failed("login", fault.value(), fault.advice());
        }
        return None;
    }
    let older = match &five {
        // A login that is refused once is not repeated: some brokers lock it.
        Err(fault @ Fault::Refused(_)) if !fault.is_of_version() => None,
        Err(Fault::NotMqtt { .. } | Fault::Unsayable(_)) => None,
        _ => Some(attempt(access, Version::V311).await),
    };
    let is_mute = |tried: &Result<Limits, Fault>| {
        tried
            .as_ref()
            .is_err_and(|fault| !matches!(fault, Fault::Refused(_)))
    };
    if is_mute(&five) && older.as_ref().is_none_or(is_mute) {
        // That is not about the versions.
        if let Err(fault) = &five {
            report.failed("login", fault.value(), login_advice(fault, access, own));
        }
        return None;
    }
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
            let fault = match (five.err(), of_older) {
                // What the second attempt says is about us, the first may be about the version.
                (Some(Fault::Refused(_) | Fault::Closed { .. }), Some(fault)) => Some(fault),
                (fault, _) => fault,
            };
            if let Some(fault) = fault {
                report.failed("login", fault.value(), login_advice(&fault, access, own));
            }
            return None;
        }
    };
    let value = format!(
        "the broker welcomes {} with the client id {}",
        access.who(),
        access.client_id
    );
    report.ok("login", value);
    let limits = match version {
        Version::V5 => five.ok(),
        Version::V311 => None,
    };
    Some(Welcome {
        version,
        limits: limits.unwrap_or_default(),
    })
}

/// What to change about a login that is refused; `own` is the CN of our certificate.
fn login_advice(fault: &Fault, access: &Access, own: Option<&str>) -> String {
    let advice = fault.advice();
    if !fault.is_of_credentials() {
        return advice.to_owned();
    }
    match (&access.login, own) {
        (Login::Nobody, _) => {
            "give user name and password (--user, --password-file); if this broker asks for none, have its \
             operator authorize this client"
                .to_owned()
        }
        (Login::Token(_), _) => {
            "get a new token from the platform that this broker belongs to, for --token-file: this one is over, \
             revoked, or of another platform"
                .to_owned()
        }
        // Brokers that know a client by its certificate expect its CN as the user name.
        (Login::User { name, .. }, Some(own)) if own != name => format!(
            "the user name is {name:?} and the certificate that of {own:?}: give by --user and by --cert and --key what \
             belongs together, if this broker compares them; else {advice}"
        ),
        (Login::User { .. }, _) => advice.to_owned(),
    }
}

async fn attempt(access: &Access, version: Version) -> Result<Limits, Fault> {
    let session = Session::open(access, version).await?;
    let limits = session.limits.clone();
    session.close().await;
    Ok(limits)
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
        Some(Fault::Link(LinkError::ClientCertificateRefused { alert, meaning })) => {
            let value = format!("the broker refuses our certificate: alert {alert}, {meaning}");
            report.failed(
                "tls",
                value,
                "give the certificate and key that the broker's operator issued, by --cert and --key",
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

fn web_socket(report: &mut Report, access: &Access, fault: Option<&Fault>) {
    const CHECK: &str = "websocket";
    if !access.url.scheme().is_web_socket() {
        return;
    }
    let path = access.url.path();
    match fault {
        // Told by the check of TLS, or by the login.
        Some(Fault::Link(_)) => {}
        Some(fault @ Fault::WebSocket(_)) => {
            report.failed(CHECK, format!("{path}: {}", fault.value()), fault.advice());
        }
        _ => report.ok(CHECK, format!("{path} takes MQTT (sub-protocol mqtt)")),
    }
}

/// Says whether a version is spoken; returns whether it works for us.
fn spoken(
    report: &mut Report,
    check: &str,
    tried: Option<&Result<Limits, Fault>>,
    wanted: bool,
) -> bool {
    match tried {
        None => report.not_tested(check, "the first refusal was not about the version"),
        Some(Ok(limits)) => report.ok(check, format!("spoken{}", shown(limits))),
        Some(Err(fault @ Fault::Refused(_))) if !fault.is_of_version() => {
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

fn shown(limits: &Limits) -> String {
    let mut text = String::new();
    if let Some(bytes) = limits.packet_bytes_max {
        text.push_str(&format!(", packets of at most {bytes} bytes"));
    }
    if let Some(qos) = limits.qos_max {
        text.push_str(&format!(", at most QoS {qos}"));
    }
    if limits.no_retained {
        text.push_str(", no retained messages");
    }
    if limits.no_wildcards {
        text.push_str(", no wildcards in subscriptions");
    }
    text
}
