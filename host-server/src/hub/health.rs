//! What vehicles report of their own condition (SPEC 6.9).

use vinbus_protocol::envelope::Content;
use vinbus_protocol::health::{Reported, reported};

/// The crash that a report tells of, unless the report `before` told of the same one: an agent that
/// crashes again with the same words has started since, and so has run for a shorter time.
pub(super) fn new_crash(before: Option<&str>, report: &str) -> Option<String> {
    let report = read(report)?;
    let crash = report.crash?.to_string();
    let Some(before) = before.and_then(read) else {
        return Some(crash);
    };
    let is_same = before.crash.is_some_and(|before| before.is(&crash));
    let has_started = report.uptime_s < before.uptime_s;
    (!is_same || has_started).then_some(crash)
}

fn read(report: &str) -> Option<Reported<'_>> {
    reported(Content::parse(report.as_bytes()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = r#"{"uptimeS":9,"crash":"a\nb"}"#;

    fn check(before: Option<&str>, report: &str, expected: Option<&str>) {
        assert_eq!(new_crash(before, report).as_deref(), expected, "{report}");
    }

    #[test]
    fn crash_is_told_once_until_the_agent_crashes_again() {
        check(None, FIRST, Some("a\nb"));
        check(Some(FIRST), r#"{"uptimeS":70,"crash":"a\u000ab"}"#, None);
        check(Some(FIRST), r#"{"uptimeS":2,"crash":"a\nb"}"#, Some("a\nb"));
        check(Some(FIRST), r#"{"uptimeS":70,"crash":"c"}"#, Some("c"));
        check(Some(r#"{"uptimeS":9}"#), FIRST, Some("a\nb"));
    }

    #[test]
    fn agent_that_did_not_crash_is_not_spoken_of() {
        check(None, r#"{"uptimeS":9}"#, None);
        check(Some(FIRST), r#"{"uptimeS":2}"#, None);
        check(Some(FIRST), "[]", None);
    }
}
