//! Why there is no TLS connection, or none any more, by who must act.

use core::fmt;

use embedded_io_async::ErrorKind;
use embedded_tls::TlsError;
use embedded_tls::alert::AlertDescription;

use super::records::{is_not_tls, is_unexpected};
use crate::dial::DialError;

/// Why a line has no connection, or none any more. All but [`LineError::InUse`] are to be tried
/// again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// The line has a stream already.
    InUse,
    /// The task that pumps the line is gone.
    NoPump,
    /// The broker has ended the connection in order; nothing can be written any more.
    Closed,
    /// There is no TCP connection.
    Dial(DialError),
    /// The broker did not finish the handshake in time.
    HandshakeTimeout,
    /// The peer does not speak TLS.
    NotTls,
    /// The broker speaks no TLS that we do.
    NoCommonTls,
    /// This board does not know what time it is.
    NoClock,
    /// A certificate of the broker's chain has expired.
    CertificateExpired,
    /// A certificate of the broker's chain is not valid yet.
    CertificateNotYetValid,
    /// The broker's certificate does not come from our authority.
    UnknownAuthority,
    /// The broker's certificate was issued by a certificate that may not issue any.
    IssuerIsNoAuthority,
    /// The broker's certificate is for another host.
    WrongHost,
    /// The broker's certificate is not one for servers.
    NotForServers,
    /// The broker's certificates are not signed with ECDSA on P-256 and SHA-256.
    UnsupportedSignature,
    /// The broker's certificate is malformed.
    CertificateInvalid,
    /// The broker did not prove that it has the key of its certificate.
    Unproven,
    /// The broker refused our certificate.
    Refused,
    /// The connection ended right after the handshake, before the broker had said anything.
    Dropped,
    /// The broker ended the connection with an alert.
    Alert,
    /// The broker wants new keys, which takes a new connection here.
    KeyUpdate,
    /// The broker breaks the protocol, or somebody tampers with the connection.
    Protocol,
    /// The record buffers are too small.
    RecordBuffers,
    /// The stream to the broker broke; the network's reason.
    Stream(ErrorKind),
    /// The stream to the broker ended without a goodbye.
    Truncated,
}

impl LineError {
    /// What to do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::InUse => "drop the stream of the line before dialling again",
            Self::NoPump => "spawn the line's run() and keep it running",
            Self::Dial(error) => error.advice(),
            Self::Closed => "dial again",
            Self::HandshakeTimeout | Self::NotTls => {
                "check that the port speaks TLS: plain MQTT usually has another port"
            }
            Self::NoCommonTls => {
                "have the broker offer TLS 1.3 with AES-128-GCM, P-256 and a P-256 certificate"
            }
            Self::NoClock => "set the clock: from the network (SNTP), the modem or a battery",
            Self::CertificateExpired => {
                "have the broker's certificate renewed, and check this board's clock"
            }
            Self::CertificateNotYetValid => "check this board's clock and the broker's",
            Self::UnknownAuthority => {
                "provision the certificate of the authority that issued the broker's"
            }
            Self::IssuerIsNoAuthority => {
                "have the broker's certificate issued by the authority; this may be an attack"
            }
            Self::WrongHost => {
                "dial the host that the certificate names, or have one issued for this one"
            }
            Self::NotForServers => "have a certificate for server authentication issued",
            Self::UnsupportedSignature => "have the broker's chain issued with P-256 keys",
            Self::CertificateInvalid => "have the broker's certificate reissued",
            Self::Unproven => "check the way to the broker: this may be an attack",
            Self::Refused | Self::Dropped => {
                "check that our certificate is current and issued by the authority that the broker trusts"
            }
            Self::Alert => "see the broker's log",
            Self::KeyUpdate | Self::Stream(_) | Self::Truncated => {
                "dial again; if it goes on, see the broker's log and check the network"
            }
            Self::Protocol => "check the way to the broker: what speaks there is no sound TLS 1.3",
            Self::RecordBuffers => "give the line record buffers of the documented sizes",
        }
    }

    /// Why the handshake failed.
    pub(super) fn of_handshake(error: TlsError) -> Self {
        match error {
            TlsError::HandshakeAborted(_, description) => match description {
                AlertDescription::ProtocolVersion
                | AlertDescription::HandshakeFailure
                | AlertDescription::InsufficientSecurity => Self::NoCommonTls,
                _ => Self::Alert,
            },
            TlsError::InvalidKeyShare | TlsError::InvalidCipherSuite => Self::NoCommonTls,
            TlsError::Io(kind) if is_not_tls(kind) => Self::NotTls,
            other => Self::of(other),
        }
    }

    /// Why an open connection ended; `None` after a goodbye. `early` says that the broker has sent
    /// no data yet: it checks our certificate only after our side of the handshake is done.
    pub(super) fn of_end(error: TlsError, early: bool) -> Option<Self> {
        Some(match error {
            TlsError::ConnectionClosed => return None,
            // All alerts but the goodbye.
            TlsError::InternalError if early => Self::Refused,
            TlsError::InternalError => Self::Alert,
            TlsError::IoError if early => Self::Dropped,
            TlsError::Io(kind) if early && !is_unexpected(kind) => Self::Dropped,
            TlsError::Unimplemented => Self::KeyUpdate,
            other => Self::of(other),
        })
    }

    fn of(error: TlsError) -> Self {
        match error {
            TlsError::InsufficientSpace | TlsError::EncodeError => Self::RecordBuffers,
            TlsError::IoError => Self::Truncated,
            TlsError::Io(kind) if !is_unexpected(kind) => Self::Stream(kind),
            _ => Self::Protocol,
        }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUse => "the line has a stream already",
            Self::NoPump => "the task that pumps the line is gone",
            Self::Closed => "the broker has ended the connection",
            Self::Dial(error) => return error.fmt(f),
            Self::HandshakeTimeout => "the broker did not finish the TLS handshake in time",
            Self::NotTls => "the peer does not speak TLS",
            Self::NoCommonTls => "the broker speaks no TLS that this board does",
            Self::NoClock => "this board does not know the time, so it cannot check certificates",
            Self::CertificateExpired => "the broker's certificate has expired",
            Self::CertificateNotYetValid => "the broker's certificate is not valid yet",
            Self::UnknownAuthority => "the broker's certificate is signed by an unknown authority",
            Self::IssuerIsNoAuthority => {
                "the broker's certificate was issued by a certificate that is no authority"
            }
            Self::WrongHost => "the broker's certificate is for another host",
            Self::NotForServers => "the broker's certificate is not one for servers",
            Self::UnsupportedSignature => {
                "the broker's certificates are not signed with ECDSA on P-256 and SHA-256"
            }
            Self::CertificateInvalid => "the broker's certificate is malformed",
            Self::Unproven => "the broker did not prove that it has the key of its certificate",
            Self::Refused => "the broker refused our certificate",
            Self::Dropped => {
                "the broker dropped the connection right after the TLS handshake, as it does when it refuses our certificate"
            }
            Self::Alert => "the broker ended the connection with a TLS alert",
            Self::KeyUpdate => "the broker asked for new TLS keys",
            Self::Protocol => "the broker broke the TLS protocol, or the connection was tampered with",
            Self::RecordBuffers => "the record buffers are too small",
            Self::Stream(kind) => {
                return write!(f, "the stream to the broker broke: {kind}");
            }
            Self::Truncated => "the stream to the broker ended without a goodbye",
        })
    }
}

impl core::error::Error for LineError {}

impl embedded_io_async::Error for LineError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Stream(kind) => *kind,
            Self::Closed => ErrorKind::BrokenPipe,
            Self::Refused => ErrorKind::PermissionDenied,
            Self::Dropped | Self::Truncated | Self::Alert | Self::KeyUpdate => {
                ErrorKind::ConnectionAborted
            }
            Self::Protocol => ErrorKind::InvalidData,
            _ => ErrorKind::Other,
        }
    }
}
