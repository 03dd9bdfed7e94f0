//! The agent: one loop that serves the apps always, and the broker whenever there is one.
//!
//! | state | link | apps | ends when |
//! |---|---|---|---|
//! | offline | connecting, after the reconnection delay | served; uplinks are queued | connected, or stopped |
//! | online | sends what is queued, hands on what arrives | served; uplinks are queued | the session is lost, or stopped |
//! | stopping | sends what is queued, then the farewell, within [`STOP_GRACE_MS`] | not served | all is sent, or time is up |
//!
//! The loop keeps nothing but what is on its way. Everything else is in the [`Desk`], which does no
//! waiting and so can be tested without any.

use core::future::{Future, pending};
use core::pin::{Pin, pin};

use vinbus_protocol::backoff::Backoff;

use crate::apps::{Apps, Request};
use crate::clock::{Clock, NEVER, Random};
use crate::desk::{Desk, Storage};
use crate::link::{Event, Link, Lost, NotConnected, Session};
use crate::outbound::Outbound;
use crate::race::{First, first_of, unless};

/// Time for the last messages when the agent stops, in milliseconds.
pub const STOP_GRACE_MS: u64 = 3_000;

/// What the agent needs of the world.
#[derive(Debug)]
pub struct World<'w, L, A, C, R> {
    /// The way to the broker.
    pub link: &'w mut L,
    /// The apps.
    pub apps: &'w mut A,
    /// The clock.
    pub clock: &'w C,
    /// Random words for the jitter of reconnections.
    pub random: &'w mut R,
}

/// Serves a vehicle until `stop` completes. The `desk` can be used again afterwards.
pub async fn run<L, A, C, R, S, Q, const APPS: usize, const QUEUE: usize, const SENT: usize>(
    desk: &mut Desk<S, Q, APPS, QUEUE, SENT>,
    world: World<'_, L, A, C, R>,
    stop: impl Future<Output = ()>,
) where
    L: Link,
    A: Apps,
    C: Clock,
    R: Random,
    S: Storage,
    Q: Storage,
{
    let World {
        link,
        apps,
        clock,
        random,
    } = world;
    let mut stop = pin!(stop);
    let mut backoff = Backoff::default();
    let mut later_ms = |backoff: &mut Backoff| {
        clock.now_ms() + u64::from(backoff.next_delay_ms(random.next_u32()))
    };
    let mut connect_at_ms = clock.now_ms();
    loop {
        let mut served = Served {
            desk: &mut *desk,
            apps: &mut *apps,
            clock,
        };
        let connecting = served.connect(stop.as_mut(), &mut *link, connect_at_ms);
        let mut session = match connecting.await {
            None => return,
            Some(Ok(session)) => session,
            Some(Err(NotConnected)) => {
                connect_at_ms = later_ms(&mut backoff);
                continue;
            }
        };
        let up_ms = clock.now_ms();
        if served.online(stop.as_mut(), &mut session).await.is_ok() {
            return session.close().await;
        }
        backoff.handle_end(clock.now_ms() - up_ms);
        connect_at_ms = match L::PACES_ITSELF {
            true => clock.now_ms(),
            false => later_ms(&mut backoff),
        };
    }
}

/// `stop` has completed; there is time until then to finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stopped {
    give_up_ms: u64,
}

impl Stopped {
    fn now(clock: &impl Clock) -> Self {
        Self {
            give_up_ms: clock.now_ms() + STOP_GRACE_MS,
        }
    }
}

/// Everything but the link.
struct Served<'r, S, Q, A, C, const APPS: usize, const QUEUE: usize, const SENT: usize> {
    desk: &'r mut Desk<S, Q, APPS, QUEUE, SENT>,
    apps: &'r mut A,
    clock: &'r C,
}

impl<S, Q, A, C, const APPS: usize, const QUEUE: usize, const SENT: usize>
    Served<'_, S, Q, A, C, APPS, QUEUE, SENT>
where
    S: Storage,
    Q: Storage,
    A: Apps,
    C: Clock,
{
    /// Serves the apps until an attempt to connect, which begins at `begin_ms`, has come to its end;
    /// `None` when stopped.
    async fn connect<'l, L: Link>(
        &mut self,
        stop: Pin<&mut impl Future<Output = ()>>,
        link: &'l mut L,
        begin_ms: u64,
    ) -> Option<Result<L::Session<'l>, NotConnected>> {
        let clock = self.clock;
        let identity = self.desk.identity().clone();
        // Pinned here, because a future that is passed on takes its room once more.
        let connecting = pin!(async {
            clock.sleep_until(begin_ms).await;
            link.connect(&identity).await
        });
        self.offline(stop, connecting).await
    }

    /// Serves the apps until `connecting` completes; `None` when stopped.
    async fn offline<T>(
        &mut self,
        mut stop: Pin<&mut impl Future<Output = ()>>,
        mut connecting: Pin<&mut impl Future<Output = T>>,
    ) -> Option<T> {
        let mut link_first = true;
        loop {
            link_first = !link_first;
            self.desk.settle(self.clock.now_ms(), self.apps);
            let deadline = self.desk.deadline_ms(self.clock.now_ms());
            let timer = sleep_until(self.clock, deadline);
            let link = connecting.as_mut();
            match first_of(stop.as_mut(), timer, link, self.apps.next(), link_first).await {
                First::Stop(()) => return None,
                First::Timer(()) => {}
                First::Link(connected) => return Some(connected),
                First::Apps(request) => {
                    let todo = self.desk.handle_request(self.clock.now_ms(), &request);
                    self.desk.finish(self.clock.now_ms(), todo, self.apps);
                }
            }
        }
    }

    /// Serves the apps and the broker until the session is lost, or stopped and finished.
    async fn online(
        &mut self,
        stop: Pin<&mut impl Future<Output = ()>>,
        session: &mut impl Session,
    ) -> Result<Stopped, Lost> {
        if let Some(epoch) = self.clock.epoch() {
            self.desk.begin_epoch(epoch);
        }
        self.desk.session_came_up(self.clock.now_ms());
        self.apps.link_changed(true);
        let mut outbound = Outbound::new();
        let ended = self.serve(stop, session, &mut outbound).await;
        if let Ok(stopped) = ended {
            // A session that is lost now has taken the last chance with it: `stop` has completed.
            let _ = self.finish(stopped, session, &mut outbound).await;
        }
        self.desk.session_ended(self.clock.now_ms());
        self.apps.link_changed(false);
        ended
    }

    async fn serve(
        &mut self,
        mut stop: Pin<&mut impl Future<Output = ()>>,
        session: &mut impl Session,
        outbound: &mut Outbound,
    ) -> Result<Stopped, Lost> {
        let mut link_first = true;
        loop {
            link_first = !link_first;
            let now_ms = self.clock.now_ms();
            self.desk.settle(now_ms, self.apps);
            if let Some(stopped) = self.publish_next(stop.as_mut(), session, outbound).await? {
                return Ok(stopped);
            }
            let deadline_ms = outbound.deadline_ms(self.desk);
            let deadline_ms = deadline_ms.min(self.desk.deadline_ms(now_ms));
            let timer = sleep_until(self.clock, deadline_ms);
            let (link, apps) = (session.next(), self.apps.next());
            match first_of(stop.as_mut(), timer, link, apps, link_first).await {
                First::Stop(()) => return Ok(Stopped::now(self.clock)),
                First::Timer(()) => {}
                First::Link(event) => self.handle(event?, outbound),
                First::Apps(request) => {
                    // What comes back goes first, or as much could arrive for it meanwhile, for ever.
                    link_first |= matches!(request, Request::Return { .. });
                    let todo = self.desk.handle_request(self.clock.now_ms(), &request);
                    self.desk.finish(self.clock.now_ms(), todo, self.apps);
                }
            }
        }
    }

    /// Publishes the next message if none is on its way. One that is under way when `stop` completes
    /// still has the time to finish; what it does not get out by then stays in the queue.
    async fn publish_next(
        &mut self,
        stop: Pin<&mut impl Future<Output = ()>>,
        session: &mut impl Session,
        outbound: &mut Outbound,
    ) -> Result<Option<Stopped>, Lost> {
        let clock = self.clock;
        let next = outbound.publish_next(clock.now_ms(), self.desk, self.apps, session);
        let mut next = pin!(next);
        if let Some(published) = unless(stop, next.as_mut()).await {
            return published.map(|_| None);
        }
        let stopped = Stopped::now(clock);
        let late = pin!(clock.sleep_until(stopped.give_up_ms));
        // A session that is lost now is not followed by another: `finish` finds out.
        let _ = unless(late, next).await;
        Ok(Some(stopped))
    }

    /// Sends what is queued and the farewell, as long as there is time.
    async fn finish(
        &mut self,
        Stopped { give_up_ms }: Stopped,
        session: &mut impl Session,
        outbound: &mut Outbound,
    ) -> Result<(), Lost> {
        outbound.stop();
        loop {
            let now_ms = self.clock.now_ms();
            if now_ms >= give_up_ms {
                return Ok(());
            }
            {
                let late = pin!(self.clock.sleep_until(give_up_ms));
                let next = pin!(outbound.publish_next(now_ms, self.desk, self.apps, session));
                match unless(late, next).await {
                    Some(Ok(true)) => {}
                    Some(Ok(false)) | None => return Ok(()),
                    Some(Err(lost)) => return Err(lost),
                }
            }
            let deadline_ms = give_up_ms.min(outbound.retry_at_ms());
            let timer = sleep_until(self.clock, deadline_ms);
            let idle = pending::<Request<'static>>();
            match first_of(pending::<()>(), timer, session.next(), idle, true).await {
                First::Link(event) => self.handle(event?, outbound),
                First::Stop(()) | First::Timer(()) | First::Apps(_) => {}
            }
        }
    }

    fn handle(&mut self, event: Event<'_>, outbound: &mut Outbound) {
        let now_ms = self.clock.now_ms();
        match event {
            Event::Received { topic, payload } => {
                self.desk.handle_received(now_ms, topic, payload, self.apps);
            }
            Event::Published(fate) => outbound.handle_fate(now_ms, fate, self.desk, self.apps),
            Event::Progress => {}
        }
    }
}

async fn sleep_until(clock: &impl Clock, deadline_ms: u64) {
    match deadline_ms {
        NEVER => pending().await,
        _ => clock.sleep_until(deadline_ms).await,
    }
}
