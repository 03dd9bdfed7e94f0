//! Apps that send back what they get.

use core::future::pending;

use heapless::Deque;
use static_cell::ConstStaticCell;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::AppMessage;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;
use vinbus_protocol::record_ring::Record;
use vinbus_vehicle_agent::apps::{Apps, Notice, Request, SendRefusal};
use vinbus_vehicle_agent::desk::{Counters, DownlinkRefusal};

use super::host::log;

pub(crate) struct EchoApps {
    start: Deque<Request<'static>, 4>,
    buffer: &'static mut [u8],
    waiting: Option<(AppSlot, usize)>,
}

impl EchoApps {
    pub(crate) fn new(slot: AppSlot) -> Self {
        static BUFFER: ConstStaticCell<[u8; PAYLOAD_BYTES_MAX]> =
            ConstStaticCell::new([0; PAYLOAD_BYTES_MAX]);
        let mut start = Deque::new();
        for request in [
            Request::Launched(slot),
            Request::Loaded(slot),
            Request::Shown(slot),
        ] {
            let _ = start.push_back(request);
        }
        Self {
            start,
            buffer: BUFFER.take(),
            waiting: None,
        }
    }
}

impl Apps for EchoApps {
    async fn next(&mut self) -> Request<'_> {
        if let Some(request) = self.start.pop_front() {
            return request;
        }
        match self.waiting.take() {
            Some((slot, len)) => Request::Send {
                slot,
                subtopic: None,
                content: &self.buffer[..len],
            },
            None => pending().await,
        }
    }

    fn deliver(&mut self, slot: AppSlot, message: AppMessage<'_>) {
        let AppMessage::Data(content) = message else {
            return;
        };
        let bytes = content.as_bytes();
        log!("received {} bytes", bytes.len());
        self.buffer[..bytes.len()].copy_from_slice(bytes);
        self.waiting = Some((slot, bytes.len()));
    }

    fn hand_out<'r>(&mut self, _: AppSlot, _: impl Iterator<Item = Record<'r>>, _: bool) {}

    fn answer(&mut self, _: AppSlot, outcome: Result<(), SendRefusal>) {
        if let Err(refusal) = outcome {
            log!("refused: {refusal}");
        }
    }

    fn tell(&mut self, _: AppSlot, notice: Notice<'_>) {
        log!("{notice:?}");
    }

    fn link_changed(&mut self, up: bool) {
        log!(
            "{}",
            if up {
                "connected to the broker"
            } else {
                "disconnected"
            }
        );
    }

    fn downlink_refused(&mut self, topic: &str, refusal: DownlinkRefusal) {
        log!("a message on {topic} was refused: {refusal}");
    }

    fn counted(&mut self, _: &Counters) {}
}
