//! An endpoint of webhooks: a tiny HTTP server that writes down what it gets.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use tokio::sync::watch;

use crate::hub_support::reached;

/// A delivery as the endpoint got it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Received {
    headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The cursor that the body names, which is the id's as well.
    pub(crate) fn stamped(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        let cursor = body["data"]["cursor"].as_str().unwrap();
        assert_eq!(self.header("webhook-id"), format!("uplink-{cursor}"));
        cursor.to_owned()
    }

    /// Its position.
    pub(crate) fn cursor(&self) -> u64 {
        let stamped = self.stamped();
        stamped.split_once('-').unwrap().0.parse().unwrap()
    }
}

/// What an endpoint does with the n-th request it gets.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Reaction {
    Status(u16),
    Hang,
    /// Accepts, with a body that never ends.
    Babble,
    /// Sends elsewhere.
    Redirect,
}

pub(crate) const OK: Reaction = Reaction::Status(204);

type Script = Arc<dyn Fn(usize) -> Reaction + Send + Sync>;

/// A tiny HTTP server that writes down what it gets.
pub(crate) struct Endpoint {
    address: SocketAddr,
    pub(crate) received: Arc<watch::Sender<Vec<Received>>>,
}

impl Endpoint {
    pub(crate) async fn start(script: impl Fn(usize) -> Reaction + Send + Sync + 'static) -> Self {
        let received = Arc::new(watch::Sender::new(Vec::new()));
        let script: Script = Arc::new(script);
        let app = Router::new()
            .fallback(react)
            .with_state((Arc::clone(&received), script));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, received }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?token=hidden", self.address)
    }

    pub(crate) async fn got(&self, count: usize) -> Vec<Received> {
        let what = format!("{count} deliveries");
        reached(&self.received, &what, |received| received.len() >= count).await;
        self.received.borrow().clone()
    }

    pub(crate) fn cursors(&self) -> Vec<u64> {
        self.received
            .borrow()
            .iter()
            .map(Received::cursor)
            .collect()
    }
}

type EndpointState = (Arc<watch::Sender<Vec<Received>>>, Script);

async fn react(
    State((received, script)): State<EndpointState>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    let one = Received {
        headers: headers.iter().map(text).collect(),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let n = received.borrow().len();
    received.send_modify(|received| received.push(one));
    match script(n) {
        Reaction::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Reaction::Hang => std::future::pending().await,
        Reaction::Babble => {
            let endless = futures_util::stream::repeat_with(|| {
                Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b'x'; 65_536]))
            });
            Body::from_stream(endless).into_response()
        }
        Reaction::Redirect => (StatusCode::FOUND, [("location", "/elsewhere")]).into_response(),
    }
}
