//! Certificates: what the server shows, whether it is trusted or not, and what our own says.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use vinbus_protocol::id::Vin;
use x509_parser::extensions::GeneralName;

use super::access::Access;
use super::files::Unusable;
use super::report::{Report, foreign};

/// Time left from when on a renewal is called for.
const RENEWAL_SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Names of a certificate that are shown.
const NAMES_MAX: usize = 8;

/// What is of interest in a certificate. Times in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) subject: String,
    pub(super) common_name: Option<String>,
    pub(super) issuer: String,
    pub(super) names: Vec<String>,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

/// How the validity of a certificate lies to the local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    NotYet,
    Valid,
    EndsSoon,
    Expired,
}

impl Certificate {
    fn parse(der: &[u8]) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.iter().filter_map(name).collect());
        let common_name = parsed.subject().iter_common_name().next();
        Some(Self {
            subject: foreign(&parsed.subject().to_string()),
            common_name: common_name.and_then(|name| Some(foreign(name.as_str().ok()?))),
            issuer: foreign(&parsed.issuer().to_string()),
            names: names.unwrap_or_default(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
        })
    }

    pub(super) fn standing(&self, now: i64) -> Standing {
        let soon = i64::try_from(RENEWAL_SOON.as_secs()).unwrap_or(i64::MAX);
        // A certificate that is made for days ends soon all its life.
        let soon = soon.min((self.not_after - self.not_before) / 3);
        if now < self.not_before {
            Standing::NotYet
        } else if now > self.not_after {
            Standing::Expired
        } else if now > self.not_after - soon {
            Standing::EndsSoon
        } else {
            Standing::Valid
        }
    }

    /// Its CN is a VIN.
    fn is_vehicles(&self) -> bool {
        let name = self.common_name.as_deref();
        name.is_some_and(|name| Vin::parse(name).is_ok())
    }

    fn dates(&self) -> String {
        format!(
            "valid from {} to {}",
            date(self.not_before),
            date(self.not_after)
        )
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(foreign(name)),
        GeneralName::IPAddress(bytes) => match *bytes {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string()),
            bytes => {
                let bytes: [u8; 16] = bytes.try_into().ok()?;
                Some(std::net::Ipv6Addr::from(bytes).to_string())
            }
        },
        _ => None,
    }
}

/// A time as people read it; what lies beyond the year 9999 is none.
pub(super) fn date(seconds: i64) -> String {
    const YEAR_10000: u64 = 253_402_300_800;
    match u64::try_from(seconds) {
        Ok(seconds) if seconds < YEAR_10000 => {
            humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
        }
        _ => format!("{seconds} s after 1970"),
    }
}

pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// Asks the server for its chain, and ends the handshake before anything else is said.
pub(super) async fn shown_by_server(access: &Access, tcp: TcpStream) -> Vec<Certificate> {
    let seen = Arc::new(Seen::default());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions();
    let (Ok(config), Ok(name)) = (config, ServerName::try_from(access.url.host().to_owned()))
    else {
        return Vec::new();
    };
    let verifier = Look {
        seen: Arc::clone(&seen),
        provider,
    };
    let config = config
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, tcp);
    // It always fails: what the server shows is all that is wanted.
    let _ = tokio::time::timeout_at(access.deadline(), handshake).await;
    let chain = seen.0.lock().unwrap_or_else(PoisonError::into_inner);
    chain
        .iter()
        .filter_map(|der| Certificate::parse(der))
        .collect()
}

#[derive(Debug, Default)]
struct Seen(Mutex<Vec<CertificateDer<'static>>>);

/// Takes note of a chain and trusts none.
#[derive(Debug)]
struct Look {
    seen: Arc<Seen>,
    provider: Arc<CryptoProvider>,
}

fn no_trust<T>() -> Result<T, rustls::Error> {
    Err(CertificateError::ApplicationVerificationFailure.into())
}

impl ServerCertVerifier for Look {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        let chain = chain.map(|der| der.clone().into_owned()).collect();
        *self.seen.0.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        no_trust()
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_trust()
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_trust()
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Says what the server's chain is worth by its dates; names and authority are the handshake's to judge.
pub(super) fn check_server(report: &mut Report, chain: &[Certificate]) {
    const CHECK: &str = "server-certificate";
    let Some(leaf) = chain.first() else {
        report.not_tested(CHECK, "the server showed none");
        return;
    };
    let names = match leaf.names.len() {
        0 => "no host".to_owned(),
        len if len > NAMES_MAX => format!(
            "{} and {} more",
            leaf.names[..NAMES_MAX].join(", "),
            len - NAMES_MAX
        ),
        _ => leaf.names.join(", "),
    };
    let mut value = format!(
        "{} for {names}, issued by {}, {}",
        leaf.subject,
        leaf.issuer,
        leaf.dates()
    );
    let above: Vec<_> = chain[1..]
        .iter()
        .map(|it| format!("{} {}", it.subject, it.dates()))
        .collect();
    if !above.is_empty() {
        value.push_str(&format!("; above it {}", above.join("; ")));
    }
    let standing = |wanted| chain.iter().any(|it| it.standing(now()) == wanted);
    if standing(Standing::Expired) {
        report.failed(
            CHECK,
            value,
            "have the broker's operator renew what has expired",
        );
    } else if standing(Standing::NotYet) {
        report.failed(
            CHECK,
            value,
            "check this machine's clock, then the server's certificate",
        );
    } else if standing(Standing::EndsSoon) {
        report.warning(
            CHECK,
            value,
            "have the broker's operator renew it before it expires",
        );
    } else {
        report.ok(CHECK, value);
    }
}

/// Reads our own certificate, and says what it is worth.
pub(super) fn check_own(
    report: &mut Report,
    file: Option<&Path>,
    uid: Option<&str>,
    unusable: Option<&Unusable>,
) -> Option<Certificate> {
    const CHECK: &str = "own-certificate";
    let Some(file) = file else {
        report.not_tested(CHECK, "none is given (--cert, --key)");
        return None;
    };
    let read = CertificateDer::from_pem_file(file).ok();
    let own = read.and_then(|der| Certificate::parse(&der));
    if let Some(unusable) = unusable.filter(|it| it.is_own) {
        report.failed(CHECK, &unusable.value, unusable.advice);
        return own;
    }
    let Some(own) = own else {
        let value = format!("{} holds no certificate that can be read", file.display());
        report.failed(
            CHECK,
            value,
            "give the PEM file with -----BEGIN CERTIFICATE-----, by --cert",
        );
        return None;
    };
    let value = format!("{}, issued by {}, {}", own.subject, own.issuer, own.dates());
    match own.standing(now()) {
        Standing::Expired => {
            report.failed(
                CHECK,
                value,
                "have a new certificate issued by the broker's operator, and give it by --cert and --key",
            );
        }
        Standing::NotYet => {
            report.failed(
                CHECK,
                value,
                "check this machine's clock, or wait until it is valid",
            );
        }
        Standing::EndsSoon => {
            report.warning(CHECK, value, "have it renewed before it expires (--cert)");
        }
        Standing::Valid => match uid {
            Some(_) if own.is_vehicles() => {
                let advice = "this is a vehicle's certificate, by its CN: look with the one that was issued for \
                              the partner's UID (--cert, --key)";
                report.warning(CHECK, value, advice);
            }
            Some(uid) if own.common_name.as_deref() != Some(uid) => {
                let advice = format!(
                    "the UID in the topics is {uid:?}: give --partner, or by --cert and --key the certificate that \
                     belongs to it, if this broker knows partners by the CN of their certificate"
                );
                report.warning(CHECK, value, advice);
            }
            _ => report.ok(CHECK, value),
        },
    }
    Some(own)
}

/// How far another's clock may be from ours, in seconds.
pub(super) const CLOCKS_DIFFER_S: i64 = 60;

/// Says what the server's own time, if it `told` it, or else the certificates, tell about this machine's clock.
pub(super) fn check_clock(report: &mut Report, certificates: &[Certificate], told: Option<i64>) {
    const CHECK: &str = "clock";
    let now = now();
    let local = date(now);
    if let Some(told) = told {
        let value = format!("local time {local}; the server says {}", date(told));
        match now.abs_diff(told) > CLOCKS_DIFFER_S.unsigned_abs() {
            true => report.warning(
                CHECK,
                value,
                "set the one of the two clocks that is wrong (NTP)",
            ),
            false => report.ok(CHECK, value),
        }
        return;
    }
    let last_to_begin = certificates.iter().max_by_key(|it| it.not_before);
    let first_to_end = certificates.iter().min_by_key(|it| it.not_after);
    let (Some(last_to_begin), Some(first_to_end)) = (last_to_begin, first_to_end) else {
        report.not_tested(
            CHECK,
            format!("local time {local}; no certificate to compare it with"),
        );
        return;
    };
    let (begin, end) = (last_to_begin.not_before, first_to_end.not_after);
    if begin > end {
        // The check of the certificate that is over, or not valid yet, says what to do.
        let value = format!(
            "local time {local}; there is no moment at which all certificates are valid, to compare it with: that of \
             {} is valid to {}, that of {} from {}",
            first_to_end.subject,
            date(end),
            last_to_begin.subject,
            date(begin)
        );
        report.not_tested(CHECK, value);
        return;
    }
    let range = format!(
        "all certificates are valid from {} to {}",
        date(begin),
        date(end)
    );
    if !(begin..=end).contains(&now) {
        report.warning(
            CHECK,
            format!("local time {local}; {range}"),
            "if the local time is wrong, set it (NTP) and look again; if it is right, a certificate has to \
             be renewed",
        );
    } else {
        let value = format!("local time {local}; {range} (the broker does not tell its own time)");
        report.ok(CHECK, value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    fn certificate(not_before: i64, not_after: i64) -> Certificate {
        Certificate {
            subject: "CN=a".into(),
            common_name: Some("a".into()),
            issuer: "CN=b".into(),
            names: Vec::new(),
            not_before,
            not_after,
        }
    }

    #[test]
    fn a_certificate_stands_as_its_dates_say() {
        const DAY: i64 = 86_400;
        let year = certificate(0, 365 * DAY);
        assert_eq!(year.standing(-1), Standing::NotYet);
        assert_eq!(year.standing(0), Standing::Valid);
        assert_eq!(year.standing(335 * DAY), Standing::Valid);
        assert_eq!(year.standing(335 * DAY + 1), Standing::EndsSoon);
        assert_eq!(year.standing(365 * DAY + 1), Standing::Expired);
        // One for two days is renewed by a program.
        assert_eq!(certificate(0, 2 * DAY).standing(DAY), Standing::Valid);
    }

    #[test]
    fn a_clock_is_judged_by_the_servers_before_certificates() {
        let check = |ahead_s: i64, expected: Verdict| {
            let mut report = Report::of(String::new());
            let over = certificate(0, 1);
            check_clock(&mut report, &[over], Some(now() + ahead_s));
            let clock = report.checks.first().unwrap();
            assert_eq!(clock.verdict, expected, "{clock:?}");
        };
        check(0, Verdict::Ok);
        check(-30, Verdict::Ok);
        check(3_600, Verdict::Warning);
        check(-3_600, Verdict::Warning);
    }

    #[test]
    fn certificates_that_are_never_valid_together_tell_nothing_of_the_clock() {
        let said = |certificates: &[Certificate]| {
            let mut report = Report::of(String::new());
            check_clock(&mut report, certificates, None);
            report.text()
        };
        let (over, later) = (certificate(0, 10), certificate(20, i64::MAX));
        let never = said(&[later.clone(), over.clone()]);
        assert!(never.starts_with("not tested"), "{never}");
        assert!(never.contains("there is no moment"), "{never}");
        assert!(never.contains("to 1970-01-01T00:00:10Z"), "{never}");
        assert!(!never.contains("set it"), "{never}");
        assert!(said(&[over]).contains("set it"));
        assert!(said(&[later]).starts_with("ok"));
    }

    #[test]
    fn a_date_that_no_calendar_has_is_told_in_seconds() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(i64::MAX), format!("{} s after 1970", i64::MAX));
        assert_eq!(date(-1), "-1 s after 1970");
    }
}
