//! `vehicle-agent simulate`: many vehicles in one process, each the very agent that `run` runs.
//!
//! Only the apps differ: instead of a portal each vehicle has one `SimulatedApp`, always in the
//! foreground, which sends at a steady rate, or sends back what it gets.

mod app;
mod fleet;
mod progress;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use vinbus_protocol::id::Vin;
use vinbus_protocol::limits::{PAYLOAD_BYTES_MAX, VIN_BYTES};
use vinbus_protocol::topic::TopicScheme;
use vinbus_protocol::{pending, popup, uplink_queue};
use vinbus_transport_std::LinkState;

use self::app::SimulatedApp;
use self::fleet::{Fleet, resident_bytes};
use self::progress::Progress;
use crate::agent::{self, World};
use crate::clock::Random as _;
use crate::desk::Desk;
use crate::identity::Identity;
use crate::link::Link;
use crate::linux::args::{SimulateArgs, Transport};
use crate::linux::clock::{ProcessRandom, TokioClock};
use crate::linux::connection::{self, Credentials};
use crate::linux::embedded::{self, ThriftyLink};
use crate::linux::failure::Failure;
use crate::linux::link::StdLink;
use crate::linux::run::{epoch_of_now, terminated};

/// Uplink messages of a vehicle that may wait for the broker.
const QUEUE_MAX: usize = 32;

/// Messages of a vehicle that may wait between its client and its agent.
const INBOUND_MAX: usize = 8;

/// Its vehicles offer no receipts.
type SimulatedDesk = Desk<Vec<u8>, Vec<u8>, 1, QUEUE_MAX, 1>;

/// Runs the vehicles until Ctrl-C or the end of `--duration`, then prints what happened.
///
/// # Errors
/// When an option is wrong or a certificate is missing, or when no vehicle connects within
/// `--connect-timeout`. Some that cannot connect are counted.
pub async fn run(args: &SimulateArgs) -> Result<(), Failure> {
    let plan = Plan::new(args).map_err(Failure::Configuration)?;
    if plan.transport == Transport::Embedded {
        embedded::use_small_pages();
    }
    let fleet = Arc::new(Fleet::new(args.count));
    let resident_before = resident_bytes();
    let (stop, stopping) = watch::channel(false);
    let mut vehicles = JoinSet::new();
    let progress = Progress::start(Arc::clone(&fleet));
    let ended = tokio::select! {
        biased;
        () = terminated() => Ok(()),
        reason = hopeless(&fleet, args.connect_timeout) => Err(Failure::Operation(reason)),
        ended = plan.run(&fleet, &stopping, &mut vehicles) => ended.map_err(Failure::Configuration),
    };
    let memory = resident_bytes()
        .zip(resident_before)
        .map(|(now, before)| now.saturating_sub(before));
    fleet.freeze_connected();
    stop.send_replace(true);
    while let Some(ended) = vehicles.join_next().await {
        ended.context("a simulated vehicle has failed")?;
    }
    progress.finish();
    print!("{}", fleet.summary(memory));
    ended
}

/// Completes with the reason when no vehicle connects in time.
async fn hopeless(fleet: &Fleet, patience: Duration) -> anyhow::Error {
    if timeout(patience, fleet.connected(1)).await.is_ok() {
        return std::future::pending().await;
    }
    let why = fleet.last_trouble();
    anyhow!(
        "no vehicle is connected after {} s (--connect-timeout): {}",
        patience.as_secs_f64(),
        why.as_deref().unwrap_or("the broker does not answer")
    )
}

/// What is known before the first vehicle starts.
struct Plan<'a> {
    args: &'a SimulateArgs,
    vehicles: Vec<(Vin, Files)>,
    scheme: TopicScheme,
    password: Option<String>,
    transport: Transport,
}

impl<'a> Plan<'a> {
    fn new(args: &'a SimulateArgs) -> anyhow::Result<Self> {
        let vins = vins(&args.vin_prefix, args.count)?.into_iter();
        let vehicles = vins.map(|vin| Ok((vin, Files::of(args, &vin)?)));
        Ok(Self {
            args,
            vehicles: vehicles.collect::<anyhow::Result<_>>()?,
            scheme: args.broker.access.scheme()?,
            password: args.broker.access.password()?,
            transport: transport(args),
        })
    }

    /// Starts the vehicles one after the other, and lets them run for `--duration`.
    async fn run(
        &self,
        fleet: &Arc<Fleet>,
        stopping: &watch::Receiver<bool>,
        running: &mut JoinSet<()>,
    ) -> anyhow::Result<()> {
        let mut next = tokio::time::interval(Duration::from_secs(1) / self.args.ramp);
        for (vin, files) in &self.vehicles {
            next.tick().await;
            let vehicle = Vehicle::new(self.args, *vin, &self.scheme, fleet)?;
            let credentials = files.credentials(self.password.as_deref());
            match self.transport {
                Transport::Embedded => {
                    let link = vehicle.embedded_link(self.args, &credentials)?;
                    running.spawn(vehicle.run(link, stopping.clone()));
                }
                Transport::Std => {
                    let link = vehicle.std_link(self.args, &credentials)?;
                    running.spawn(vehicle.run(link, stopping.clone()));
                }
            }
        }
        // Those that cannot connect must not keep the others waiting.
        let _elapsed = timeout(self.args.connect_timeout, fleet.connected(fleet.vehicles)).await;
        match self.args.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
        Ok(())
    }
}

fn transport(args: &SimulateArgs) -> Transport {
    args.transport.unwrap_or_else(|| {
        if embedded::speaks(&args.broker.access.url, args.broker.mqtt_version) {
            Transport::Embedded
        } else {
            Transport::Std
        }
    })
}

/// The VINs: the prefix, then zeros and the number.
fn vins(prefix: &str, count: u32) -> anyhow::Result<Vec<Vin>> {
    let digits = VIN_BYTES.saturating_sub(prefix.len());
    if digits < (count - 1).to_string().len() {
        bail!("--vin-prefix {prefix:?} leaves {digits} places for {count} numbers; shorten it");
    }
    (0..count)
        .map(|number| {
            let vin = format!("{prefix}{number:0digits$}");
            Vin::parse(&vin).with_context(|| format!("--vin-prefix makes {vin:?}, which is no VIN"))
        })
        .collect()
}

/// One simulated vehicle that has not started.
struct Vehicle {
    desk: SimulatedDesk,
    app: SimulatedApp,
    fleet: Arc<Fleet>,
}

impl Vehicle {
    fn new(
        args: &SimulateArgs,
        vin: Vin,
        scheme: &TopicScheme,
        fleet: &Arc<Fleet>,
    ) -> anyhow::Result<Self> {
        let identity = Identity::new(vin, scheme.clone(), args.broker.access.subtree);
        let size = args.size as usize + 128;
        let queue = uplink_queue::storage_bytes_for(4, size).max(4096);
        let queue = args
            .broker
            .uplink_queue
            .map_or(queue, |bytes| bytes as usize);
        let popups = vec![0; popup::storage_bytes_for(256)];
        let mut desk = Desk::new(identity, popups, vec![0; queue], args.broker.drop_policy());
        let pending = vec![0; pending::storage_bytes_for(256)];
        let slot = desk.install(args.app.app.clone(), &args.app.uid, pending)?;
        if args.receipts {
            // The app itself sends without. Of zeros that no message was written to, the system gives no
            // memory: a vehicle takes as many pages as its longest message.
            let random = ProcessRandom::new().next_u32();
            desk.offer_receipts(
                epoch_of_now(),
                random,
                vec![0; PAYLOAD_BYTES_MAX],
                Vec::new(),
            );
        }
        Ok(Self {
            desk,
            app: SimulatedApp::new(slot, vin, args, Arc::clone(fleet)),
            fleet: Arc::clone(fleet),
        })
    }

    fn embedded_link(
        &self,
        args: &SimulateArgs,
        credentials: &Credentials<'_>,
    ) -> anyhow::Result<ThriftyLink> {
        let troubled = Arc::clone(&self.fleet);
        let report = Box::new(move |trouble| troubled.trouble(trouble));
        embedded::open(&args.broker, self.desk.identity(), credentials, report)
    }

    fn std_link(
        &self,
        args: &SimulateArgs,
        credentials: &Credentials<'_>,
    ) -> anyhow::Result<StdLink> {
        let identity = self.desk.identity();
        let options = connection::options(&args.broker, identity, credentials, INBOUND_MAX)?;
        let (client, inbox) = vinbus_transport_std::connect(options)?;
        let troubled = Arc::clone(&self.fleet);
        let report = Box::new(move |state: &LinkState| {
            if let LinkState::Down(error) = state {
                troubled.trouble(format!("{error}; {}", error.advice()));
            }
        });
        Ok(StdLink::new(client, inbox, args.broker.qos, report))
    }

    #[expect(
        clippy::manual_async_fn,
        reason = "the arguments of an async fn take their room twice"
    )]
    fn run(
        mut self,
        mut link: impl Link,
        mut stopping: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> {
        async move {
            let world = World {
                link: &mut link,
                apps: &mut self.app,
                clock: &TokioClock::new(),
                random: &mut ProcessRandom::new(),
            };
            // A sender that is gone stops as well.
            let stopped = async { _ = stopping.wait_for(|stopping| *stopping).await };
            agent::run(&mut self.desk, world, stopped).await;
            self.fleet.ended(&self.desk.counters(), self.desk.waiting());
        }
    }
}

/// The files of one vehicle's identity.
struct Files {
    ca: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
}

impl Files {
    fn credentials<'c>(&'c self, password: Option<&'c str>) -> Credentials<'c> {
        Credentials {
            ca: self.ca.as_deref(),
            certificate: self
                .certificate
                .as_ref()
                .map(|(cert, key)| (cert.as_path(), key.as_path())),
            password,
        }
    }

    fn of(args: &SimulateArgs, vin: &Vin) -> anyhow::Result<Self> {
        let Some(certs) = &args.certs else {
            return Ok(Self {
                ca: args.broker.ca.clone(),
                certificate: None,
            });
        };
        let folder = certs.join(vin.as_str());
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        ensure!(
            cert.is_file() && key.is_file(),
            "{folder} has no cert.pem and key.pem; make them with: host-server enroll vehicle {vin} --out {folder}, or those of a whole new fleet with: host-server enroll vehicles --count {count} --vin-prefix {prefix} --out {certs}",
            folder = folder.display(),
            vin = vin.as_str(),
            count = args.count,
            prefix = args.vin_prefix,
            certs = certs.display()
        );
        let own_ca = Some(folder.join("ca.pem")).filter(|ca| ca.is_file());
        Ok(Self {
            ca: args.broker.ca.clone().or(own_ca),
            certificate: Some((cert, key)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vins_are_numbered_to_their_full_length() {
        let vins = vins("SIM", 3).unwrap();
        assert_eq!(vins[2].as_str(), "SIM00000000000002");
    }

    #[test]
    fn prefix_that_leaves_no_room_or_is_no_vin_is_refused() {
        assert!(
            vins("0123456789ABCDEF", 11)
                .unwrap_err()
                .to_string()
                .contains("shorten")
        );
        assert!(vins("S/M", 1).unwrap_err().to_string().contains("no VIN"));
    }
}
