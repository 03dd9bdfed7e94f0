//! The REST interface of the bus, asked as its clients and the administrator ask it.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::ops::Deref;

use reqwest::header::{CONNECTION, HeaderMap};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vinbus_host_server::bus::{BusSettings, TokenSettings};

use crate::rest_support::{Rest, Setup, within};

pub(crate) const CLIENTS: &str = "/api/platform/app/myapp/client";
pub(crate) const TOKEN: &str = "/api/platform/token/access_token";
pub(crate) const REFRESH: &str = "/api/platform/token/refresh_token";
pub(crate) const WHOAMI: &str = "/api/auth/whoami";

/// A server, asked about its bus; the app is `myapp` everywhere.
pub(crate) struct Platform(Rest);

impl Deref for Platform {
    type Target = Rest;

    fn deref(&self) -> &Rest {
        &self.0
    }
}

/// What was answered; the body is `null` when it is no JSON.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The body of an answer that has this status.
    #[track_caller]
    pub(crate) fn with(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }
}

impl Platform {
    pub(crate) async fn start() -> Self {
        Self(Rest::start().await)
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        Self(Rest::with(setup).await)
    }

    pub(crate) async fn with_tokens(tokens: TokenSettings) -> Self {
        let bus = BusSettings {
            tokens,
            ..BusSettings::default()
        };
        Self::with(Setup {
            bus,
            ..Setup::default()
        })
        .await
    }

    /// Asks as nobody.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Value) -> Answer {
        answer(self.bare(method, path).json(&body)).await
    }

    /// Asks as the administrator.
    pub(crate) async fn admin_asks(&self, method: Method, path: &str, body: Value) -> Answer {
        answer(self.admin(method, path).json(&body)).await
    }

    /// Asks as a client.
    pub(crate) async fn client_asks(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> Answer {
        answer(self.bare(method, path).bearer_auth(token).json(&body)).await
    }

    /// Makes a client; its secret.
    pub(crate) async fn make(&self, client: &str, permissions: &[&str]) -> String {
        let body = json!({"clientId": client, "permissions": permissions});
        let made = self.admin_asks(Method::POST, CLIENTS, body).await.with(201);
        text(&made, "secret")
    }

    /// Changes a client.
    pub(crate) async fn change(&self, client: &str, change: Value) {
        let path = format!("{CLIENTS}/{client}");
        let changed = self.admin_asks(Method::PATCH, &path, change).await;
        changed.with(200);
    }

    /// Removes a client.
    pub(crate) async fn remove(&self, client: &str) {
        let path = format!("{CLIENTS}/{client}");
        let removed = self.admin_asks(Method::DELETE, &path, json!({})).await;
        removed.with(200);
    }

    /// What a client is given for its secret.
    pub(crate) async fn given(&self, client: &str, secret: &str) -> Value {
        let answer = self.ask(Method::POST, TOKEN, asked(client, secret)).await;
        answer.with(201)
    }

    /// Makes a client; its access token.
    pub(crate) async fn enter(&self, client: &str, permissions: &[&str]) -> String {
        let secret = self.make(client, permissions).await;
        text(&self.given(client, &secret).await, "access_token")
    }

    /// What is answered to whom shows this token.
    pub(crate) async fn whoami(&self, token: &str) -> Answer {
        answer(self.bare(Method::GET, WHOAMI).bearer_auth(token)).await
    }

    /// Whether this token counts.
    pub(crate) async fn counts(&self, token: &str) -> bool {
        match self.whoami(token).await.status {
            200 => true,
            401 => false,
            other => panic!("{other}"),
        }
    }

    /// Begins a request, has `meanwhile` happen while the server waits for its body, and sends that:
    /// the status of the answer.
    pub(crate) async fn slowly(
        &self,
        (method, path, token): (&str, &str, &str),
        body: &Value,
        meanwhile: impl Future<Output = ()>,
    ) -> String {
        let body = body.to_string();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             connection: close\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = self.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        // The server has looked at the head, and asks for the body.
        let mut asked = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
        within(stream.read_exact(&mut asked)).await.unwrap();
        assert!(asked.starts_with(b"HTTP/1.1 100"), "{asked:?}");
        meanwhile.await;
        stream.write_all(body.as_bytes()).await.unwrap();
        let answer = crate::rest_support::read_to_end(&mut stream).await;
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }
}

/// The answer to a request, on a connection of its own: a test that has its clock jump would break those
/// that are kept.
pub(crate) async fn answer(request: RequestBuilder) -> Answer {
    let request = request.header(CONNECTION, "close");
    let answer = within(request.send()).await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await.unwrap();
    Answer {
        status,
        headers,
        body: serde_json::from_str(&text).unwrap_or_default(),
    }
}

/// A request for a token.
pub(crate) fn asked(client: &str, secret: &str) -> Value {
    json!({"appId": "myapp", "clientId": client, "clientSecret": secret})
}

/// A member of an object that is a text.
#[track_caller]
pub(crate) fn text(object: &Value, member: &str) -> String {
    object[member].as_str().expect(member).to_owned()
}

/// The cells of a row of a table.
#[track_caller]
pub(crate) fn cells<const N: usize>(row: &str) -> [&str; N] {
    let cells: Vec<_> = row.split('|').map(str::trim).collect();
    cells.try_into().expect(row)
}
