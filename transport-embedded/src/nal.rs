//! Modems and other network chips behind the classic [`embedded_nal`], as a stack of
//! [`embedded_nal_async`].
//!
//! Drivers of AT-command modems offer a `TcpClientStack` that never waits: it says *would block*
//! instead, and has nobody to wake. So a [`Modem`] asks again from time to time. Each question may
//! cost a command on a serial line: [`Modem::new`] takes how often to ask.
//!
//! ```no_run
//! use embassy_time::Duration;
//! use vinbus_transport_embedded::dial::{self, Broker, TimeLimits};
//! use vinbus_transport_embedded::nal::Modem;
//!
//! # async fn example<S>(driver: S)
//! # where S: embedded_nal::TcpClientStack + embedded_nal::Dns
//! # {
//! let modem = Modem::new(driver, Duration::from_millis(20));
//! let broker = Broker { host: "broker.example", port: 8886 };
//! let stream = dial::open(&modem, &modem, broker, TimeLimits::default()).await;
//! # }
//! ```

use core::cell::RefCell;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

use embassy_time::{Duration, Timer};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use embedded_nal::{AddrType, TcpClientStack, TcpErrorKind};
use embedded_nal_async::{Dns, TcpConnect};

/// A stack that is asked again until it has an answer.
pub struct Modem<S> {
    stack: RefCell<S>,
    interval: Duration,
}

impl<S> fmt::Debug for Modem<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Modem")
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

impl<S> Modem<S> {
    /// Asks `stack` every `interval` while it has no answer.
    #[must_use]
    pub const fn new(stack: S, interval: Duration) -> Self {
        Self {
            stack: RefCell::new(stack),
            interval,
        }
    }

    /// Gives the stack back.
    pub fn into_inner(self) -> S {
        self.stack.into_inner()
    }

    /// Asks until there is an answer. The stack is borrowed while it is asked only.
    async fn answer<T, E>(&self, mut ask: impl FnMut(&mut S) -> nb::Result<T, E>) -> Result<T, E> {
        loop {
            let answer = ask(&mut self.stack.borrow_mut());
            match answer {
                Ok(answer) => return Ok(answer),
                Err(nb::Error::Other(error)) => return Err(error),
                Err(nb::Error::WouldBlock) => Timer::after(self.interval).await,
            }
        }
    }
}

/// The modem cannot do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModemError {
    /// The connection is closed.
    Closed,
    /// The driver's error; its own log knows more.
    Driver,
    /// Names of addresses are not looked up.
    Unsupported,
}

impl fmt::Display for ModemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the connection is closed",
            Self::Driver => "the modem's driver reports an error",
            Self::Unsupported => "names of addresses are not looked up",
        })
    }
}

impl core::error::Error for ModemError {}

impl embedded_io_async::Error for ModemError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Closed => ErrorKind::BrokenPipe,
            Self::Driver => ErrorKind::Other,
            Self::Unsupported => ErrorKind::Unsupported,
        }
    }
}

impl ModemError {
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    fn of(error: impl embedded_nal::TcpError) -> Self {
        match error.kind() {
            TcpErrorKind::PipeClosed => Self::Closed,
            _ => Self::Driver,
        }
    }
}

impl<S: TcpClientStack> TcpConnect for Modem<S> {
    type Error = ModemError;
    type Connection<'a>
        = ModemStream<'a, S>
    where
        Self: 'a;

    async fn connect(&self, remote: SocketAddr) -> Result<ModemStream<'_, S>, ModemError> {
        let socket = self.stack.borrow_mut().socket().map_err(ModemError::of)?;
        // From here on, whatever happens, the socket is closed.
        let mut stream = ModemStream {
            modem: self,
            socket: Some(socket),
        };
        let connected = stream.ask(|stack, socket| stack.connect(socket, remote));
        connected.await?;
        Ok(stream)
    }
}

impl<S: embedded_nal::Dns> Dns for Modem<S> {
    type Error = ModemError;

    async fn get_host_by_name(
        &self,
        host: &str,
        addr_type: AddrType,
    ) -> Result<IpAddr, ModemError> {
        let found = self.answer(|stack| stack.get_host_by_name(host, addr_type.clone()));
        found.await.map_err(|_reason| ModemError::Driver)
    }

    async fn get_host_by_address(
        &self,
        _address: IpAddr,
        _name: &mut [u8],
    ) -> Result<usize, ModemError> {
        Err(ModemError::Unsupported)
    }
}

/// An open connection. Reads and writes are cancel safe; dropping it closes the socket.
pub struct ModemStream<'m, S: TcpClientStack> {
    modem: &'m Modem<S>,
    /// Present until this is dropped.
    socket: Option<S::TcpSocket>,
}

impl<S: TcpClientStack> fmt::Debug for ModemStream<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModemStream").finish_non_exhaustive()
    }
}

impl<S: TcpClientStack> ModemStream<'_, S> {
    async fn ask<T>(
        &mut self,
        mut ask: impl FnMut(&mut S, &mut S::TcpSocket) -> nb::Result<T, S::Error>,
    ) -> Result<T, ModemError> {
        let socket = self.socket.as_mut().ok_or(ModemError::Closed)?;
        let answer = self.modem.answer(|stack| ask(stack, socket));
        answer.await.map_err(ModemError::of)
    }
}

impl<S: TcpClientStack> Drop for ModemStream<'_, S> {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            // There is nobody to tell; the driver frees the socket in any case.
            let _ = self.modem.stack.borrow_mut().close(socket);
        }
    }
}

impl<S: TcpClientStack> ErrorType for ModemStream<'_, S> {
    type Error = ModemError;
}

impl<S: TcpClientStack> Read for ModemStream<'_, S> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ModemError> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.ask(|stack, socket| match stack.receive(socket, buffer) {
            // Drivers say so while nothing has come in; a closed connection is an error.
            Ok(0) => Err(nb::Error::WouldBlock),
            other => other,
        });
        match read.await {
            Err(ModemError::Closed) => Ok(0),
            other => other,
        }
    }
}

impl<S: TcpClientStack> Write for ModemStream<'_, S> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ModemError> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.ask(|stack, socket| match stack.send(socket, bytes) {
            Ok(0) => Err(nb::Error::WouldBlock),
            other => other,
        })
        .await
    }

    /// Does nothing: the modem sends what it has taken.
    async fn flush(&mut self) -> Result<(), ModemError> {
        Ok(())
    }
}
