//! Waiting for a condition, never for a duration.

use std::time::Duration;

use tokio::time::Instant;

/// No test waits longer than this for something that has to happen; it only ends a test that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// Waits until a condition holds that nobody tells of.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits for something that has to happen.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    let happened = tokio::time::timeout(PATIENCE, future).await;
    happened.unwrap_or_else(|_| panic!("nothing happened for {PATIENCE:?}"))
}
