//! Records whether a connection is lost, and why.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Watches for the loss of a connection.
#[derive(Debug, Clone)]
pub(super) struct LossWatch {
    ended: CancellationToken,
    reason: Arc<Mutex<Option<String>>>,
    lost_after: Duration,
}

impl LossWatch {
    /// Makes the watch of a connection that is lost after this time of silence.
    pub(super) fn new(lost_after: Duration) -> Self {
        Self {
            ended: CancellationToken::new(),
            reason: Arc::default(),
            lost_after,
        }
    }

    /// Records the reason for which the connection is lost.
    pub(super) fn set_reason(&self, reason: String) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    /// Announces that the connection has ended.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    /// Whether the connection has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Waits until the connection has ended.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Waits for the end of a connection on which something has failed, since the loss may be noticed only a moment
    /// later. Returns whether it has ended.
    pub(super) async fn is_lost_soon(&self) -> bool {
        timeout(self.lost_after, self.ended()).await.is_ok()
    }

    /// Returns why the connection has ended.
    pub(super) fn reason(&self) -> String {
        let reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = reason.clone();
        reason.unwrap_or_else(|| "it is being given up".to_owned())
    }
}
