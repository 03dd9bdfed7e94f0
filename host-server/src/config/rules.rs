//! The tables `[[bridge]]` of the configuration file, checked; what is wrong is told with its place.

use std::fmt::Display;
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use vinbus_protocol::delivery::CONTROL_APP;
use vinbus_protocol::id::{AppId, Uid, Vin};
use vinbus_protocol::topic::{PREFIX_DEFAULT, TopicScheme};

use super::time;
use crate::bridge::{Down, Pattern, Rule, RuleError, Rules, Up};
use crate::bus::ClientName;
use crate::hub::TTL_MAX;
use crate::model::Receipts;

/// The name of the tables.
pub(super) const BRIDGE_KEY: &str = "bridge";

/// Rules at most: each message of the bus is compared with all of them.
const RULES_MAX: usize = 256;

/// The tables of a file, as they are written.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Tables {
    #[serde(default)]
    bridge: Vec<Spanned<Table>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    app: Spanned<String>,
    uid: Spanned<String>,
    vin: Option<Spanned<String>>,
    from_bus: Option<Spanned<String>>,
    id_app: Option<Spanned<String>>,
    ttl: Option<Spanned<String>>,
    receipts: Option<Spanned<String>>,
    to_bus: Option<Spanned<String>>,
    subtopic: Option<Spanned<String>>,
}

/// What is wrong, and where.
pub(super) struct Wrong {
    pub(super) span: Range<usize>,
    pub(super) message: String,
}

/// The rules of the tables; `line` tells in which line a place is.
pub(super) fn check(tables: &Tables, line: impl Fn(usize) -> usize) -> Result<Rules, Wrong> {
    if let Some(one_more) = tables.bridge.get(RULES_MAX) {
        return Err(Wrong {
            span: one_more.span(),
            message: format!(
                "there are more than {RULES_MAX} tables `[[bridge]]`, the most there may be"
            ),
        });
    }
    let rules = tables
        .bridge
        .iter()
        .map(|table| rule(table.get_ref(), table.span()));
    let rules = rules.collect::<Result<Vec<_>, _>>()?;
    let begin = |place: usize| tables.bridge[place].span().start;
    Rules::new(rules, |place| line(begin(place))).map_err(|(place, error)| {
        let table = &tables.bridge[place];
        let key = match error {
            RuleError::Nothing => None,
            RuleError::Loop { .. } => table.get_ref().to_bus.as_ref(),
            _ => table.get_ref().from_bus.as_ref(),
        };
        Wrong {
            span: key.map_or_else(|| table.span(), Spanned::span),
            message: error.to_string(),
        }
    })
}

fn rule(table: &Table, span: Range<usize>) -> Result<Rule, Wrong> {
    let app = value(&table.app, "app", ClientName::parse)?;
    let uid = value(&table.uid, "uid", Uid::parse)?;
    let vin = table
        .vin
        .as_ref()
        .map(|text| value(text, "vin", Vin::parse))
        .transpose()?;
    let down = match (&table.from_bus, &table.id_app) {
        (Some(from), Some(id_app)) => Some(Down {
            from: value(from, "from-bus", Pattern::parse)?,
            app: value(id_app, "id-app", id_app_of)?,
            receipts: table
                .receipts
                .as_ref()
                .map(|text| value(text, "receipts", receipts))
                .transpose()?,
            ttl: table
                .ttl
                .as_ref()
                .map(|text| value(text, "ttl", ttl))
                .transpose()?,
        }),
        (Some(_), None) => {
            return Err(Wrong {
                span,
                message: "from-bus needs id-app beside it, the app in the vehicle".to_owned(),
            });
        }
        (None, _) => {
            for (key, given) in [
                ("id-app", &table.id_app),
                ("ttl", &table.ttl),
                ("receipts", &table.receipts),
            ] {
                no_effect(key, given.as_ref(), "from-bus")?;
            }
            None
        }
    };
    let up = match &table.to_bus {
        Some(to) => Some(Up {
            to: value(to, "to-bus", Pattern::parse)?,
            subtopic: match &table.subtopic {
                Some(text) => Some(value(text, "subtopic", subtopic)?),
                None => None,
            },
        }),
        None => {
            no_effect("subtopic", table.subtopic.as_ref(), "to-bus")?;
            None
        }
    };
    Ok(Rule {
        app,
        uid,
        vin,
        down,
        up,
    })
}

fn value<T, E: Display>(
    text: &Spanned<String>,
    key: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, Wrong> {
    parse(text.get_ref()).map_err(|error| Wrong {
        span: text.span(),
        message: format!("{key} {:?} cannot be used: {error}", text.get_ref()),
    })
}

fn no_effect(key: &str, given: Option<&Spanned<String>>, without: &str) -> Result<(), Wrong> {
    match given {
        None => Ok(()),
        Some(text) => Err(Wrong {
            span: text.span(),
            message: format!("{key} has no effect without {without}; remove it"),
        }),
    }
}

fn id_app_of(text: &str) -> Result<AppId, String> {
    match AppId::parse(text) {
        Ok(app) if app.as_str() == CONTROL_APP => Err("it is the server's own".to_owned()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

fn receipts(text: &str) -> Result<Receipts, &'static str> {
    match text {
        "yes" => Ok(Receipts::Asked),
        "repeatable" => Ok(Receipts::Repeatable),
        "no" => Ok(Receipts::No),
        _ => Err("write yes, no or repeatable"),
    }
}

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = time::parse(text).map_err(|error| error.to_string())?;
    match ttl {
        _ if ttl < Duration::from_secs(1) => Err("at least 1s".to_owned()),
        _ if ttl > TTL_MAX => Err("at most 30days".to_owned()),
        _ => Ok(ttl),
    }
}

/// A subtopic, as it stands behind a vehicle's VIN.
fn subtopic(text: &str) -> Result<String, String> {
    let text = text.trim_start_matches('/');
    let topic = format!("{PREFIX_DEFAULT}/from/uid/u/opa/00000000000000000/{text}");
    let scheme = TopicScheme::default();
    let parsed = scheme.parse(&topic).map_err(|error| error.to_string())?;
    let subtopic = parsed.subtopic.ok_or("it is empty")?;
    Ok(subtopic.to_owned())
}
