//! A TLS 1.3 server that does what it is told, also what no server may do (RFC 8446).

use aes_gcm::aead::AeadInPlace;
use aes_gcm::{Aes128Gcm, KeyInit, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use p256::ecdh::EphemeralSecret;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::pkcs8::DecodePrivateKey;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::pki::Party;

/// Content types of records.
pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(crate) const ALERT: u8 = 21;
pub(crate) const HANDSHAKE: u8 = 22;
pub(crate) const APPLICATION_DATA: u8 = 23;

/// Handshake messages.
const SERVER_HELLO: u8 = 2;
pub(crate) const ENCRYPTED_EXTENSIONS: u8 = 8;
pub(crate) const CERTIFICATE: u8 = 11;
pub(crate) const CERTIFICATE_REQUEST: u8 = 13;
pub(crate) const CERTIFICATE_VERIFY: u8 = 15;
pub(crate) const FINISHED: u8 = 20;

/// One side of a connection that is about to go wrong.
pub(crate) struct Rogue {
    stream: DuplexStream,
    transcript: Sha256,
    /// The server's secret for the handshake.
    secret: [u8; 32],
    /// What the application's secrets come from.
    master: [u8; 32],
    cipher: Aes128Gcm,
    iv: [u8; 12],
    records: u64,
}

fn expand<const N: usize>(secret: &[u8; 32], label: &str, context: &[u8]) -> [u8; N] {
    let mut info = Vec::new();
    info.extend((N as u16).to_be_bytes());
    info.push(6 + label.len() as u8);
    info.extend(b"tls13 ");
    info.extend(label.as_bytes());
    info.push(context.len() as u8);
    info.extend(context);
    let mut out = [0; N];
    Hkdf::<Sha256>::from_prk(secret)
        .unwrap()
        .expand(&info, &mut out)
        .unwrap();
    out
}

fn extract(salt: &[u8; 32], input: &[u8]) -> [u8; 32] {
    Hkdf::<Sha256>::extract(Some(salt), input).0.into()
}

fn derived(secret: &[u8; 32]) -> [u8; 32] {
    expand(secret, "derived", &Sha256::digest(b""))
}

fn vector<const N: usize>(content: &[u8]) -> Vec<u8> {
    let len = content.len().to_be_bytes();
    [&len[len.len() - N..], content].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &vector::<3>(body)].concat()
}

impl Rogue {
    /// Takes the client's hello and answers it.
    pub(crate) async fn hello(mut stream: DuplexStream) -> Self {
        let mut header = [0; 5];
        stream.read_exact(&mut header).await.unwrap();
        let mut hello = vec![0; u16::from_be_bytes([header[3], header[4]]).into()];
        stream.read_exact(&mut hello).await.unwrap();
        // The key share on P-256, 65 bytes long.
        let mark = [0, 0x17, 0, 0x41];
        let at = hello.windows(4).position(|bytes| bytes == mark).unwrap() + 4;
        let theirs = p256::PublicKey::from_sec1_bytes(&hello[at..at + 65]).unwrap();
        let ours = EphemeralSecret::random(&mut ChaCha20Rng::seed_from_u64(1));
        let point = ours.public_key().to_encoded_point(false);

        let share = [&[0, 0x17][..], &vector::<2>(point.as_bytes())].concat();
        let extensions = [&[0, 0x2b, 0, 2, 3, 4, 0, 0x33][..], &vector::<2>(&share)].concat();
        let body = [
            &[3, 3][..],
            &[7; 32],
            &[0, 0x13, 1, 0],
            &vector::<2>(&extensions),
        ]
        .concat();
        let answer = message(SERVER_HELLO, &body);
        let transcript = Sha256::new().chain_update(&hello).chain_update(&answer);

        let early = extract(&[0; 32], &[0; 32]);
        let shared = ours.diffie_hellman(&theirs);
        let handshake = extract(&derived(&early), shared.raw_secret_bytes());
        let hash = transcript.clone().finalize();
        let secret = expand(&handshake, "s hs traffic", &hash);
        let mut rogue = Self {
            stream,
            transcript,
            secret,
            master: extract(&derived(&handshake), &[0; 32]),
            cipher: Aes128Gcm::new(&expand::<16>(&secret, "key", b"").into()),
            iv: expand(&secret, "iv", b""),
            records: 0,
        };
        rogue.plain(HANDSHAKE, &answer).await;
        rogue
    }

    /// Answers the client's hello, and asks for nothing.
    pub(crate) async fn greeted(stream: DuplexStream) -> Self {
        let mut rogue = Self::hello(stream).await;
        rogue.say(ENCRYPTED_EXTENSIONS, &[0, 0]).await;
        rogue
    }

    /// Ends its part of the handshake.
    pub(crate) async fn finish(&mut self) {
        let finished = self.finished();
        self.say(FINISHED, &finished).await;
    }

    /// A record that is not encrypted.
    pub(crate) async fn plain(&mut self, content_type: u8, content: &[u8]) {
        let record = [&[content_type, 3, 3][..], &vector::<2>(content)].concat();
        self.raw(&record).await;
    }

    /// Bytes as they are. A client that is gone does not matter.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        let _gone = self.stream.write_all(bytes).await;
    }

    /// Says nothing any more.
    pub(crate) async fn shut(&mut self) {
        let _gone = self.stream.shutdown().await;
    }

    /// An encrypted record of this content; its type is the last byte.
    pub(crate) async fn sealed(&mut self, content: &[u8]) {
        let mut nonce = self.iv;
        for (byte, count) in nonce[4..].iter_mut().zip(self.records.to_be_bytes()) {
            *byte ^= count;
        }
        self.records += 1;
        let len = (content.len() + 16) as u16;
        let header = [
            APPLICATION_DATA,
            3,
            3,
            len.to_be_bytes()[0],
            len.to_be_bytes()[1],
        ];
        let mut record = content.to_vec();
        let nonce = Nonce::from_slice(&nonce);
        let tag = self
            .cipher
            .encrypt_in_place_detached(nonce, &header, &mut record)
            .unwrap();
        self.raw(&[&header[..], &record, &tag].concat()).await;
    }

    /// An encrypted record of some type.
    pub(crate) async fn record(&mut self, content_type: u8, content: &[u8]) {
        self.sealed(&[content, &[content_type]].concat()).await;
    }

    /// A handshake message.
    pub(crate) async fn say(&mut self, kind: u8, body: &[u8]) {
        let message = message(kind, body);
        self.transcript.update(&message);
        self.record(HANDSHAKE, &message).await;
    }

    /// The server's certificate.
    pub(crate) fn certificate(party: &Party) -> Vec<u8> {
        let entry = [&vector::<3>(&party.certificate)[..], &[0, 0]].concat();
        [&[0][..], &vector::<3>(&entry)].concat()
    }

    /// The proof that the server has the key of its certificate.
    pub(crate) fn proof(&self, party: &Party) -> Vec<u8> {
        let mut signed = vec![b' '; 64];
        signed.extend(b"TLS 1.3, server CertificateVerify\0");
        signed.extend(self.transcript.clone().finalize());
        let key = SigningKey::from_pkcs8_der(&party.key).unwrap();
        let signature: DerSignature = key.sign(&signed);
        [&[4, 3][..], &vector::<2>(signature.as_bytes())].concat()
    }

    /// The end of the server's part of the handshake.
    pub(crate) fn finished(&self) -> Vec<u8> {
        let key: [u8; 32] = expand(&self.secret, "finished", b"");
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&key).unwrap();
        mac.update(&self.transcript.clone().finalize());
        mac.finalize().into_bytes().to_vec()
    }

    /// From here on, records are those of the application.
    pub(crate) fn open(&mut self) {
        let hash = self.transcript.clone().finalize();
        let secret = expand(&self.master, "s ap traffic", &hash);
        self.cipher = Aes128Gcm::new(&expand::<16>(&secret, "key", b"").into());
        self.iv = expand(&secret, "iv", b"");
        self.records = 0;
    }

    /// The whole handshake, as it should be.
    pub(crate) async fn honest(stream: DuplexStream, party: &Party) -> Self {
        let mut rogue = Self::greeted(stream).await;
        rogue.say(CERTIFICATE_REQUEST, &SIGNATURES).await;
        rogue.say(CERTIFICATE, &Self::certificate(party)).await;
        let proof = rogue.proof(party);
        rogue.say(CERTIFICATE_VERIFY, &proof).await;
        rogue.finish().await;
        rogue.open();
        rogue
    }
}

/// The body of a certificate request: ECDSA on P-256 with SHA-256.
pub(crate) const SIGNATURES: [u8; 11] = [0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3];
