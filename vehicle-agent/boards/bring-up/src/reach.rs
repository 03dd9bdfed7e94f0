//! The network and nothing above it: what an image takes that is no agent yet. `cargo xtask size`
//! builds one, to tell what comes on top.

use embassy_net::Stack;
use embassy_time::{Duration, Timer};
use embedded_io_async::Read as _;
use static_cell::ConstStaticCell;
use vinbus_vehicle_agent::embedded_link::Dial as _;
use vinbus_vehicle_agent::provisioned::Provisioned;

use crate::plain::PlainDial;

const AGAIN: Duration = Duration::from_secs(5);

/// Connects to the broker again and again, and drops what it says.
#[embassy_executor::task]
pub async fn reach(stack: Stack<'static>, provisioned: &'static Provisioned<'static>) -> ! {
    static TCP_RECEIVE: ConstStaticCell<[u8; 8 * 1024]> = ConstStaticCell::new([0; 8 * 1024]);
    static TCP_SEND: ConstStaticCell<[u8; 8 * 1024]> = ConstStaticCell::new([0; 8 * 1024]);
    let (receive, send) = (TCP_RECEIVE.take(), TCP_SEND.take());
    let mut dial = PlainDial::start(stack, provisioned, receive, send);
    loop {
        if let Some(mut stream) = dial.dial().await {
            log::info!("reached the broker");
            let mut bytes = [0; 64];
            while stream.read(&mut bytes).await.is_ok_and(|len| len > 0) {}
            dial.lost();
        }
        Timer::after(AGAIN).await;
    }
}
