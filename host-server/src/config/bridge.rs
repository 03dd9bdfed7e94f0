//! The options about vehicles and the bus, and about another platform's, checked.

use std::fmt;
use std::path::PathBuf;

use vinbus_transport_std::bus::PlatformUrl;

use super::error::ConfigError;
use super::options::{PlatformKind, ServeOptions};
use super::settings::{list, uid};
use crate::bridge::{Audience, Hears, Listener, Rules};
use crate::bus::ClientName;

/// Applications that are told of partners, at most: each event looks at all of them.
const LISTENERS_MAX: usize = 256;

/// Another platform, and who we are there.
#[derive(Clone, Debug)]
pub struct PlatformChoice {
    /// Where it is.
    pub url: PlatformUrl,
    /// The application that we are of.
    pub app: ClientName,
    /// Our client.
    pub client: String,
    /// The file with its secret.
    pub secret_file: PathBuf,
    /// PEM file of the authority behind its certificate.
    pub ca: Option<PathBuf>,
    /// Whether it is a host server.
    pub is_vinbus: bool,
    shown: String,
}

impl fmt::Display for PlatformChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            shown, app, client, ..
        } = self;
        write!(f, "{shown} as {app}/{client}")
    }
}

/// The platform that rules are about, if it is not our own bus.
pub(super) fn platform(
    options: &ServeOptions,
    rules: &Rules,
) -> Result<Option<PlatformChoice>, ConfigError> {
    let Some(text) = &options.platform else {
        let given = options
            .given()
            .find(|option| option.starts_with("platform-"));
        return match given {
            None => Ok(None),
            Some(option) => Err(ConfigError::NoEffect {
                option,
                beside: "without --platform",
            }),
        };
    };
    let missing = |missing| ConfigError::Incomplete {
        given: "platform",
        missing,
    };
    let pair = options.platform_client.as_ref();
    let pair = pair.ok_or_else(|| missing("platform-client"))?;
    let parsed = pair.split_once('/').and_then(|(app, client)| {
        let app = ClientName::parse(app).ok()?;
        (!client.is_empty()).then(|| (app, client.to_owned()))
    });
    let (app, client) = parsed.ok_or_else(|| ConfigError::PlatformClient { text: pair.clone() })?;
    let secret_file = options.platform_secret_file.clone();
    let secret_file = secret_file.ok_or_else(|| missing("platform-secret-file"))?;
    if rules.is_empty() {
        return Err(ConfigError::NoEffect {
            option: "platform".to_owned(),
            beside: "without tables [[bridge]] in the configuration file",
        });
    }
    if let Some(foreign) = rules.iter().find(|rule| rule.app != app) {
        return Err(ConfigError::ForeignApp {
            app: foreign.app.to_string(),
            own: app.to_string(),
        });
    }
    Ok(Some(PlatformChoice {
        url: text.parse().map_err(ConfigError::PlatformUrl)?,
        app,
        client,
        secret_file,
        ca: options.platform_ca.clone(),
        is_vinbus: options.platform_kind.unwrap_or_default() == PlatformKind::Vinbus,
        shown: text.clone(),
    }))
}

/// Who is told what happens to vehicles and messages.
pub(super) fn audience(options: &ServeOptions) -> Result<Audience, ConfigError> {
    let option = "bus-events";
    let pairs = list(options.bus_events.as_deref(), option)?;
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
    fn platform_that_cannot_be_used_is_told_with_what_to_change() {
        let says = |change: fn(&mut ServeOptions), part: &str| {
            let mut options = ServeOptions {
                platform: Some("http://localhost:8080".to_owned()),
                platform_client: Some("myapp/bridge".to_owned()),
                platform_secret_file: Some("secret".into()),
                ..ServeOptions::default()
            };
            change(&mut options);
            let shown = platform(&options, &Rules::default())
                .unwrap_err()
                .to_string();
            assert!(shown.contains(part), "{shown}");
        };
        says(|_| {}, "--platform has no effect without tables [[bridge]]");
        says(
            |it| it.platform = None,
            "--platform-client has no effect without --platform",
        );
        says(
            |it| it.platform_client = None,
            "--platform needs --platform-client",
        );
        says(
            |it| it.platform_client = Some("myapp".to_owned()),
            "write APP/CLIENT",
        );
        says(
            |it| it.platform_secret_file = None,
            "needs --platform-secret-file",
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
            &["a=b"; 257].join(","),
            "--bus-events of 257 applications is too much: at most 256",
        );
    }
}
