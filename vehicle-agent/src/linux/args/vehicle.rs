//! The vehicle and its apps.

use std::fmt;
use std::str::FromStr;

use clap::Args;

use vinbus_protocol::id::{AppId, Uid, Vin};

/// Options of every command that is about one vehicle.
#[derive(Clone, Debug, Args)]
pub struct VehicleArgs {
    /// The vehicle: 17 letters and digits.
    #[arg(long, env = "VINBUS_AGENT_VIN")]
    pub vin: Vin,

    /// An installed app and the partner it belongs to; may be repeated, or a list with commas.
    #[arg(
        long = "app",
        env = "VINBUS_AGENT_APPS",
        value_name = "IDAPP=UID",
        value_delimiter = ',',
        required = true
    )]
    pub apps: Vec<InstalledApp>,
}

/// An app and its partner, written `IDAPP=UID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledApp {
    /// The app.
    pub app: AppId,
    /// The partner.
    pub uid: Uid,
}

impl FromStr for InstalledApp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (app, uid) = text
            .rsplit_once('=')
            .ok_or("write the app's identifier and its partner's UID as IDAPP=UID")?;
        let app = AppId::parse(app).map_err(|error| format!("the app's identifier: {error}"))?;
        let uid = Uid::parse(uid).map_err(|error| format!("the partner's UID: {error}"))?;
        Ok(Self { app, uid })
    }
}

impl fmt::Display for InstalledApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.app, self.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_app_is_split_at_the_last_equals_sign() {
        let app: InstalledApp = "a=b=partner".parse().unwrap();
        assert_eq!((app.app.as_str(), app.uid.as_str()), ("a=b", "partner"));
        assert!(
            "demo"
                .parse::<InstalledApp>()
                .unwrap_err()
                .contains("IDAPP=UID")
        );
        assert!("=x".parse::<InstalledApp>().unwrap_err().contains("empty"));
        assert!(
            "demo=a/b"
                .parse::<InstalledApp>()
                .unwrap_err()
                .contains("UID")
        );
    }
}
