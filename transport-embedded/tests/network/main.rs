//! The client on everything that carries it: bare streams, the classic embedded-nal, embassy-net and
//! TLS; against a real mosquitto, and against peers that break the rules.

mod bad_weather;
mod carriers;
mod claims;
mod lan;
mod modem;
mod noise;
mod refusals;
mod rogue_tls;
mod session;
mod sntp;
mod support;
