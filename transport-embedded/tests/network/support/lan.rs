//! Two hosts of embassy-net and a cable: the board, and a gateway that knows one name, the time, and
//! the way to brokers on this machine.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{SystemTime, UNIX_EPOCH};

use embassy_net::driver::{
    Capabilities, Driver, HardwareAddress, LinkState, RxToken as Received, TxToken as Transmitted,
};
use embassy_net::tcp::TcpSocket;
use embassy_net::{Stack, StackResources};
use embedded_io_async::Write as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vinbus_transport_embedded::net::{AddressConfig, StaticAddress, Udp, UdpBuffers};

/// The gateway's address, and the board's.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const BOARD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// The only name that the gateway knows; it is its own.
pub(crate) const NAME: &str = "broker.test";

/// Where the gateway leads to a broker.
pub(crate) const PORT: u16 = 8886;

/// Frames on their way to one end of the cable.
#[derive(Default)]
struct Frames {
    waiting: VecDeque<Vec<u8>>,
    waker: Option<Waker>,
}

type End = Rc<RefCell<Frames>>;

/// A network interface at one end of the cable.
struct Interface {
    number: u8,
    incoming: End,
    outgoing: End,
}

struct Frame(Vec<u8>);

impl Received for Frame {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, take: F) -> R {
        take(&mut self.0)
    }
}

struct Outlet<'i>(&'i End);

impl Transmitted for Outlet<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        let mut frames = self.0.borrow_mut();
        frames.waiting.push_back(frame);
        if let Some(waker) = frames.waker.take() {
            waker.wake();
        }
        result
    }
}

impl Driver for Interface {
    type RxToken<'a> = Frame;
    type TxToken<'a> = Outlet<'a>;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Frame, Outlet<'_>)> {
        let mut frames = self.incoming.borrow_mut();
        frames.waker = Some(cx.waker().clone());
        let frame = frames.waiting.pop_front()?;
        Some((Frame(frame), Outlet(&self.outgoing)))
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Outlet<'_>> {
        Some(Outlet(&self.outgoing))
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = 1514;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet([2, 0, 0, 0, 0, self.number])
    }
}

type Host = (Stack<'static>, embassy_net::Runner<'static, Interface>);

fn fixed(address: Ipv4Addr) -> AddressConfig {
    AddressConfig::Static(StaticAddress::new(address, 24, Some(GATEWAY), &[GATEWAY]).unwrap())
}

fn stack(address: AddressConfig, interface: Interface) -> Host {
    let resources = Box::leak(Box::new(StackResources::<10>::new()));
    let seed = u64::from(interface.number);
    embassy_net::new(interface, address.config(), resources, seed)
}

/// The gateway, and a board that gets its address like this.
fn hosts(board: AddressConfig) -> [Host; 2] {
    let [left, right] = [End::default(), End::default()];
    let gateway = Interface {
        number: 1,
        incoming: left.clone(),
        outgoing: right.clone(),
    };
    let interface = Interface {
        number: 2,
        incoming: right,
        outgoing: left,
    };
    [stack(fixed(GATEWAY), gateway), stack(board, interface)]
}

/// Runs `test` with the board's stack, on a network whose gateway leads to `broker`.
pub(crate) async fn with_lan<T>(
    broker: SocketAddr,
    test: impl AsyncFnOnce(Stack<'static>) -> T,
) -> T {
    let [(gateway, mut gateway_runner), (board, mut board_runner)] = hosts(fixed(BOARD));
    tokio::select! {
        never = gateway_runner.run() => never,
        never = board_runner.run() => never,
        never = names(gateway) => never,
        never = time(gateway) => never,
        // A new connection does not wait for the end of the one before.
        never = lead_to(broker, gateway) => never,
        never = lead_to(broker, gateway) => never,
        never = lead_to(broker, gateway) => never,
        done = test(board) => done,
    }
}

/// Runs `test` with the stacks of the gateway, which does nothing by itself, and of the board.
pub(crate) async fn with_both<T>(test: impl AsyncFnOnce(Stack<'static>, Stack<'static>) -> T) -> T {
    let [(gateway, mut gateway_runner), (board, mut board_runner)] = hosts(fixed(BOARD));
    tokio::select! {
        never = gateway_runner.run() => never,
        never = board_runner.run() => never,
        done = test(gateway, board) => done,
    }
}

/// Runs `test` with the stack of a board that asks for its address, on a network whose gateway leads to
/// `broker` and does not hear the first `lost` questions.
pub(crate) async fn with_dhcp<T>(
    broker: SocketAddr,
    lost: usize,
    test: impl AsyncFnOnce(Stack<'static>) -> T,
) -> T {
    let [(gateway, mut gateway_runner), (board, mut board_runner)] = hosts(AddressConfig::Dhcp);
    tokio::select! {
        never = gateway_runner.run() => never,
        never = board_runner.run() => never,
        never = addresses(gateway, lost) => never,
        never = lead_to(broker, gateway) => never,
        done = test(board) => done,
    }
}

/// Bytes that stay.
pub(crate) fn leaked<const LEN: usize>() -> &'static mut [u8] {
    Box::leak(Box::new([0; LEN]))
}

/// Leads one connection after the other to the broker.
async fn lead_to(broker: SocketAddr, stack: Stack<'static>) -> ! {
    let mut socket = TcpSocket::new(stack, leaked::<16384>(), leaked::<16384>());
    socket.set_nagle_enabled(false);
    loop {
        socket.accept(PORT).await.unwrap();
        if let Ok(mut far) = TcpStream::connect(broker).await {
            far.set_nodelay(true).unwrap();
            let (mut far_read, mut far_write) = far.split();
            let (mut near_read, mut near_write) = socket.split();
            let up = async {
                let mut buffer = [0; 4096];
                while let Ok(len @ 1..) = near_read.read(&mut buffer).await {
                    far_write.write_all(&buffer[..len]).await.unwrap_or(());
                }
            };
            let down = async {
                let mut buffer = [0; 4096];
                while let Ok(len @ 1..) = far_read.read(&mut buffer).await {
                    near_write.write_all(&buffer[..len]).await.unwrap_or(());
                }
            };
            tokio::select! {
                () = up => {}
                () = down => {}
            }
        }
        socket.close();
        let _acknowledged =
            tokio::time::timeout(std::time::Duration::from_millis(100), socket.flush()).await;
        socket.abort();
    }
}

/// A UDP socket of the gateway that answers questions.
async fn serve(
    stack: Stack<'static>,
    port: u16,
    mut answer: impl FnMut(&[u8]) -> Option<Vec<u8>>,
) -> ! {
    serve_at(stack, port, |question| Some((answer(question)?, None))).await
}

/// The same with answers that may go elsewhere than to the one who asked.
async fn serve_at(
    stack: Stack<'static>,
    port: u16,
    mut answer: impl FnMut(&[u8]) -> Option<(Vec<u8>, Option<(Ipv4Addr, u16)>)>,
) -> ! {
    use embassy_net::udp::{PacketMetadata, UdpSocket};
    let metadata = || Box::leak(Box::new([PacketMetadata::EMPTY; 4]));
    let mut socket = UdpSocket::new(
        stack,
        metadata(),
        leaked::<1024>(),
        metadata(),
        leaked::<1024>(),
    );
    socket.bind(port).unwrap();
    let mut buffer = [0; 512];
    loop {
        if let Ok((len, from)) = socket.recv_from(&mut buffer).await
            && let Some((answer, to)) = answer(&buffer[..len])
        {
            let sent = match to {
                Some(to) => socket.send_to(&answer, to).await,
                None => socket.send_to(&answer, from).await,
            };
            sent.unwrap();
        }
    }
}

/// Knows [`NAME`].
async fn names(stack: Stack<'static>) -> ! {
    serve(stack, 53, |query| {
        let question = query.get(12..)?;
        let name: Vec<u8> = NAME
            .split('.')
            .flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat())
            .collect();
        let known = question.starts_with(&name);
        let (flags, answers) = if known { (0x8180u16, 1) } else { (0x8183, 0) };
        let mut answer = query[..2].to_vec();
        answer.extend(flags.to_be_bytes());
        answer.extend([0, 1, 0, answers, 0, 0, 0, 0]);
        answer.extend(question);
        if known {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            answer.extend(GATEWAY.octets());
        }
        Some(answer)
    })
    .await
}

/// Knows the time.
async fn time(stack: Stack<'static>) -> ! {
    serve(stack, vinbus_transport_embedded::sntp::PORT, |question| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut answer = vec![0; 48];
        answer[..2].copy_from_slice(&[0x24, 2]);
        answer[24..32].copy_from_slice(&question[40..48]);
        let seconds = (now.as_secs() + 2_208_988_800) as u32;
        answer[40..44].copy_from_slice(&seconds.to_be_bytes());
        Some(answer)
    })
    .await
}

/// Gives [`BOARD`] to whoever asks (RFC 2131), but does not hear the first `lost` questions.
async fn addresses(stack: Stack<'static>, mut lost: usize) -> ! {
    const OPTIONS: usize = 240;
    const DISCOVER: u8 = 1;
    const OFFER: u8 = 2;
    const REQUEST: u8 = 3;
    const ACKNOWLEDGE: u8 = 5;
    serve_at(stack, 67, |question| {
        if lost > 0 {
            lost -= 1;
            return None;
        }
        // Its type is the first of the options of smoltcp.
        let kind = match question.get(OPTIONS..OPTIONS + 3)? {
            [53, 1, DISCOVER] => OFFER,
            [53, 1, REQUEST] => ACKNOWLEDGE,
            other => panic!("no question of DHCP: {other:?}"),
        };
        let mut answer = question[..OPTIONS].to_vec();
        answer[0] = 2;
        answer[16..20].copy_from_slice(&BOARD.octets());
        let gateway = GATEWAY.octets();
        answer.extend([53, 1, kind, 51, 4, 0, 0, 14, 16, 1, 4, 255, 255, 255, 0]);
        for option in [54, 3, 6] {
            answer.extend([option, 4]);
            answer.extend(gateway);
        }
        answer.push(255);
        Some((answer, Some((Ipv4Addr::BROADCAST, 68))))
    })
    .await
}

/// A UDP socket of the board.
pub(crate) fn udp(stack: Stack<'static>) -> Udp<'static> {
    Udp::new(stack, Box::leak(Box::new(UdpBuffers::new()))).unwrap()
}
