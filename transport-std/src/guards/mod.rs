//! What a server on Linux needs so that no peer exhausts it, whatever it serves.
//!
//! Not MQTT, but what both of our programs that listen have in common: [`half_open`] notices peers
//! that are gone, [`WriteTimeout`] ends with those that read nothing, and [`LogThrottle`] keeps them
//! all from filling the log.

pub mod half_open;
mod log_throttle;
mod write_timeout;

pub use log_throttle::LogThrottle;
pub use write_timeout::WriteTimeout;
