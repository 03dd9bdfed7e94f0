//! MQTT for Linux: one client for MQTT 3.1.1 and 5 over TCP, TLS and WebSocket.
//!
//! [`connect`] takes [`ClientOptions`] and returns a [`Client`], which publishes and subscribes,
//! and an [`Inbox`], which yields what arrives. One task behind them owns the connection: it
//! reconnects for ever with growing, jittered pauses, subscribes anew on every connection, and
//! says on [`Client::link`] what the link is doing and why it is down.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use vinbus_transport_std::{ClientOptions, Qos, connect};
//!
//! let options = ClientOptions::new("mqtts://broker.example:8886".parse()?, "demo-partner")
//!     .ca_file("ca.pem")
//!     .identity_files("cert.pem", "key.pem")
//!     .credentials("demo-partner", "secret");
//! let (client, mut inbox) = connect(options)?;
//! client.subscribe("psa/OVIPPartners-Dev/from/uid/demo-partner/opa/#", Qos::AtMostOnce).await?;
//! while let Some(message) = inbox.recv().await {
//!     println!("{}: {} bytes", message.topic, message.payload.len());
//!     message.ack();
//! }
//! # Ok(()) }
//! ```
//!
//! # Promises
//!
//! - No future of [`Client::publish`] hangs: it ends with the broker's answer, or with an error
//!   when the link goes down or the broker stays silent.
//! - Nothing is queued while the link is down: a publish is refused and the caller keeps it.
//! - Every queue has a bound ([`ClientOptions`] names them). A full inbox stops reading from the
//!   socket; it never grows and never drops.
//! - A payload above [`PAYLOAD_BYTES_MAX`](vinbus_protocol::limits::PAYLOAD_BYTES_MAX) is refused
//!   before it is queued, and counted and dropped when it arrives. Neither breaks the connection.
//! - Keys and passwords appear in no `Debug` output and no log line.

mod client;
mod message;

mod credentials;
mod options;
mod tls;
mod url;

mod link_error;

mod connection;
mod driver;
mod shared;
mod subscriptions;

mod dial;
mod disconnect;
mod stream;
mod web_socket;
mod wire;

pub mod guards;

#[cfg(feature = "bus")]
pub mod bus;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use client::{Client, Counters, LinkState, PublishError, SubscribeError, connect};
pub use credentials::{Credentials, Identity};
pub use dial::{ByteStream, StreamDialer};
pub use link_error::{Attempt, LinkError, Phase};
pub use message::{Inbox, Message, Qos};
pub use options::{ClientOptions, MqttVersion, OptionsError, Session, Will};
pub use tls::{Pem, TlsError, TlsOptions};
pub use url::{BrokerUrl, Scheme, UrlError};
