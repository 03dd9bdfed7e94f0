//! The console's page in a real Chromium, against the real server and a real vehicle agent.

#[path = "../cli_support/mod.rs"]
mod cli_support;
#[path = "../rest_support/mod.rs"]
mod rest_support;

mod car;
mod desk;

mod accessibility;
mod fleets;
mod many;
mod messages;
mod pictures;
mod sending;
mod sign_in;
