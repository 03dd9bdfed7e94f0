//! Connections whose peer is gone without a word, such as a vehicle in a tunnel or a machine without
//! power: TCP itself asks whether it is still there, and ends the connection when nothing answers.
//! It does not rely on the peer's protocol: MQTT lets a client ask for no keep-alive, and an event
//! stream has none.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;

/// A connection that is quiet for this long is asked.
const QUIET: Duration = Duration::from_secs(60);

/// Time between two questions.
const INTERVAL: Duration = Duration::from_secs(15);

/// Questions without an answer that end the connection.
const QUESTIONS: u32 = 4;

/// What was sent and not acknowledged for this long ends the connection too, in milliseconds.
const UNACKNOWLEDGED_MS: u32 = 120_000;

/// Has the system end the connection within two minutes when its peer is gone.
pub fn detect(stream: &impl AsFd) {
    if let Err(error) = set(stream) {
        tracing::debug!(%error, "a connection cannot be watched for a peer that is gone");
    }
}

fn set(stream: &impl AsFd) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, QUIET)?;
    sockopt::set_tcp_keepintvl(stream, INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, QUESTIONS)?;
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MS)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_gone_is_noticed_within_two_minutes() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        detect(&stream);
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        let idle = sockopt::tcp_keepidle(&stream).unwrap();
        let asking = sockopt::tcp_keepintvl(&stream).unwrap();
        let questions = sockopt::tcp_keepcnt(&stream).unwrap();
        assert!(idle + asking * questions <= Duration::from_secs(120));
        let unacknowledged = sockopt::tcp_user_timeout(&stream).unwrap();
        assert!(unacknowledged <= 120_000);
    }
}
