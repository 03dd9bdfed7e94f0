//! The network of this machine, as it is and chopped into pieces.

use std::net::{IpAddr, SocketAddr};

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use embedded_nal_async::{AddrType, Dns, TcpConnect};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;
use vinbus_transport_embedded::TokioStream;

/// The network of this machine.
#[derive(Clone, Copy)]
pub(crate) struct Host;

/// A stream of tokio.
pub(crate) struct HostStream<S>(pub(crate) TokioStream<S>);

/// Why there is no stream, or none any more.
#[derive(Debug)]
pub(crate) struct HostError(pub(crate) ErrorKind);

impl std::fmt::Display for HostError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for HostError {}

impl embedded_io_async::Error for HostError {
    fn kind(&self) -> ErrorKind {
        self.0
    }
}

impl HostError {
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    fn of(error: impl embedded_io_async::Error) -> Self {
        Self(error.kind())
    }
}

impl<S> ErrorType for HostStream<S> {
    type Error = HostError;
}

impl<S: AsyncRead + Unpin> Read for HostStream<S> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, HostError> {
        self.0.read(buffer).await.map_err(HostError::of)
    }
}

impl<S: AsyncWrite + Unpin> Write for HostStream<S> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, HostError> {
        self.0.write(bytes).await.map_err(HostError::of)
    }

    async fn flush(&mut self) -> Result<(), HostError> {
        self.0.flush().await.map_err(HostError::of)
    }
}

impl TcpConnect for Host {
    type Error = HostError;
    type Connection<'a> = HostStream<TcpStream>;

    async fn connect(&self, remote: SocketAddr) -> Result<HostStream<TcpStream>, HostError> {
        match TcpStream::connect(remote).await {
            Ok(stream) => {
                stream.set_nodelay(true).unwrap();
                Ok(HostStream(TokioStream::new(stream)))
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Err(HostError(ErrorKind::ConnectionRefused))
            }
            Err(_) => Err(HostError(ErrorKind::Other)),
        }
    }
}

impl Dns for Host {
    type Error = ();

    async fn get_host_by_name(&self, host: &str, _: AddrType) -> Result<IpAddr, ()> {
        let mut found = tokio::net::lookup_host((host, 0)).await.map_err(|_| ())?;
        found.next().map(|address| address.ip()).ok_or(())
    }

    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> Result<usize, ()> {
        Err(())
    }
}

/// The network of this machine through a pipe of a few bytes: every read and write is that short.
#[derive(Clone, Copy)]
pub(crate) struct Narrow(pub(crate) usize);

impl TcpConnect for Narrow {
    type Error = HostError;
    type Connection<'a> = HostStream<DuplexStream>;

    async fn connect(&self, remote: SocketAddr) -> Result<HostStream<DuplexStream>, HostError> {
        let Ok(mut far) = TcpStream::connect(remote).await else {
            return Err(HostError(ErrorKind::Other));
        };
        far.set_nodelay(true).unwrap();
        let (near, mut bridge) = tokio::io::duplex(self.0);
        tokio::spawn(async move {
            let _until_either_ends = tokio::io::copy_bidirectional(&mut bridge, &mut far).await;
        });
        Ok(HostStream(TokioStream::new(near)))
    }
}

/// A wire without a network: whoever has the other side takes the far ends.
pub(crate) struct Wire(tokio::sync::mpsc::UnboundedSender<DuplexStream>);

impl Wire {
    /// A wire, and where its far ends come out.
    pub(crate) fn new() -> (Self, tokio::sync::mpsc::UnboundedReceiver<DuplexStream>) {
        let (far_ends, taken) = tokio::sync::mpsc::unbounded_channel();
        (Self(far_ends), taken)
    }
}

impl TcpConnect for Wire {
    type Error = HostError;
    type Connection<'a> = HostStream<DuplexStream>;

    async fn connect(&self, _: SocketAddr) -> Result<HostStream<DuplexStream>, HostError> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        self.0
            .send(far)
            .map_err(|_| HostError(ErrorKind::ConnectionRefused))?;
        Ok(HostStream(TokioStream::new(near)))
    }
}
