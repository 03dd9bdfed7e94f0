//! MQTT 3.1.1 by `rumqttc-v4-next`.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use rumqttc_v4::mqttbytes::Error as WireError;
use rumqttc_v4::{
    AckMode, AsyncClient, Broker, ConnectReturnCode, ConnectionError, EventLoop, LastWill,
    ManualAck, MqttOptions, NetworkOptions, Outgoing, Packet, PersistedAckMode,
    PersistedIncomingQos2, PersistedSession, Publish, PublishNotice, PublishOptions, PublishResult,
    QoS, SessionStore, SessionStoreError, SessionStoreKey, StateError, SubscribeFilter,
    SubscribeReasonCode, Transport,
};

use super::{
    Answer, Arrived, Event, INCOMING_PACKET_BYTES_MAX, Memory, OUTGOING_PACKET_BYTES_MAX,
    READ_BATCH, io_error, protocol,
};
use crate::credentials::Credentials;
use crate::dial::Dialer;
use crate::link_error::LinkError;
use crate::message::Qos;
use crate::options::{ClientOptions, Session};
use crate::web_socket;

pub(super) type Ack = ManualAck;
pub(super) type Queued = PublishNotice;

pub(super) fn open(
    options: &ClientOptions,
    credentials: Option<Credentials>,
    dialer: Dialer,
    memory: &Arc<Memory>,
) -> (Requests, Events) {
    let (client, mut events) =
        AsyncClient::builder(mqtt_options(options, credentials, dialer, memory))
            .capacity(options.outbound_messages_max)
            .build();
    // Bounds a flush as well, not only the attempt to connect, which the driver times itself.
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(options.keep_alive.max(options.connect_timeout).as_secs() + 1);
    events.set_network_options(network);
    (Requests(client), Events(events))
}

fn mqtt_options(
    options: &ClientOptions,
    credentials: Option<Credentials>,
    dialer: Dialer,
    memory: &Arc<Memory>,
) -> MqttOptions {
    let (broker, transport) = match web_socket::request_url(&options.url) {
        Some(url) => match Broker::websocket(url) {
            Ok(broker) => (broker, Transport::Ws),
            // The dialer alone decides where to connect; a URL this odd fails the handshake.
            Err(_) => (
                Broker::tcp(options.url.host(), options.url.port()),
                Transport::Ws,
            ),
        },
        None => (
            Broker::tcp(options.url.host(), options.url.port()),
            Transport::Tcp,
        ),
    };
    let mut mqtt = MqttOptions::new(options.client_id.clone(), broker);
    mqtt.set_transport(transport)
        .set_socket_connector(move |_, _| dialer.clone().dial())
        .set_keep_alive(u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX))
        .set_ack_mode(AckMode::Manual)
        .set_read_batch_size(READ_BATCH)
        .set_inflight(options.receive_maximum)
        .set_max_packet_size(
            INCOMING_PACKET_BYTES_MAX as usize,
            OUTGOING_PACKET_BYTES_MAX,
        );
    match options.session {
        Session::Clean => {
            mqtt.set_clean_session(true);
        }
        Session::Kept { .. } => {
            mqtt.set_clean_session(false)
                .set_session_store(KeptSession {
                    memory: Arc::clone(memory),
                    client_id: options.client_id.clone(),
                    receive_maximum: options.receive_maximum,
                });
        }
    }
    if let Some(credentials) = credentials {
        mqtt.set_credentials(credentials.user_name, credentials.password.into_bytes());
    }
    if let Some(will) = &options.will {
        mqtt.set_last_will(LastWill {
            topic: will.topic.clone(),
            message: will.payload.clone(),
            qos: to_wire(will.qos),
            retain: will.retain,
        });
    }
    mqtt
}

#[derive(Debug, Clone)]
pub(crate) struct Requests(AsyncClient);

impl Requests {
    pub(super) async fn queue(
        &self,
        topic: &str,
        payload: Bytes,
        qos: Qos,
        retain: bool,
    ) -> Option<Queued> {
        let options = PublishOptions::new(to_wire(qos)).retain(retain);
        self.0.publish_tracked(topic, payload, options).await.ok()
    }

    pub(super) async fn subscribe(&self, filters: &[(String, Qos)]) -> Option<Vec<Answer>> {
        let filters: Vec<_> = filters
            .iter()
            .map(|(filter, qos)| SubscribeFilter::new(filter.clone(), to_wire(*qos)))
            .collect();
        let notice = self.0.subscribe_many_tracked(filters).await.ok()?;
        let answer = notice.wait_async().await.ok()?;
        Some(
            answer
                .return_codes
                .into_iter()
                .map(|code| match code {
                    SubscribeReasonCode::Success(_) => Answer::Granted,
                    SubscribeReasonCode::Failure => Answer::Refused("Failure".to_owned()),
                })
                .collect(),
        )
    }

    pub(super) async fn acknowledge(&self, ack: Ack) {
        let _gone_with_its_connection = self.0.manual_ack(ack).await;
    }

    pub(super) async fn disconnect(&self) {
        let _gone_with_its_connection = self.0.disconnect().await;
    }

    pub(super) async fn disconnect_now(&self) {
        let _gone_with_its_connection = self.0.disconnect_now().await;
    }
}

pub(super) async fn answer(queued: Queued) -> Option<Answer> {
    match queued.wait_async().await {
        Ok(
            PublishResult::Qos0Flushed | PublishResult::Qos1(_) | PublishResult::Qos2Completed(_),
        ) => Some(Answer::Granted),
        Err(_connection_ended) => None,
    }
}

pub(crate) struct Events(EventLoop);

impl Events {
    pub(super) async fn next(&mut self) -> Result<Event, LinkError> {
        use rumqttc_v4::Event as Wire;
        Ok(
            match self.0.poll().await.map_err(|error| link_error(&error))? {
                Wire::Incoming(Packet::ConnAck(connack)) => Event::Connected {
                    session_present: connack.session_present,
                    packet_bytes_max: None,
                },
                Wire::Incoming(Packet::Publish(publish)) => Event::Message(arrived(publish)),
                Wire::Outgoing(Outgoing::PingReq) => Event::PingSent,
                Wire::Outgoing(Outgoing::Disconnect) => Event::DisconnectSent,
                _ => Event::Progress,
            },
        )
    }

    pub(super) fn excuse_ping(&mut self) {
        let _never_fails = self.0.state.handle_incoming_packet(Packet::PingResp);
    }
}

fn arrived(publish: Publish) -> Arrived {
    let ack = match publish.qos {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce => Some(ManualAck::PubAck(rumqttc_v4::PubAck::new(publish.pkid))),
        QoS::ExactlyOnce => Some(ManualAck::PubRec(rumqttc_v4::PubRec::new(publish.pkid))),
    };
    Arrived {
        qos: from_wire(publish.qos),
        retain: publish.retain,
        ack: ack.map(super::Ack::V4),
        topic: publish.topic,
        payload: publish.payload,
    }
}

const fn to_wire(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
        Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
}

const fn from_wire(qos: QoS) -> Qos {
    match qos {
        QoS::AtMostOnce => Qos::AtMostOnce,
        QoS::AtLeastOnce => Qos::AtLeastOnce,
        QoS::ExactlyOnce => Qos::ExactlyOnce,
    }
}

fn link_error(error: &ConnectionError) -> LinkError {
    match error {
        ConnectionError::ConnectionRefused(code) => refused(*code),
        ConnectionError::MqttState(error) => state_error(error),
        ConnectionError::Websocket(error) => web_socket::meaning(error),
        ConnectionError::ResponseValidation(error) => LinkError::WebSocketBroken {
            reason: error.to_string(),
        },
        ConnectionError::Io(error) => io_error(error),
        ConnectionError::NetworkTimeout
        | ConnectionError::FlushTimeout
        | ConnectionError::DisconnectTimeout => LinkError::KeepAliveLost,
        other => protocol(other),
    }
}

fn refused(code: ConnectReturnCode) -> LinkError {
    match code {
        ConnectReturnCode::BadUserNamePassword => LinkError::BadCredentials,
        ConnectReturnCode::NotAuthorized => LinkError::NotAuthorized,
        ConnectReturnCode::BadClientId => LinkError::ClientIdRefused,
        ConnectReturnCode::RefusedProtocolVersion => LinkError::VersionRefused,
        ConnectReturnCode::ServiceUnavailable => LinkError::ServerUnavailable,
        ConnectReturnCode::Success => protocol(&"a refusal with the code for success"),
    }
}

fn state_error(error: &StateError) -> LinkError {
    match error {
        StateError::Io(error) => io_error(error),
        StateError::AwaitPingResp => LinkError::KeepAliveLost,
        StateError::ConnectionAborted => LinkError::ConnectionLost {
            reason: "the broker closed it".to_owned(),
        },
        StateError::Deserialization(WireError::PayloadSizeLimitExceeded(_)) => {
            LinkError::PacketTooLarge {
                reason: error.to_string(),
            }
        }
        other => protocol(other),
    }
}

type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 'a>>;

/// Lets a new event loop resume the broker's session, which it otherwise refuses, with nothing
/// to send again: the sender of every lost publish has been told.
#[derive(Debug)]
struct KeptSession {
    memory: Arc<Memory>,
    client_id: String,
    receive_maximum: u16,
}

impl SessionStore for KeptSession {
    fn load<'a>(&'a self, _: &'a SessionStoreKey) -> StoreFuture<'a, Option<PersistedSession>> {
        let (last_pkid, unreleased) = self.memory.recall();
        let session = PersistedSession {
            format_version: 1,
            client_id: self.client_id.clone(),
            clean_session: false,
            max_inflight: self.receive_maximum,
            ack_mode: PersistedAckMode::Manual,
            last_pkid,
            last_puback: 0,
            replay: Vec::new(),
            incoming_qos2: unreleased
                .into_iter()
                .map(|pkid| PersistedIncomingQos2 { pkid })
                .collect(),
        };
        Box::pin(std::future::ready(Ok(Some(session))))
    }

    fn save<'a>(
        &'a self,
        _: &'a SessionStoreKey,
        session: &'a PersistedSession,
    ) -> StoreFuture<'a, ()> {
        self.memory.keep(
            session.last_pkid,
            session.incoming_qos2.iter().map(|held| held.pkid),
        );
        Box::pin(std::future::ready(Ok(())))
    }

    fn clear<'a>(&'a self, _: &'a SessionStoreKey) -> StoreFuture<'a, ()> {
        self.memory.keep(0, []);
        Box::pin(std::future::ready(Ok(())))
    }
}
