//! Work that blocks.

use tokio::runtime::Handle;

/// Does something that blocks on a thread that may; `None` if the runtime is going down.
///
/// Without a runtime there is nobody whom blocking would hold up, so it is done here and now.
pub(crate) async fn run<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match Handle::try_current() {
        // It does not panic, so it can only be that the runtime is going down.
        Ok(runtime) => runtime.spawn_blocking(act).await.ok(),
        Err(_) => Some(act()),
    }
}
