//! From a host name to an open, encrypted stream: DNS, TCP and TLS. Done here and not by the
//! MQTT library, so that each failure is known for what it is.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::disconnect::DisconnectWatch;
use crate::link_error::{LinkError, Phase};
use crate::stream::{Line, WatchedStream};
use crate::tls::{TlsError, TlsOptions, certificate_fault};
use crate::url::BrokerUrl;
use crate::web_socket;

/// Time for each address of a host, so that one that swallows packets does not use up the time
/// of the others.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);

/// What MQTT runs on.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> ByteStream for S {}

/// Opens the stream under MQTT and nothing more, for another MQTT client: TCP, TLS and WebSocket, as
/// the URL says.
pub struct StreamDialer {
    dialer: Dialer,
    server_date: Option<String>,
}

impl StreamDialer {
    /// A stream on which no write makes progress for `write_timeout` breaks.
    ///
    /// # Errors
    /// When a certificate or a key cannot be used.
    pub fn new(
        url: BrokerUrl,
        tls: &TlsOptions,
        write_timeout: Duration,
    ) -> Result<Self, TlsError> {
        let tls = if url.scheme().is_tls() {
            Some(tls.client_config()?)
        } else {
            None
        };
        let dialer = Dialer {
            watch_disconnect: !url.scheme().is_web_socket(),
            url,
            tls,
            write_timeout,
            line: Line::new(),
        };
        Ok(Self {
            dialer,
            server_date: None,
        })
    }

    /// Opens a stream. Has no time limit of its own but for TCP.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn dial(&mut self) -> Result<Box<dyn ByteStream>, LinkError> {
        self.dialer.line = Line::new();
        let stream = self.dialer.open().await?;
        let Some(url) = web_socket::request_url(&self.dialer.url) else {
            return Ok(stream);
        };
        self.dialer.line.enter(Phase::WebSocket);
        let opened = web_socket::open(&url, stream).await;
        // Below the WebSocket it is known better what broke.
        let (opened, date) = opened.map_err(|error| self.error().unwrap_or(error))?;
        self.server_date = date;
        self.dialer.line.enter(Phase::Mqtt);
        Ok(opened)
    }

    /// How far the attempt to open a stream has come; MQTT when it is open.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.dialer.line.phase()
    }

    /// The time that the server told when it opened the last WebSocket, as HTTP writes it (`Date`, RFC 9110,
    /// 6.6.1). Not all servers do.
    #[must_use]
    pub fn server_date(&self) -> Option<&str> {
        self.server_date.as_deref()
    }

    /// Why the stream that was opened last is broken, if it is. An MQTT client sees only that it
    /// is: a broker that refuses the client's certificate says so after the handshake.
    #[must_use]
    pub fn error(&self) -> Option<LinkError> {
        self.dialer.line.error()
    }
}

impl std::fmt::Debug for StreamDialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamDialer")
            .field("url", &self.dialer.url)
            .finish_non_exhaustive()
    }
}

/// How to open the stream of one connection.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) url: BrokerUrl,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) write_timeout: Duration,
    /// What is read are MQTT 5 packets.
    pub(crate) watch_disconnect: bool,
    pub(crate) line: Line,
}

impl Dialer {
    /// Opens the stream. The error is also left in the [`Line`], typed.
    pub(crate) async fn dial(self) -> io::Result<Box<dyn ByteStream>> {
        self.open().await.map_err(|error| {
            self.line.fail(error.clone());
            io::Error::other(error)
        })
    }

    async fn open(&self) -> Result<Box<dyn ByteStream>, LinkError> {
        let tcp = self.tcp().await?;
        let Some(tls) = &self.tls else {
            self.line.enter(Phase::Mqtt);
            return Ok(Box::new(self.watch(tcp)));
        };
        self.line.enter(Phase::Tls);
        let name = ServerName::try_from(self.url.host().to_owned()).map_err(|_| {
            LinkError::ServerCertificateWrongHost {
                host: self.url.host().to_owned(),
            }
        })?;
        let stream = TlsConnector::from(Arc::clone(tls))
            .connect(name, tcp)
            .await
            .map_err(|error| match tls_error(&error) {
                Some(error) => self.for_this_host(error),
                None if error.kind() == io::ErrorKind::UnexpectedEof => LinkError::Tls {
                    reason: "the server closed the connection in the handshake".to_owned(),
                },
                None => LinkError::lost(&error),
            })?;
        self.line.enter(Phase::Mqtt);
        Ok(Box::new(self.watch(stream)))
    }

    fn watch<S>(&self, stream: S) -> WatchedStream<S> {
        let disconnect = self.watch_disconnect.then(DisconnectWatch::new);
        WatchedStream::new(stream, self.line.clone(), self.write_timeout, disconnect)
    }

    async fn tcp(&self) -> Result<TcpStream, LinkError> {
        self.line.enter(Phase::Resolve);
        let host = self.url.host();
        let not_found = |reason: String| LinkError::HostNotFound {
            host: host.to_owned(),
            reason,
        };
        let addresses: Vec<_> = tokio::net::lookup_host((host, self.url.port()))
            .await
            .map_err(|error| not_found(error.to_string()))?
            .collect();
        self.line.enter(Phase::Tcp);
        let mut last = not_found("no address".to_owned());
        for address in addresses {
            let opening = tokio::time::timeout(ADDRESS_TIMEOUT, TcpStream::connect(address));
            last = match opening.await {
                Ok(Ok(stream)) => {
                    let _only_slower_without = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    LinkError::TcpRefused {
                        address: self.url.authority(),
                    }
                }
                Ok(Err(error)) => LinkError::Unreachable {
                    address: self.url.authority(),
                    reason: error.to_string(),
                },
                Err(_elapsed) => LinkError::Timeout { phase: Phase::Tcp },
            };
        }
        Err(last)
    }

    /// Fills in what a TLS error does not know: the name in the URL.
    fn for_this_host(&self, error: LinkError) -> LinkError {
        match error {
            LinkError::ServerCertificateWrongHost { .. } => LinkError::ServerCertificateWrongHost {
                host: self.url.host().to_owned(),
            },
            other => other,
        }
    }
}

/// The TLS error inside an I/O error, if there is one.
pub(crate) fn tls_error(error: &io::Error) -> Option<LinkError> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(reason) => certificate_error(reason),
        rustls::Error::AlertReceived(alert) => alert_error(*alert),
        other => LinkError::Tls {
            reason: other.to_string(),
        },
    })
}

fn certificate_error(error: &CertificateError) -> LinkError {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            LinkError::ServerCertificateExpired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            LinkError::ServerCertificateNotYetValid
        }
        // An authority of the same name with another key signed it.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            LinkError::ServerCertificateUnknownCa
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            LinkError::ServerCertificateWrongHost {
                host: String::new(),
            }
        }
        other => LinkError::ServerCertificateInvalid {
            reason: certificate_fault(other),
        },
    }
}

/// After the server's certificate was accepted, an alert about certificates is about ours (RFC 8446, 6.2).
fn alert_error(alert: AlertDescription) -> LinkError {
    let meaning = match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            return LinkError::ClientCertificateRequired;
        }
        AlertDescription::UnknownCA => "it does not trust the authority that issued it",
        AlertDescription::CertificateExpired => {
            "it has expired, or is not valid yet, by the broker's clock"
        }
        AlertDescription::CertificateRevoked => "its issuer has revoked it",
        AlertDescription::BadCertificate => "it is damaged, or its signature is wrong",
        AlertDescription::UnsupportedCertificate => "it is of a kind that the broker does not take",
        AlertDescription::AccessDenied => "it is valid, but not allowed here",
        AlertDescription::DecryptError => "the proof that we have its key is wrong",
        AlertDescription::CertificateUnknown => "the broker does not say what is wrong with it",
        other => {
            return LinkError::Tls {
                reason: format!("the server sent the alert {other:?}"),
            };
        }
    };
    LinkError::ClientCertificateRefused {
        alert: format!("{alert:?}"),
        meaning,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(error: rustls::Error) -> Option<LinkError> {
        tls_error(&io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn an_alert_about_certificates_is_about_the_clients() {
        use AlertDescription as Alert;
        for (alert, expected) in [
            (Alert::UnknownCA, "UnknownCA, it does not trust"),
            (Alert::CertificateExpired, "Expired, it has expired"),
            (Alert::CertificateRevoked, "Revoked, its issuer"),
            (Alert::BadCertificate, "BadCertificate, it is damaged"),
            (
                Alert::UnsupportedCertificate,
                "Certificate, it is of a kind",
            ),
            (Alert::AccessDenied, "AccessDenied, it is valid, but"),
            (Alert::DecryptError, "DecryptError, the proof"),
            (
                Alert::CertificateUnknown,
                "Unknown, the broker does not say",
            ),
        ] {
            let error = meaning(rustls::Error::AlertReceived(alert)).unwrap();
            assert!(
                matches!(error, LinkError::ClientCertificateRefused { .. }),
                "{error:?}"
            );
            assert!(error.to_string().contains(expected), "{error}");
        }
        let required = rustls::Error::AlertReceived(Alert::CertificateRequired);
        assert_eq!(
            meaning(required),
            Some(LinkError::ClientCertificateRequired)
        );
        let other = meaning(rustls::Error::AlertReceived(Alert::ProtocolVersion));
        assert!(matches!(other, Some(LinkError::Tls { .. })), "{other:?}");
    }

    #[test]
    fn a_server_certificate_with_a_fault_of_another_kind_says_which() {
        let revoked = meaning(rustls::Error::InvalidCertificate(CertificateError::Revoked));
        let Some(LinkError::ServerCertificateInvalid { reason }) = revoked else {
            panic!("{revoked:?}");
        };
        assert!(reason.to_lowercase().contains("revoked"), "{reason}");
    }

    #[test]
    fn an_error_without_tls_inside_is_none() {
        assert_eq!(tls_error(&io::ErrorKind::ConnectionReset.into()), None);
    }
}
