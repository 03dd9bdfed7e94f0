//! The app of a simulated vehicle.

use std::collections::VecDeque;
use std::future::pending;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::AppMessage;
use vinbus_protocol::health::Health;
use vinbus_protocol::id::Vin;
use vinbus_protocol::record_ring::Record;

use super::fleet::Fleet;
use crate::apps::{Apps, Kept, Notice, Request, SendRefusal, Told};
use crate::desk::{Counters, DeliveryCounters, DownlinkRefusal};
use crate::linux::args::SimulateArgs;
use crate::notes::{NotNoted, Note};

/// Messages that may wait to be sent back.
const ECHOES_MAX: usize = 16;

/// An app that is always in the foreground and sends by itself.
#[derive(Debug)]
pub(super) struct SimulatedApp {
    slot: AppSlot,
    /// Whose app it is, if it prints what it gets.
    prints: Option<Vin>,
    /// What the driver does at first, the last first.
    start: Vec<Request<'static>>,
    period: Option<Duration>,
    next_at: Instant,
    size: usize,
    sent: u64,
    echo: bool,
    echoes: VecDeque<Box<[u8]>>,
    content: Vec<u8>,
    fleet: Arc<Fleet>,
}

impl SimulatedApp {
    pub(super) fn new(slot: AppSlot, vin: Vin, args: &SimulateArgs, fleet: Arc<Fleet>) -> Self {
        let period = (args.rate > 0.0).then(|| Duration::from_secs_f64(1.0 / args.rate));
        Self {
            slot,
            prints: args.print_received.then_some(vin),
            start: vec![
                Request::Shown(slot),
                Request::Loaded(slot),
                Request::Launched(slot),
            ],
            period,
            next_at: Instant::now() + period.unwrap_or_default(),
            size: args.size as usize,
            sent: 0,
            echo: args.echo,
            echoes: VecDeque::new(),
            content: Vec::new(),
            fleet,
        }
    }

    /// Writes `{"n":…,"pad":"…"}` of the asked size, which its options keep above the least.
    fn generate(&mut self) {
        self.sent += 1;
        let head = format!(r#"{{"n":{},"pad":""#, self.sent);
        let padding = self.size.saturating_sub(head.len() + 2);
        self.content.clear();
        self.content.extend_from_slice(head.as_bytes());
        self.content.resize(head.len() + padding, b'.');
        self.content.extend_from_slice(b"\"}");
    }
}

impl Apps for SimulatedApp {
    async fn next(&mut self) -> Request<'_> {
        if let Some(request) = self.start.pop() {
            return request;
        }
        if let Some(echo) = self.echoes.pop_front() {
            self.content = echo.into();
        } else {
            let Some(period) = self.period else {
                return pending().await;
            };
            sleep_until(self.next_at).await;
            self.next_at += period;
            self.generate();
        }
        Request::Send {
            slot: self.slot,
            subtopic: None,
            content: &self.content,
            receipts: false,
        }
    }

    fn deliver(&mut self, _: AppSlot, _: u64, message: AppMessage<'_>) {
        self.fleet.received();
        let AppMessage::Data(content) = message else {
            return;
        };
        if let Some(vin) = self.prints {
            // A line break in JSON is white space: in a string it is escaped.
            let content = content.as_str().replace(['\n', '\r'], " ");
            // Nobody may be listening any more.
            let _ = writeln!(
                std::io::stdout(),
                r#"{{"vin":"{vin}","content":{content}}}"#
            );
        }
        if self.echo {
            if self.echoes.len() < ECHOES_MAX {
                self.echoes.push_back(content.as_bytes().into());
            } else {
                self.fleet.echo_skipped();
            }
        }
    }

    fn room(&self, _: AppSlot) -> usize {
        usize::MAX
    }

    fn watch(&mut self, _: AppSlot, _: u64) -> bool {
        false
    }

    fn confirms(&self, _: AppSlot) -> bool {
        false
    }

    fn kept(&mut self, _: AppSlot, _: Kept<'_>) -> Told {
        Told::No
    }

    fn hand_out<'r>(&mut self, _: AppSlot, _: impl Iterator<Item = Record<'r>>, _: bool) {
        // It never asks for them: it is always in the foreground.
    }

    fn answer(&mut self, _: AppSlot, outcome: Result<(), SendRefusal>) {
        if outcome.is_ok() {
            self.fleet.handed_over();
        }
    }

    fn accepted(&mut self, _: AppSlot, _: u64) -> Result<(), SendRefusal> {
        Ok(())
    }

    fn note(&mut self, _: Note<'_>) -> Result<(), NotNoted> {
        Ok(())
    }

    fn keep(&mut self) -> Result<(), NotNoted> {
        Ok(())
    }

    fn tell(&mut self, _: AppSlot, notice: Notice<'_>) {
        match notice {
            Notice::Delivered => self.fleet.sent(),
            // These are in the counters of the desk, which are added up at the end.
            Notice::Dropped { .. }
            | Notice::Settled { .. }
            | Notice::Refused
            | Notice::Short
            | Notice::RequestOver { .. }
            | Notice::Hide
            | Notice::NotLoaded
            | Notice::PopupShown { .. }
            | Notice::PopupClosed { .. }
            | Notice::PopupOverflow { .. } => {}
        }
    }

    fn link_changed(&mut self, up: bool) {
        self.fleet.link_changed(up);
    }

    fn downlink_refused(&mut self, _: &str, _: DownlinkRefusal) {}

    fn counted(&mut self, _: &Counters, _: impl FnOnce() -> DeliveryCounters) {}

    fn examine<'h>(&'h self, health: &mut Health<'h>) {
        health.platform = "simulator";
    }
}
