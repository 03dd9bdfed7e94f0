//! Which interrupt goes where.
#![expect(
    unsafe_code,
    reason = "the processor jumps to handlers by itself, and unmasking can break critical sections"
)]

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;
use cortex_m_rt::exception;

use super::{clock, lan9118};

/// The lines of the devices that we use.
#[derive(Clone, Copy)]
#[repr(u16)]
pub(crate) enum Line {
    Timer0 = 8,
    Timer1 = 9,
    Ethernet = 13,
}

// SAFETY: the discriminants are distinct numbers of lines that the AN500 image has.
unsafe impl InterruptNumber for Line {
    fn number(self) -> u16 {
        self as u16
    }
}

/// Lets a device interrupt. To be called once the device has been set up.
pub(crate) fn unmask(line: Line) {
    // SAFETY: nothing here relies on a masked line for a critical section.
    unsafe { NVIC::unmask(line) }
}

/// Every interrupt, as the vector table has no other entries.
#[exception]
unsafe fn DefaultHandler(number: i16) {
    const TIMER0: i16 = Line::Timer0 as i16;
    const TIMER1: i16 = Line::Timer1 as i16;
    const ETHERNET: i16 = Line::Ethernet as i16;
    match number {
        TIMER0 => clock::handle_wrap(),
        TIMER1 => clock::handle_alarm(),
        ETHERNET => lan9118::handle_interrupt(),
        _ => panic!("exception {number} has no handler"),
    }
}
