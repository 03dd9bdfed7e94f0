//! Who the vehicle is, and whom it trusts.

use core::fmt;

use p256::ecdsa::{SigningKey, VerifyingKey};
use rustls_pki_types::{CertificateDer, ServerName};

use super::certificate::{private_key, public_key};

/// The authority that a broker's certificate has to come from, and the vehicle's own certificate
/// with its key. `Debug` shows none of it.
pub struct Credentials<'a> {
    pub(super) authority: CertificateDer<'a>,
    pub(super) certificate: &'a [u8],
    pub(super) key: SigningKey,
    pub(super) host: &'a str,
    pub(super) server_name: ServerName<'a>,
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// Credentials cannot be used: the provisioning has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialsError {
    /// The authority's certificate is none in DER.
    Authority,
    /// The vehicle's certificate is none in DER with a key on P-256.
    Certificate,
    /// The key is none on P-256 in PKCS#8 DER.
    Key,
    /// The key is not that of the certificate.
    KeyOfAnother,
    /// The broker's host is neither a host name nor an IP address.
    Host,
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authority => "the authority's certificate is not an X.509 certificate in DER",
            Self::Certificate => {
                "the vehicle's certificate is not an X.509 certificate in DER with a P-256 key"
            }
            Self::Key => "the vehicle's key is not a P-256 key in PKCS#8 DER",
            Self::KeyOfAnother => "the vehicle's key does not belong to its certificate",
            Self::Host => "the broker's host is neither a host name nor an IP address",
        })
    }
}

impl core::error::Error for CredentialsError {}

impl<'a> Credentials<'a> {
    /// Reads the authority's certificate, the vehicle's certificate (both DER) and its key (PKCS#8
    /// DER). `host`, a name or an IP address, is what the broker's certificate has to be for.
    ///
    /// Takes a while on a board, as it computes the key's public half: once is enough.
    ///
    /// # Errors
    /// A [`CredentialsError`].
    pub fn new(
        authority: &'a [u8],
        certificate: &'a [u8],
        key: &[u8],
        host: &'a str,
    ) -> Result<Self, CredentialsError> {
        let server_name = ServerName::try_from(host).map_err(|_| CredentialsError::Host)?;
        let authority = CertificateDer::from(authority);
        webpki::anchor_from_trusted_cert(&authority).map_err(|_| CredentialsError::Authority)?;
        let public_key = public_key(certificate).ok_or(CredentialsError::Certificate)?;
        let key = private_key(key).ok_or(CredentialsError::Key)?;
        if VerifyingKey::from(&key) != public_key {
            return Err(CredentialsError::KeyOfAnother);
        }
        Ok(Self {
            authority,
            certificate,
            key,
            host,
            server_name,
        })
    }
}
