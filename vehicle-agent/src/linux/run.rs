//! `vehicle-agent run`: one vehicle, its broker and its apps.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use vinbus_protocol::delivery::{CONTROL_APP, Epoch};
use vinbus_protocol::limits::{
    APP_MESSAGE_BYTES_MAX, DELIVERY_IN_FLIGHT_MAX, DELIVERY_LONG_BYTES_MAX,
    LONG_APP_MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX, REQUEST_ANSWER_BYTES,
};
use vinbus_protocol::portal::InstallError;
use vinbus_protocol::{pending, popup};
use vinbus_transport_std::{ClientOptions, LinkState, Qos};

use crate::agent::{self, World};
use crate::clock::{Clock as _, Random as _};
use crate::desk::Desk;
use crate::identity::Identity;
use crate::linux::args::{AppFolder, RunArgs};
use crate::linux::clock::{ProcessRandom, TokioClock};
use crate::linux::connection::{self, Credentials};
use crate::linux::failure::Failure;
use crate::linux::link::StdLink;
use crate::linux::listen::listen;
use crate::linux::portal::{AppPages, ConnectionBounds, Listening, PortalOptions, SocketApps};
use crate::linux::saved::Saved;
use crate::linux::status::Status;

/// Apps that one vehicle may have.
const APPS_MAX: usize = 16;

/// Uplink messages that may wait for the broker.
const QUEUE_MAX: usize = 1024;

/// Bytes of the uplink queue, unless an option says otherwise. The system provides them when they
/// are first used.
const QUEUE_BYTES: u32 = 4 * 1024 * 1024;

/// Bytes of messages that wait for one app: ten of the largest, and one long one besides.
pub(crate) const PENDING_BYTES: usize =
    pending::storage_bytes_for(APP_MESSAGE_BYTES_MAX) + LONG_APP_MESSAGE_BYTES_MAX;

/// Messages that may wait between the client and the agent.
const INBOUND_MAX: usize = 64;

/// Time for open HTTP requests to end when the agent stops, after its apps.
const PORTAL_STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The desk of `run`.
pub(crate) type LinuxDesk = Desk<Vec<u8>, Vec<u8>, APPS_MAX, QUEUE_MAX, DELIVERY_IN_FLIGHT_MAX>;

/// Serves the vehicle until SIGTERM or Ctrl-C.
///
/// # Errors
/// When an option is wrong, or the portal's address is taken. The broker being away is no error.
pub async fn run(args: RunArgs) -> Result<(), Failure> {
    let (mut desk, options) = prepare(&args).map_err(Failure::Configuration)?;
    let pages = app_pages(&args).map_err(Failure::Configuration)?;
    let saved = args
        .data_dir
        .as_deref()
        .map(|dir| Saved::open(dir, args.vehicle.vin))
        .transpose()?;
    let new_life = RandomState::new().hash_one(());
    let journal = saved.as_ref().map(|saved| saved.journal(new_life));
    let journal = journal.transpose()?;
    let epoch = match &saved {
        Some(saved) => saved.begin_epoch()?,
        None => epoch_of_now(),
    };
    let uplinks = vec![0; args.broker.uplink_queue.unwrap_or(QUEUE_BYTES) as usize];
    let mut random = ProcessRandom::new();
    let word = random.next_u32();
    desk.offer_receipts(epoch, word, vec![0; DELIVERY_LONG_BYTES_MAX], uplinks);
    desk.take_long_messages(|| vec![0; DELIVERY_LONG_BYTES_MAX]);
    desk.answer_requests(vec![0; REQUEST_ANSWER_BYTES]);
    let crash = saved.as_ref().and_then(Saved::last_words);
    if let Some(words) = &crash {
        tracing::error!(words, "the last run ended in a panic");
    }
    let status = Arc::new(Status::new(args.vehicle.vin, crash));
    let (portal, mut apps) = open_portal(&args, pages, &desk, &status).await?;
    if let (Some(saved), Some(mut journal)) = (&saved, journal) {
        journal.restore(&mut desk, &mut apps)?;
        apps.note_in(journal);
        let taken_up = saved.restore(&mut desk, &mut apps)?;
        apps.settle_with(taken_up);
    }
    for app in args.receipts_for.iter().flat_map(|list| &list.0) {
        apps.ask_for_receipts(app);
    }
    let mut link = open_link(options, args.broker.qos, &status)?;
    let (stop, stopping) = watch::channel(false);
    let portal = tokio::spawn(portal.serve(stopped(stopping.clone())));
    tokio::spawn(async move {
        terminated().await;
        tracing::info!("stopping: telling the broker that the vehicle is offline");
        stop.send_replace(true);
    });
    let clock = TokioClock::new();
    let world = World {
        link: &mut link,
        apps: &mut apps,
        clock: &clock,
        random: &mut random,
    };
    agent::run(&mut desk, world, stopped(stopping)).await;
    apps.stop(clock.now_ms(), &mut desk).await;
    drop(apps);
    if let Some(saved) = &saved {
        saved.save(&mut desk)?;
        if let Some(epoch) = desk.epoch() {
            saved.keep_epoch(epoch)?;
        }
    }
    // Half a request may keep the server waiting for its other half.
    if let Ok(served) = timeout(PORTAL_STOP_TIMEOUT, portal).await {
        served.context("the portal has failed")?;
    }
    tracing::info!("stopped");
    tracing::debug!(counters = ?desk.counters(), "counted");
    Ok(())
}

/// Seconds since 2020: greater at each start than before, as clocks go.
pub(crate) fn epoch_of_now() -> Epoch {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    Epoch::at(since_1970.unwrap_or_default().as_secs()).unwrap_or(Epoch::FIRST)
}

/// Makes everything of the options that touches nothing outside: whoever starts a second agent by
/// mistake must not disturb the first.
fn prepare(args: &RunArgs) -> anyhow::Result<(LinuxDesk, ClientOptions)> {
    let desk = desk(args)?;
    if let Some(folder) = &args.data_dir {
        Saved::check(folder)?;
    }
    let password = args.broker.access.password()?;
    let credentials = Credentials {
        ca: args.broker.ca.as_deref(),
        certificate: args.cert.as_deref().zip(args.key.as_deref()),
        password: password.as_deref(),
    };
    let options = connection::options(&args.broker, desk.identity(), &credentials, INBOUND_MAX)?;
    Ok((desk, options))
}

fn desk(args: &RunArgs) -> anyhow::Result<LinuxDesk> {
    let access = &args.broker.access;
    let identity = Identity::new(args.vehicle.vin, access.scheme()?, access.subtree);
    let popups = vec![0; popup::storage_bytes_for(PAYLOAD_BYTES_MAX)];
    let uplinks = vec![0; args.broker.uplink_queue.unwrap_or(QUEUE_BYTES) as usize];
    let mut desk = Desk::new(identity, popups, uplinks, args.broker.drop_policy());
    for app in args.receipts_for.iter().flat_map(|list| &list.0) {
        if args.vehicle.apps.iter().all(|it| it.app != *app) {
            bail!("--receipts-for {app}: no such app is installed; add --app {app}=UID");
        }
    }
    for installed in &args.vehicle.apps {
        if installed.app.as_str() == CONTROL_APP {
            bail!("--app {CONTROL_APP}: receipts use this name; call the app otherwise");
        }
        let pending = vec![0; PENDING_BYTES];
        match desk.install(installed.app.clone(), &installed.uid, pending) {
            Ok(_) => {}
            Err(InstallError::Duplicate { .. }) => {
                bail!(
                    "--app {} is given twice; an app belongs to one partner",
                    installed.app
                )
            }
            Err(InstallError::TableFull { max }) => {
                bail!(
                    "a vehicle has at most {max} apps, {} were given",
                    args.vehicle.apps.len()
                )
            }
        }
    }
    Ok(desk)
}

fn app_pages(args: &RunArgs) -> anyhow::Result<AppPages> {
    for AppFolder { app, .. } in &args.app_pages {
        if args
            .vehicle
            .apps
            .iter()
            .all(|installed| installed.app != *app)
        {
            bail!("--app-pages {app}=…: no such app is installed; add --app {app}=UID");
        }
    }
    let folders = args.app_pages.iter().cloned();
    let folders = folders.map(|AppFolder { app, folder }| (app, folder));
    AppPages::open(&args.portal_domain, folders)
}

async fn open_portal(
    args: &RunArgs,
    pages: AppPages,
    desk: &LinuxDesk,
    status: &Arc<Status>,
) -> anyhow::Result<(Listening, SocketApps<'static>)> {
    let listener = listen("--portal", args.portal).await?;
    let address = listener.local_addr()?;
    let apps: Vec<_> = desk.portal().apps().map(|app| app.id.clone()).collect();
    let options = PortalOptions {
        apps: apps.clone(),
        frames_per_second: args.app_rate,
        origins: args.allow_origin.clone(),
        bounds: ConnectionBounds {
            connections: args.portal_connections,
            header_time: args.portal_header_time,
        },
        pages,
    };
    let (portal, news) = Listening::new(listener, address, options, Arc::clone(status));
    let home = portal.home();
    tracing::info!(vin = %args.vehicle.vin, "the portal is at {home}/, for programs at ws://{address}/portal; be an app with: vehicle-agent app --app {} --portal {address}", args.vehicle.apps[0].app);
    Ok((
        portal,
        SocketApps::new(args.vehicle.vin, apps, news, Arc::clone(status)),
    ))
}

fn open_link(options: ClientOptions, qos: Qos, status: &Arc<Status>) -> anyhow::Result<StdLink> {
    let (client, inbox) = vinbus_transport_std::connect(options)?;
    status.watch(client.clone());
    let reported = Arc::clone(status);
    let report = Box::new(move |state: &LinkState| reported.link(state));
    Ok(StdLink::new(client, inbox, qos, report))
}

/// Completes at SIGTERM or Ctrl-C.
pub(crate) async fn terminated() {
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            tracing::warn!(%error, "cannot wait for SIGTERM; use Ctrl-C");
            let _ = tokio::signal::ctrl_c().await;
            return;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // A sender that is gone stops as well.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
