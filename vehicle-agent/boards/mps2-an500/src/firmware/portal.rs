//! The apps: programs that connect to the board's portal, as they do to the one on Linux (SPEC 8).

use embassy_executor::Spawner;
use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use static_cell::{ConstStaticCell, StaticCell};

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::AppMessage;
use vinbus_protocol::record_ring::Record;
use vinbus_vehicle_agent::apps::{Apps, Notice, Request, SendRefusal};
use vinbus_vehicle_agent::board_portal::{PlaceBuffers, Portal, Settings};
use vinbus_vehicle_agent::desk::{Counters, DownlinkRefusal};
use vinbus_vehicle_agent::provisioned::Provisioned;

use super::clock::BoardClock;
use super::host::log;
use super::sizes::{
    APPS_MAX, PLACES_MAX, PORTAL_OUTBOX_BYTES, PORTAL_RECEIVE_BYTES, PORTAL_TASKS,
    PORTAL_TCP_RECEIVE_BYTES, PORTAL_TCP_SEND_BYTES,
};

/// Where programs connect.
const PORT: u16 = 8090;

static RECEIVE: ConstStaticCell<[[u8; PORTAL_RECEIVE_BYTES]; PLACES_MAX]> =
    ConstStaticCell::new([[0; PORTAL_RECEIVE_BYTES]; PLACES_MAX]);
static OUTBOXES: ConstStaticCell<[[u8; PORTAL_OUTBOX_BYTES]; PLACES_MAX]> =
    ConstStaticCell::new([[0; PORTAL_OUTBOX_BYTES]; PLACES_MAX]);

/// The portal of this board.
pub(crate) type BoardPortal = Portal<'static, APPS_MAX, PLACES_MAX>;

/// Starts to listen.
pub(crate) fn start(
    spawner: Spawner,
    stack: Stack<'static>,
    provisioned: &Provisioned<'_>,
) -> &'static BoardPortal {
    static PORTAL: StaticCell<BoardPortal> = StaticCell::new();
    let apps = provisioned.apps.iter().map(|(app, _)| app.clone());
    let receive = RECEIVE.take().each_mut();
    let mut outboxes = OUTBOXES.take().iter_mut();
    let places = receive.map(|receive| PlaceBuffers {
        receive,
        outbox: outboxes.next().map_or(&mut [][..], |outbox| outbox),
    });
    let settings = Settings::default();
    let portal: &'static BoardPortal =
        PORTAL.init(Portal::new(provisioned.vin, apps, places, settings));
    for _ in 0..PORTAL_TASKS {
        spawner.spawn(serve(stack, portal).expect("as many tasks as places"));
    }
    portal
}

#[embassy_executor::task(pool_size = PORTAL_TASKS)]
async fn serve(stack: Stack<'static>, portal: &'static BoardPortal) -> ! {
    let mut receive = [0; PORTAL_TCP_RECEIVE_BYTES];
    let mut send = [0; PORTAL_TCP_SEND_BYTES];
    loop {
        let mut socket = TcpSocket::new(stack, &mut receive, &mut send);
        socket.set_nagle_enabled(false);
        if socket.accept(PORT).await.is_ok() {
            portal.serve(socket, &BoardClock).await;
        }
    }
}

/// Apps, with a line in the log for what the agent tells.
pub(crate) struct Reported<A>(pub(crate) A);

impl<A: Apps> Apps for Reported<A> {
    async fn next(&mut self) -> Request<'_> {
        self.0.next().await
    }

    fn deliver(&mut self, slot: AppSlot, message: AppMessage<'_>) {
        self.0.deliver(slot, message);
    }

    fn hand_out<'r>(
        &mut self,
        slot: AppSlot,
        records: impl Iterator<Item = Record<'r>>,
        kept: bool,
    ) {
        self.0.hand_out(slot, records, kept);
    }

    fn answer(&mut self, slot: AppSlot, outcome: Result<(), SendRefusal>) {
        self.0.answer(slot, outcome);
    }

    fn tell(&mut self, slot: AppSlot, notice: Notice<'_>) {
        self.0.tell(slot, notice);
    }

    fn link_changed(&mut self, up: bool) {
        if up {
            log!("connected to the broker");
        }
        self.0.link_changed(up);
    }

    fn downlink_refused(&mut self, topic: &str, refusal: DownlinkRefusal) {
        log!("a message on {topic} was refused: {refusal}");
        self.0.downlink_refused(topic, refusal);
    }

    fn counted(&mut self, counters: &Counters) {
        self.0.counted(counters);
    }
}
