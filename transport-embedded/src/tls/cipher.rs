//! The cipher suite, with a look at what has been decrypted before the record layer sees it.
//!
//! The record layer panics on handshake messages that come after the handshake, and on records
//! without any content. Both need the session's keys, so only the peer of the handshake can send
//! them; but that may be anybody until its certificate has been checked. Here they become a failed
//! decryption, which ends the connection.

use aes_gcm::Aes128Gcm;
use aes_gcm::aead::generic_array::GenericArray;
use aes_gcm::aead::{AeadCore, AeadInPlace, Error, Key, KeyInit, KeySizeUser, Nonce, Tag};
use embedded_tls::{Aes128GcmSha256, TlsCipherSuite};

use super::records::{Phase, phase_of};

/// TLS_AES_128_GCM_SHA256.
pub(super) struct CheckedSuite;

impl TlsCipherSuite for CheckedSuite {
    const CODE_POINT: u16 = Aes128GcmSha256::CODE_POINT;
    type Cipher = CheckedCipher;
    type KeyLen = <Aes128GcmSha256 as TlsCipherSuite>::KeyLen;
    type IvLen = <Aes128GcmSha256 as TlsCipherSuite>::IvLen;
    type Hash = <Aes128GcmSha256 as TlsCipherSuite>::Hash;
    type LabelBufferSize = <Aes128GcmSha256 as TlsCipherSuite>::LabelBufferSize;
}

/// AES-128-GCM that refuses unexpected content.
pub(super) struct CheckedCipher(Aes128Gcm);

impl KeySizeUser for CheckedCipher {
    type KeySize = <Aes128Gcm as KeySizeUser>::KeySize;
}

impl KeyInit for CheckedCipher {
    fn new(key: &Key<Self>) -> Self {
        Self(Aes128Gcm::new(key))
    }
}

impl AeadCore for CheckedCipher {
    type NonceSize = <Aes128Gcm as AeadCore>::NonceSize;
    type TagSize = <Aes128Gcm as AeadCore>::TagSize;
    type CiphertextOverhead = <Aes128Gcm as AeadCore>::CiphertextOverhead;
}

impl AeadInPlace for CheckedCipher {
    fn encrypt_in_place_detached(
        &self,
        nonce: &Nonce<Self>,
        header: &[u8],
        content: &mut [u8],
    ) -> Result<Tag<Self>, Error> {
        let nonce = GenericArray::from_slice(nonce);
        self.0.encrypt_in_place_detached(nonce, header, content)
    }

    fn decrypt_in_place_detached(
        &self,
        nonce: &Nonce<Self>,
        header: &[u8],
        content: &mut [u8],
        tag: &Tag<Self>,
    ) -> Result<(), Error> {
        let (phase, header) = phase_of(header).ok_or(Error)?;
        let nonce = GenericArray::from_slice(nonce);
        self.0
            .decrypt_in_place_detached(nonce, &header, content, tag)?;
        check(phase, content)
    }
}

/// Content types and handshake messages (RFC 8446, sections 5.1 and 4).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// Refuses what the record layer cannot take in this phase.
///
/// | message | during the handshake | afterwards |
/// |---|---|---|
/// | empty, or padding alone | refused | refused |
/// | handshake | passed on, its order is checked there | refused, except: |
/// | new session ticket | passed on, an error there | emptied: tickets are of no use here |
/// | key update | passed on, an error there | passed on, an error there: time to dial anew |
/// | alert, application data | passed on | passed on |
/// | any other | refused | refused |
fn check(phase: Phase, plaintext: &mut [u8]) -> Result<(), Error> {
    let end = plaintext.iter().rposition(|byte| *byte != 0).ok_or(Error)?;
    match (plaintext[end], phase) {
        (ALERT | APPLICATION_DATA, _) | (HANDSHAKE, Phase::Handshake) => return Ok(()),
        (HANDSHAKE, Phase::Open) => {}
        _ => return Err(Error),
    }
    match plaintext[..end].first() {
        Some(&NEW_SESSION_TICKET) => {
            plaintext.fill(0);
            plaintext[0] = APPLICATION_DATA;
            Ok(())
        }
        Some(&KEY_UPDATE) => Ok(()),
        Some(_) | None => Err(Error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_refused_where_the_record_layer_would_panic() {
        let refused = |phase, plaintext: &[u8]| {
            let mut plaintext = <[u8; 8]>::try_from(plaintext).unwrap_or_default();
            check(phase, &mut plaintext).is_err()
        };
        for phase in [Phase::Handshake, Phase::Open] {
            assert!(check(phase, &mut []).is_err());
            assert!(refused(phase, &[0; 8]));
        }
        for message in 0..=255 {
            let plaintext = [message, 0, 0, 1, 7, HANDSHAKE, 0, 0];
            assert!(!refused(Phase::Handshake, &plaintext));
            let allowed = [NEW_SESSION_TICKET, KEY_UPDATE].contains(&message);
            assert_eq!(refused(Phase::Open, &plaintext), !allowed, "{message}");
        }
        assert!(refused(Phase::Open, &[HANDSHAKE, 0, 0, 0, 0, 0, 0, 0]));
        for content_type in 0..=255 {
            let plaintext = [1, 2, 3, 4, 5, 6, 7, content_type];
            let allowed = [ALERT, APPLICATION_DATA].contains(&content_type);
            // A zero at the end is padding after content of type 7.
            assert_eq!(refused(Phase::Open, &plaintext), !allowed);
        }
    }

    #[test]
    fn tickets_are_emptied_with_all_that_follows_them() {
        let mut plaintext = [NEW_SESSION_TICKET, 0, 0, 1, 7, 20, HANDSHAKE, 0];
        assert!(check(Phase::Open, &mut plaintext).is_ok());
        assert_eq!(plaintext, [APPLICATION_DATA, 0, 0, 0, 0, 0, 0, 0]);
    }
}
