//! The client on everything that carries it: bare streams, the classic embedded-nal, embassy-net and
//! TLS; against a real mosquitto, and against peers that break the rules.

mod carriers;
mod claims;
mod refusals;
mod rogue_tls;
mod session;
mod support;
