//! Checks who the broker is.
//!
//! The record layer asks for the parts of the check when their messages come, in whatever order the
//! peer sends them, and does not ask at all when they do not come. So the proof is kept here, and
//! [`Verifier::outcome`] has to be asked at the end of the handshake.

use embedded_tls::{
    CertificateEntryRef, CertificateRef, CertificateVerifyRef, Sha256, SignatureScheme, TlsError,
    TlsVerifier,
};
use p256::ecdsa::VerifyingKey;
use p256::ecdsa::signature::digest::Digest as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::certificate::{EcdsaP256Sha256, public_key, verify};
use super::cipher::CheckedSuite;
use super::credentials::Credentials;
use super::error::LineError;

/// Certificates that a broker may send beside its own.
const INTERMEDIATES_MAX: usize = 4;

/// What a signature in a handshake is for (RFC 8446, section 4.4.3).
const CONTEXT: &[u8; 98] = b"                                                                TLS 1.3, server CertificateVerify\0";

/// The check of one handshake.
pub(super) struct Verifier<'c> {
    credentials: &'c Credentials<'c>,
    now: UnixTime,
    proof: Proof,
}

enum Proof {
    Nothing,
    /// The certificate is good; its key still has to sign the transcript.
    Certificate {
        key: VerifyingKey,
        transcript: Sha256,
    },
    Complete,
    Failed(LineError),
}

impl<'c> Verifier<'c> {
    pub(super) fn new(credentials: &'c Credentials<'c>, now: UnixTime) -> Self {
        Self {
            credentials,
            now,
            proof: Proof::Nothing,
        }
    }

    /// Whether the broker is the one that it says.
    pub(super) fn outcome(&self) -> Result<(), LineError> {
        match self.proof {
            Proof::Complete => Ok(()),
            Proof::Nothing | Proof::Certificate { .. } => Err(LineError::Unproven),
            Proof::Failed(error) => Err(error),
        }
    }

    /// Why the check failed, if it was begun.
    pub(super) fn failure(&self) -> Option<LineError> {
        match self.proof {
            Proof::Failed(error) => Some(error),
            Proof::Nothing | Proof::Certificate { .. } | Proof::Complete => None,
        }
    }

    fn check_chain(&self, chain: &CertificateRef<'_>) -> Result<VerifyingKey, LineError> {
        let mut certificates = chain.entries.iter().map(|entry| match entry {
            CertificateEntryRef::X509(der) | CertificateEntryRef::RawPublicKey(der) => {
                CertificateDer::from(*der)
            }
        });
        let leaf = certificates.next().ok_or(LineError::Unproven)?;
        if certificates.len() > INTERMEDIATES_MAX {
            return Err(LineError::CertificateInvalid);
        }
        let mut intermediates = [const { CertificateDer::from_slice(&[]) }; INTERMEDIATES_MAX];
        let count = certificates.len();
        for (place, certificate) in intermediates.iter_mut().zip(certificates) {
            *place = certificate;
        }
        let authority = webpki::anchor_from_trusted_cert(&self.credentials.authority)
            .map_err(|_| LineError::UnknownAuthority)?;
        let end_entity = EndEntityCert::try_from(&leaf).map_err(|error| reason(&error))?;
        end_entity
            .verify_for_usage(
                &[&EcdsaP256Sha256],
                &[authority],
                &intermediates[..count],
                self.now,
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map_err(|error| reason(&error))?;
        end_entity
            .verify_is_valid_for_subject_name(&self.credentials.server_name)
            .map_err(|error| reason(&error))?;
        public_key(&leaf).ok_or(LineError::UnsupportedSignature)
    }

    fn check_signature(&self, proof: &CertificateVerifyRef<'_>) -> Result<(), LineError> {
        let Proof::Certificate { key, transcript } = &self.proof else {
            return Err(LineError::Protocol);
        };
        if proof.signature_scheme != SignatureScheme::EcdsaSecp256r1Sha256 {
            return Err(LineError::UnsupportedSignature);
        }
        let mut message = [0; CONTEXT.len() + 32];
        message[..CONTEXT.len()].copy_from_slice(CONTEXT);
        message[CONTEXT.len()..].copy_from_slice(&transcript.clone().finalize());
        verify(key, &message, proof.signature).map_err(|_| LineError::Unproven)
    }

    fn settle(&mut self, result: Result<Proof, LineError>) -> Result<(), TlsError> {
        match result {
            Ok(proof) => {
                self.proof = proof;
                Ok(())
            }
            Err(error) => {
                self.proof = Proof::Failed(error);
                Err(TlsError::InvalidCertificate)
            }
        }
    }
}

impl TlsVerifier<CheckedSuite> for Verifier<'_> {
    fn set_hostname_verification(&mut self, _hostname: &str) -> Result<(), TlsError> {
        // The credentials have it.
        Ok(())
    }

    fn verify_certificate(
        &mut self,
        transcript: &Sha256,
        chain: CertificateRef<'_>,
    ) -> Result<(), TlsError> {
        let result = match self.proof {
            Proof::Nothing => self.check_chain(&chain),
            // A second certificate.
            Proof::Certificate { .. } | Proof::Complete | Proof::Failed(_) => {
                Err(LineError::Protocol)
            }
        };
        self.settle(result.map(|key| Proof::Certificate {
            key,
            transcript: transcript.clone(),
        }))
    }

    fn verify_signature(&mut self, proof: CertificateVerifyRef<'_>) -> Result<(), TlsError> {
        let result = self.check_signature(&proof);
        self.settle(result.map(|()| Proof::Complete))
    }
}

fn reason(error: &webpki::Error) -> LineError {
    use webpki::Error;
    match error {
        Error::CertExpired { .. } => LineError::CertificateExpired,
        Error::CertNotValidYet { .. } => LineError::CertificateNotYetValid,
        Error::CertNotValidForName(_) => LineError::WrongHost,
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => LineError::UnknownAuthority,
        Error::EndEntityUsedAsCa | Error::PathLenConstraintViolated => {
            LineError::IssuerIsNoAuthority
        }
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => LineError::NotForServers,
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            LineError::UnsupportedSignature
        }
        _ => LineError::CertificateInvalid,
    }
}
