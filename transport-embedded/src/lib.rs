//! MQTT for bare metal: minimq over any embedded-io-async stream.
#![no_std]
