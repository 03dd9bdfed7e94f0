//! Takes the portal's HTTP connections, each with a bound on its number, its head, its idleness and its
//! writes. A WebSocket counts as one until it is open; then it has a place of its own.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower_service::Service;

use vinbus_transport_std::guards::{LogThrottle, WriteTimeout, half_open};

use crate::linux::status::Status;

/// Largest head of a request, and most that hyper keeps of an answer, in bytes.
const BUFFER_BYTES_MAX: usize = 16 * 1024;

/// A client that takes nothing of an answer for this long is disconnected.
const WRITE_TIME_MAX: Duration = Duration::from_secs(30);

/// Bytes that the system is to hold for a client beyond what the client's own side does. It takes twice as many for its
/// own account.
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// Pause after the system refused a connection, for lack of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What an HTTP connection may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionBounds {
    /// Connections at a time that are no open WebSocket.
    pub(crate) connections: u16,
    /// Longest time for the head of a request.
    pub(crate) header_time: Duration,
}

/// Serves `router` until `stop` completes, then lets open requests end. `status` counts what it refuses.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: ConnectionBounds,
    status: Option<Arc<Status>>,
    stop: impl Future<Output = ()>,
) {
    let free = Arc::new(Semaphore::new(usize::from(bounds.connections)));
    let (open, stopping) = watch::channel(());
    let log = LogThrottle::default();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.as_mut() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => match Arc::clone(&free).try_acquire_owned() {
                Ok(place) => {
                    let connection = Connection {
                        header_time: bounds.header_time,
                        status: status.clone(),
                        stopping: stopping.clone(),
                        _place: place,
                    };
                    tokio::spawn(connection.run(stream, router.clone()));
                }
                Err(_) => {
                    refuse(&stream, bounds.connections);
                    if let Some(status) = &status {
                        status.count(|portal| &mut portal.refused_full);
                    }
                    if let Some(more) = log.pass(Instant::now()) {
                        let max = bounds.connections;
                        tracing::warn!(max, more, "too many connections to the portal");
                    }
                }
            },
            Err(error) => {
                tracing::warn!(%error, "no connection to the portal could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop((listener, open));
    // Never closed: this waits for the connections alone.
    let _ = free.acquire_many(u32::from(bounds.connections)).await;
}

struct Connection {
    header_time: Duration,
    status: Option<Arc<Status>>,
    /// Ends with the portal.
    stopping: watch::Receiver<()>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(mut self, stream: TcpStream, router: Router) {
        let _only_slower_without = stream.set_nodelay(true);
        half_open::detect(&stream);
        hold_little(&stream);
        let stream = WriteTimeout::new(stream, WRITE_TIME_MAX);
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = router.clone().call(request.map(Body::new));
            async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_time)
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            _ = self.stopping.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            match &self.status {
                Some(status) if error.is_timeout() => {
                    status.count(|portal| &mut portal.head_timeouts);
                }
                Some(status) if error.is_parse() => {
                    status.count(|portal| &mut portal.refused_request);
                }
                Some(_) | None => {}
            }
            tracing::debug!(%error, "a connection to the portal broke");
        }
    }
}

/// Has the system hold little for one that does not read: else it takes megabytes before it says that it goes slowly,
/// and a program that reads all the time seems to take nothing for long.
fn hold_little(stream: &TcpStream) {
    if let Err(error) = sockopt::set_socket_send_buffer_size(stream, SEND_BUFFER_BYTES) {
        tracing::debug!(%error, "the system holds as much for a connection as it likes");
    }
}

/// Tells one client too many so, as far as its socket takes it without waiting.
fn refuse(stream: &TcpStream, max: u16) {
    let text = format!("the portal has {max} connections already; close one\n");
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    );
    let _ = stream.try_write(answer.as_bytes());
}
