//! How often each principal may ask: a token bucket that holds two seconds of its rate.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;
use vinbus_protocol::id::Uid;

use super::problem::{Kind, Problem};
use crate::bus::ClientKey;
use crate::model::Principal;

/// The buckets of all principals; there are no more of them than principals were enrolled and
/// clients made.
#[derive(Debug)]
pub(crate) struct Rates {
    per_second: f64,
    buckets: Mutex<HashMap<Owner, Bucket>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Owner {
    Admin,
    Partner(Uid),
    BusClient(ClientKey),
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    requests: f64,
    filled_at: Instant,
}

impl Rates {
    /// Buckets that each fill at `per_second`.
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            per_second: f64::from(per_second),
            buckets: Mutex::default(),
        }
    }

    /// Takes one request out of the principal's bucket.
    ///
    /// # Errors
    /// A [`Problem`] that says when there will be one.
    pub(crate) fn take(&self, principal: &Principal) -> Result<(), Problem> {
        self.take_of(match principal {
            Principal::Admin => Owner::Admin,
            Principal::Partner(uid) => Owner::Partner(uid.clone()),
        })
    }

    /// Takes one request out of the bucket of a client of the bus, or of the administrator.
    ///
    /// # Errors
    /// As [`Rates::take`].
    pub(crate) fn take_platform(&self, client: Option<&ClientKey>) -> Result<(), Problem> {
        self.take_of(match client {
            None => Owner::Admin,
            Some(key) => Owner::BusClient(key.clone()),
        })
    }

    fn take_of(&self, owner: Owner) -> Result<(), Problem> {
        let now = Instant::now();
        let room = 2.0 * self.per_second;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(owner).or_insert(Bucket {
            requests: room,
            filled_at: now,
        });
        let elapsed = now.duration_since(bucket.filled_at).as_secs_f64();
        bucket.requests = (bucket.requests + elapsed * self.per_second).min(room);
        bucket.filled_at = now;
        if bucket.requests < 1.0 {
            return Err(self.refusal());
        }
        bucket.requests -= 1.0;
        Ok(())
    }

    fn refusal(&self) -> Problem {
        let rate = self.per_second;
        Problem::new(
            Kind::RateLimited,
            format!("this token may make {rate} requests a second, and twice as many in a burst"),
        )
        .with("requestsPerSecondMax", rate)
        .retry_after(1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_two_seconds_passes_then_the_rate_holds() {
        let rates = Rates::new(10);
        let count = || {
            (0..100)
                .take_while(|_| rates.take(&Principal::Admin).is_ok())
                .count()
        };
        assert_eq!(count(), 20);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(count(), 10);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(count(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn one_principal_does_not_use_up_what_another_may() {
        let rates = Rates::new(1);
        let partner = Principal::Partner(Uid::parse("other").unwrap());
        while rates.take(&Principal::Admin).is_ok() {}
        assert!(rates.take(&partner).is_ok());
    }
}
