//! Watches the machine during a run: warns about shortages, and holds new jobs back.

use super::handle::RunHandle;
use super::run_orders::RunOrder;
use crate::ids::PlaceName;
use crate::monitor::{AdmissionDecision, MonitorError, ResourceMonitor};

/// The reason for which nothing starts before the first reading.
const MEASURING: &str = "memory and load are being measured";

/// Starts a task that watches the machine until the run is over.
pub(super) fn watch_machine(
    settings: &ResourceMonitor,
    handle: RunHandle,
    runtime: &tokio::runtime::Handle,
) -> Result<(), MonitorError> {
    let monitor = settings.monitor()?;
    let (mut warnings, mut gate) = (settings.warnings_for_run(), settings.gate());
    if gate.is_some() {
        handle.hold(Some(MEASURING.to_owned()));
    }
    runtime.spawn(async move {
        let watching = monitor.watch(|reading| {
            for warning in warnings.observe(reading) {
                tracing::warn!(
                    percent = warning.percent,
                    "the machine runs short of a resource: {warning}"
                );
                handle.order(RunOrder::Warn(warning));
            }
            if let Some(gate) = &mut gate {
                let running = handle.running_at(&PlaceName::LOCAL) as u64;
                handle.hold(match gate.decide(reading, running) {
                    AdmissionDecision::Start => None,
                    AdmissionDecision::Hold(shortage) => Some(shortage.to_string()),
                });
            }
        });
        tokio::select! {
            () = watching => {
                // The watch ends by itself only if a probe panicked. Then nobody would release a hold, so it is
                // released here.
                handle.hold(None);
            }
            () = handle.quiet() => {}
        }
    });
    Ok(())
}
