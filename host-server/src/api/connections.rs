//! Takes HTTP connections, each with a bound on its number, its head, its idleness and its writes.

use std::convert::Infallible;
use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service;
use vinbus_transport_std::guards::{LogThrottle, WriteTimeout, half_open};

use crate::config::HttpLimits;
use crate::metrics::{Counter, Gauge, Metrics};
use crate::stop::Stop;

/// Largest head of a request, and most that hyper keeps of an answer, in bytes.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// After a shutdown began, open requests have this long to end.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// After a shutdown began, a client of an endless answer has this long to take its end.
const ENDLESS_DRAIN_TIME_MAX: Duration = Duration::from_secs(1);

/// Pause after the system refused a connection, for lack of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a request came from; an extension of every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Whether a connection carries an answer without an end of its own; an extension of every request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Endless(Arc<AtomicBool>);

impl Endless {
    /// Such an answer begins: at a shutdown the connection is not waited for as for others.
    pub(crate) fn begins(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Serves `router` at `listener` until `stop` is requested, then lets open requests end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: HttpLimits,
    metrics: &Metrics,
    mut stop: Stop,
) {
    let figures = Figures::new(metrics);
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let log = LogThrottle::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.requested() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match Arc::clone(&slots).try_acquire_owned() {
                Ok(slot) => {
                    let connection = Connection {
                        peer,
                        limits,
                        stop: stop.clone(),
                        figures: figures.clone(),
                        slot,
                    };
                    tokio::spawn(connection.run(stream, router.clone()));
                }
                Err(_) => {
                    refuse(&stream, limits.connections_max);
                    figures.refused_full.increment();
                    if let Some(left_out) = log.pass(Instant::now()) {
                        let max = limits.connections_max;
                        tracing::warn!(max, left_out, "too many HTTP connections");
                    }
                }
            },
            Err(error) => {
                figures.refused_by_system.increment();
                tracing::warn!(%error, "no HTTP connection could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let all = u32::try_from(limits.connections_max).unwrap_or(u32::MAX);
    if tokio::time::timeout(DRAIN_TIME_MAX, slots.acquire_many(all))
        .await
        .is_err()
    {
        tracing::warn!("HTTP requests were still open when the server stopped");
    }
}

struct Connection {
    peer: SocketAddr,
    limits: HttpLimits,
    stop: Stop,
    figures: Figures,
    slot: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(mut self, stream: TcpStream, router: Router) {
        let _open = self.figures.open.hold();
        let _ = stream.set_nodelay(true);
        half_open::detect(&stream);
        let stream = WriteTimeout::new(stream, self.limits.write_time_max);
        let (peer, endless) = (Peer(self.peer), Endless::default());
        let extension = endless.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(extension.clone());
            let answer = router.clone().call(request.map(Body::new));
            async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_time_max)
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.requested() => {
                connection.as_mut().graceful_shutdown();
                if endless.has_begun() {
                    let ended = tokio::time::timeout(ENDLESS_DRAIN_TIME_MAX, connection).await;
                    let Ok(ended) = ended else {
                        self.figures.stopped.increment();
                        return;
                    };
                    ended
                } else {
                    connection.await
                }
            }
        };
        if let Err(error) = ended {
            self.figures.cut(&error).increment();
            tracing::debug!(peer = %self.peer, %error, "HTTP connection broke");
        }
        drop(self.slot);
    }
}

/// What is counted of connections.
#[derive(Clone)]
struct Figures {
    open: Gauge,
    refused_full: Counter,
    refused_by_system: Counter,
    head_timeout: Counter,
    stalled: Counter,
    bad_head: Counter,
    gone: Counter,
    stopped: Counter,
}

impl Figures {
    fn new(metrics: &Metrics) -> Self {
        let refused = |reason| {
            metrics.counter(
                "vinbus_http_connections_refused_total",
                "HTTP connections that were not taken: full, there were as many as there may be; \
                 system, it could not accept, mostly for lack of file descriptors.",
                &[("reason", reason)],
            )
        };
        let cut = |reason| {
            metrics.counter(
                "vinbus_http_connections_cut_total",
                "HTTP connections that ended otherwise than agreed: head_timeout, no whole head of \
                 a request came in time, or none at all; stalled, the client took nothing of its \
                 answer for too long; bad_head, it is no HTTP or too large; gone, the client went \
                 away in the middle; stopped, it did not take the end of an event stream when the \
                 server stopped.",
                &[("reason", reason)],
            )
        };
        Self {
            open: metrics.gauge("vinbus_http_connections", "HTTP connections open now.", &[]),
            refused_full: refused("full"),
            refused_by_system: refused("system"),
            head_timeout: cut("head_timeout"),
            stalled: cut("stalled"),
            bad_head: cut("bad_head"),
            gone: cut("gone"),
            stopped: cut("stopped"),
        }
    }

    fn cut(&self, error: &hyper::Error) -> &Counter {
        let is_stalled = || {
            error
                .source()
                .and_then(|cause| cause.downcast_ref::<io::Error>())
                .is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
        };
        if error.is_timeout() {
            &self.head_timeout
        } else if error.is_parse() {
            &self.bad_head
        } else if is_stalled() {
            &self.stalled
        } else {
            &self.gone
        }
    }
}

/// Tells one client too many so, as far as its socket takes it without waiting.
fn refuse(stream: &TcpStream, max: usize) {
    let document = format!(
        r#"{{"type":"urn:vinbus:problem:busy","title":"The server has no room for this now","status":503,"detail":"{max} connections are open, as many as there may be","instance":"/"}}"#
    );
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
         retry-after: 1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{document}",
        document.len()
    );
    let _ = stream.try_write(answer.as_bytes());
}

#[cfg(test)]
mod tests {
    use axum::Extension;
    use axum::routing::get;
    use futures_util::stream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::stop::StopSource;

    #[tokio::test]
    async fn endless_answer_that_nobody_takes_does_not_hold_up_the_stop() {
        let answer = async |Extension(endless): Extension<Endless>| {
            endless.begins();
            // As that of a client that reads no further: nothing is asked of it any more.
            Body::from_stream(stream::pending::<Result<Vec<u8>, Infallible>>())
        };
        let router = Router::new().route("/", get(answer));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (source, stop) = StopSource::new();
        let metrics = Metrics::new();
        let served = serve(listener, router, HttpLimits::default(), &metrics, stop);
        let asked = async {
            let mut client = TcpStream::connect(address).await.unwrap();
            let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
            client.write_all(request).await.unwrap();
            // The answer has begun.
            client.read_u8().await.unwrap();
            source.stop();
            client
        };
        let ((), _client) = tokio::join!(served, asked);
        assert_eq!(Figures::new(&metrics).stopped.value(), 1);
    }
}
