//! What becomes of a message on its way.

use core::fmt;

/// What a receiver tells of a message (SPEC 16.14). The numbers are those on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Step {
    /// It came earlier, and what became of it is not known any more.
    Known = 0,
    /// It is with the other end, which has not decided yet.
    Received = 1,
    /// It waits for its app, which is in the background.
    HeldBackground = 2,
    /// It waits because privacy is asked for.
    HeldPrivacy = 3,
    /// The app has it and has not confirmed it yet.
    Handed = 4,
    /// The app has it; it confirms nothing.
    Taken = 5,
    /// The app has confirmed it, or the host has it on disk.
    Confirmed = 6,
    /// Its time was over before an app took it.
    Expired = 7,
    /// It made room for newer ones.
    Evicted = 8,
    /// There is no such app.
    UnknownApp = 9,
    /// It is too large for the other end.
    TooLarge = 10,
    /// Its content, or the envelope, is not valid.
    BadContent = 11,
    /// A rule of the vehicle or of the host forbids it.
    Denied = 12,
    /// The app refused it.
    RefusedByApp = 13,
    /// A part of a long message is stored, and more are awaited.
    PartStored = 14,
    /// A part of a long message does not follow what is stored: it begins again.
    PartMissing = 15,
    /// The app has answered the request.
    Answered = 16,
    /// The app is not in the foreground, and the request does not wait for it.
    NotThere = 17,
    /// The request was cancelled.
    Cancelled = 18,
    /// So many requests are open that there is no place for one more.
    Busy = 19,
}

impl Step {
    /// All of them, by their numbers on the wire.
    pub const ALL: [Self; 20] = [
        Self::Known,
        Self::Received,
        Self::HeldBackground,
        Self::HeldPrivacy,
        Self::Handed,
        Self::Taken,
        Self::Confirmed,
        Self::Expired,
        Self::Evicted,
        Self::UnknownApp,
        Self::TooLarge,
        Self::BadContent,
        Self::Denied,
        Self::RefusedByApp,
        Self::PartStored,
        Self::PartMissing,
        Self::Answered,
        Self::NotThere,
        Self::Cancelled,
        Self::Busy,
    ];

    /// Its number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The step with this number.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }

    /// Whether nothing follows it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(
            self,
            Self::Received | Self::HeldBackground | Self::HeldPrivacy | Self::Handed
        )
    }

    /// Whether the message reached what it was meant for.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(
            self,
            Self::Known | Self::Taken | Self::Confirmed | Self::PartStored | Self::Answered
        )
    }

    /// Its stable name, for logs, metrics and timelines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Received => "at_agent",
            Self::HeldBackground => "held_background",
            Self::HeldPrivacy => "held_privacy",
            Self::Handed => "handed",
            Self::Taken => "taken",
            Self::Confirmed => "confirmed",
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::UnknownApp => "unknown_app",
            Self::TooLarge => "too_large",
            Self::BadContent => "bad_content",
            Self::Denied => "denied",
            Self::RefusedByApp => "refused_by_app",
            Self::PartStored => "part_stored",
            Self::PartMissing => "part_missing",
            Self::Answered => "answered",
            Self::NotThere => "not_there",
            Self::Cancelled => "cancelled",
            Self::Busy => "busy",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_found_by_their_numbers() {
        for (code, step) in (0..).zip(Step::ALL) {
            assert_eq!(u32::from(step.code()), code);
            assert_eq!(Step::from_code(code), Some(step));
        }
        assert_eq!(Step::from_code(20), None);
        assert_eq!(Step::from_code(u32::MAX), None);
    }

    #[test]
    fn success_is_final() {
        for step in Step::ALL {
            assert!(step.is_final() || !step.is_success(), "{step}");
        }
    }
}
