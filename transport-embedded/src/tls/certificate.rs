//! Certificates and signatures: ECDSA on P-256 with SHA-256, and nothing else.

use p256::ecdsa::signature::{self, Signer, Verifier as _};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};

use super::der::{
    BIT_STRING, INTEGER, OCTET_STRING, P256_ALGORITHM, SEQUENCE, SignatureBytes, Values,
};

/// The members of a certificate before the public key: version, serial number, algorithm, issuer,
/// validity and subject (RFC 5280, section 4.1).
const MEMBERS_BEFORE_KEY: usize = 6;

/// The public key of a certificate in DER, if it is one on P-256. Only for certificates that a
/// check has accepted, or that are our own: nothing else of it is looked at.
pub(super) fn public_key(certificate: &[u8]) -> Option<VerifyingKey> {
    let mut signed = Values::of(certificate).sequence()?.sequence()?;
    for _ in 0..MEMBERS_BEFORE_KEY {
        signed.next()?;
    }
    let mut key = signed.sequence()?;
    if key.take(SEQUENCE)? != P256_ALGORITHM {
        return None;
    }
    // No bits of the last byte are left out.
    let point = key.take(BIT_STRING)?.strip_prefix(&[0])?;
    VerifyingKey::from_sec1_bytes(point).ok()
}

/// The private key in PKCS #8 (RFC 5958, section 2), if it is one on P-256 (RFC 5915, section 3).
/// Whether a public key that comes along belongs to it is not looked at.
pub(super) fn private_key(pkcs8: &[u8]) -> Option<SigningKey> {
    let mut all = Values::of(pkcs8);
    let mut outer = all.sequence()?;
    if !matches!(outer.take(INTEGER)?, [0 | 1]) || outer.take(SEQUENCE)? != P256_ALGORITHM {
        return None;
    }
    let mut key = Values::of(outer.take(OCTET_STRING)?).sequence()?;
    if key.take(INTEGER)? != [1] || !all.is_empty() {
        return None;
    }
    SigningKey::from_slice(key.take(OCTET_STRING)?).ok()
}

/// Signs as TLS has it, in DER.
pub(super) struct DerSigner(pub(super) SigningKey);

impl Signer<SignatureBytes> for DerSigner {
    fn try_sign(&self, message: &[u8]) -> Result<SignatureBytes, signature::Error> {
        let signature: Signature = self.0.try_sign(message)?;
        let (r, s) = signature.split_bytes();
        Ok(SignatureBytes::of([&r, &s]))
    }
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
    let signature = parse_signature(signature).ok_or(InvalidSignature)?;
    key.verify(message, &signature)
        .map_err(|_| InvalidSignature)
}

fn parse_signature(der: &[u8]) -> Option<Signature> {
    let mut all = Values::of(der);
    let mut numbers = all.sequence()?;
    let (r, s) = (numbers.scalar()?, numbers.scalar()?);
    if !numbers.is_empty() || !all.is_empty() {
        return None;
    }
    Signature::from_scalars(r, s).ok()
}
