//! The monitor of an executor: how it watches the machine during its runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{AdmissionGate, AdmissionLimits, Monitor, MonitorError, Probe, Sampler, Warnings};

/// Makes the probe of a run.
type ProbeFactory = dyn Fn() -> Result<Box<dyn Probe>, MonitorError> + Send + Sync;

/// Configures how an executor watches the machine while it runs jobs. The monitor warns when memory or processors run
/// short, and can hold back new jobs while they do.
///
/// By default it takes a reading every ten seconds, warns at 80 % of memory and 90 % of the processors, and holds
/// nothing back. Pass it to [`ExecutorBuilder::resource_monitor`](crate::ExecutorBuilder::resource_monitor).
///
/// ```
/// use ratchet_runtime::Executor;
/// use ratchet_runtime::monitor::{AdmissionLimits, ResourceMonitor};
///
/// // No new job while less than half a gigabyte is free.
/// let limits = AdmissionLimits { memory_free: Some(512 << 20), ..AdmissionLimits::default() };
/// let executor = Executor::builder().resource_monitor(ResourceMonitor::new().hold_back(limits)).build()?;
/// # Ok::<(), ratchet_runtime::Error>(())
/// ```
#[derive(Clone)]
pub struct ResourceMonitor {
    interval: Duration,
    warnings: Warnings,
    admission: AdmissionLimits,
    probe: Arc<ProbeFactory>,
}

impl ResourceMonitor {
    /// Makes a monitor that warns and holds nothing back.
    pub fn new() -> Self {
        Self {
            interval: Duration::from_secs(10),
            warnings: Warnings::default(),
            admission: AdmissionLimits::default(),
            probe: Arc::new(|| Ok(Box::new(Sampler::new()?))),
        }
    }

    /// Sets the time between two readings. It has to be at least [`Monitor::LEAST_INTERVAL`].
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets the levels at which to warn.
    #[must_use]
    pub fn warnings(mut self, warnings: Warnings) -> Self {
        self.warnings = warnings;
        self
    }

    /// Sets the limits within which new jobs may start. No job starts before the first reading.
    #[must_use]
    pub fn hold_back(mut self, limits: AdmissionLimits) -> Self {
        self.admission = limits;
        self
    }

    /// Sets the probe that takes the readings of each run, instead of a [`Sampler`]. It is for tests.
    #[must_use]
    pub fn probe<P: Probe>(mut self, probe: impl Fn() -> P + Send + Sync + 'static) -> Self {
        self.probe = Arc::new(move || Ok(Box::new(probe())));
        self
    }

    /// Refuses settings that could never work on this machine.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut probe = (self.probe)().map_err(|error| error.to_string())?;
        let never = self
            .admission
            .memory_free
            .and_then(|_| self.admission.never(&probe.read()));
        if let Some(shortage) = never {
            return Err(format!("no job would ever start: {shortage}"));
        }
        Monitor::new(probe, self.interval).map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Makes the monitor of a run.
    pub(crate) fn monitor(&self) -> Result<Monitor<Box<dyn Probe>>, MonitorError> {
        Monitor::new((self.probe)()?, self.interval)
    }

    /// Returns the warnings for a run, of which none was given yet.
    pub(crate) fn warnings_for_run(&self) -> Warnings {
        self.warnings.clone()
    }

    /// Makes the gate of a run, if it has admission limits.
    pub(crate) fn gate(&self) -> Option<AdmissionGate> {
        (self.admission != AdmissionLimits::default()).then(|| AdmissionGate::new(self.admission))
    }
}

impl Default for ResourceMonitor {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ResourceMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceMonitor")
            .field("interval", &self.interval)
            .field("warnings", &self.warnings)
            .field("admission", &self.admission)
            .finish_non_exhaustive()
    }
}
