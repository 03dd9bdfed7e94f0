//! What was found: one verdict for each check, as lines for people or as JSON.

use serde::Serialize;

/// Longest text of a broker that is shown, in characters.
const FOREIGN_CHARS_MAX: usize = 160;

/// What those are called together that were not reached.
const REST: &str = "the rest";

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    Ok,
    Warning,
    Failed,
    NotTested,
}

impl Verdict {
    const ALL: [Self; 4] = [Self::Ok, Self::Warning, Self::Failed, Self::NotTested];

    fn shown(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::NotTested => "not tested",
        }
    }
}

/// One line.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Check {
    pub(super) check: String,
    pub(super) verdict: Verdict,
    /// What was found.
    pub(super) value: String,
    /// What to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

/// All lines, in the order of the checks.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    broker: String,
    version: &'static str,
    pub(super) checks: Vec<Check>,
    /// Those behind so many were not reached.
    #[serde(skip)]
    reached: Option<usize>,
}

impl Report {
    pub(super) fn of(broker: String) -> Self {
        Self {
            broker,
            version: env!("CARGO_PKG_VERSION"),
            checks: Vec::new(),
            reached: None,
        }
    }

    pub(super) fn ok(&mut self, check: &str, value: impl Into<String>) {
        self.add(check, Verdict::Ok, value.into(), None);
    }

    pub(super) fn warning(
        &mut self,
        check: &str,
        value: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add(check, Verdict::Warning, value.into(), Some(advice.into()));
    }

    pub(super) fn failed(
        &mut self,
        check: &str,
        value: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add(check, Verdict::Failed, value.into(), Some(advice.into()));
    }

    pub(super) fn not_tested(&mut self, check: &str, why: impl Into<String>) {
        self.add(check, Verdict::NotTested, why.into(), None);
    }

    /// Notes that checks had to be left out, all for the same reason.
    pub(super) fn skip(&mut self, checks: &[&str], why: &str) {
        for check in checks {
            self.not_tested(check, why);
        }
    }

    /// Notes those of all `checks` that were not reached.
    pub(super) fn complete(&mut self, checks: &[&str]) {
        self.reached = Some(self.checks.len());
        let failed = self.checks.iter().rfind(|it| it.verdict == Verdict::Failed);
        let why = match failed {
            Some(failed) => format!("not reached, as {} failed", failed.check),
            None => "not reached".to_owned(),
        };
        for check in checks {
            if !self.checks.iter().any(|it| it.check == *check) {
                self.not_tested(check, &why);
            }
        }
    }

    fn add(&mut self, check: &str, verdict: Verdict, value: String, advice: Option<String>) {
        self.checks.push(Check {
            check: check.to_owned(),
            verdict,
            value,
            advice,
        });
    }

    pub(super) fn count(&self, verdict: Verdict) -> usize {
        let of_it = |check: &&Check| check.verdict == verdict;
        self.checks.iter().filter(of_it).count()
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let (reached, rest) = self
            .checks
            .split_at(self.reached.unwrap_or(self.checks.len()));
        let names = reached.iter().map(|check| check.check.len());
        let rest_name = (!rest.is_empty()).then_some(REST.len());
        let width = names.chain(rest_name).max().unwrap_or_default();
        for check in reached {
            let verdict = check.verdict.shown();
            text.push_str(&format!(
                "{verdict:<10}  {:<width$}  {}",
                check.check, check.value
            ));
            if let Some(advice) = &check.advice {
                text.push_str(&format!(" -> {advice}"));
            }
            text.push('\n');
        }
        // Programs get each by itself; people want to see what failed.
        if let Some(first) = rest.first() {
            let names: Vec<&str> = rest.iter().map(|check| &*check.check).collect();
            let verdict = first.verdict.shown();
            text.push_str(&format!(
                "{verdict:<10}  {:<width$}  {}: {}\n",
                REST,
                first.value,
                names.join(", ")
            ));
        }
        text.push_str(&format!("{}\n", self.summary()));
        text
    }

    fn summary(&self) -> String {
        let counts: Vec<_> = Verdict::ALL
            .iter()
            .map(|verdict| {
                let count = self.count(*verdict);
                let plural = if *verdict == Verdict::Warning && count != 1 {
                    "s"
                } else {
                    ""
                };
                format!("{count} {}{plural}", verdict.shown())
            })
            .collect();
        format!("{}: {}", self.broker, counts.join(", "))
    }

    pub(super) fn json(&self) -> String {
        // Strings and numbers of ours, which can always be written.
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{json}\n")
    }
}

/// A number of things, in words.
pub(super) fn counted(count: u64, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        _ => format!("{count} {thing}s"),
    }
}

/// A text that somebody else has written, so that it is one short line.
pub(super) fn foreign(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(FOREIGN_CHARS_MAX)
        .map(|c| match c {
            // Quotes do no harm, and stand in texts of ours as well.
            '"' | '\'' => c.to_string(),
            c => c.escape_debug().to_string(),
        })
        .collect();
    if text.chars().nth(FOREIGN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_one_line_whatever_the_broker_says() {
        let mut report = Report::of("mqtt://broker:1883".into());
        report.failed("login", foreign("no\n\u{1b}[31mok"), "ask");
        assert_eq!(
            report.text(),
            "failed      login  no\\n\\u{1b}[31mok -> ask\n\
             mqtt://broker:1883: 0 ok, 0 warnings, 1 failed, 0 not tested\n"
        );
        assert_eq!(report.count(Verdict::Failed), 1);
    }

    #[test]
    fn what_was_not_reached_is_told_with_what_failed_before() {
        let mut report = Report::of(String::new());
        report.ok("name", "");
        report.failed("tcp", "", "");
        report.complete(&["name", "tcp", "login", "size"]);
        let last = report.checks.last().unwrap();
        assert_eq!((&*last.check, last.verdict), ("size", Verdict::NotTested));
        assert_eq!(last.value, "not reached, as tcp failed");
        assert_eq!(report.checks.len(), 4);
        let line = "not tested  the rest  not reached, as tcp failed: login, size\n";
        assert!(report.text().contains(line), "{}", report.text());
    }

    #[test]
    fn a_long_text_of_the_broker_is_cut() {
        assert_eq!(
            foreign(&"x".repeat(100_000)).chars().count(),
            FOREIGN_CHARS_MAX + 1
        );
    }
}
