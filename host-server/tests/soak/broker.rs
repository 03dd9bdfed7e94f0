//! The broker between the server and the vehicles: the server's own, which comes and goes with it, or
//! mosquitto, which can be restarted alone and knows nothing of vinbus.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use tokio::time::sleep;
use vinbus_transport_std::BrokerUrl;
use vinbus_transport_std::conformance::{BrokerUnderTest as _, Endpoint, Mosquitto as Program};

use crate::cable::{Cable, tunnel};
use crate::cli_support::PARTNER;
use crate::process::address;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// Mosquitto, as the car maker's broker: plain, one login for all.
    Mosquitto,
    /// The one in the host server: TLS, a certificate for each vehicle. It is restarted with the server.
    Embedded,
}

pub(crate) enum Broker {
    Embedded {
        mqtts: BrokerUrl,
    },
    Mosquitto {
        program: Box<Program>,
        password: PathBuf,
        /// Between the server and the broker.
        cable: Cable,
    },
}

impl Broker {
    pub(crate) async fn start(choice: Choice, folder: &Path) -> Self {
        if choice == Choice::Embedded {
            let mqtts = format!("mqtts://{}", address()).parse().unwrap();
            return Self::Embedded { mqtts };
        }
        let program = Box::new(Program::start().await);
        let password = folder.join("password");
        std::fs::write(&password, Program::PASSWORD).unwrap();
        let cable = Cable::to(&program.url(Endpoint::Mqtt)).await;
        Self::Mosquitto {
            program,
            password,
            cable,
        }
    }

    /// Of the server.
    pub(crate) fn options(&self) -> Vec<String> {
        let (url, password) = match self {
            Self::Embedded { mqtts } => {
                let address = format!("127.0.0.1:{}", mqtts.port());
                let own = ["--mqtt", "off", "--mqtts", &address, "--server-names"];
                let names = [crate::board::HOST, "localhost", "127.0.0.1"].join(",");
                return own.iter().map(ToString::to_string).chain([names]).collect();
            }
            Self::Mosquitto {
                cable, password, ..
            } => (format!("mqtt://127.0.0.1:{}", cable.port), password),
        };
        let password = password.display().to_string();
        let foreign = ["--broker", &url, "--broker-password-file", &password];
        let login = ["--broker-username", Program::USER];
        let whose = ["--broker-uids", "all", "--partner", PARTNER];
        let all = [&foreign[..], &login, &whose].concat();
        all.into_iter().map(str::to_owned).collect()
    }

    /// Where the cable of the vehicle in this folder leads: what passes it is in the clear.
    pub(crate) async fn clear(&self, vehicle: &Path) -> BrokerUrl {
        match self {
            Self::Embedded { mqtts } => {
                let address = format!("127.0.0.1:{}", mqtts.port());
                tunnel(vehicle, address.parse().unwrap()).await
            }
            Self::Mosquitto { program, .. } => program.url(Endpoint::Mqtt),
        }
    }

    /// Where the cable of a vehicle leads that speaks as the broker wants it.
    pub(crate) fn url(&self) -> BrokerUrl {
        match self {
            Self::Embedded { mqtts } => mqtts.clone(),
            Self::Mosquitto { program, .. } => program.url(Endpoint::Mqtt),
        }
    }

    /// How an agent that speaks in the clear logs in.
    pub(crate) fn login(&self) -> Vec<String> {
        match self {
            Self::Embedded { .. } => Vec::new(),
            Self::Mosquitto { password, .. } => {
                let password = password.display().to_string();
                let login = ["--username", Program::USER, "--password-file", &password];
                login.into_iter().map(str::to_owned).collect()
            }
        }
    }

    /// Stops mosquitto without a word, and starts it again after this time.
    pub(crate) async fn restart(&mut self, away: Duration) {
        if let Self::Mosquitto { program, .. } = self {
            program.stop().await;
            sleep(away).await;
            program.start().await;
        }
    }

    /// Cuts what is between the server and mosquitto.
    pub(crate) fn cut(&self) {
        if let Self::Mosquitto { cable, .. } = self {
            cable.cut();
        }
    }

    /// Whether it can be restarted, and cut off, without the server.
    pub(crate) fn is_apart(&self) -> bool {
        matches!(self, Self::Mosquitto { .. })
    }
}
