//! Many vehicles in one process, each of which takes what comes: they are cut off all at once, and
//! while they come back there is a message for each of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::process::Command;

use crate::app::APP;
use crate::broker::Broker;
use crate::cable::Cable;
use crate::car::program;
use crate::cli_support::{PARTNER, clean};
use crate::process::Process;
use crate::rest::Rest;

/// How its VINs begin.
pub(crate) const VIN_PREFIX: &str = "SOAKFLEET";

pub(crate) struct Fleet {
    pub(crate) vehicles: usize,
    pub(crate) cable: Cable,
    process: Process,
    log: PathBuf,
    /// Messages that it was sent, and the ids of those that were accepted.
    pub(crate) sent: usize,
    pub(crate) accepted: Vec<String>,
}

impl Fleet {
    /// How `host-server enroll vehicles` names them.
    pub(crate) fn enrolment(vehicles: usize) -> [String; 4] {
        let count = vehicles.to_string();
        [
            "--count".into(),
            count,
            "--vin-prefix".into(),
            VIN_PREFIX.into(),
        ]
    }

    /// Starts them, enrolled in this folder.
    pub(crate) async fn start(folder: &Path, vehicles: usize, broker: &Broker) -> Self {
        let cable = Cable::to(&broker.url()).await;
        let (login, log) = (broker.login(), folder.with_extension("log"));
        let scheme = ["mqtt", "mqtts"][usize::from(login.is_empty())];
        let url = format!("{scheme}://127.0.0.1:{}", cable.port);
        let app = format!("{APP}={PARTNER}");
        let mut simulate = clean(Command::new(program()));
        simulate.args(["simulate", "--receipts", "--ramp", "200", "--app", &app]);
        simulate.args(["--broker", &url, "--connect-timeout", "300"]);
        simulate.args(Self::enrolment(vehicles)).args(&login);
        if login.is_empty() {
            simulate.arg("--certs").arg(folder);
        }
        Self {
            vehicles,
            cable,
            process: Process::start(&mut simulate, &log),
            log,
            sent: 0,
            accepted: Vec::new(),
        }
    }

    /// Sends a message to each vehicle.
    pub(crate) async fn send(&mut self, rest: &Rest) {
        self.sent += 1;
        let digits = 17 - VIN_PREFIX.len();
        let vins: Vec<_> = (0..self.vehicles)
            .map(|n| format!("{VIN_PREFIX}{n:0digits$}"))
            .collect();
        let message = json!({ "idApp": APP, "content": { "n": self.sent } });
        let body = json!({ "message": message, "vins": vins }).to_string();
        let id = rest.post("/fleet/messages?receipts=yes", body).await;
        self.accepted.extend(id);
    }

    /// How far the messages are, of all that were accepted, by the last step of each.
    pub(crate) async fn steps(&self, rest: &Rest) -> BTreeMap<String, usize> {
        let mut steps = BTreeMap::new();
        for id in &self.accepted {
            let told = rest.get(&format!("/fleet/messages/{id}")).await;
            let counts = told["counts"]
                .as_object()
                .expect("counts of a fleet message");
            for (step, count) in counts {
                let count = usize::try_from(count.as_u64().unwrap()).unwrap();
                *steps.entry(step.clone()).or_default() += count;
            }
        }
        steps
    }

    /// Ends them; how many messages their apps got.
    pub(crate) async fn end(self) -> usize {
        self.process.terminate().await;
        let printed = std::fs::read_to_string(&self.log).unwrap();
        let received = printed
            .lines()
            .find_map(|line| line.strip_prefix("received "));
        let received = received.and_then(|received| received.split_whitespace().next());
        received.expect("it tells at the end").parse().unwrap()
    }
}
