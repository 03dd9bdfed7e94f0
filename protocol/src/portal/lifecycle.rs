//! What an app can be doing, and what each report of the head unit or the app makes of it.

/// A report about an app, from the head unit that starts and shows it or from the app itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppEvent {
    /// It was started.
    Launched,
    /// It is ready: `WebPortal.onApplicationLoaded`.
    Loaded,
    /// It has the screen: `WebPortal.onApplicationShow`.
    Shown,
    /// It lost the screen: `WebPortal.onApplicationHide`.
    Hidden,
    /// It has ended, or its connection is gone: `WebPortal.onApplicationUnloaded`.
    Unloaded,
}

impl AppEvent {
    /// All events.
    pub const ALL: [Self; 5] = [
        Self::Launched,
        Self::Loaded,
        Self::Shown,
        Self::Hidden,
        Self::Unloaded,
    ];
}

/// What an app is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AppState {
    /// It does not run.
    #[default]
    Stopped,
    /// It was started, is not ready, and does not have the screen.
    Loading,
    /// It was started and has the screen, but is not ready.
    LoadingShown,
    /// It is ready, but does not have the screen.
    Hidden,
    /// It is ready and has the screen.
    Shown,
}

impl AppState {
    /// The state after `event`, by the table of [`Portal`](super::Portal); `None` where a stopped
    /// app cannot have made that report.
    #[must_use]
    pub const fn after(self, event: AppEvent) -> Option<Self> {
        Some(match (self, event) {
            (_, AppEvent::Launched) => Self::Loading,
            (Self::Stopped, _) => return None,
            (_, AppEvent::Unloaded) => Self::Stopped,
            (Self::Loading | Self::LoadingShown, AppEvent::Shown) => Self::LoadingShown,
            (Self::Loading | Self::LoadingShown, AppEvent::Hidden) => Self::Loading,
            (Self::Loading, AppEvent::Loaded) => Self::Hidden,
            (Self::LoadingShown, AppEvent::Loaded) => Self::Shown,
            (Self::Hidden | Self::Shown, AppEvent::Shown) => Self::Shown,
            (Self::Hidden | Self::Shown, AppEvent::Hidden) => Self::Hidden,
            (Self::Hidden | Self::Shown, AppEvent::Loaded) => self,
        })
    }

    /// Whether the app has been started but is not ready.
    #[must_use]
    pub const fn is_loading(self) -> bool {
        matches!(self, Self::Loading | Self::LoadingShown)
    }

    /// Whether the app is ready.
    #[must_use]
    pub const fn is_loaded(self) -> bool {
        matches!(self, Self::Hidden | Self::Shown)
    }

    /// Whether the app has the screen.
    #[must_use]
    pub const fn has_screen(self) -> bool {
        matches!(self, Self::LoadingShown | Self::Shown)
    }
}
