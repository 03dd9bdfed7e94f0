//! The clock that stands in for a board's on Linux.

use std::time::Duration;

use embassy_time::{Instant, Timer};
use tokio::task::JoinSet;
use tokio::time::timeout;
// Linked for its clock.
use vinbus_transport_embedded as _;

/// Longest time for anything to happen. Only a broken clock takes it.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn thousand_tasks_wait_at_once_and_each_is_woken() {
    let mut tasks: JoinSet<()> = (0..1000)
        .map(|number| Timer::after_millis(number % 20))
        .collect();
    let woken = async { while tasks.join_next().await.is_some() {} };
    timeout(PATIENCE, woken).await.unwrap();
}

#[tokio::test]
async fn task_is_woken_for_each_of_its_deadlines_in_any_order() {
    let both = async {
        tokio::join!(Timer::after_millis(20), Timer::after_millis(1));
        tokio::join!(Timer::after_millis(1), Timer::after_millis(20));
    };
    timeout(PATIENCE, both).await.unwrap();
}

#[tokio::test]
async fn deadline_that_never_comes_does_not_hide_one_that_is_set_later() {
    let never = tokio::spawn(Timer::at(Instant::MAX));
    let near = async {
        tokio::task::yield_now().await;
        Timer::after_millis(1).await;
        Timer::after_millis(1).await;
    };
    timeout(PATIENCE, near).await.unwrap();
    never.abort();
}
