//! The request to an attempt in this process to stop.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// Asks an attempt to stop. It makes its token only when the attempt takes it, which most attempts never do.
#[derive(Debug, Clone, Default)]
pub(crate) struct StopSignal(Arc<OnceLock<CancellationToken>>);

impl StopSignal {
    /// Whether the attempt has taken its stop token, so that it can notice a request to stop.
    pub(crate) fn is_heard(&self) -> bool {
        self.0.get().is_some()
    }

    /// Returns the token that is cancelled when the attempt is asked to stop.
    pub(crate) fn token(&self) -> &CancellationToken {
        self.0.get_or_init(CancellationToken::new)
    }

    /// Asks the attempt to stop.
    pub(crate) fn ask(&self) {
        self.token().cancel();
    }
}

impl From<CancellationToken> for StopSignal {
    fn from(token: CancellationToken) -> Self {
        Self(Arc::new(OnceLock::from(token)))
    }
}
