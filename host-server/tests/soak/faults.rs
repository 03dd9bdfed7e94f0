//! What befalls the programs, at moments that a seed decides.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::time::sleep;

use crate::car::Car;
use crate::host::Host;

pub(crate) struct Faults {
    /// The state of a SplitMix64.
    random: u64,
    count: BTreeMap<&'static str, usize>,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        let (random, count) = (seed, BTreeMap::new());
        Self { random, count }
    }

    /// Waits for the next moment, and lets one fault happen. Those that last go on meanwhile.
    pub(crate) async fn next(&mut self, host: &mut Host, cars: &mut [Car]) {
        let pause = self.time(300, 3_000);
        let (fault, time) = (self.below(6), self.time(200, 3_000));
        let index = usize::try_from(self.below(cars.len() as u64)).unwrap();
        let car = &mut cars[index];
        sleep(pause).await;
        let name = match fault {
            0 => {
                host.restart(time).await;
                "kills of the server"
            }
            1 => {
                car.kill().await;
                sleep(time).await;
                car.restart().await;
                "kills of an agent"
            }
            2 => {
                car.cut();
                "cuts of a connection"
            }
            3 => {
                car.unplug(time);
                "times without a way to the broker"
            }
            4 => {
                car.lose(2 * time);
                "times with losses"
            }
            _ => {
                host.disk_is_full(true);
                sleep(time).await;
                host.disk_is_full(false);
                "times with a full disk"
            }
        };
        *self.count.entry(name).or_default() += 1;
    }

    fn time(&mut self, min: u64, max: u64) -> Duration {
        Duration::from_millis(min + self.below(max - min))
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count: Vec<_> = self
            .count
            .iter()
            .map(|(name, n)| format!("{n} {name}"))
            .collect();
        f.write_str(&count.join(", "))
    }
}
