//! What a browser's trace says of its threads.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::Value;

/// One task of a thread, from its begin to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// How long the thread did nothing else.
    pub took: Duration,
}

/// The tasks of the busiest of the threads that pages run on: a browser has some that no page uses.
pub(crate) fn busiest(events: &[Value]) -> Vec<Task> {
    let thread = |event: &Value| (event["pid"].as_u64(), event["tid"].as_u64());
    let pages: HashSet<_> = events
        .iter()
        .filter(|event| event["name"] == "thread_name" && event["args"]["name"] == "CrRendererMain")
        .map(thread)
        .collect();
    let mut tasks: HashMap<_, Vec<Task>> = HashMap::new();
    for event in events {
        let is_task = event["name"]
            .as_str()
            .is_some_and(|name| name.ends_with("RunTask"));
        if is_task && event["ph"] == "X" && pages.contains(&thread(event)) {
            let took = Duration::from_micros(event["dur"].as_u64().unwrap_or_default());
            tasks.entry(thread(event)).or_default().push(Task { took });
        }
    }
    let busy = |tasks: &Vec<Task>| tasks.iter().map(|task| task.took).sum::<Duration>();
    tasks.into_values().max_by_key(busy).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tasks_of_the_busiest_page_are_found() {
        let name = |tid: u64, name: &str| json!({ "name": "thread_name", "pid": 1, "tid": tid, "args": { "name": name } });
        let task = |tid: u64, dur: u64| json!({ "name": "ThreadControllerImpl::RunTask", "ph": "X", "pid": 1, "tid": tid, "dur": dur });
        let events = [
            name(1, "CrRendererMain"),
            name(2, "CrRendererMain"),
            name(3, "Compositor"),
            task(1, 5),
            task(2, 7),
            task(2, 1),
            task(3, 100),
        ];
        let took = [7, 1].map(|us| Task {
            took: Duration::from_micros(us),
        });
        assert_eq!(busiest(&events), took);
    }
}
