//! What a port speaks that does not speak what the URL says: tried by what a broker, or a server of TLS or
//! HTTP, answers to a first word that says nothing of us.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use vinbus_transport_std::{LinkError, Phase, Scheme};

use super::access::Access;
use super::certificates;
use super::fault::Fault;
use super::packets::{self, Version};

/// Said in CONNECT; the connection ends with its answer.
const KEEP_ALIVE_S: u16 = 30;

/// How a CONNACK begins.
const CONNACK: &[u8] = &[0x20];

/// How an answer of HTTP begins, in all of its versions that are text.
const HTTP: &[u8] = b"HTTP/";

/// The path where brokers have their WebSocket, if nobody says another.
const PATH: &str = "/mqtt";

/// What is spoken at the port, in place of what the URL says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// TLS, where the URL has none.
    Tls,
    /// MQTT, without TLS and WebSocket.
    Mqtt,
    /// HTTP, without TLS.
    Http,
    /// HTTP, in the TLS that the URL says.
    HttpInTls,
}

/// What is spoken in place of what the URL says, if a first attempt that failed like this can mean that.
pub(super) async fn instead(access: &Access, fault: &Fault) -> Option<Spoken> {
    let is_tls = access.url.scheme().is_tls();
    match fault {
        Fault::NotMqtt { said } if said.as_bytes().starts_with(HTTP) => Some(match is_tls {
            true => Spoken::HttpInTls,
            false => Spoken::Http,
        }),
        Fault::Closed { welcomed: false }
        | Fault::Silent {
            welcomed: false, ..
        }
        | Fault::NotMqtt { .. }
            if !is_tls =>
        {
            speaks_tls(access).await
        }
        Fault::WebSocket(_) if !is_tls => match speaks_tls(access).await {
            Some(tls) => Some(tls),
            None => plain(access).await.filter(|spoken| *spoken == Spoken::Mqtt),
        },
        Fault::Link(
            LinkError::ConnectionLost { .. }
            | LinkError::Tls { .. }
            | LinkError::Timeout { phase: Phase::Tls },
        ) if is_tls => plain(access).await,
        _ => None,
    }
}

async fn speaks_tls(access: &Access) -> Option<Spoken> {
    let tcp = again(access).await?;
    let chain = certificates::shown_by_server(access, tcp).await;
    (!chain.is_empty()).then_some(Spoken::Tls)
}

/// What the port answers without TLS: to a CONNECT without a name, or else to a GET.
async fn plain(access: &Access) -> Option<Spoken> {
    let connect = packets::connect(Version::V311, &access.client_id, None, KEEP_ALIVE_S).ok()?;
    match answer(access, &connect).await {
        Some(spoken) => Some(spoken),
        None => {
            let get = format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", access.url.host());
            answer(access, get.as_bytes()).await
        }
    }
}

async fn answer(access: &Access, asked: &[u8]) -> Option<Spoken> {
    let mut tcp = again(access).await?;
    let reading = async {
        tcp.write_all(asked).await?;
        let mut begin = vec![tcp.read_u8().await?];
        if begin != CONNACK {
            begin.resize(HTTP.len(), 0);
            tcp.read_exact(&mut begin[1..]).await?;
        }
        std::io::Result::Ok(begin)
    };
    let begin = timeout_at(access.deadline(), reading).await.ok()?.ok()?;
    match &begin[..] {
        CONNACK => Some(Spoken::Mqtt),
        HTTP => Some(Spoken::Http),
        _ => None,
    }
}

/// One more connection.
async fn again(access: &Access) -> Option<TcpStream> {
    #[cfg(test)]
    if access.peers.is_some() {
        return None;
    }
    let connecting = TcpStream::connect((access.url.host(), access.url.port()));
    timeout_at(access.deadline(), connecting).await.ok()?.ok()
}

impl Spoken {
    /// The check that fails by it.
    pub(super) fn check(self, access: &Access) -> &'static str {
        let scheme = access.url.scheme();
        let differs = match self {
            Self::Tls => true,
            Self::Mqtt | Self::Http => scheme.is_tls(),
            Self::HttpInTls => false,
        };
        match (differs, scheme.is_web_socket()) {
            (true, _) => "tls",
            (false, true) => "websocket",
            (false, false) => "login",
        }
    }

    /// What was found.
    pub(super) fn value(self, access: &Access) -> String {
        let spoken = match self {
            Self::Tls => "TLS",
            Self::Mqtt if access.url.scheme().is_tls() => "MQTT without TLS",
            Self::Mqtt => "MQTT without WebSocket",
            Self::Http => "HTTP without TLS",
            Self::HttpInTls => "HTTP in TLS",
        };
        let (scheme, _) = parts(access);
        format!("the port speaks {spoken}, and the URL begins with {scheme}://")
    }

    /// What to change.
    pub(super) fn advice(self, access: &Access) -> String {
        let (_, authority) = parts(access);
        let path = match access.url.path() {
            "" => PATH,
            path => path,
        };
        match (self, access.url.scheme()) {
            (Self::Tls, Scheme::Ws | Scheme::Wss) => {
                format!("write wss://{authority}{path} in --broker, {CREDENTIALS}")
            }
            (Self::Tls, _) => format!("write mqtts://{authority} in --broker, {CREDENTIALS}"),
            (Self::Mqtt, Scheme::Mqtts | Scheme::Wss) => format!(
                "ask the broker's operator for the port with TLS; or, where all may be read on the way, write \
                 mqtt://{authority} in --broker"
            ),
            (Self::Mqtt, _) => format!("write mqtt://{authority} in --broker"),
            (Self::Http, _) => web_socket(&format!("ws://{authority}{path}")),
            (Self::HttpInTls, _) => web_socket(&format!("wss://{authority}{path}")),
        }
    }
}

const CREDENTIALS: &str =
    "with --ca, and with --cert and --key if this broker asks for a certificate";

fn web_socket(url: &str) -> String {
    format!(
        "if the broker takes MQTT over WebSocket there, write {url} in --broker, with the path that its operator \
         names; else check the port"
    )
}

/// The scheme of the URL, and its host and port.
fn parts(access: &Access) -> (String, String) {
    let text = access.url.to_string();
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let authority = rest.strip_suffix(access.url.path()).unwrap_or(rest);
    (scheme.to_owned(), authority.to_owned())
}
