//! Waits for conditions with a deadline, so that no test waits for a duration.

use std::time::Duration;

use tokio::time::Instant;

/// The longest time that a test waits for an event that has to happen. It only ends a test that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// Polls a condition until it holds, and fails the test if that takes too long. Use it for conditions that cannot be
/// awaited.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    eventually_async(what, async || holds()).await;
}

/// Polls an asynchronous condition until it holds, and fails the test if that takes too long.
pub async fn eventually_async(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !within(holds()).await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits for a future, and fails the test if it takes too long.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    let happened = tokio::time::timeout(PATIENCE, future).await;
    happened.unwrap_or_else(|_| panic!("nothing happened for {PATIENCE:?}"))
}
