//! The requests that the portal answers: `/portal`, which becomes a WebSocket, and `/status`.

use core::fmt;

use picoserve::ResponseSent;
use picoserve::extract::FromRequest;
use picoserve::io::Read;
use picoserve::request::{Path, Request, RequestParts};
use picoserve::response::ws::WebSocketUpgrade;
use picoserve::response::{IntoResponse, Response, ResponseWriter, StatusCode};
use picoserve::routing::PathRouterService;
use picoserve::time::{Duration, Timer};
use picoserve::url_encoded::UrlEncodedString;
use vinbus_protocol::portal::PortalCounters;

use super::Portal;
use super::connection::{Connection, Taken};
use crate::app_interface::server_frame::link_name;
use crate::clock::Clock;

/// Answers the requests of one connection.
pub(super) struct Door<'p, 'b, C, const APPS: usize, const PLACES: usize> {
    pub(super) portal: &'p Portal<'b, APPS, PLACES>,
    pub(super) clock: &'p C,
}

impl<C: Clock, const APPS: usize, const PLACES: usize> PathRouterService
    for Door<'_, '_, C, APPS, PLACES>
{
    async fn call_path_router_service<R: Read, W: ResponseWriter<Error = R::Error>>(
        &self,
        (): &(),
        (): (),
        path: Path<'_>,
        mut request: Request<'_, R>,
        writer: W,
    ) -> Result<ResponseSent, W::Error> {
        if path == "/portal" {
            let parts = request.parts;
            let body = request.body_connection.body();
            let upgrade = WebSocketUpgrade::from_request(&(), parts, body).await;
            let connection = request.body_connection.finalize().await?;
            let upgraded = match (self.admit(&parts), upgrade) {
                (_, Err(rejection)) => return rejection.write_to(connection, writer).await,
                (Err(refused), Ok(_)) => return refused.write_to(connection, writer).await,
                (Ok(admitted), Ok(upgrade)) => upgrade.on_upgrade(admitted),
            };
            return upgraded.write_to(connection, writer).await;
        }
        let connection = request.body_connection.finalize().await?;
        if path == "/status" {
            let status = Status(self.portal);
            return Response::ok(format_args!("{status}"))
                .with_content_type("application/json")
                .write_to(connection, writer)
                .await;
        }
        let text = "there are /portal, a WebSocket, and /status\n";
        (StatusCode::NOT_FOUND, text)
            .write_to(connection, writer)
            .await
    }
}

impl<'p, 'b, C, const APPS: usize, const PLACES: usize> Door<'p, 'b, C, APPS, PLACES> {
    /// Gives a socket a place, or says why not.
    fn admit<'r>(
        &self,
        parts: &RequestParts<'r>,
    ) -> Result<Connection<'r, 'b, C, APPS, PLACES>, (StatusCode, &'static str)>
    where
        'p: 'r,
    {
        let counters = &self.portal.counters;
        if let Some(origin) = parts.headers().get("origin")
            && !self.portal.allows(origin.as_raw())
        {
            counters.count(|counters| &mut counters.refused_origin);
            let text = "web pages of this origin may not be apps in this vehicle\n";
            return Err((StatusCode::FORBIDDEN, text));
        }
        let Some(taken) = Taken::new(self.portal) else {
            counters.count(|counters| &mut counters.refused_full);
            let text = "the portal has as many sockets as it can; close one\n";
            return Err((StatusCode::SERVICE_UNAVAILABLE, text));
        };
        Ok(Connection {
            taken,
            clock: self.clock,
            app: parts.query().and_then(|query| app_named(query.0)),
        })
    }
}

/// The app in `app=…&…`.
fn app_named(query: &str) -> Option<UrlEncodedString<'_>> {
    let mut pairs = query.split('&');
    let value = pairs.find_map(|pair| pair.strip_prefix("app="))?;
    Some(UrlEncodedString(value))
}

/// The JSON of `/status`, with the names that it has on Linux.
struct Status<'p, 'b, const APPS: usize, const PLACES: usize>(&'p Portal<'b, APPS, PLACES>);

impl<const APPS: usize, const PLACES: usize> fmt::Display for Status<'_, '_, APPS, PLACES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(portal) = self;
        let (vin, link) = (portal.vin.as_str(), link_name(portal.link_up.get()));
        let agent = portal.agent.get();
        let sockets = portal.counters();
        let PortalCounters {
            delivered,
            pending,
            popups_queued,
            ..
        } = agent.portal;
        write!(
            f,
            r#"{{"vin":"{vin}","link":"{link}","sessions":{}"#,
            agent.sessions
        )?;
        write!(f, r#","received":{}"#, agent.received)?;
        write!(
            f,
            r#","downlinks":{{"delivered":{delivered},"pending":{pending}"#
        )?;
        write!(
            f,
            r#","popups":{popups_queued},"evictedFromSockets":{}}}"#,
            sockets.evicted
        )?;
        write!(f, r#","refused":{{"oversize":{}"#, agent.oversize)?;
        write!(f, r#","foreignTopic":{}"#, agent.foreign_topics)?;
        let envelope = agent.portal.refused_envelope - agent.oversize;
        write!(f, r#","envelope":{envelope}"#)?;
        write!(f, r#","unknownApp":{}"#, agent.portal.refused_unknown_app)?;
        write!(f, r#","foreignUid":{}"#, agent.portal.refused_foreign_uid)?;
        write!(f, r#","tooLarge":{}"#, agent.portal.refused_too_large)?;
        write!(
            f,
            r#","popupOverflow":{}}}"#,
            agent.portal.popups_overflowed
        )?;
        write!(f, r#","uplinks":{{"accepted":{}"#, agent.uplinks_accepted)?;
        write!(f, r#","refused":{}"#, agent.uplinks_refused)?;
        write!(f, r#","delivered":{}"#, agent.uplinks_delivered)?;
        write!(f, r#","dropped":{}"#, agent.uplinks_dropped)?;
        write!(
            f,
            r#","refusedByBroker":{}}}"#,
            agent.uplinks_refused_by_broker
        )?;
        write!(f, r#","sockets":{{"refusedFull":{}"#, sockets.refused_full)?;
        write!(f, r#","refusedOrigin":{}"#, sockets.refused_origin)?;
        write!(f, r#","refusedRequest":{}"#, sockets.refused_request)?;
        write!(f, r#","slowReaders":{}"#, sockets.slow_readers)?;
        write!(f, r#","ended":{}"#, sockets.ended)?;
        write!(f, r#","refusedFrames":{}}}}}"#, sockets.refused_frames)
    }
}

/// The agent's clock, for picoserve.
pub(super) struct ClockTimer<'c, C>(pub(super) &'c C);

impl<Runtime, C: Clock> Timer<Runtime> for ClockTimer<'_, C> {
    async fn delay(&self, duration: Duration) {
        let deadline_ms = self.0.now_ms().saturating_add(duration.as_millis());
        self.0.sleep_until(deadline_ms).await;
    }
}
