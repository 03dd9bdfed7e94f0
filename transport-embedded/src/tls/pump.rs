//! The task of a line.

use core::cell::{Cell, RefCell};
use core::pin::pin;

use embassy_futures::select::{Either, Either3, select, select3};
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_time::{Duration, Timer, with_timeout};
use embedded_io_async::{BufRead as _, Read, Write};
use embedded_nal_async::{Dns, TcpConnect};
use embedded_tls::{CryptoRngCore, TlsError};
use rustls_pki_types::UnixTime;

use super::credentials::Credentials;
use super::error::LineError;
use super::line::{Line, PumpSide};
use super::records::Records;
use super::session::{self, Client, RecordBuffers, Tls, handshake};
use crate::dial;

/// Time for an orderly goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Time to find out what the broker said before it stopped listening.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Whether the broker is to be told that a connection ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goodbye {
    Due,
    /// It does not take what was written before.
    InVain,
}

/// What a handshake takes.
struct Shake<'s, R> {
    credentials: &'s Credentials<'s>,
    now: UnixTime,
    random: &'s mut R,
    limit: Duration,
}

/// Bytes that move from the pipe to a record at once.
const CHUNK_BYTES: usize = 512;

impl<M: RawMutex, const UP: usize, const DOWN: usize> Line<M, UP, DOWN> {
    /// Opens a connection whenever somebody dials, and pumps it until either side ends it. For a
    /// task of its own, one for a line.
    pub async fn run<T, D, N, R>(
        &self,
        client: &mut Client<'_, T, D, N, R>,
        buffers: &mut RecordBuffers<'_>,
    ) -> !
    where
        T: TcpConnect,
        D: Dns,
        N: Fn() -> Option<u64>,
        R: CryptoRngCore,
    {
        loop {
            let side = self.wanted().await;
            let end = self.connection(client, buffers, &side).await;
            side.ended(end.err());
        }
    }

    /// One connection, from the dialling to its end. `Ok` if it ended in order.
    async fn connection<T, D, N, R>(
        &self,
        client: &mut Client<'_, T, D, N, R>,
        buffers: &mut RecordBuffers<'_>,
        side: &PumpSide<'_, M, UP, DOWN>,
    ) -> Result<(), LineError>
    where
        T: TcpConnect,
        D: Dns,
        N: Fn() -> Option<u64>,
        R: CryptoRngCore,
    {
        // Without a clock no certificate can be checked.
        let now = (client.unix_time)().ok_or(LineError::NoClock)?;
        let now = UnixTime::since_unix_epoch(core::time::Duration::from_secs(now));
        let dialling = dial::open(&client.tcp, &client.dns, client.broker, client.limits);
        let stream = match select(dialling, self.hung_up()).await {
            Either::First(dialled) => dialled.map_err(LineError::Dial)?,
            Either::Second(()) => return Ok(()),
        };
        let records = RefCell::new(Records::new(stream));
        let shake = Shake {
            credentials: &client.credentials,
            now,
            random: &mut client.random,
            limit: client.limits.handshake,
        };
        if let Some(tls) = self.talk(&records, buffers, shake, side).await? {
            // A broker that does not read is left without a word.
            let _ = with_timeout(CLOSE_TIMEOUT, tls.close()).await;
        }
        Ok(())
    }

    /// Shakes hands over `records` and pumps. The connection, if it is still to be closed.
    async fn talk<'c, S: Read + Write, R: CryptoRngCore>(
        &self,
        records: &'c RefCell<Records<S>>,
        buffers: &'c mut RecordBuffers<'_>,
        shake: Shake<'_, R>,
        side: &PumpSide<'_, M, UP, DOWN>,
    ) -> Result<Option<Tls<'c, S>>, LineError> {
        // It stays here and is lent: handed on, it would take its 1.3 KB in each future on the way. To be
        // closed it has to be handed on, and is when this future is done.
        let mut tls = session::connection(records, buffers);
        let shaking = handshake(
            &mut tls,
            records,
            shake.credentials,
            shake.now,
            shake.random,
        );
        let shaking = with_timeout(shake.limit, shaking);
        match select(shaking, self.hung_up()).await {
            Either::First(shaken) => shaken.map_err(|_late| LineError::HandshakeTimeout)??,
            Either::Second(()) => return Ok(None),
        }
        side.opened();
        let goodbye = self.pump(&mut tls).await?;
        Ok((goodbye == Goodbye::Due).then_some(tls))
    }

    /// Moves bytes both ways until either side ends the connection.
    async fn pump<S: Read + Write>(&self, tls: &mut Tls<'_, S>) -> Result<Goodbye, LineError> {
        let early = Cell::new(true);
        let (mut reader, mut writer) = tls.split();
        let mut down = pin!(async {
            loop {
                let received = match reader.fill_buf().await {
                    Ok(received) => received,
                    Err(error) => return error,
                };
                early.set(false);
                let len = self.down.write(received).await;
                reader.consume(len);
            }
        });
        let up = pin!(self.pump_up(&mut writer));
        let hurry = async {
            self.hung_up().await;
            Timer::after(CLOSE_TIMEOUT).await;
        };
        let error = match select3(up, &mut down, hurry).await {
            Either3::First(Ok(())) => return Ok(Goodbye::Due),
            Either3::First(Err(error)) => {
                // What the broker said last tells more than that it does not listen.
                let last_words = with_timeout(LAST_WORDS, down).await;
                last_words.unwrap_or(error)
            }
            Either3::Second(error) => error,
            Either3::Third(()) => return Ok(Goodbye::InVain),
        };
        LineError::of_end(error, early.get()).map_or(Ok(Goodbye::Due), Err)
    }

    /// Sends what is written, until nobody writes any more and all of it is sent.
    async fn pump_up<W: Write<Error = TlsError>>(&self, writer: &mut W) -> Result<(), TlsError> {
        let mut chunk = [0; CHUNK_BYTES];
        loop {
            let len = match self.up.try_read(&mut chunk) {
                Ok(len) => len,
                Err(_empty) => {
                    writer.flush().await?;
                    if self.is_hung_up() {
                        return Ok(());
                    }
                    match select(self.up.read(&mut chunk), self.hung_up()).await {
                        Either::First(len) => len,
                        Either::Second(()) => continue,
                    }
                }
            };
            writer.write_all(&chunk[..len]).await?;
        }
    }
}
