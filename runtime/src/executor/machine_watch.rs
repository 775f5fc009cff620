//! Watches the machine while a run goes on: warns, and holds new jobs back.

use super::handle::RunHandle;
use super::run_orders::RunOrder;
use crate::ids::PlaceName;
use crate::monitor::{AdmissionDecision, MonitorError, ResourceMonitor};

/// Why nothing starts before the first reading.
const MEASURING: &str = "memory and load are being measured";

/// Starts to watch the machine until the run is over.
pub(super) fn watch_machine(
    settings: &ResourceMonitor,
    handle: RunHandle,
    runtime: &tokio::runtime::Handle,
) -> Result<(), MonitorError> {
    let monitor = settings.monitor()?;
    let (mut warnings, mut gate) = (settings.fresh_warnings(), settings.gate());
    if gate.is_some() {
        handle.hold(Some(MEASURING.to_owned()));
    }
    runtime.spawn(async move {
        let watching = monitor.watch(|reading| {
            for warning in warnings.observe(reading) {
                tracing::warn!(
                    percent = warning.percent,
                    "the machine runs short: {warning}"
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
                // It ends by itself only if the probe panicked. Nobody would let jobs start again.
                handle.hold(None);
            }
            () = handle.quiet() => {}
        }
    });
    Ok(())
}
