//! Waiting for a moment that may never come.

use tokio::time::{Instant, sleep_until};

/// Waits until then, or for ever where there is no such time.
pub(crate) async fn until(time: Option<impl Into<Instant>>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
