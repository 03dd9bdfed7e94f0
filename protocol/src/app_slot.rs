//! [`AppSlot`]: which of the installed apps, as a small number.

/// The place of an installed app in its portal's table. It costs one byte where an
/// [`AppId`](crate::id::AppId) costs 65, and is given out by
/// [`Portal::install`](crate::portal::Portal::install).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppSlot(u8);

impl AppSlot {
    /// The slot with this index; whether an app is installed there is for the portal to say.
    #[must_use]
    pub const fn new(index: u8) -> Self {
        Self(index)
    }

    /// The index, from 0.
    #[must_use]
    pub const fn index(self) -> u8 {
        self.0
    }
}

impl core::fmt::Display for AppSlot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.0)
    }
}
