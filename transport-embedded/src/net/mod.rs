//! The network of a board: embassy-net, dialled through `embedded-nal-async`.
//!
//! The board brings the driver of its network interface and spawns embassy-net's runner; addresses
//! come from [`AddressConfig`], the clock from [`crate::sntp`] over [`Udp`], connections from
//! [`Tcp`] with the names of [`Resolver`]:
//!
//! ```no_run
//! use embassy_net::{Runner, Stack, StackResources, driver::Driver};
//! use vinbus_transport_embedded::dial::{self, Broker, TimeLimits};
//! use vinbus_transport_embedded::net::{AddressConfig, Resolver, Tcp};
//!
//! # async fn example(driver: impl Driver, resources: &'static mut StackResources<4>, seed: u64) {
//! let config = AddressConfig::Dhcp.config();
//! let (stack, runner) = embassy_net::new(driver, config, resources, seed);
//! // spawn `runner.run()` here
//!
//! static RECEIVE: static_cell::StaticCell<[u8; 8192]> = static_cell::StaticCell::new();
//! static SEND: static_cell::StaticCell<[u8; 8192]> = static_cell::StaticCell::new();
//! let tcp = Tcp::new(stack, RECEIVE.init([0; 8192]), SEND.init([0; 8192]));
//! let dns = Resolver::new(stack);
//! let broker = Broker { host: "broker.example", port: 8886 };
//! let stream = dial::open(&tcp, &dns, broker, TimeLimits::default()).await;
//! # }
//! ```
//!
//! A [`Tcp`] holds one socket and opens one connection at a time. Dropping a connection closes it
//! in order: what was written is still sent, and the socket says goodbye in the background.

mod config;
mod resolver;
mod tcp;
mod udp;

pub use crate::address::{AddressError, DNS_SERVERS_MAX, StaticAddress};
pub use config::AddressConfig;
pub use resolver::{ResolveError, Resolver};
pub use tcp::{Tcp, TcpError, TcpStream};
pub use udp::{Udp, UdpBuffers, UdpError};
