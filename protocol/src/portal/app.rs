//! One app of the portal: its state, its pending messages, and what it is still to be told.

use super::lifecycle::{AppEvent, AppState};
use super::verdict::Output;
use crate::app_slot::AppSlot;
use crate::envelope::AppMessage;
use crate::envelope::encode::Encode as _;
use crate::id::{AppId, Uid};
use crate::limits::APP_LOADED_TIMEOUT_MS;
use crate::pending::{PendingRing, Pushed};
use crate::record_ring::TooLarge;

/// One app. What it is still to be told waits in flags, so that nothing queues up.
#[derive(Debug)]
pub(super) struct App<S> {
    pub(super) id: AppId,
    pub(super) uid: Uid,
    pub(super) pending: PendingRing<S>,
    pub(super) state: AppState,
    /// Bytes of the longest message that can be handed to it now.
    pub(super) room: usize,
    /// Time left to load, while it is loading.
    loading_left_ms: u64,
    tell_closed: bool,
    tell_hidden: bool,
    overflows_untold: u32,
}

impl<S: AsRef<[u8]> + AsMut<[u8]>> App<S> {
    pub(super) fn new(id: AppId, uid: Uid, pending_storage: S) -> Self {
        Self {
            id,
            uid,
            pending: PendingRing::new(pending_storage),
            state: AppState::Stopped,
            room: usize::MAX,
            loading_left_ms: 0,
            tell_closed: false,
            tell_hidden: false,
            overflows_untold: 0,
        }
    }

    pub(super) fn in_foreground(&self, nac_active: bool) -> bool {
        nac_active && self.state == AppState::Shown
    }

    /// Whether a message is handed to it now.
    pub(super) fn takes(&self, nac_active: bool, message: &AppMessage<'_>) -> bool {
        self.in_foreground(nac_active) && message.encoded_len() <= self.room
    }

    pub(super) fn enter(&mut self, state: AppState, event: AppEvent) {
        self.state = state;
        match event {
            AppEvent::Launched => {
                self.loading_left_ms = APP_LOADED_TIMEOUT_MS;
                self.tell_closed = false;
                self.tell_hidden = false;
            }
            AppEvent::Shown | AppEvent::Unloaded => self.tell_hidden = false,
            AppEvent::Loaded | AppEvent::Hidden => {}
        }
    }

    /// Returns whether the app has to be closed because its time to load is over.
    pub(super) fn handle_elapsed(&mut self, elapsed_ms: u64) -> bool {
        if !self.state.is_loading() {
            return false;
        }
        self.loading_left_ms = self.loading_left_ms.saturating_sub(elapsed_ms);
        let late = self.loading_left_ms == 0;
        if late {
            self.state = AppState::Stopped;
            self.tell_closed = true;
            self.tell_hidden = false;
        }
        late
    }

    pub(super) fn poll(&mut self, slot: AppSlot) -> Option<Output<'static>> {
        if core::mem::take(&mut self.tell_closed) {
            return Some(Output::CloseApp { slot });
        }
        if core::mem::take(&mut self.tell_hidden) {
            return Some(Output::HideApp { slot });
        }
        if self.overflow_is_due() {
            let refused = core::mem::take(&mut self.overflows_untold);
            return Some(Output::PopupOverflow { slot, refused });
        }
        None
    }

    pub(super) fn next_output_in_ms(&self) -> Option<u64> {
        if self.tell_closed || self.tell_hidden || self.overflow_is_due() {
            return Some(0);
        }
        self.state.is_loading().then_some(self.loading_left_ms)
    }

    fn overflow_is_due(&self) -> bool {
        self.overflows_untold > 0 && self.state.is_loaded()
    }

    /// Makes way for another app.
    pub(super) fn lose_screen(&mut self) {
        if let Some(state) = self.state.after(AppEvent::Hidden) {
            self.state = state;
            self.tell_hidden = true;
        }
    }

    pub(super) fn popup_refused(&mut self) {
        self.overflows_untold = self.overflows_untold.saturating_add(1);
    }

    /// Puts a message into the pending ring as the newest.
    pub(super) fn keep(&mut self, message: &AppMessage<'_>) -> Result<Pushed, TooLarge> {
        self.keep_as(self.pending.next_number(), message)
    }

    /// Puts a message with this number into the pending ring.
    pub(super) fn keep_as(
        &mut self,
        number: u64,
        message: &AppMessage<'_>,
    ) -> Result<Pushed, TooLarge> {
        let len = encodable_len(message)?;
        self.pending.put_back_with(number, len, |bytes| {
            let encoded = message.encode(bytes);
            debug_assert!(encoded.is_ok(), "its length was checked");
        })
    }

    /// Whether the pending ring can hold a message at all.
    pub(super) fn can_keep(&self, message: &AppMessage<'_>) -> Result<(), TooLarge> {
        let len = encodable_len(message)?;
        let max = self.pending.record_bytes_max();
        if len > max {
            return Err(TooLarge { len, max });
        }
        Ok(())
    }
}

fn encodable_len(message: &AppMessage<'_>) -> Result<usize, TooLarge> {
    let (len, max) = (message.encoded_len(), message.bytes_max());
    if len > max {
        return Err(TooLarge { len, max });
    }
    Ok(len)
}

pub(super) fn slots<S>(apps: &[App<S>]) -> impl Iterator<Item = (AppSlot, &App<S>)> {
    (0..=u8::MAX).map(AppSlot::new).zip(apps)
}

pub(super) fn slots_mut<S>(apps: &mut [App<S>]) -> impl Iterator<Item = (AppSlot, &mut App<S>)> {
    (0..=u8::MAX).map(AppSlot::new).zip(apps)
}

pub(super) fn slot_of<S>(apps: &[App<S>], id: &AppId) -> Option<AppSlot> {
    slots(apps)
        .find(|(_, app)| app.id == *id)
        .map(|(slot, _)| slot)
}

pub(super) fn app_mut<S>(apps: &mut [App<S>], slot: AppSlot) -> Option<&mut App<S>> {
    apps.get_mut(usize::from(slot.index()))
}
