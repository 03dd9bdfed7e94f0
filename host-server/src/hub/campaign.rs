//! Fleet messages that are not over: whose message is next, values without IO.
//!
//! | a vehicle is \ event | is there | is not there | turn   | put     | full    | time  |
//! |----------------------|----------|--------------|--------|---------|---------|-------|
//! | away                 | ready    |              |        |         |         |       |
//! | ready                |          |              | taken  |         |         |       |
//! | taken                |          | away         |        | (gone)  | later   |       |
//! | later                |          |              |        |         |         | ready |
//!
//! A vehicle whose message is put on its way is gone from here. Vehicles that are away cost nothing but
//! their place, [`PLACE_BYTES`] each; when one comes, it is found by its VIN.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use vinbus_protocol::id::{Uid, Vin};

use crate::bucket::{Bucket, Rate};
use crate::store::fleets::{Fleet, FleetId, FleetState};

/// Vehicles of one fleet message.
pub const FLEET_VEHICLES_MAX: usize = 50_000;

/// Fleet messages that are not over.
pub(super) const FLEETS_OPEN_MAX: usize = 32;

/// Those of one partner.
pub(super) const PARTNER_FLEETS_OPEN_MAX: usize = 8;

/// A vehicle that has as many messages waiting as may be is tried again after this time.
const LATER: Duration = Duration::from_secs(60);

/// Vehicles looked at in one go when a fleet message begins.
const LOOK_VEHICLES: usize = 1_000;

/// Messages put on their way together: they share a transaction.
const BATCH: usize = 64;

/// What may be put at once is what the rate gives in this part of a second, so that a second's messages
/// do not come all at its begin.
const BURST_PART: f64 = 0.1;

/// One fleet message.
struct Campaign {
    fleet: Fleet,
    /// Those whose messages are not on their way, in order, and what they wait for.
    waiting: Vec<(Vin, Place)>,
    left: usize,
    /// Up to where it was looked who is there.
    looked_to: usize,
    ready: VecDeque<u32>,
    later: VecDeque<(Instant, u32)>,
    bucket: Bucket,
}

/// Bytes that a vehicle of a fleet message takes while it waits.
const PLACE_BYTES: usize = size_of::<(Vin, Place)>();

const _: () = assert!(PLACE_BYTES <= 24);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Away,
    Ready,
    Taken,
    Later,
    Gone,
}

/// All fleet messages that are not over.
pub(in crate::hub) struct Campaigns {
    open: VecDeque<Campaign>,
    /// Those that are over since somebody asked last.
    over: Vec<FleetId>,
    rate: Rate,
    bucket: Bucket,
    /// Nothing is put before then.
    rests_until: Option<Instant>,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::hub) enum Next {
    /// Put the messages for these on their way; tell of each what became of it.
    Put(Box<Fleet>, Vec<Vin>),
    /// A fleet message is over: all are on their way, or its time is up.
    Finish(u64),
    /// Look again at once: there is more to look at.
    Again,
    /// Nothing, until then or until something happens.
    Wait(Option<Instant>),
}

impl Campaigns {
    pub(in crate::hub) fn new(per_second: u32, now: Instant) -> Self {
        let rate = rate(per_second);
        Self {
            open: VecDeque::new(),
            over: Vec::new(),
            rate,
            bucket: Bucket::full(rate, now.into_std()),
            rests_until: None,
        }
    }

    /// Fleet messages that are not over, of all and of one partner.
    pub(in crate::hub) fn open(&self, uid: &Uid) -> (usize, usize) {
        let own = self.open.iter().filter(|it| it.fleet.uid == *uid);
        (self.open.len(), own.count())
    }

    /// The fleet messages that are not over, and those that were not when this was asked last.
    pub(in crate::hub) fn take_ids(&mut self) -> Vec<FleetId> {
        let open = self.open.iter().map(|it| it.fleet.id.clone());
        open.chain(self.over.drain(..)).collect()
    }

    /// Takes a fleet message on, for vehicles in order.
    pub(in crate::hub) fn add(&mut self, fleet: Fleet, vins: Vec<Vin>, now: Instant) {
        let waiting: Vec<_> = vins.into_iter().map(|vin| (vin, Place::Away)).collect();
        self.open.push_back(Campaign {
            bucket: Bucket::full(rate(fleet.per_second), now.into_std()),
            fleet,
            left: waiting.len(),
            looked_to: 0,
            waiting,
            ready: VecDeque::new(),
            later: VecDeque::new(),
        });
    }

    /// The state of a fleet message is another one, on disk.
    pub(in crate::hub) fn set_state(&mut self, number: u64, state: FleetState) {
        match state.is_over() {
            true => {
                let at = self.open.iter().position(|it| it.fleet.number == number);
                let over = at.and_then(|at| self.open.remove(at));
                self.over.extend(over.map(|it| it.fleet.id));
            }
            false => {
                if let Some(campaign) = self.of(number) {
                    campaign.fleet.state = state;
                }
            }
        }
    }

    /// A vehicle can hear us.
    pub(in crate::hub) fn vehicle_is_there(&mut self, vin: &Vin) -> bool {
        let mut any = false;
        for campaign in &mut self.open {
            if let Some(place) = campaign.place(vin)
                && campaign.waiting[place].1 == Place::Away
            {
                campaign.make_ready(place);
                any = true;
            }
        }
        any
    }

    /// What is to be done now. `is_there` tells whether a vehicle can hear us.
    pub(in crate::hub) fn next(
        &mut self,
        now: Instant,
        time: SystemTime,
        is_there: impl Fn(&Vin) -> bool,
    ) -> Next {
        if let Some(over) = self.open.iter().find(|it| it.is_over(time)) {
            return Next::Finish(over.fleet.number);
        }
        if let Some(looking) = self
            .open
            .iter_mut()
            .find(|it| it.looked_to < it.waiting.len())
        {
            looking.look(&is_there);
            return Next::Again;
        }
        let mut wake = self.rests_until.filter(|until| *until > now);
        if wake.is_some() {
            return Next::Wait(wake);
        }
        // One after the other has its turn.
        for _ in 0..self.open.len() {
            self.open.rotate_left(1);
            let Some(campaign) = self.open.back_mut() else {
                break;
            };
            let mut batch = Vec::new();
            let until = loop {
                match campaign.take(now, &is_there, self.rate, &mut self.bucket) {
                    Ok(Some(vin)) if batch.len() + 1 < BATCH => batch.push(vin),
                    Ok(Some(vin)) => {
                        batch.push(vin);
                        break None;
                    }
                    Ok(None) => break campaign.later.front().map(|(at, _)| *at),
                    Err(wait) => break Some(now + wait),
                }
            };
            if !batch.is_empty() {
                return Next::Put(Box::new(campaign.fleet.clone()), batch);
            }
            wake = wake.into_iter().chain(until).min();
        }
        let expiry = self.open.iter().map(|it| {
            let left = it.fleet.expires_at.duration_since(time);
            now + left.unwrap_or_default()
        });
        Next::Wait(wake.into_iter().chain(expiry).min())
    }

    /// The message for a vehicle is on its way.
    pub(in crate::hub) fn put(&mut self, number: u64, vin: &Vin) {
        self.settle(number, vin, Place::Gone);
    }

    /// The vehicle has as many messages waiting as may be.
    pub(in crate::hub) fn full(&mut self, number: u64, vin: &Vin, now: Instant) {
        if let Some(campaign) = self.of(number)
            && let Some(place) = campaign.place(vin)
            && campaign.waiting[place].1 == Place::Taken
        {
            campaign.waiting[place].1 = Place::Later;
            campaign.later.push_back((now + LATER, place as u32));
        }
    }

    /// The message for a vehicle could not be put on its way.
    pub(in crate::hub) fn not_put(&mut self, number: u64, vin: &Vin) {
        self.settle(number, vin, Place::Ready);
    }

    /// Nothing can be put for now.
    pub(in crate::hub) fn rest(&mut self, until: Instant) {
        self.rests_until = Some(until);
    }

    fn settle(&mut self, number: u64, vin: &Vin, to: Place) {
        let Some(campaign) = self.of(number) else {
            return;
        };
        let Some(place) = campaign.place(vin) else {
            return;
        };
        if campaign.waiting[place].1 != Place::Taken {
            return;
        }
        match to {
            Place::Ready => campaign.make_ready(place),
            to => {
                campaign.left -= usize::from(to == Place::Gone);
                campaign.waiting[place].1 = to;
            }
        }
    }

    fn of(&mut self, number: u64) -> Option<&mut Campaign> {
        self.open.iter_mut().find(|it| it.fleet.number == number)
    }
}

impl Campaign {
    fn is_over(&self, time: SystemTime) -> bool {
        self.left == 0 || self.fleet.expires_at <= time
    }

    fn place(&self, vin: &Vin) -> Option<usize> {
        self.waiting.binary_search_by(|(of, _)| of.cmp(vin)).ok()
    }

    fn make_ready(&mut self, place: usize) {
        self.waiting[place].1 = Place::Ready;
        self.ready.push_back(place as u32);
    }

    fn look(&mut self, is_there: impl Fn(&Vin) -> bool) {
        let end = self.waiting.len().min(self.looked_to + LOOK_VEHICLES);
        for place in self.looked_to..end {
            let (vin, of) = &self.waiting[place];
            if *of == Place::Away && is_there(vin) {
                self.make_ready(place);
            }
        }
        self.looked_to = end;
    }

    /// The next vehicle, if there is one.
    ///
    /// # Errors
    /// How long to wait: the rate has it so.
    fn take(
        &mut self,
        now: Instant,
        is_there: impl Fn(&Vin) -> bool,
        all_rate: Rate,
        all: &mut Bucket,
    ) -> Result<Option<Vin>, Duration> {
        if self.fleet.state != FleetState::Running {
            return Ok(None);
        }
        while self.later.front().is_some_and(|(at, _)| *at <= now)
            && let Some((_, place)) = self.later.pop_front()
        {
            self.make_ready(place as usize);
        }
        while let Some(&place) = self.ready.front() {
            let (vin, of) = &mut self.waiting[place as usize];
            if *of != Place::Ready {
                self.ready.pop_front();
            } else if !is_there(vin) {
                *of = Place::Away;
                self.ready.pop_front();
            } else {
                let (own, std_now) = (rate(self.fleet.per_second), now.into_std());
                all.look(all_rate, std_now)?;
                self.bucket.take(own, std_now)?;
                all.take(all_rate, std_now)?;
                *of = Place::Taken;
                let vin = *vin;
                self.ready.pop_front();
                return Ok(Some(vin));
            }
        }
        Ok(None)
    }
}

fn rate(per_second: u32) -> Rate {
    let per_second = f64::from(per_second.max(1));
    Rate {
        per_second,
        burst: (per_second * BURST_PART).max(1.0),
    }
}

#[cfg(test)]
mod tests;
