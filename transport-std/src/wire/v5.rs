//! MQTT 5 by `rumqttc-v5-next`.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use rumqttc_v5::mqttbytes::Error as WireError;
use rumqttc_v5::{
    AckMode, AsyncClient, Broker, ConnectReturnCode, ConnectionError, DisconnectReasonCode,
    EventLoop, IncomingPacketSizeLimit, LastWill, ManualAck, MqttOptions, Outgoing, Packet,
    PersistedAckMode, PersistedIncomingQos2, PersistedSession, PubAckReason, PubCompReason,
    Publish, PublishNotice, PublishNoticeError, PublishOptions, PublishResult, QoS, SessionStore,
    SessionStoreError, SessionStoreKey, StateError, SubscribeFilter, SubscribeReasonCode,
    Transport,
};

use super::{
    Answer, Arrived, Event, INCOMING_PACKET_BYTES_MAX, Memory, READ_BATCH, io_error, protocol,
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
    // The library reserves 50 KB for events, of which we let it queue one.
    events.state.events.shrink_to_fit();
    let requests = Requests {
        client,
        no_local: options.no_local,
    };
    (requests, Events(events))
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
        .set_connect_timeout(options.connect_timeout.saturating_mul(2))
        .set_ack_mode(AckMode::Manual)
        .set_read_batch_size(READ_BATCH)
        .set_receive_maximum(Some(options.receive_maximum))
        .set_outgoing_inflight_upper_limit(options.receive_maximum)
        .set_incoming_packet_size_limit(IncomingPacketSizeLimit::Bytes(INCOMING_PACKET_BYTES_MAX));
    match options.session {
        Session::Clean => {
            mqtt.set_clean_start(true);
        }
        Session::Kept { expiry } => {
            let seconds = u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX);
            mqtt.set_clean_start(false)
                .set_session_expiry_interval(Some(seconds))
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
            topic: will.topic.clone().into(),
            message: will.payload.clone(),
            qos: to_wire(will.qos),
            retain: will.retain,
            properties: None,
        });
    }
    mqtt
}

#[derive(Debug, Clone)]
pub(crate) struct Requests {
    client: AsyncClient,
    no_local: bool,
}

impl Requests {
    pub(super) async fn queue(
        &self,
        topic: &str,
        payload: Bytes,
        qos: Qos,
        retain: bool,
    ) -> Option<Queued> {
        let options = PublishOptions::new(to_wire(qos)).retain(retain);
        self.client
            .publish_tracked(topic, payload, options)
            .await
            .ok()
    }

    pub(super) async fn subscribe(&self, filters: &[(String, Qos)]) -> Option<Vec<Answer>> {
        let filters: Vec<_> = filters
            .iter()
            .map(|(filter, qos)| SubscribeFilter {
                // Not allowed with a shared subscription (MQTT 5, 3.8.3.1).
                nolocal: self.no_local && !filter.starts_with("$share/"),
                ..SubscribeFilter::new(filter.clone(), to_wire(*qos))
            })
            .collect();
        let notice = self.client.subscribe_many_tracked(filters).await.ok()?;
        let answer = notice.wait_async().await.ok()?;
        Some(
            answer
                .return_codes
                .into_iter()
                .map(|code| match code {
                    SubscribeReasonCode::Success(_) => Answer::Granted,
                    refused => Answer::Refused(format!("{refused:?}")),
                })
                .collect(),
        )
    }

    pub(super) async fn acknowledge(&self, ack: Ack) {
        let _gone_with_its_connection = self.client.manual_ack(ack).await;
    }

    pub(super) async fn disconnect(&self) {
        let _gone_with_its_connection = self.client.disconnect().await;
    }

    pub(super) async fn disconnect_now(&self) {
        let _gone_with_its_connection = self.client.disconnect_now().await;
    }
}

pub(super) async fn answer(queued: Queued) -> Option<Answer> {
    let refused = |reason: &dyn std::fmt::Debug| Answer::Refused(format!("{reason:?}"));
    Some(match queued.wait_async().await {
        Ok(PublishResult::Qos0Flushed) => Answer::Granted,
        Ok(PublishResult::Qos1(ack)) => match ack.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Answer::Granted,
            reason => refused(&reason),
        },
        Ok(PublishResult::Qos2Completed(done)) => match done.reason {
            PubCompReason::Success => Answer::Granted,
            reason => refused(&reason),
        },
        Ok(PublishResult::Qos2PubRecRejected(rejected)) => refused(&rejected.reason),
        Err(PublishNoticeError::RetainNotSupported) => {
            Answer::Refused("RetainNotSupported".to_owned())
        }
        Err(_connection_ended) => return None,
    })
}

pub(crate) struct Events(EventLoop);

impl Events {
    pub(super) async fn next(&mut self) -> Result<Event, LinkError> {
        use rumqttc_v5::Event as Wire;
        Ok(
            match self.0.poll().await.map_err(|error| link_error(&error))? {
                Wire::Incoming(Packet::ConnAck(connack)) => Event::Connected {
                    session_present: connack.session_present,
                    packet_bytes_max: connack
                        .properties
                        .and_then(|properties| properties.max_packet_size)
                        .and_then(|max| usize::try_from(max).ok()),
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
        QoS::AtLeastOnce => Some(ManualAck::PubAck(rumqttc_v5::PubAck::new(
            publish.pkid,
            None,
        ))),
        QoS::ExactlyOnce => Some(ManualAck::PubRec(rumqttc_v5::PubRec::new(
            publish.pkid,
            None,
        ))),
    };
    Arrived {
        qos: from_wire(publish.qos),
        retain: publish.retain,
        ack: ack.map(super::Ack::V5),
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
        ConnectionError::Timeout(_) | ConnectionError::DisconnectTimeout => {
            LinkError::KeepAliveLost
        }
        other => protocol(other),
    }
}

fn refused(code: ConnectReturnCode) -> LinkError {
    match code {
        ConnectReturnCode::BadUserNamePassword => LinkError::BadCredentials,
        ConnectReturnCode::NotAuthorized => LinkError::NotAuthorized,
        ConnectReturnCode::BadClientId | ConnectReturnCode::ClientIdentifierNotValid => {
            LinkError::ClientIdRefused
        }
        ConnectReturnCode::RefusedProtocolVersion
        | ConnectReturnCode::UnsupportedProtocolVersion => LinkError::VersionRefused,
        ConnectReturnCode::ServiceUnavailable | ConnectReturnCode::ServerUnavailable => {
            LinkError::ServerUnavailable
        }
        ConnectReturnCode::ServerBusy | ConnectReturnCode::ConnectionRateExceeded => {
            LinkError::ServerBusy
        }
        ConnectReturnCode::Banned => LinkError::Banned,
        ConnectReturnCode::PacketTooLarge => LinkError::PacketTooLarge {
            reason: "the CONNECT, with its will".to_owned(),
        },
        other => LinkError::Refused {
            reason: format!("{other:?}"),
        },
    }
}

fn state_error(error: &StateError) -> LinkError {
    match error {
        StateError::Io(error) => io_error(error),
        StateError::AwaitPingResp => LinkError::KeepAliveLost,
        StateError::ConnectionAborted => LinkError::ConnectionLost {
            reason: "the broker closed it".to_owned(),
        },
        StateError::ServerDisconnect {
            reason_code,
            reason_string,
        } => disconnected_with_text(*reason_code, reason_string.as_deref()),
        StateError::OutgoingPacketTooLarge { .. }
        | StateError::IncomingPacketTooLarge { .. }
        | StateError::Deserialization(WireError::PayloadSizeLimitExceeded { .. }) => {
            LinkError::PacketTooLarge {
                reason: error.to_string(),
            }
        }
        other => protocol(other),
    }
}

pub(super) fn disconnected(reason: u8) -> LinkError {
    match DisconnectReasonCode::try_from(reason) {
        Ok(code) => disconnected_with_text(code, None),
        Err(_) => LinkError::Protocol {
            reason: format!("a DISCONNECT with the unknown reason {reason:#04x}"),
        },
    }
}

fn disconnected_with_text(code: DisconnectReasonCode, text: Option<&str>) -> LinkError {
    match code {
        DisconnectReasonCode::SessionTakenOver => LinkError::SessionTakenOver,
        DisconnectReasonCode::ServerShuttingDown => LinkError::ServerShuttingDown,
        DisconnectReasonCode::ServerBusy | DisconnectReasonCode::ConnectionRateExceeded => {
            LinkError::ServerBusy
        }
        DisconnectReasonCode::NotAuthorized => LinkError::NotAuthorized,
        DisconnectReasonCode::KeepAliveTimeout => LinkError::KeepAliveLost,
        DisconnectReasonCode::PacketTooLarge => LinkError::PacketTooLarge {
            reason: "the broker refused one".to_owned(),
        },
        DisconnectReasonCode::MalformedPacket | DisconnectReasonCode::ProtocolError => {
            LinkError::Protocol {
                reason: format!("the broker reports a {code:?}"),
            }
        }
        other => LinkError::Disconnected {
            reason: match text {
                Some(text) => format!("{other:?}: {text}"),
                None => format!("{other:?}"),
            },
        },
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
            clean_start: false,
            session_expiry_interval: None,
            outgoing_inflight_upper_limit: Some(self.receive_maximum),
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
