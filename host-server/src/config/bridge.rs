//! The options about vehicles and the bus, checked.

use super::error::ConfigError;
use super::options::ServeOptions;
use super::settings::{list, uid};
use crate::bridge::{Audience, Hears, Listener};
use crate::bus::ClientName;

/// Applications that are told of partners, at most: each event looks at all of them.
const LISTENERS_MAX: usize = 256;

/// Who is told what happens to vehicles and messages.
pub(super) fn audience(options: &ServeOptions) -> Result<Audience, ConfigError> {
    let option = "bus-events";
    let pairs = list(options.bus_events.as_deref());
    if pairs.len() > LISTENERS_MAX {
        return Err(ConfigError::TooMuch {
            option,
            given: format!("of {} applications", pairs.len()),
            most: LISTENERS_MAX.to_string(),
        });
    }
    let listener = |pair: &String| -> Result<Listener, ConfigError> {
        let (app, partner) = pair
            .split_once('=')
            .ok_or_else(|| ConfigError::NoPair { text: pair.clone() })?;
        Ok(Listener {
            app: ClientName::parse(app.trim()).map_err(|reason| ConfigError::App {
                option,
                text: app.to_owned(),
                reason,
            })?,
            uid: uid(option, partner.trim())?,
            hears: Hears::Everything,
        })
    };
    let listeners = pairs.iter().map(listener).collect::<Result<_, _>>()?;
    Ok(Audience::new(listeners))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Audience, ConfigError> {
        audience(&ServeOptions {
            bus_events: Some(text.to_owned()),
            ..ServeOptions::default()
        })
    }

    #[test]
    fn applications_and_partners_stand_in_pairs() {
        let audience = check("one=mine, two = mine,one=mine").unwrap();
        let pairs: Vec<_> = audience
            .listeners()
            .map(|it| format!("{}={}", it.app, it.uid))
            .collect();
        assert_eq!(pairs, ["one=mine", "two=mine"]);
        assert!(
            super::audience(&ServeOptions::default())
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn what_is_no_pair_is_named() {
        let says = |text: &str, part: &str| {
            let shown = check(text).unwrap_err().to_string();
            assert!(shown.contains(part), "{shown}");
        };
        says(
            "myapp",
            "--bus-events \"myapp\" names no partner: write APP=UID",
        );
        says(
            "my/app=mine",
            "--bus-events \"my/app\" is not an application",
        );
        says("myapp=a/b", "--bus-events \"a/b\" is not a UID");
        says(
            &"a=b,".repeat(257),
            "--bus-events of 257 applications is too much: at most 256",
        );
    }
}
