//! The way to the broker over TLS: its memory, and the board's clock.

use embassy_executor::Spawner;
use embassy_net::Stack;
use static_cell::ConstStaticCell;
use vinbus_board_bring_up::broker::Memory;
use vinbus_transport_embedded::tls::{CredentialsError, RecordBuffers};
use vinbus_vehicle_agent::provisioned::Provisioned;

use super::host;
use super::sizes::{READ_RECORD_BYTES, WRITE_RECORD_BYTES};

pub(crate) use vinbus_board_bring_up::broker::BrokerDial as BoardDial;

static READ: ConstStaticCell<[u8; READ_RECORD_BYTES]> =
    ConstStaticCell::new([0; READ_RECORD_BYTES]);
static WRITE: ConstStaticCell<[u8; WRITE_RECORD_BYTES]> =
    ConstStaticCell::new([0; WRITE_RECORD_BYTES]);

/// Gets ready to dial.
///
/// # Errors
/// When the block has credentials that cannot be used.
pub(crate) fn dial(
    spawner: Spawner,
    stack: Stack<'static>,
    provisioned: &Provisioned<'static>,
    tcp_receive: &'static mut [u8],
    tcp_send: &'static mut [u8],
) -> Result<BoardDial, CredentialsError> {
    let memory = Memory {
        tcp_receive,
        tcp_send,
        records: RecordBuffers {
            read: READ.take(),
            write: WRITE.take(),
        },
    };
    let clock = Some(host::unix_time as fn() -> u64);
    BoardDial::start(spawner, stack, provisioned, memory, clock, host::random)
}
