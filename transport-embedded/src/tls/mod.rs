//! Mutual TLS 1.3 for a board, as a *line*: a pair of pipes that a task of its own pumps through a
//! TLS connection.
//!
//! The board spawns [`Line::run`] once. Whoever wants to talk to the broker calls [`Line::dial`] and
//! gets a [`LineStream`], whose reads and writes are cancel safe; the record layer underneath is
//! not, which is why it has a task. One connection at a time; dropping the stream ends it in order
//! and makes the line ready for the next one.
//!
//! ```no_run
//! use embassy_sync::blocking_mutex::raw::NoopRawMutex;
//! use static_cell::StaticCell;
//! use vinbus_transport_embedded::dial::{Broker, TimeLimits};
//! use vinbus_transport_embedded::net::{Resolver, Tcp};
//! use vinbus_transport_embedded::tls::{self, Credentials, Line, RecordBuffers};
//!
//! type BoardLine = Line<NoopRawMutex, 4096, 4096>;
//!
//! static LINE: StaticCell<BoardLine> = StaticCell::new();
//!
//! // A task of its own.
//! async fn pump(line: &'static BoardLine, tcp: Tcp<'static>, dns: Resolver<'static>) -> ! {
//!     # let (ca_der, certificate_der, key_der) = (&[], &[], &[]);
//!     # let random = rand_chacha::ChaCha20Rng::from_seed([0; 32]);
//!     # use rand_chacha::rand_core::SeedableRng as _;
//!     # fn unix_time() -> Option<u64> { None }
//!     let broker = Broker { host: "broker.example", port: 8886 };
//!     let credentials = Credentials::new(ca_der, certificate_der, key_der, broker.host);
//!     let mut client = tls::Client {
//!         tcp,
//!         dns,
//!         broker,
//!         credentials: credentials.expect("provisioned with a certificate and its key"),
//!         unix_time, // None as long as the board has no clock: no connection then
//!         random,
//!         limits: TimeLimits::default(),
//!     };
//!     static READ: StaticCell<[u8; tls::READ_RECORD_BYTES]> = StaticCell::new();
//!     static WRITE: StaticCell<[u8; tls::WRITE_RECORD_BYTES]> = StaticCell::new();
//!     let mut buffers = RecordBuffers {
//!         read: READ.init([0; tls::READ_RECORD_BYTES]),
//!         write: WRITE.init([0; tls::WRITE_RECORD_BYTES]),
//!     };
//!     line.run(&mut client, &mut buffers).await
//! }
//!
//! // The agent's side, for example in `Dial::dial`.
//! async fn dial(line: &'static BoardLine) {
//!     match line.dial().await {
//!         Ok(stream) => drop(stream), // to `Mqtt::connect`
//!         Err(error) => { /* report `error` and `error.advice()` */ }
//!     }
//!     // After a session is over, or did not come up: why, if TLS or the network knows.
//!     if let Some(error) = line.failure() { /* report `error` and `error.advice()` */ }
//! }
//! ```
//!
//! The broker has to have a certificate for its name or address, of the authority in
//! [`Credentials`], valid at this moment; certificates of a chain have to be signed with ECDSA on
//! P-256 and SHA-256. A board without a clock gets no connection.
//!
//! The record layer is embedded-tls. What it leaves open is closed here: a handshake without the
//! broker's proof of its key is refused (`verifier`), and so is every record that it does not expect
//! at that point, be it before (`records`) or after decryption (`cipher`).

mod certificate;
mod cipher;
mod credentials;
mod der;
mod error;
mod line;
mod pump;
mod records;
mod session;
mod verifier;

pub use credentials::{Credentials, CredentialsError};
pub use error::LineError;
pub use line::{Line, LineStream};
pub use session::{Client, RecordBuffers};

/// The version of the traits for random numbers that [`Client`] takes.
pub use rand_core;

/// Bytes of [`RecordBuffers::read`]: the largest record that a broker may send.
pub const READ_RECORD_BYTES: usize = 16_640;

/// Bytes of [`RecordBuffers::write`]: 4 KiB of content and what is around it.
pub const WRITE_RECORD_BYTES: usize = 4_096 + 256;
