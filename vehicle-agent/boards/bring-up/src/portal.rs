//! The portal: apps are programs that connect to the board, as they do to the one on Linux (SPEC 8).
//!
//! The board brings memory and tasks, as only it knows how many there are:
//!
//! ```ignore
//! static SOCKETS: ConstStaticCell<Sockets<TASKS>> = ConstStaticCell::new(Sockets::new());
//! static PORTAL: StaticCell<BoardPortal<PLACES>> = StaticCell::new();
//!
//! let portal = PORTAL.init(portal::of(provisioned, places, random));
//! for socket in SOCKETS.take().each() {
//!     spawner.spawn(serve(stack, portal, socket).expect("as many tasks as sockets"));
//! }
//!
//! #[embassy_executor::task(pool_size = TASKS)]
//! async fn serve(stack: Stack<'static>, portal: &'static BoardPortal<PLACES>, socket: Socket) -> ! {
//!     portal::serve(stack, portal, socket).await
//! }
//! ```

use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use embassy_time::{Duration, with_timeout};
use vinbus_vehicle_agent::board_portal::limits::{CLOSE_TIMEOUT_MS, HTTP_HEAD_BYTES_MAX};
use vinbus_vehicle_agent::board_portal::{PlaceBuffers, Portal, PortalApps, Settings};
use vinbus_vehicle_agent::provisioned::{APPS_MAX, Provisioned};

use crate::vehicle::{BoardClock, UPLINKS_MAX};

/// Where programs connect.
pub const PORT: u16 = 8090;

/// How long a program has to finish what it began when it connects. Who begins and goes away would keep
/// the socket for ever.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a program has to take what was written last and to say goodbye.
const GOODBYE: Duration = Duration::from_millis(CLOSE_TIMEOUT_MS);

/// Buffers of a program's socket.
const RECEIVE_BYTES: usize = 2 * 1024;
const SEND_BYTES: usize = 4 * 1024;

/// What a [`Socket`] takes, in bytes.
pub const SOCKET_BYTES: usize = RECEIVE_BYTES + SEND_BYTES + HTTP_HEAD_BYTES_MAX;

/// The portal of a board that serves `PLACES` programs at a time.
pub type BoardPortal<const PLACES: usize> = Portal<'static, APPS_MAX, PLACES>;

/// The apps of such a portal, as the agent sees them.
pub type BoardApps<const PLACES: usize> =
    PortalApps<'static, 'static, APPS_MAX, PLACES, UPLINKS_MAX>;

/// The memory of `N` sockets.
#[derive(Debug)]
pub struct Sockets<const N: usize> {
    receive: [[u8; RECEIVE_BYTES]; N],
    send: [[u8; SEND_BYTES]; N],
    heads: [[u8; HTTP_HEAD_BYTES_MAX]; N],
}

/// What a socket keeps bytes in that are on their way, and the head of its request.
#[derive(Debug)]
pub struct Socket {
    receive: &'static mut [u8],
    send: &'static mut [u8],
    head: &'static mut [u8],
}

impl<const N: usize> Sockets<N> {
    /// As it is before anything has come.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "it is too large for anything but a static"
    )]
    pub const fn new() -> Self {
        Self {
            receive: [[0; RECEIVE_BYTES]; N],
            send: [[0; SEND_BYTES]; N],
            heads: [[0; HTTP_HEAD_BYTES_MAX]; N],
        }
    }

    /// Each of them.
    pub fn each(&'static mut self) -> impl Iterator<Item = Socket> {
        let sockets = self.receive.iter_mut().zip(&mut self.send);
        let sockets = sockets.zip(&mut self.heads);
        sockets.map(|((receive, send), head)| Socket {
            receive,
            send,
            head,
        })
    }
}

/// The portal for the apps of a vehicle, with these places for programs. `life` differs from one start
/// to the next.
pub fn of<const PLACES: usize>(
    provisioned: &'static Provisioned<'static>,
    places: [PlaceBuffers<'static>; PLACES],
    life: u64,
) -> BoardPortal<PLACES> {
    let apps = provisioned.apps.iter().map(|(app, _)| app);
    let settings = Settings {
        life,
        #[cfg(feature = "page")]
        pages: &provisioned.pages,
        ..Settings::default()
    };
    Portal::new(provisioned.vin, apps, places, settings)
}

/// Serves one program after the other, for ever.
pub async fn serve<const PLACES: usize>(
    stack: Stack<'static>,
    portal: &BoardPortal<PLACES>,
    memory: Socket,
) -> ! {
    loop {
        let mut socket = TcpSocket::new(stack, &mut *memory.receive, &mut *memory.send);
        socket.set_nagle_enabled(false);
        if accept(&mut socket, HANDSHAKE).await {
            let (reader, writer) = socket.split();
            portal.serve(reader, writer, memory.head, &BoardClock).await;
            hang_up(socket).await;
        }
    }
}

/// Waits for a program, and whether one may have come: one that begins to connect and does not finish
/// within `limit` is forgotten.
async fn accept(socket: &mut TcpSocket<'_>, limit: Duration) -> bool {
    socket.set_timeout(Some(limit));
    let accepted = socket.accept(PORT).await;
    // From here on the portal looks after it; a program may be silent for longer.
    socket.set_timeout(None);
    accepted.is_ok()
}

/// Ends a connection so that what was written last arrives: says that nothing more comes, and reads
/// what still comes. A peer that does not say goodbye in time is cut off.
async fn hang_up(mut socket: TcpSocket<'_>) {
    socket.close();
    let goodbye = async {
        let mut rest = [0; 64];
        while let Ok(1..) = socket.read(&mut rest).await {}
        socket.flush().await
    };
    if let Ok(Ok(())) = with_timeout(GOODBYE, goodbye).await {
        return;
    }
    socket.abort();
    // The reset leaves with the next turn of the network; one that has no way out is forgotten.
    let _gone_or_late = with_timeout(GOODBYE, socket.flush()).await;
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::net::Ipv4Addr;
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};
    use std::boxed::Box;
    use std::time::Instant;

    use embassy_net::driver::{
        Capabilities, Checksum, Driver, HardwareAddress, LinkState, RxToken, TxToken,
    };
    use embassy_net::{Ipv4Cidr, StackResources, StaticConfigV4};

    use super::*;

    /// Only a socket that is kept for ever takes it.
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const BOARD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const PROGRAM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    /// A network on which somebody begins to connect, and goes away.
    struct Network {
        syn: Option<[u8; 54]>,
    }

    /// The first segment of a connection to the portal, whose checksums nobody looks at.
    fn syn() -> [u8; 54] {
        let [high, low] = PORT.to_be_bytes();
        let mut frame = [0; 54];
        // Ethernet: to whom, from whom, IPv4.
        frame[..6].copy_from_slice(&MAC);
        frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 8, 0]);
        // IPv4: 40 bytes that may live for 64 hops, TCP.
        frame[14..24].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6]);
        frame[26..30].copy_from_slice(&PROGRAM.octets());
        frame[30..34].copy_from_slice(&BOARD.octets());
        // TCP: 20 bytes, SYN, a window.
        frame[34..38].copy_from_slice(&[0xC0, 0, high, low]);
        frame[46..50].copy_from_slice(&[0x50, 2, 16, 0]);
        frame
    }

    struct Syn([u8; 54]);

    impl RxToken for Syn {
        fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, take: F) -> R {
            take(&mut self.0)
        }
    }

    struct Nowhere;

    impl TxToken for Nowhere {
        fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
            fill(&mut [0; 1514][..len])
        }
    }

    impl Driver for Network {
        type RxToken<'a> = Syn;
        type TxToken<'a> = Nowhere;

        fn receive(&mut self, _: &mut Context<'_>) -> Option<(Syn, Nowhere)> {
            Some((Syn(self.syn.take()?), Nowhere))
        }

        fn transmit(&mut self, _: &mut Context<'_>) -> Option<Nowhere> {
            Some(Nowhere)
        }

        fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
            LinkState::Up
        }

        fn capabilities(&self) -> Capabilities {
            let mut capabilities = Capabilities::default();
            capabilities.max_transmission_unit = 1514;
            capabilities.checksum.ipv4 = Checksum::None;
            capabilities.checksum.tcp = Checksum::None;
            capabilities
        }

        fn hardware_address(&self) -> HardwareAddress {
            HardwareAddress::Ethernet(MAC)
        }
    }

    #[test]
    fn connection_that_is_begun_and_never_finished_gives_its_socket_back() {
        // DNS takes one as well.
        let resources = Box::leak(Box::new(StackResources::<2>::new()));
        let config = embassy_net::Config::ipv4_static(StaticConfigV4 {
            address: Ipv4Cidr::new(BOARD, 24),
            gateway: None,
            dns_servers: heapless::Vec::new(),
        });
        let network = Network { syn: Some(syn()) };
        let (stack, mut runner) = embassy_net::new(network, config, resources, 7);
        let (mut receive, mut send) = ([0; 512], [0; 512]);
        let mut socket = TcpSocket::new(stack, &mut receive, &mut send);
        let mut accepting = pin!(accept(&mut socket, Duration::from_millis(50)));
        let mut running = pin!(runner.run());
        let mut context = Context::from_waker(Waker::noop());
        let began = Instant::now();
        while accepting.as_mut().poll(&mut context).is_pending() {
            let Poll::Pending = running.as_mut().poll(&mut context);
            assert!(began.elapsed() < PATIENCE, "it is kept for ever");
        }
    }
}
