//! One connection of a line: dialled, shaken hands over, pumped, closed.

use core::cell::RefCell;
use core::fmt;

use embedded_io_async::{Read, Write};
use embedded_tls::{
    Certificate, CryptoProvider, CryptoRngCore, FlushPolicy, SignatureScheme, TlsConfig,
    TlsConnection, TlsContext, TlsError, TlsVerifier,
};
use p256::ecdsa::signature::SignerMut;
use rustls_pki_types::{ServerName, UnixTime};

use super::certificate::DerSigner;
use super::cipher::CheckedSuite;
use super::credentials::Credentials;
use super::der::SignatureBytes;
use super::error::LineError;
use super::records::{Half, Records};
use super::verifier::Verifier;
use crate::dial::{Broker, TimeLimits};

/// All that the task of a line needs.
pub struct Client<'a, T, D, N, R> {
    /// Opens TCP connections. Their reads and writes have to be cancel safe.
    pub tcp: T,
    /// Looks up the broker's host, if that is a name.
    pub dns: D,
    /// Where the broker listens.
    pub broker: Broker<'a>,
    /// Who we are and whom we trust.
    pub credentials: Credentials<'a>,
    /// Seconds since 1970, if the board knows.
    pub unix_time: N,
    /// Random numbers fit for keys.
    pub random: R,
    /// How long each step may take.
    pub limits: TimeLimits,
}

impl<T, D, N, R> fmt::Debug for Client<'_, T, D, N, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("broker", &self.broker)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Where records are put together and taken apart.
pub struct RecordBuffers<'b> {
    /// For what comes in: [`READ_RECORD_BYTES`](super::READ_RECORD_BYTES).
    pub read: &'b mut [u8],
    /// For what goes out: [`WRITE_RECORD_BYTES`](super::WRITE_RECORD_BYTES), and room for our
    /// certificate at least.
    pub write: &'b mut [u8],
}

impl fmt::Debug for RecordBuffers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordBuffers")
            .field("read", &self.read.len())
            .field("write", &self.write.len())
            .finish()
    }
}

/// A TLS connection over a stream.
pub(super) type Tls<'c, S> = TlsConnection<'c, Half<'c, S>, CheckedSuite>;

/// A connection that has not shaken hands.
pub(super) fn connection<'c, S: Read + Write>(
    records: &'c RefCell<Records<S>>,
    buffers: &'c mut RecordBuffers<'_>,
) -> Tls<'c, S> {
    let mut tls = TlsConnection::new(Half(records), buffers.read, buffers.write);
    tls.set_flush_policy(FlushPolicy::Relaxed);
    tls
}

/// Shakes hands over a connection's `records`. Has no time limit of its own.
pub(super) async fn handshake<S: Read + Write>(
    tls: &mut Tls<'_, S>,
    records: &RefCell<Records<S>>,
    credentials: &Credentials<'_>,
    now: UnixTime,
    random: &mut impl CryptoRngCore,
) -> Result<(), LineError> {
    let mut config = TlsConfig::new();
    if let ServerName::DnsName(_) = credentials.server_name {
        config = config.with_server_name(credentials.host);
    }
    let mut provider = Provider {
        random,
        credentials,
        verifier: Verifier::new(credentials, now),
    };
    let opened = tls.open(TlsContext::new(&config, &mut provider)).await;
    if let Err(error) = opened {
        let checked = provider.verifier.failure();
        return Err(checked.unwrap_or(LineError::of_handshake(error)));
    }
    provider.verifier.outcome()?;
    records.borrow_mut().open();
    Ok(())
}

/// What the record layer asks for during a handshake.
struct Provider<'p, R> {
    random: &'p mut R,
    credentials: &'p Credentials<'p>,
    verifier: Verifier<'p>,
}

impl<R: CryptoRngCore> CryptoProvider for Provider<'_, R> {
    type CipherSuite = CheckedSuite;
    type Signature = SignatureBytes;

    fn rng(&mut self) -> impl CryptoRngCore {
        &mut *self.random
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<CheckedSuite>, TlsError> {
        Ok(&mut self.verifier)
    }

    fn signer(&mut self) -> Result<(impl SignerMut<SignatureBytes>, SignatureScheme), TlsError> {
        let signer = DerSigner(self.credentials.key.clone());
        Ok((signer, SignatureScheme::EcdsaSecp256r1Sha256))
    }

    fn client_cert(&mut self) -> Option<Certificate<impl AsRef<[u8]>>> {
        Some(Certificate::X509(self.credentials.certificate))
    }
}
