//! In place of `handing` where no app's connection says what is written: an app has what is handed to it.

use vinbus_protocol::app_slot::AppSlot;

use super::{Desk, Storage};
use crate::apps::Apps;
use crate::notes::NotNoted;
use crate::receipts::{New, Receipts};

pub(super) fn is_full<Q: Storage, const APPS: usize, const SENT: usize>(
    _: &Receipts<Q, APPS, SENT>,
    _: AppSlot,
) -> bool {
    false
}

pub(super) fn begin_new<Q: Storage, const APPS: usize, const SENT: usize>(
    _: &mut Receipts<Q, APPS, SENT>,
    _: New,
    _: (AppSlot, u64),
    _: &mut impl Apps,
) -> bool {
    false
}

impl<S: Storage, Q: Storage, const APPS: usize, const QUEUE: usize, const SENT: usize>
    Desk<S, Q, APPS, QUEUE, SENT>
{
    pub(super) fn begin_handing(&mut self, _: AppSlot, _: impl Fn(u64) -> bool, _: &mut impl Apps) {
    }

    pub(super) fn hands_enough(&self, _: AppSlot) -> bool {
        false
    }

    pub(super) fn would_hand_too_many(&self, _: AppSlot) -> bool {
        false
    }

    pub(super) fn hand_out_later(&mut self, _: AppSlot, _: &mut impl Apps) {}

    pub(super) fn came_back(&mut self, _: u64, _: AppSlot, _: u64) {}

    pub(super) fn unloaded(&mut self, _: u64, _: AppSlot) {}

    pub(super) fn tell_unwritten(&mut self, _: u64) {}

    pub(super) fn note_back(&mut self, _: u64, _: &mut impl Apps) -> Result<(), NotNoted> {
        Ok(())
    }
}
