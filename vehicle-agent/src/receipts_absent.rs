//! In place of `receipts` where the feature is off: a type without values, so that nothing of it is in
//! the image, and messages with receipts are ordinary ones.

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::{Carried, ControlFrame, Epoch, Run, Step};
use vinbus_protocol::id::AppId;
use vinbus_protocol::portal::Refusal;

/// There are none.
#[derive(Debug)]
pub(crate) enum Receipts<const APPS: usize> {}

#[derive(Debug)]
#[expect(dead_code, reason = "no values are made of it")]
pub(crate) enum Arrived<'p> {
    Plain,
    Done,
    New(New, AppId, Carried<'p>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum New {}

impl<const APPS: usize> Receipts<APPS> {
    pub(crate) fn epoch(&self) -> Epoch {
        match *self {}
    }

    pub(crate) fn offered(&self, _: usize) -> Option<Epoch> {
        match *self {}
    }

    pub(crate) fn link_changed(&mut self, _: u64, _: bool) {
        match *self {}
    }

    pub(crate) fn arrived<'p>(&mut self, _: u64, _: usize, _: &'p [u8]) -> Arrived<'p> {
        match *self {}
    }

    pub(crate) fn refused(&mut self, _: u64, _: New, _: Step) {
        match *self {}
    }

    pub(crate) fn delivered(&mut self, _: u64, _: New, _: AppSlot, _: Option<u64>) {
        match *self {}
    }

    pub(crate) fn held(&mut self, _: u64, _: New, _: AppSlot, _: u64) {
        match *self {}
    }

    pub(crate) fn handed(&mut self, _: u64, _: AppSlot, _: u64) {
        match *self {}
    }

    pub(crate) fn came_back(&mut self, _: AppSlot, _: u64) {
        match *self {}
    }

    pub(crate) fn gone(&mut self, _: u64, _: AppSlot, _: Step, _: impl Fn(u64) -> bool) {
        match *self {}
    }

    pub(crate) fn next_expired(
        &mut self,
        _: u64,
        _: impl Fn(AppSlot) -> bool,
    ) -> Option<(AppSlot, u64)> {
        match *self {}
    }

    pub(crate) fn expiry_ms(&self, _: u64) -> Option<u64> {
        match *self {}
    }

    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        match *self {}
    }

    pub(crate) fn next_frame(
        &mut self,
        _: u64,
    ) -> Option<(usize, ControlFrame<core::iter::Empty<Run>>)> {
        match *self {}
    }
}

pub(crate) fn step_of(_: &Refusal) -> Step {
    Step::Denied
}
