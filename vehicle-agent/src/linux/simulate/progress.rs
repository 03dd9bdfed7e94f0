//! The progress of a simulation on the error output: a bar on a terminal, else a line now and then.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use super::fleet::Fleet;

const BAR_INTERVAL: Duration = Duration::from_millis(100);
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The display; it ends with [`Progress::finish`].
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    task: JoinHandle<()>,
}

impl Progress {
    pub(super) fn start(fleet: Arc<Fleet>) -> Self {
        if !std::io::stderr().is_terminal() {
            let task = tokio::spawn(async move {
                let mut interval = tokio::time::interval(LINE_INTERVAL);
                loop {
                    interval.tick().await;
                    eprintln!("{}", fleet.line());
                }
            });
            return Self { bar: None, task };
        }
        let bar = ProgressBar::new(fleet.vehicles);
        if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {bar:30} {msg}") {
            bar.set_style(style);
        }
        let shown = bar.clone();
        let task = tokio::spawn(async move {
            let mut interval = tokio::time::interval(BAR_INTERVAL);
            loop {
                interval.tick().await;
                shown.set_position(fleet.connected_now());
                shown.set_message(fleet.line());
            }
        });
        Self {
            bar: Some(bar),
            task,
        }
    }

    pub(super) fn finish(self) {
        self.task.abort();
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
