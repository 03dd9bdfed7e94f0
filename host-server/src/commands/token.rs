//! `token`: the clients of the bus and their tokens, through a server's REST interface.

use std::io::{self, Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{ClientError, Server};
use crate::bus::{self, TokenError};
use crate::cli::{Access, Of, TokenArgs, TokenCommand};

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum TokenCommandError {
    /// The server did not do it.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// What should be a token is none.
    #[error("this is no token: {0}")]
    Token(#[from] TokenError),
    /// The token cannot be read.
    #[error("the token cannot be read from standard input: {0}")]
    Input(io::Error),
    /// What was done cannot be printed.
    #[error("it was done, what came of it could not be printed: {0}")]
    Output(#[from] io::Error),
}

impl TokenCommandError {
    /// Whether what was typed is at fault.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Server(error) => error.is_usage(),
            Self::Token(_) => true,
            Self::Input(_) | Self::Output(_) => false,
        }
    }
}

/// A client as the server shows it.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Client {
    app_id: String,
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    permissions: Vec<String>,
    disabled: bool,
}

/// Does what was asked, and prints what came of it.
///
/// # Errors
/// A [`TokenCommandError`].
pub async fn run(args: TokenArgs) -> Result<(), TokenCommandError> {
    let said = match args.command {
        TokenCommand::CreateClient {
            app,
            client,
            name,
            permissions,
            json,
            access,
        } => {
            let body = json!({"clientId": client.map(|it| it.to_string()), "name": name, "permissions": permissions});
            let server = Server::new(&access)?;
            let path = ["api", "platform", "app", app.as_str(), "client"];
            let made: Client = ask(&server, Method::POST, &path, Some(body)).await?;
            if json {
                line(&made)
            } else {
                introduce(&made, &server)
            }
        }
        TokenCommand::List { app, json, access } => {
            let path = match &app {
                Some(app) => vec!["api", "platform", "app", app.as_str(), "client"],
                None => vec!["api", "platform", "client"],
            };
            let clients: Vec<Client> =
                ask(&Server::new(&access)?, Method::GET, &path, None).await?;
            clients.iter().map(if json { line } else { row }).collect()
        }
        TokenCommand::SetPermissions {
            of,
            permissions,
            access,
        } => change(&of, &access, json!({"permissions": permissions})).await?,
        TokenCommand::Revoke { of, access } => {
            change(&of, &access, json!({"revokeTokens": true})).await?;
            format!("every token that {}/{} had is revoked\n", of.app, of.client)
        }
        TokenCommand::Disable { of, access } => {
            change(&of, &access, json!({"disabled": true})).await?
        }
        TokenCommand::Enable { of, access } => {
            change(&of, &access, json!({"disabled": false})).await?
        }
        TokenCommand::Remove { of, access } => {
            let server = Server::new(&access)?;
            let request = server.request(Method::DELETE, server.at_root(&path_of(&of)));
            server.send(request).await?;
            format!("{}/{} is removed\n", of.app, of.client)
        }
        TokenCommand::Issue { of, access } => issue(&of, &access).await?,
        TokenCommand::Show { token } => show(&token)?,
    };
    Ok(io::stdout().write_all(said.as_bytes())?)
}

async fn ask<T: for<'de> Deserialize<'de>>(
    server: &Server,
    method: Method,
    path: &[&str],
    body: Option<Value>,
) -> Result<T, ClientError> {
    let mut request = server.request(method, server.at_root(path));
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = server.send(request).await?;
    answer.json().await.map_err(|error| server.strange(&error))
}

fn path_of(of: &Of) -> [&str; 6] {
    let (app, client) = (of.app.as_str(), of.client.as_str());
    ["api", "platform", "app", app, "client", client]
}

async fn change(of: &Of, access: &Access, body: Value) -> Result<String, ClientError> {
    let server = Server::new(access)?;
    let changed: Client = ask(&server, Method::PATCH, &path_of(of), Some(body)).await?;
    Ok(row(&changed))
}

async fn issue(of: &Of, access: &Access) -> Result<String, ClientError> {
    #[derive(Deserialize)]
    struct Given {
        access_token: String,
    }
    let body = json!({"appId": of.app.as_str(), "clientId": of.client.as_str()});
    let path = ["api", "platform", "token", "access_token"];
    let given: Given = ask(&Server::new(access)?, Method::POST, &path, Some(body)).await?;
    Ok(format!("{}\n", given.access_token))
}

/// A client that was just made, and what to do with its secret.
fn introduce(client: &Client, server: &Server) -> String {
    let secret = client.secret.as_deref().unwrap_or_default();
    let request = json!({
        "appId": client.app_id, "clientId": client.client_id, "clientSecret": secret,
    });
    format!(
        "app          {}\nclient       {}\nsecret       {secret}\npermissions  {}\n\n\
         The secret is shown this once. Get a token with it:\n  \
         curl -s {}/api/platform/token/access_token -H 'content-type: application/json' -d '{request}'\n",
        client.app_id,
        client.client_id,
        client.permissions.join(" "),
        server.url(),
    )
}

fn line(client: &Client) -> String {
    // A client always makes JSON.
    serde_json::to_string(client).unwrap_or_default() + "\n"
}

fn row(client: &Client) -> String {
    let state = if client.disabled { "  (disabled)" } else { "" };
    let (app, name) = (&client.app_id, &client.client_id);
    format!("{app}/{name}  {}{state}\n", client.permissions.join(" "))
}

fn show(token: &str) -> Result<String, TokenCommandError> {
    let mut read = String::new();
    let token = match token {
        "-" => {
            // Longer than any token is read, so that one that is too long is told as such.
            let mut input = io::stdin().lock().take(1 << 20);
            input
                .read_to_string(&mut read)
                .map_err(TokenCommandError::Input)?;
            read.trim()
        }
        token => token.trim(),
    };
    let (key, claims) = bus::shown(token)?;
    let time = |claim: &str| match claims[claim].as_u64() {
        Some(seconds) => when(seconds),
        None => "not said".to_owned(),
    };
    // A tree that was parsed from JSON always makes JSON.
    let pretty = serde_json::to_string_pretty(&claims).unwrap_or_default();
    Ok(format!(
        "{pretty}\n\nsigned by    {} (not checked)\nissued       {}\nexpires      {}\n",
        key.as_deref().unwrap_or("a key without a name"),
        time("iat"),
        time("exp"),
    ))
}

/// A time and how far away it is.
fn when(seconds: u64) -> String {
    // Times that no clock can tell are shown as the numbers they are.
    let Some(time) = UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .filter(|_| seconds <= u64::from(u32::MAX))
    else {
        return seconds.to_string();
    };
    let whole = |time: Duration| humantime::format_duration(Duration::from_secs(time.as_secs()));
    let away = match time.duration_since(SystemTime::now()) {
        Ok(ahead) => format!("in {}", whole(ahead)),
        Err(behind) => format!("{} ago", whole(behind.duration())),
    };
    format!("{} ({away})", humantime::format_rfc3339_seconds(time))
}
