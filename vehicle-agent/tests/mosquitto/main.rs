//! The program `vehicle-agent` against a real mosquitto: a partner on one side, apps on the other.

mod addresses;
#[path = "../app/mod.rs"]
mod app;
mod apps;
mod bounds;
mod browser;
mod configuration;
mod delivery;
mod hostile;
mod lifecycle;
mod link;
mod receipts;
mod simulation;
mod world;
