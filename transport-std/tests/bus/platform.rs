//! A platform's token endpoints, which answer what a test has told them, and note what was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use vinbus_transport_std::bus::PlatformUrl;
use vinbus_transport_std::conformance::{Mosquitto, in_time};

/// What the platform answers.
#[derive(Clone)]
pub(crate) enum Answer {
    /// A token that mosquitto takes, for so many seconds.
    Token {
        expires_in: u64,
    },
    /// The same, with a refresh token.
    Refreshable {
        expires_in: u64,
    },
    /// A token that mosquitto refuses.
    Unwelcome,
    Refusal(u16, &'static str),
    Other(&'static str),
}

/// What the platform was asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) bearer: Option<String>,
    pub(crate) body: Value,
}

pub(crate) struct Platform {
    address: std::net::SocketAddr,
    script: Arc<Script>,
}

struct Script {
    /// The first answers; the last one is repeated.
    answers: Mutex<VecDeque<Answer>>,
    asked: watch::Sender<Vec<Asked>>,
}

impl Platform {
    pub(crate) async fn answering(answers: &[Answer]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("a bound socket");
        let script = Arc::new(Script {
            answers: Mutex::new(answers.to_vec().into()),
            asked: watch::Sender::new(Vec::new()),
        });
        let service = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&script));
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { address, script }
    }

    pub(crate) fn url(&self) -> PlatformUrl {
        format!("http://{}", self.address).parse().expect("a URL")
    }

    /// The first `count` things that it was asked, once it was.
    pub(crate) async fn asked(&self, count: usize) -> Vec<Asked> {
        let mut asked = self.script.asked.subscribe();
        let enough = asked.wait_for(|asked| asked.len() >= count);
        let enough = in_time("questions", enough).await.expect("a platform");
        enough[..count].to_vec()
    }
}

async fn answer(State(script): State<Arc<Script>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let bearer = request.headers().get(AUTHORIZATION);
    let bearer = bearer.map(|value| value.to_str().expect("text").to_owned());
    let body = axum::body::to_bytes(request.into_body(), 65_536).await;
    let body = serde_json::from_slice(&body.expect("a body")).expect("JSON");
    script
        .asked
        .send_modify(|asked| asked.push(Asked { path, bearer, body }));
    let next = {
        let mut answers = script.answers.lock().expect("unpoisoned");
        match answers.len() {
            1 => answers[0].clone(),
            _ => answers.pop_front().expect("an answer"),
        }
    };
    let token = |name: &str, expires_in: u64, refresh: Option<&str>| {
        let body = json!({
            "access_token": name,
            "expires_in": expires_in,
            "refresh_expires_in": 0,
            "refresh_token": refresh,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "scope": "",
        });
        (StatusCode::CREATED, body.to_string())
    };
    match next {
        Answer::Token { expires_in } => token(Mosquitto::USER, expires_in, None),
        Answer::Refreshable { expires_in } => {
            token(Mosquitto::USER, expires_in, Some("refresh me"))
        }
        Answer::Unwelcome => token("nobody", 600, None),
        Answer::Refusal(status, message) => (
            StatusCode::from_u16(status).expect("a status"),
            json!({"statusCode": status, "message": message}).to_string(),
        ),
        Answer::Other(body) => (StatusCode::CREATED, body.to_owned()),
    }
    .into_response()
}
