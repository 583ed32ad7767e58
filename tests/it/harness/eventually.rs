//! Waiting for something to become true, with a deadline and the reason in the panic.

use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until `look` finds something, and returns it.
///
/// # Panics
/// With `what` when the time is up.
pub(crate) async fn found<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {within:?} in vain: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// With `what` when the time is up.
pub(crate) async fn eventually(what: &str, within: Duration, mut condition: impl AsyncFnMut() -> bool) {
    found(what, within, async || condition().await.then_some(())).await;
}

#[tokio::test]
async fn a_condition_that_comes_true_is_waited_for() {
    let mut looks = 0;
    eventually("three looks", Duration::from_secs(5), async || {
        looks += 1;
        looks == 3
    })
    .await;
    assert_eq!(looks, 3);
}

#[tokio::test]
#[should_panic(expected = "in vain: the moon falls down")]
async fn a_condition_that_does_not_is_named() {
    eventually("the moon falls down", Duration::from_millis(20), async || false).await;
}
