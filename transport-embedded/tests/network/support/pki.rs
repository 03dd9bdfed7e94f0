//! Chains of certificates, sound and unsound, and a TLS server that shows them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SanType,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::Provisioned;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate to be issued.
pub(crate) struct Request<'r> {
    pub(crate) name: &'r str,
    /// A DNS name or an address, in the alternative names.
    pub(crate) host: Option<&'r str>,
    pub(crate) authority: bool,
    pub(crate) usage: ExtendedKeyUsagePurpose,
    pub(crate) p384: bool,
    /// When it expires; it became valid two days before.
    pub(crate) until: SystemTime,
}

/// A sound certificate for the server that listens here.
pub(crate) fn server() -> Request<'static> {
    Request {
        name: "broker",
        host: Some("127.0.0.1"),
        authority: false,
        usage: ExtendedKeyUsagePurpose::ServerAuth,
        p384: false,
        until: SystemTime::now() + DAY,
    }
}

/// A sound certificate of a vehicle.
pub(crate) fn vehicle() -> Request<'static> {
    Request {
        name: "vehicle",
        host: None,
        usage: ExtendedKeyUsagePurpose::ClientAuth,
        ..server()
    }
}

/// A sound authority.
pub(crate) fn authority() -> Request<'static> {
    Request {
        name: "authority",
        host: None,
        authority: true,
        ..server()
    }
}

/// Somebody with a key and a certificate.
pub(crate) struct Party {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: Vec<u8>,
}

impl Party {
    /// One whose certificate is signed by `issuer`, or by itself.
    pub(crate) fn new(request: &Request<'_>, issuer: Option<&Self>) -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, request.name);
        (params.not_before, params.not_after) =
            ((request.until - 2 * DAY).into(), request.until.into());
        if request.authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        } else {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![request.usage.clone()];
        }
        let hosts = request.host.map(|host| match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.try_into().unwrap()),
        });
        params.subject_alt_names.extend(hosts);
        let algorithm = match request.p384 {
            true => &PKCS_ECDSA_P384_SHA384,
            false => &PKCS_ECDSA_P256_SHA256,
        };
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = match issuer {
            Some(issuer) => params.signed_by(&key, &issuer.issuer),
            None => params.self_signed(&key),
        };
        Self {
            certificate: certificate.unwrap().der().clone(),
            key: key.serialize_der(),
            issuer: Issuer::new(params, key),
        }
    }

    /// What a board with this certificate has, and whom it trusts.
    pub(crate) fn provisioned(&self, trusted: &Self) -> Provisioned {
        Provisioned {
            authority: trusted.certificate.to_vec(),
            certificate: self.certificate.to_vec(),
            key: self.key.clone(),
        }
    }
}

/// An authority, and a broker and a vehicle with its certificates.
pub(crate) struct Parties {
    pub(crate) root: Party,
    pub(crate) broker: Party,
    pub(crate) vehicle: Party,
}

impl Parties {
    pub(crate) fn new() -> Self {
        let root = Party::new(&authority(), None);
        Self {
            broker: Party::new(&server(), Some(&root)),
            vehicle: Party::new(&vehicle(), Some(&root)),
            root,
        }
    }

    /// What the vehicle's board has.
    pub(crate) fn board(&self) -> Provisioned {
        self.vehicle.provisioned(&self.root)
    }
}

/// A server that shows the certificate of `party` and what stands above it, and asks for one of
/// `clients`.
pub(crate) fn server_config(
    party: &Party,
    above: &[&Party],
    clients: &Party,
    version: &'static SupportedProtocolVersion,
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(clients.certificate.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let chain = [party].into_iter().chain(above.iter().copied());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(party.key.clone()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain.map(|party| party.certificate.clone()).collect(), key);
    Arc::new(config.unwrap())
}
