//! The way to the broker over TLS: its memory, and where the time comes from.

use embassy_executor::Spawner;
use embassy_net::Stack;
use vinbus_board_bring_up::broker::Memory;
use vinbus_board_bring_up::time_of_day;
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
    let server = provisioned.time_server;
    let time = time_of_day::start(spawner, stack, server, None, random::bytes());
    BoardDial::start(spawner, stack, provisioned, memory, time, random::bytes())
}
