//! The Ethernet controller, SMSC LAN9118, as a driver of embassy-net.
//!
//! It keeps frames in two queues of its own, which are read and written word by word. What arrives
//! is anybody's: a frame that the controller marks as broken, or that is longer than a frame can
//! be, is taken out of the queue, counted and dropped. [`dropped_frames`] counts those that the controller
//! has dropped as well.
//!
//! The interrupt handler only masks the controller and wakes the stack; [`Lan9118::receive`] opens
//! the mask again once the queue is empty. Register names are those of the data sheet.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::task::Context;

use embassy_net::driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_sync::waitqueue::AtomicWaker;

use static_cell::ConstStaticCell;

use super::interrupts::{Line, unmask};
use super::mmio::LAN9118;

const RX_DATA_FIFO: usize = 0x00;
const TX_DATA_FIFO: usize = 0x20;
const RX_STATUS_FIFO: usize = 0x40;
const TX_STATUS_FIFO: usize = 0x48;
const IRQ_CFG: usize = 0x54;
const INT_STS: usize = 0x58;
const INT_EN: usize = 0x5C;
const BYTE_TEST: usize = 0x64;
const FIFO_INT: usize = 0x68;
const RX_CFG: usize = 0x6C;
const TX_CFG: usize = 0x70;
const HW_CFG: usize = 0x74;
const RX_FIFO_INF: usize = 0x7C;
const TX_FIFO_INF: usize = 0x80;
const RX_DROP: usize = 0xA0;
const MAC_CSR_CMD: usize = 0xA4;
const MAC_CSR_DATA: usize = 0xA8;

/// `IRQ_CFG`: on, active high, push-pull.
const IRQ_ON: u32 = 1 << 8 | 1 << 4 | 1;
/// `INT_STS`, `INT_EN`: a frame has come; the PHY has something to tell.
const RX_STATUS_LEVEL: u32 = 1 << 3;
const PHY: u32 = 1 << 18;
/// `TX_CFG`: transmit.
const TX_ON: u32 = 1 << 1;
/// `HW_CFG`: reset, 5 KB of the 16 KB for frames to send, store them whole before sending.
const SOFT_RESET: u32 = 1;
const TX_FIFO_5_KB: u32 = 5 << 16;
const MUST_BE_ONE: u32 = 1 << 20;

/// `MAC_CSR_CMD`.
const CSR_BUSY: u32 = 1 << 31;
const CSR_READ: u32 = 1 << 30;
/// Registers of the MAC.
const MAC_CR: u32 = 1;
const ADDRH: u32 = 2;
const ADDRL: u32 = 3;
const MII_ACC: u32 = 6;
const MII_DATA: u32 = 7;
/// `MAC_CR`: full duplex, transmit, receive.
const FULL_DUPLEX: u32 = 1 << 20;
const TRANSMIT: u32 = 1 << 3;
const RECEIVE: u32 = 1 << 2;
/// `MII_ACC`: the PHY inside has the address 1.
const MII_PHY: u32 = 1 << 11;
const MII_WRITE: u32 = 1 << 1;
const MII_BUSY: u32 = 1;

/// Registers of the PHY.
const PHY_CONTROL: u32 = 0;
const PHY_STATUS: u32 = 1;
const PHY_ADVERTISE: u32 = 4;
const PHY_INTERRUPT_SOURCE: u32 = 29;
const PHY_INTERRUPT_MASK: u32 = 30;
/// `PHY_CONTROL`: negotiate, now.
const NEGOTIATE: u32 = 1 << 12 | 1 << 9;
/// `PHY_ADVERTISE`: 10 and 100 Mbit/s, half and full duplex.
const ALL_SPEEDS: u32 = 0x01E1;
/// `PHY_STATUS`: there is a link.
const LINK_IS_UP: u32 = 1 << 2;
/// `PHY_INTERRUPT_MASK`: negotiated, or the link went down.
const LINK_CHANGES: u32 = 1 << 6 | 1 << 4;

/// Words of the receive status, and of the transmit status.
const RX_ERROR: u32 = 1 << 15;
const TX_ERROR: u32 = 1 << 15;
/// Bytes of the checksum at a frame's end, which counts as part of it.
const CRC_BYTES: usize = 4;
/// Longest frame without its checksum: 1,500 bytes and the Ethernet header.
const FRAME_BYTES_MAX: usize = 1514;
const FRAME_WORDS_MAX: usize = (FRAME_BYTES_MAX + CRC_BYTES).div_ceil(4);
/// Bytes that a frame takes in the queue of those to be sent, at most.
const TX_ROOM: u32 = (FRAME_WORDS_MAX as u32 + 2) * 4;

/// Turns of a loop that waits for the controller; each is a read over its bus, of 165 ns at least.
const TURNS_MAX: u32 = 1_000_000;

/// Frames the stack may be given between two looks at its sockets. TCP announces no larger window
/// than these can hold.
const BURST_FRAMES: usize = 4;

/// The frame that has come in.
static FRAME: ConstStaticCell<[u8; FRAME_WORDS_MAX * 4]> =
    ConstStaticCell::new([0; FRAME_WORDS_MAX * 4]);

static STACK: AtomicWaker = AtomicWaker::new();
static PHY_HAS_NEWS: AtomicBool = AtomicBool::new(true);

/// Frames that came or went broken, or found no room, as far as they were counted.
static DROPPED: AtomicU32 = AtomicU32::new(0);

/// The controller has something to tell.
pub(crate) fn handle_interrupt() {
    if LAN9118.read(INT_STS) & PHY != 0 {
        PHY_HAS_NEWS.store(true, Ordering::Relaxed);
    }
    LAN9118.write(INT_EN, 0);
    STACK.wake();
}

/// The controller does not answer as a LAN9118 does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoController;

/// The controller, set up.
pub(crate) struct Lan9118 {
    mac: [u8; 6],
    link: LinkState,
    frame: &'static mut [u8],
}

impl Lan9118 {
    /// Sets the controller up. To be called once.
    ///
    /// # Errors
    /// [`NoController`], when there is none or it stays busy.
    pub(crate) fn new(mac: [u8; 6]) -> Result<Self, NoController> {
        wait_until(|| LAN9118.read(BYTE_TEST) == 0x8765_4321)?;
        LAN9118.write(HW_CFG, SOFT_RESET);
        wait_until(|| LAN9118.read(HW_CFG) & SOFT_RESET == 0)?;
        LAN9118.write(HW_CFG, TX_FIFO_5_KB | MUST_BE_ONE);
        LAN9118.write(INT_EN, 0);
        LAN9118.write(INT_STS, u32::MAX);
        // A level of 0: one frame is enough to interrupt.
        LAN9118.write(FIFO_INT, 0);
        LAN9118.write(RX_CFG, 0);
        LAN9118.write(IRQ_CFG, IRQ_ON);
        let [a, b, c, d, e, f] = mac;
        write_mac(ADDRL, u32::from_le_bytes([a, b, c, d]))?;
        write_mac(ADDRH, u32::from_le_bytes([e, f, 0, 0]))?;
        write_phy(PHY_ADVERTISE, ALL_SPEEDS)?;
        write_phy(PHY_CONTROL, NEGOTIATE)?;
        write_phy(PHY_INTERRUPT_MASK, LINK_CHANGES)?;
        write_mac(MAC_CR, FULL_DUPLEX | TRANSMIT | RECEIVE)?;
        LAN9118.write(TX_CFG, TX_ON);
        LAN9118.write(INT_EN, RX_STATUS_LEVEL | PHY);
        // Only now: with the line asserted before it is configured, the handler would never end.
        unmask(Line::Ethernet);
        Ok(Self {
            mac,
            link: LinkState::Down,
            frame: FRAME.take(),
        })
    }

    /// Takes the next good frame out of the queue; its length.
    fn take_frame(&mut self) -> Option<usize> {
        loop {
            if LAN9118.read(RX_FIFO_INF) >> 16 & 0xFF == 0 {
                return None;
            }
            let status = LAN9118.read(RX_STATUS_FIFO);
            let bytes = (status >> 16 & 0x3FFF) as usize;
            self.read_words(bytes.div_ceil(4));
            let len = bytes.saturating_sub(CRC_BYTES);
            if status & RX_ERROR == 0 && (1..=FRAME_BYTES_MAX).contains(&len) {
                return Some(len);
            }
            count_dropped(1);
        }
    }

    /// Reads that many words, also those that have no place in `frame`.
    fn read_words(&mut self, words: usize) {
        let mut places = self.frame.chunks_exact_mut(4);
        for _ in 0..words {
            let word = LAN9118.read(RX_DATA_FIFO).to_le_bytes();
            if let Some(place) = places.next() {
                place.copy_from_slice(&word);
            }
        }
    }
}

impl Driver for Lan9118 {
    type RxToken<'a> = Frame<'a>;
    type TxToken<'a> = Transmit;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Frame<'_>, Transmit)> {
        STACK.register(cx.waker());
        let mut taken = self.take_frame();
        if taken.is_none() {
            LAN9118.write(INT_STS, RX_STATUS_LEVEL);
            LAN9118.write(INT_EN, RX_STATUS_LEVEL | PHY);
            // A frame that came in between has raised no interrupt.
            taken = self.take_frame();
        }
        let len = taken?;
        Some((Frame(self.frame.get_mut(..len)?), Transmit))
    }

    fn transmit(&mut self, cx: &mut Context<'_>) -> Option<Transmit> {
        read_statuses();
        if LAN9118.read(TX_FIFO_INF) & 0xFFFF >= TX_ROOM {
            return Some(Transmit);
        }
        // The controller empties its queue within microseconds: ask again.
        cx.waker().wake_by_ref();
        None
    }

    fn link_state(&mut self, cx: &mut Context<'_>) -> LinkState {
        STACK.register(cx.waker());
        if PHY_HAS_NEWS.swap(false, Ordering::Relaxed) {
            // Reading the source clears it; then the controller's own note of it can be cleared.
            let _ = read_phy(PHY_INTERRUPT_SOURCE);
            LAN9118.write(INT_STS, PHY);
            // The link bit stays down until it is read once.
            let _ = read_phy(PHY_STATUS);
            let up = read_phy(PHY_STATUS).is_ok_and(|status| status & LINK_IS_UP != 0);
            self.link = if up { LinkState::Up } else { LinkState::Down };
            LAN9118.write(INT_EN, RX_STATUS_LEVEL | PHY);
        }
        self.link
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = FRAME_BYTES_MAX;
        capabilities.max_burst_size = Some(BURST_FRAMES);
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.mac)
    }
}

/// A frame that has arrived.
pub(crate) struct Frame<'a>(&'a mut [u8]);

impl RxToken for Frame<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Room for a frame in the controller's queue.
pub(crate) struct Transmit;

impl TxToken for Transmit {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = [0; FRAME_WORDS_MAX * 4];
        // The stack asks for no more than the capabilities allow.
        let len = len.min(FRAME_BYTES_MAX);
        let result = f(&mut frame[..len]);
        send(&frame, len);
        result
    }
}

fn send(frame: &[u8; FRAME_WORDS_MAX * 4], len: usize) {
    const FIRST_AND_LAST_SEGMENT: u32 = 1 << 13 | 1 << 12;
    // No frame is longer than 11 bits tell.
    let bytes = len as u32;
    LAN9118.write(TX_DATA_FIFO, FIRST_AND_LAST_SEGMENT | bytes);
    LAN9118.write(TX_DATA_FIFO, bytes << 16 | bytes);
    let (words, _) = frame.as_chunks::<4>();
    for word in words.iter().take(len.div_ceil(4)) {
        LAN9118.write(TX_DATA_FIFO, u32::from_le_bytes(*word));
    }
}

/// What became of sent frames. Those that did not leave are counted; TCP finds out what was lost.
fn read_statuses() {
    for _ in 0..LAN9118.read(TX_FIFO_INF) >> 16 & 0xFF {
        if LAN9118.read(TX_STATUS_FIFO) & TX_ERROR != 0 {
            count_dropped(1);
        }
    }
}

/// Frames that were dropped since the start, by the controller when its queue was full, and here. Not to be
/// called by interrupt handlers.
#[cfg_attr(
    not(feature = "agent"),
    expect(dead_code, reason = "the agent reports them")
)]
pub(crate) fn dropped_frames() -> u32 {
    // Reading clears the controller's own counter.
    count_dropped(LAN9118.read(RX_DROP));
    DROPPED.load(Ordering::Relaxed)
}

fn count_dropped(frames: u32) {
    let dropped = DROPPED.load(Ordering::Relaxed);
    DROPPED.store(dropped.saturating_add(frames), Ordering::Relaxed);
}

fn read_phy(register: u32) -> Result<u32, NoController> {
    wait_until(|| read_mac(MII_ACC).is_ok_and(|access| access & MII_BUSY == 0))?;
    write_mac(MII_ACC, MII_PHY | register << 6 | MII_BUSY)?;
    wait_until(|| read_mac(MII_ACC).is_ok_and(|access| access & MII_BUSY == 0))?;
    read_mac(MII_DATA)
}

fn write_phy(register: u32, value: u32) -> Result<(), NoController> {
    wait_until(|| read_mac(MII_ACC).is_ok_and(|access| access & MII_BUSY == 0))?;
    write_mac(MII_DATA, value)?;
    write_mac(MII_ACC, MII_PHY | register << 6 | MII_WRITE | MII_BUSY)?;
    wait_until(|| read_mac(MII_ACC).is_ok_and(|access| access & MII_BUSY == 0))
}

fn read_mac(register: u32) -> Result<u32, NoController> {
    LAN9118.write(MAC_CSR_CMD, CSR_BUSY | CSR_READ | register);
    wait_until(|| LAN9118.read(MAC_CSR_CMD) & CSR_BUSY == 0)?;
    Ok(LAN9118.read(MAC_CSR_DATA))
}

fn write_mac(register: u32, value: u32) -> Result<(), NoController> {
    LAN9118.write(MAC_CSR_DATA, value);
    LAN9118.write(MAC_CSR_CMD, CSR_BUSY | register);
    wait_until(|| LAN9118.read(MAC_CSR_CMD) & CSR_BUSY == 0)
}

fn wait_until(ready: impl Fn() -> bool) -> Result<(), NoController> {
    let mut turns = 0..TURNS_MAX;
    if turns.any(|_| ready()) {
        Ok(())
    } else {
        Err(NoController)
    }
}
