//! MQTT 5 for bare metal: one session of minimq over any byte stream of embedded-io-async.
//!
//! Who brings the stream (embassy-net, TLS, a modem) is the caller's affair, as is when to connect
//! again. [`Mqtt`] holds the buffers and the settings over all connections, [`Connection`] is one of
//! them. There is no heap; every size is the caller's:
//!
//! - a message that arrives has to fit into the receive buffer whole, with its topic: the broker is
//!   told that size and sends nothing larger;
//! - a message to publish has to fit into the send buffer whole, with its topic; at QoS 1 it stays
//!   there until the broker has acknowledged it.
//!
//! For messages of 131,072 bytes, 133,000 bytes to receive and 136,000 to send are enough.
//!
//! Nothing here waits without bound but [`Connection::next`], which waits for the broker and keeps
//! the connection alive while it does. A broker that takes nothing, takes a message more slowly than
//! [`Options::bytes_per_s_min`], or leaves a message or a ping without an answer, loses the connection,
//! however often `next` is dropped and called again meanwhile.
//!
//! Streams come from [`dial`], which opens TCP over any stack of embedded-nal-async, or from a board's
//! own code. Features bring stacks and what lies above them:
//!
//! - `net`: embassy-net, with DHCP, DNS and the time of day ([`sntp`]);
//! - `nal`: modems and other chips behind the classic embedded-nal;
//! - `tls`: mutual TLS 1.3 over any of them.
//!
//! The feature `tokio` stands in for a board on Linux: it sets the clock of embassy-time, of which a
//! program can have one only, and adds [`TokioStream`].
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "tokio")]
extern crate std;

mod address;
mod connection;
pub mod dial;
mod error;
#[cfg(feature = "nal")]
pub mod nal;
#[cfg(feature = "net")]
pub mod net;
mod options;
pub mod sntp;
#[cfg(feature = "tls")]
pub mod tls;
mod write_limit;

#[cfg(feature = "tokio")]
mod std_clock;
#[cfg(feature = "tokio")]
mod tokio_stream;

pub use address::{AddressError, DNS_SERVERS_MAX, StaticAddress};
pub use connection::{Connection, Event, Fate, Mqtt};
pub use error::{ConnectError, Lost, OptionsError};
pub use options::{Credentials, Options, Qos, Will};
#[cfg(feature = "tokio")]
pub use tokio_stream::{TokioStream, TokioStreamError};
