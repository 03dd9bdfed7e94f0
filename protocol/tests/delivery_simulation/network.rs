//! The way between two ends: loses, repeats, delays and reorders, is slow or full, or is not there.

use std::collections::BTreeMap;

use crate::seeds::random::Random;

/// How a way behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) loss_percent: u64,
    pub(crate) repeat_percent: u64,
    pub(crate) delay_ms: (u64, u64),
    /// Bytes per millisecond.
    pub(crate) rate: u64,
    /// Frames for which there is a place; what comes when all are taken is lost.
    pub(crate) places: usize,
}

impl Weather {
    /// Nothing goes wrong.
    pub(crate) const FAIR: Self = Self {
        loss_percent: 0,
        repeat_percent: 0,
        delay_ms: (20, 20),
        rate: 1_000,
        places: usize::MAX,
    };

    pub(crate) fn any(random: &mut Random) -> Self {
        let delay = random.between(1, 300);
        Self {
            loss_percent: [0, 2, 20, 50][random.index(4)],
            repeat_percent: [0, 0, 5, 30][random.index(4)],
            delay_ms: (delay, delay + [0, 20, 2_000][random.index(3)]),
            rate: [30, 100, 100_000][random.index(3)],
            places: [6, 100, usize::MAX][random.index(3)],
        }
    }
}

/// One direction.
pub(crate) struct Way {
    pub(crate) weather: Weather,
    /// Nothing comes through, and nobody is told.
    pub(crate) cut: bool,
    under_way: BTreeMap<(u64, u64), Vec<u8>>,
    /// Frames of the past, for replays.
    past: Vec<Vec<u8>>,
    free_at_ms: u64,
    counter: u64,
}

impl Way {
    pub(crate) fn new(weather: Weather) -> Self {
        Self {
            weather,
            cut: false,
            under_way: BTreeMap::new(),
            past: Vec::new(),
            free_at_ms: 0,
            counter: 0,
        }
    }

    pub(crate) fn send(&mut self, now_ms: u64, frame: &[u8], random: &mut Random) {
        if self.past.len() < 16 {
            self.past.push(frame.to_vec());
        } else if random.chance(10) {
            let at = random.index(self.past.len());
            self.past[at] = frame.to_vec();
        }
        if self.under_way.len() >= self.weather.places {
            return;
        }
        self.free_at_ms = self.free_at_ms.max(now_ms) + frame.len() as u64 / self.weather.rate;
        if self.cut || random.chance(self.weather.loss_percent) {
            return;
        }
        let copies = 1 + u64::from(random.chance(self.weather.repeat_percent));
        for _ in 0..copies {
            let (low, high) = self.weather.delay_ms;
            let at = self.free_at_ms + random.between(low, high);
            self.put(at, frame.to_vec());
        }
    }

    /// Something of the past comes again.
    pub(crate) fn replay(&mut self, now_ms: u64, random: &mut Random) {
        if !self.past.is_empty() {
            let frame = self.past[random.index(self.past.len())].clone();
            self.put(now_ms, frame);
        }
    }

    /// All that is under way is lost.
    pub(crate) fn drop_all(&mut self) {
        self.under_way.clear();
        self.free_at_ms = 0;
    }

    /// So much time has passed that nothing comes any more of what was sent.
    pub(crate) fn outlive_all(&mut self) {
        self.drop_all();
        self.past.clear();
    }

    pub(crate) fn next_at_ms(&self) -> Option<u64> {
        self.under_way.first_key_value().map(|(&(at, _), _)| at)
    }

    pub(crate) fn arrived(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        let first = self.under_way.first_entry()?;
        (first.key().0 <= now_ms).then(|| first.remove())
    }

    fn put(&mut self, at: u64, frame: Vec<u8>) {
        self.counter += 1;
        self.under_way.insert((at, self.counter), frame);
    }
}
