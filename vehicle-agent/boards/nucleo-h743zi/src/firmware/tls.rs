//! The way to the broker over TLS: its memory. The board has no clock that runs without power.

use embassy_executor::Spawner;
use embassy_net::Stack;
use vinbus_board_bring_up::broker::Memory;
use vinbus_transport_embedded::tls::CredentialsError;
use vinbus_vehicle_agent::provisioned::Provisioned;

use super::{memory, random};

pub(crate) use vinbus_board_bring_up::broker::BrokerDial as BoardDial;

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
        records: memory::records(),
    };
    BoardDial::start(spawner, stack, provisioned, memory, None, random::bytes)
}
