//! The line: mutual TLS against a real mosquitto, and against peers that break the rules.

mod mosquitto;
mod support;
