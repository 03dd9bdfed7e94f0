//! How often each principal may ask: a bucket that holds two seconds of its rate; and how often a client
//! of the bus may be given a token.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use vinbus_protocol::id::Uid;

use super::problem::{Kind, Problem};
use crate::bucket::{Buckets, Rate};
use crate::bus::ClientKey;
use crate::model::Principal;

/// Tokens that one client may be given, by whatever way: its programs may all start at once.
const TOKENS: Rate = Rate {
    per_second: 10.0,
    burst: 300.0,
};

/// The buckets of all principals.
#[derive(Debug)]
pub(crate) struct Rates {
    per_second: u32,
    requests: Mutex<Buckets<Owner>>,
    tokens: Mutex<Buckets<ClientKey>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Owner {
    Admin,
    Partner(Uid),
    BusClient(ClientKey),
}

impl Rates {
    /// Buckets that each fill at `per_second`.
    pub(crate) fn new(per_second: u32) -> Self {
        let rate = Rate {
            per_second: f64::from(per_second),
            burst: 2.0 * f64::from(per_second),
        };
        Self {
            per_second,
            requests: Mutex::new(Buckets::new(rate)),
            tokens: Mutex::new(Buckets::new(TOKENS)),
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

    /// Takes one token out of the bucket of a client.
    ///
    /// # Errors
    /// The time until there is one.
    pub(crate) fn take_token(&self, key: &ClientKey) -> Result<(), Duration> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.take(key.clone(), Instant::now().into_std())
    }

    fn take_of(&self, owner: Owner) -> Result<(), Problem> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = requests.take(owner, Instant::now().into_std());
        taken.map_err(|_| self.refusal())
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
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_principal_does_not_use_up_what_another_may() {
        let rates = Rates::new(1);
        let partner = Principal::Partner(Uid::parse("other").unwrap());
        while rates.take(&Principal::Admin).is_ok() {}
        assert!(rates.take(&partner).is_ok());
    }
}
