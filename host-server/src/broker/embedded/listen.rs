//! Accepting connections: no peer can keep others from connecting, however slow it is.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tracing::warn;
use vinbus_transport_std::guards::half_open;

use super::counters::add;
use super::registry::Place;
use super::{Shared, StartError, tls};
use crate::identity::Identity;

/// Pause after the operating system refused to accept, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds a port; port 0 is any free one.
pub(super) async fn bind(
    port: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Bind {
        port,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Accepts plain connections until shutdown. Only loopback: there is no encryption.
pub(super) async fn plain(shared: Arc<Shared>, listener: TcpListener) {
    accept_all(
        &shared,
        listener,
        |shared, stream, peer, place| async move {
            shared.serve(Box::new(stream), peer, place, None).await;
        },
    )
    .await;
}

/// Accepts TLS connections until shutdown.
pub(super) async fn tls(shared: Arc<Shared>, listener: TcpListener, config: Arc<ServerConfig>) {
    let acceptor = TlsAcceptor::from(config);
    accept_all(&shared, listener, move |shared, stream, peer, place| {
        let acceptor = acceptor.clone();
        async move {
            if let Some((stream, who)) = handshake(&shared, &acceptor, stream, peer.ip()).await {
                shared.serve(Box::new(stream), peer, place, Some(who)).await;
            }
        }
    })
    .await;
}

async fn accept_all<F, Fut>(shared: &Arc<Shared>, listener: TcpListener, serve: F)
where
    F: Fn(Arc<Shared>, TcpStream, SocketAddr, Place) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stopped() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = shared.registry.admit(peer.ip()) else {
                    log_refused(shared, peer.ip());
                    continue;
                };
                // Small packets must not wait for each other; if that cannot be had, they may.
                let _ = stream.set_nodelay(true);
                half_open::detect(&stream);
                tokio::spawn(serve(Arc::clone(shared), stream, peer, place));
            }
            Err(error) => pause(shared, &error).await,
        }
    }
}

async fn handshake(
    shared: &Shared,
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    peer: IpAddr,
) -> Option<(tokio_rustls::server::TlsStream<TcpStream>, Identity)> {
    let refused = |reason: &'static str, detail: &dyn std::fmt::Display| {
        if let Some(left_out) = shared.quiet.allows(&peer.to_string(), reason) {
            warn!(%peer, %detail, left_out, "{reason}");
        }
    };
    let limit = shared.limits.handshake_time_max;
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(limit, acceptor.accept(stream)) => shaken,
        () = shared.stopped() => return None,
    };
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            add(&shared.counters.tls_failed);
            refused("TLS handshake failed", &error);
            return None;
        }
        Err(_) => {
            add(&shared.counters.tls_timed_out);
            refused("TLS handshake took too long", &format_args!("{limit:?}"));
            return None;
        }
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let who = certificates.and_then(<[_]>::first).and_then(tls::identity);
    if who.is_none() {
        add(&shared.counters.certificates_unnamed);
        refused(
            "client certificate without identity",
            &"its common name is neither a VIN nor a UID",
        );
    }
    who.map(|who| (stream, who))
}

fn log_refused(shared: &Shared, peer: IpAddr) {
    if let Some(left_out) = shared
        .quiet
        .allows(&peer.to_string(), "too many connections")
    {
        warn!(%peer, left_out, "too many connections");
    }
}

async fn pause(shared: &Shared, error: &io::Error) {
    if let Some(left_out) = shared.quiet.allows("", "cannot accept connections") {
        warn!(%error, left_out, "cannot accept connections");
    }
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
