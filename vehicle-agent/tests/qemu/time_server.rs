//! A server of SNTP that tells the time of the case's choosing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::board::HOST;

/// From 1900, where the timestamps begin, to 1970.
const UNIX_EPOCH_S: u64 = 2_208_988_800;

/// A listening server, closed when this is dropped.
pub(crate) struct TimeServer {
    /// As the board reaches it.
    pub(crate) address: String,
    unix_s: Arc<AtomicU64>,
    answering: JoinHandle<()>,
}

impl TimeServer {
    /// Answers every question with `unix_s`, in seconds since 1970, until it is told another time.
    pub(crate) async fn open(unix_s: u64) -> Self {
        let unix_s = Arc::new(AtomicU64::new(unix_s));
        let told = Arc::clone(&unix_s);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = format!("{HOST}:{}", socket.local_addr().unwrap().port());
        let answering = tokio::spawn(async move {
            let mut question = [0; 48];
            while let Ok((_, from)) = socket.recv_from(&mut question).await {
                // The board has given up if this does not arrive, and says so.
                let answer = answer(&question, told.load(Ordering::Relaxed));
                let _ = socket.send_to(&answer, from).await;
            }
        });
        Self {
            address,
            unix_s,
            answering,
        }
    }

    /// Answers with this time from now on.
    pub(crate) fn tell(&self, unix_s: u64) {
        self.unix_s.store(unix_s, Ordering::Relaxed);
    }
}

impl Drop for TimeServer {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

/// RFC 5905, 7.3: version 4, mode server, stratum 1; the question's timestamp comes back.
fn answer(question: &[u8; 48], unix_s: u64) -> [u8; 48] {
    const SERVER: u8 = 0x24;
    let mut answer = [0; 48];
    answer[0] = SERVER;
    answer[1] = 1;
    answer[24..32].copy_from_slice(&question[40..]);
    let transmitted = (unix_s + UNIX_EPOCH_S) << 32;
    answer[40..].copy_from_slice(&transmitted.to_be_bytes());
    answer
}
