//! The portal of boards on Linux: the agent's core, apps over real sockets, a link in memory, and a
//! clock that stands still unless a test moves it.
//!
//! The claims are those about the portal of Linux (`tests/mosquitto`), as the apps must not notice
//! which one they speak to.

#[path = "../app/mod.rs"]
mod app;
mod board;
mod bounds;
mod browser;
mod confirming;
mod delivery;
mod health;
mod hostile;
mod lifecycle;
mod receipts;
mod wire;
