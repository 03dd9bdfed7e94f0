//! Certificates for tests, made on the spot: valid, expired, not yet valid, for any name.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// From yesterday until tomorrow.
    Now,
    /// Until yesterday.
    Expired,
    /// From tomorrow.
    NotYet,
}

impl Validity {
    fn range(self) -> (SystemTime, SystemTime) {
        let now = SystemTime::now();
        match self {
            Self::Now => (now - DAY, now + DAY),
            Self::Expired => (now - 3 * DAY, now - DAY),
            Self::NotYet => (now + DAY, now + 3 * DAY),
        }
    }
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, as PEM.
    pub certificate: String,
}

impl Authority {
    /// A new authority with a new key.
    ///
    /// # Panics
    ///
    /// Panics if the certificate cannot be made.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a P-256 key");
        let certificate = params.self_signed(&key).expect("a CA certificate").pem();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// Signs with a certificate that is no authority, as a thief of its key could.
    ///
    /// # Panics
    ///
    /// Panics if `issued` cannot be read.
    pub fn impostor(issued: &Issued) -> Self {
        let key = KeyPair::from_pem(&issued.key).expect("a key");
        let issuer = Issuer::from_ca_cert_pem(&issued.certificate, key);
        Self {
            issuer: issuer.expect("a certificate"),
            certificate: issued.certificate.clone(),
        }
    }

    /// A server certificate for `name`, a DNS name or an IP address.
    pub fn server(&self, name: &str, validity: Validity) -> Issued {
        self.issue(
            name,
            Some(name),
            validity,
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    /// A client certificate with `name` as its common name.
    pub fn client(&self, name: &str, validity: Validity) -> Issued {
        self.issue(name, None, validity, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A client certificate that names a host as well, a DNS name or an IP address.
    pub fn client_of_host(&self, host: &str, validity: Validity) -> Issued {
        self.issue(
            host,
            Some(host),
            validity,
            ExtendedKeyUsagePurpose::ClientAuth,
        )
    }

    fn issue(
        &self,
        name: &str,
        host: Option<&str>,
        validity: Validity,
        usage: ExtendedKeyUsagePurpose,
    ) -> Issued {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let (not_before, not_after) = validity.range();
        params.not_before = not_before.into();
        params.not_after = not_after.into();
        params
            .subject_alt_names
            .extend(host.map(|host| match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(host.try_into().expect("an ASCII host name")),
            }));
        let key = KeyPair::generate().expect("a P-256 key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}
