//! The bus: 500 programs that speak to one, with access rules and beside it without; and how many
//! connect in a second with a token, for the first time and again.

mod logins;
mod traffic;

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::programs::HostServer;
use crate::wire::Login;
use crate::{http, wire};

/// The app of all clients.
const APP: &str = "bench";

/// The app of the administrator's topic, which has as long a name.
const OTHER_APP: &str = "plain";

/// Clients that publish, each with a connection, a secret and a token of its own.
const PUBLISHERS: usize = 500;

/// Permissions of each client; the last is for the topic that it uses.
const PERMISSIONS: usize = 50;

/// Measures both: messages in so many pairs of turns, connections in so many rounds.
pub(crate) fn measure(pairs: usize, rounds: usize) -> Result<()> {
    let server = HostServer::embedded_for(2 * PUBLISHERS)?;
    eprintln!("making {PUBLISHERS} clients…");
    let clients: Result<Vec<_>> = (0..PUBLISHERS)
        .map(|number| make(&server, number))
        .collect();
    let clients = clients?;
    traffic::measure(&server, &clients, pairs)?;
    logins::measure(&server, &clients, rounds)
}

/// Makes a client, whose permissions let it use the topic; its name.
fn make(server: &HostServer, number: usize) -> Result<String> {
    let client = format!("client-{number}");
    let mut permissions: Vec<_> = (1..PERMISSIONS)
        .map(|at| format!("resource{}.scope-{at}", (number + at) % 20))
        .collect();
    permissions.push("ui.content".to_owned());
    let body = json!({"clientId": client, "permissions": permissions}).to_string();
    let path = format!("/api/platform/app/{APP}/client");
    http::post(server.http, &path, &server.token, &body)?;
    Ok(client)
}

/// A fresh token of a client, as a login.
fn token(server: &HostServer, client: &str) -> Result<Login> {
    let body = json!({"appId": APP, "clientId": client}).to_string();
    let path = "/api/platform/token/access_token";
    let given = http::post(server.http, path, &server.token, &body)?;
    let given: Value = serde_json::from_str(&given)?;
    let token = given["access_token"].as_str().context("no token")?;
    Ok(Login {
        user: token.to_owned(),
        password: "any".to_owned(),
    })
}

/// The administrator's login, for whom no rights are looked up.
fn admin(server: &HostServer) -> Login {
    Login {
        user: "admin".to_owned(),
        password: server.token.clone(),
    }
}

fn broker(server: &HostServer) -> Result<SocketAddr> {
    server.mqtt.context("host-server printed no mqtt address")
}

/// The middle one.
fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
}
