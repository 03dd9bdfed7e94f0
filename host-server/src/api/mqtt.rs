//! `/mqtt`: hands a WebSocket that speaks MQTT to the embedded broker.

use std::net::SocketAddr;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, State};
use axum::http::header::{SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use futures_util::future::BoxFuture;

use super::Api;
use super::connections::Peer;
use super::origin;
use super::problem::{Kind, Problem};

/// Speaks MQTT on WebSockets: the embedded broker.
pub trait MqttOverWebSocket: Send + Sync + 'static {
    /// Serves one client until it is gone; `peer` is its address.
    fn serve(&self, socket: WebSocket, peer: SocketAddr) -> BoxFuture<'_, ()>;
}

/// Largest WebSocket message, in bytes. One byte of payload too many must reach the broker to be
/// counted, so that this is what the broker takes as a packet.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Upgrades a request that asks for subprotocol `mqtt` (MQTT 5, section 6).
pub(crate) async fn upgrade(
    State(api): State<Api>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let Some(broker) = api.mqtt() else {
        return Err(Problem::new(
            Kind::NotFound,
            "this server has no broker of its own (--broker); connect to that broker",
        ));
    };
    origin::check(&headers, api.allow_origin())?;
    let upgrade = upgrade.map_err(|rejection| {
        Problem::new(
            Kind::UpgradeRequired,
            format!("this path speaks MQTT over WebSocket only: {rejection}"),
        )
        .header(UPGRADE, HeaderValue::from_static("websocket"))
    })?;
    let upgrade = upgrade.protocols(["mqtt"]);
    if upgrade.selected_protocol().is_none() {
        return Err(Problem::new(
            Kind::BadQuery,
            format!("the header {SEC_WEBSOCKET_PROTOCOL} must offer `mqtt`"),
        ));
    }
    Ok(upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| async move { broker.serve(socket, peer).await }))
}
