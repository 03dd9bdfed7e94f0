//! Many vehicles in one process, each of which takes what comes: they are cut off all at once, and
//! while they come back there is a message for each of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::app::APP;
use crate::books::{Down, Sums, content, is_long};
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
    /// The number of the next message.
    next: u64,
    /// Messages that it was sent.
    sent: usize,
    /// The ids of those that were accepted.
    accepted: BTreeMap<u64, String>,
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
        simulate.args([
            "--print-received",
            "--broker",
            &url,
            "--connect-timeout",
            "300",
        ]);
        simulate.args(Self::enrolment(vehicles)).args(&login);
        if login.is_empty() {
            simulate.arg("--certs").arg(folder);
        }
        Self {
            vehicles,
            cable,
            process: Process::start(&mut simulate, &log),
            log,
            next: 1,
            sent: 0,
            accepted: BTreeMap::new(),
        }
    }

    /// Sends a message to each vehicle. No such message may be long.
    pub(crate) async fn send(&mut self, rest: &Rest) {
        self.next += u64::from(is_long(self.next));
        let (n, vins) = (self.next, self.vins());
        self.next += 1;
        self.sent += 1;
        let message = json!({ "idApp": APP, "content": content(n) });
        let body = json!({ "message": message, "vins": vins }).to_string();
        let id = rest.post("/fleet/messages?receipts=yes", body).await;
        self.accepted.extend(id.map(|id| (n, id)));
    }

    fn vins(&self) -> Vec<String> {
        let digits = 17 - VIN_PREFIX.len();
        let numbers = 0..self.vehicles;
        numbers
            .map(|n| format!("{VIN_PREFIX}{n:0digits$}"))
            .collect()
    }

    /// How far the messages are, of all that were accepted, by the last step of each.
    pub(crate) async fn steps(&self, rest: &Rest) -> BTreeMap<String, usize> {
        let mut steps = BTreeMap::new();
        for id in self.accepted.values() {
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

    /// Ends them, and makes the books of each: their apps take what comes at once, and no agent ends, so
    /// none may be lost.
    pub(crate) async fn end(self, rest: &Rest) -> Sums {
        let mut books: BTreeMap<_, _> = self
            .vins()
            .into_iter()
            .map(|vin| (vin, (Down::default(), BTreeMap::new())))
            .collect();
        for (down, status) in books.values_mut() {
            down.sent = self.sent;
            // Those of which the server does not tell are missing.
            down.accepted = self.accepted.clone();
            status.extend(self.accepted.keys().map(|n| (*n, "unknown".to_owned())));
        }
        for (n, id) in &self.accepted {
            for vehicle in rest.fleet_vehicles(id).await {
                let of = books.get_mut(vehicle["vin"].as_str().unwrap());
                let (down, status) = of.expect("a vehicle of the fleet");
                status.insert(*n, vehicle["step"].as_str().unwrap().to_owned());
                if let Some(id) = vehicle["messageId"].as_str() {
                    down.accepted.insert(*n, id.to_owned());
                }
            }
        }
        self.process.terminate().await;
        let printed = std::fs::read_to_string(self.log.with_extension("out")).unwrap();
        for line in printed.lines().filter(|line| line.starts_with('{')) {
            let got: Value = serde_json::from_str(line).unwrap();
            let (down, _) = books.get_mut(got["vin"].as_str().unwrap()).unwrap();
            down.arrived(&got["content"]);
        }
        let mut sums = Sums::default();
        for (vin, (down, status)) in &books {
            sums.down(vin, down, status, (true, &[]));
        }
        sums
    }
}
