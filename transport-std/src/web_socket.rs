//! WebSocket under MQTT: what the request says, what the handshake's errors mean, and the bytes in its
//! messages as a stream for clients that do not speak WebSocket themselves.

use async_tungstenite::tokio::client_async_with_config;
use async_tungstenite::{ByteReader, ByteWriter};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::http::header::{DATE, SEC_WEBSOCKET_PROTOCOL};
use tungstenite::protocol::WebSocketConfig;

use crate::dial::ByteStream;
use crate::link_error::LinkError;
use crate::url::BrokerUrl;

/// Largest message that is read, in bytes: several of the largest packets.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Opens a WebSocket for MQTT over `stream`; what is inside, and the server's time if it tells it.
pub(crate) async fn open(
    url: &str,
    stream: Box<dyn ByteStream>,
) -> Result<(Box<dyn ByteStream>, Option<String>), LinkError> {
    let meant = |error| meaning(&error);
    let mut request = url.into_client_request().map_err(meant)?;
    let protocol = HeaderValue::from_static("mqtt");
    request
        .headers_mut()
        .insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX));
    // It refuses a server that does not choose the protocol.
    let (socket, answer) = client_async_with_config(request, stream, Some(config))
        .await
        .map_err(meant)?;
    let date = answer.headers().get(DATE);
    let date = date.and_then(|date| Some(date.to_str().ok()?.to_owned()));
    let (sender, receiver) = socket.split();
    let joined = tokio::io::join(ByteReader::new(receiver), ByteWriter::new(sender));
    Ok((Box::new(joined), date))
}

/// The URL for the WebSocket request. Always `ws`, because the dialer has done the TLS part.
pub(crate) fn request_url(url: &BrokerUrl) -> Option<String> {
    url.scheme()
        .is_web_socket()
        .then(|| format!("ws://{}{}", url.authority(), url.path()))
}

/// The WebSocket's own errors.
pub(crate) fn meaning(error: &tungstenite::Error) -> LinkError {
    match error {
        tungstenite::Error::Http(response) => LinkError::WebSocketRefused {
            status: response.status().as_u16(),
        },
        tungstenite::Error::Io(error) => LinkError::lost(error),
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            LinkError::ConnectionLost {
                reason: "the WebSocket was closed".to_owned(),
            }
        }
        other => LinkError::WebSocketBroken {
            reason: other.to_string(),
        },
    }
}
