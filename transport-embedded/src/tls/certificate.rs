//! Certificates and signatures: ECDSA on P-256 with SHA-256, and nothing else.

use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::DecodePublicKey;
use p256::pkcs8::der::{AnyRef, Decode, Reader, SliceReader};
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};

/// The members of a certificate before the public key: version, serial number, algorithm, issuer,
/// validity and subject (RFC 5280, section 4.1).
const MEMBERS_BEFORE_KEY: usize = 6;

/// The public key of a certificate in DER, if it is one on P-256. Only for certificates that a
/// check has accepted, or that are our own: nothing else of it is looked at.
pub(super) fn public_key(certificate: &[u8]) -> Option<VerifyingKey> {
    let mut reader = SliceReader::new(certificate).ok()?;
    let found: Result<VerifyingKey, p256::pkcs8::der::Error> = reader.sequence(|certificate| {
        let key = certificate.sequence(|signed| {
            for _ in 0..MEMBERS_BEFORE_KEY {
                AnyRef::decode(signed)?;
            }
            let key = VerifyingKey::from_public_key_der(signed.tlv_bytes()?);
            // The extensions.
            while !signed.is_finished() {
                AnyRef::decode(signed)?;
            }
            Ok(key)
        })?;
        // The signature.
        while !certificate.is_finished() {
            AnyRef::decode(certificate)?;
        }
        key.map_err(|_not_p256| p256::pkcs8::der::ErrorKind::Failed.into())
    });
    found.ok()
}

/// ECDSA on P-256 with SHA-256, for the check of a chain.
#[derive(Debug)]
pub(super) struct EcdsaP256Sha256;

impl SignatureVerificationAlgorithm for EcdsaP256Sha256 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        verify(&key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }
}

/// Whether `signature`, in DER, is one of `message` by `key`.
pub(super) fn verify(
    key: &VerifyingKey,
    message: &[u8],
    signature: &[u8],
) -> Result<(), InvalidSignature> {
    let signature = Signature::from_der(signature).map_err(|_| InvalidSignature)?;
    key.verify(message, &signature)
        .map_err(|_| InvalidSignature)
}
