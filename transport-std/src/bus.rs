//! A client of a SERMAS-like platform: it gets a token over HTTP, speaks MQTT 5 on the platform's bus
//! with it, and goes on with a new one before the old one expires (feature `bus`).
//!
//! Begin at [`BusClient::connect`]. Topics come from
//! [`vinbus_protocol::bus::topics`]; the client fills in the application.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use vinbus_protocol::bus::topics;
//! use vinbus_transport_std::bus::{BusClient, BusOptions};
//!
//! let options = BusOptions::new(
//!     "http://localhost:8080".parse()?,
//!     "myapp",
//!     "my-app-client",
//!     std::env::var("CLIENT_SECRET")?,
//! );
//! let (bus, mut inbox) = BusClient::connect(options).await?;
//! bus.subscribe(&topics::UI_CONTENT, &[]).await?;
//! let status = r#"{"appId":"myapp","clientId":"my-app-client","randomInfo":"All is OK"}"#;
//! bus.publish(&topics::UI_ASSET_STATUS, &[], status.into()).await?;
//! while let Some(message) = inbox.recv().await {
//!     println!("{}: {} bytes", message.topic(), message.payload().len());
//!     message.ack();
//! }
//! # Ok(()) }
//! ```
//!
//! # Promises
//!
//! - A token is renewed 30 s before it expires, or at half of a life shorter than a minute: by the
//!   refresh token, or by the secret where that does not work. What fails is tried again after
//!   growing, jittered pauses, and shown by [`BusClient::token`]; the link lives on with the old
//!   token as long as the platform lets it.
//! - Each new token takes the old one's place on a new connection with all subscriptions. Messages
//!   that come meanwhile are kept by a platform that keeps MQTT sessions. A vinbus host server keeps
//!   none, but takes the token in the session that runs: [`BusOptions::renewal_in_place`].
//! - A link that the platform refuses, or ends, because of the token gets a new token, after a pause
//!   that grows: an expired token never leads to an endless loop of reconnections with it.
//! - Secrets and tokens appear in no `Debug` output, no error and no log line.

mod client;
mod inbox;
mod keeper;
mod options;
mod platform_url;
mod token;
mod token_error;

pub use client::{BusClient, BusCounters, BusError, BusPublishError, BusSubscribeError};
pub use inbox::{BusInbox, BusMessage};
pub use keeper::TokenState;
pub use options::BusOptions;
pub use platform_url::{PlatformUrl, PlatformUrlError};
pub use token_error::TokenError;
