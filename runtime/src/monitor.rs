//! Watches the machine, and decides when a run has to hold back new jobs.
//!
//! A [`Monitor`] takes a [`Reading`] at its own interval, outside of the run's event loop. Two values without a clock
//! evaluate each reading. [`Warnings`] decides when to warn that memory or processors run short, and the
//! [`AdmissionGate`] with its [`AdmissionLimits`] decides whether new jobs may start. Both have a margin between the
//! level at which they begin to object and the level at which they stop, so that a value that varies around a limit
//! does not change their decision at every reading.
//!
//! Free memory is memory that ratchet may use: in a container it is what the control group leaves, not what the machine
//! has. Page cache counts as free in both, since the system takes it back when it is needed.

mod admission;
#[cfg(feature = "monitor")]
mod cgroup;
#[cfg(feature = "executor")]
mod resource_monitor;
#[cfg(feature = "monitor")]
mod sampler;
#[cfg(not(feature = "monitor"))]
#[path = "monitor/no_sampler.rs"]
mod sampler;
mod warnings;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

pub use admission::{AdmissionDecision, AdmissionGate, AdmissionLimits, Shortage};
#[cfg(feature = "executor")]
pub use resource_monitor::ResourceMonitor;
pub use sampler::Sampler;
pub use warnings::{MachineResource, Warning, Warnings};

/// One reading of the machine: its memory, its processors and its load.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reading {
    /// How many bytes of memory the machine, or the control group, may use in all.
    pub memory_total: u64,
    /// How many bytes of memory are free, or could be freed at once.
    pub memory_available: u64,
    /// How much of the processors is used, in percent of what may be used. The first reading has no figure, because usage is
    /// computed from two readings.
    pub cpu_percent: Option<f64>,
    /// How many processes ran or were ready to run, on average over the last minute.
    pub load: f64,
    /// The usage of the processes that this process has started, and of all their descendants.
    pub workers: Usage,
}

/// The memory and the processor time that a group of processes uses.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// How many processes there are.
    pub processes: u64,
    /// How many bytes of memory they use. Memory that they share is counted for each of them.
    pub memory: u64,
    /// Their share of the processors, in percent of one.
    pub cpu_percent: f64,
}

impl Reading {
    /// Returns how much of the memory is used, in percent.
    #[expect(clippy::cast_precision_loss, reason = "it is a percentage")]
    pub fn memory_percent(&self) -> f64 {
        if self.memory_total == 0 {
            return 0.0;
        }
        let used = self.memory_total.saturating_sub(self.memory_available);
        used as f64 / self.memory_total as f64 * 100.0
    }
}

/// The errors of making a monitor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MonitorError {
    /// The system does not report its resources.
    #[error("this system does not report its memory and processors")]
    Unsupported(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The interval is so short that the monitor would do nothing but take readings.
    #[error("an interval of {given:?} is too short: {least:?} is the least")]
    IntervalTooShort {
        /// The interval that was asked for.
        given: Duration,
        /// The shortest interval that is possible.
        least: Duration,
    },
}

/// Takes readings. A [`Sampler`] takes them of this machine.
pub trait Probe: Send + 'static {
    /// Takes a reading. The call may block.
    fn read(&mut self) -> Reading;
}

impl<P: Probe + ?Sized> Probe for Box<P> {
    fn read(&mut self) -> Reading {
        (**self).read()
    }
}

/// Takes a reading of the machine at a fixed interval.
///
/// ```no_run
/// use std::time::Duration;
/// use ratchet_runtime::monitor::{AdmissionLimits, AdmissionDecision, AdmissionGate, Monitor, Sampler, Warnings};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut warnings = Warnings::default();
/// let mut gate = AdmissionGate::new(AdmissionLimits { memory_free: Some(2 << 30), ..AdmissionLimits::default() });
/// let monitor = Monitor::new(Sampler::new()?, Duration::from_secs(1))?;
/// monitor
///     .watch(|reading| {
///         for warning in warnings.observe(reading) {
///             eprintln!("{warning}");
///         }
///         // How many attempts run now is known to the run.
///         if let AdmissionDecision::Hold(shortage) = gate.decide(reading, 1) {
///             eprintln!("no new jobs: {shortage}");
///         }
///     })
///     .await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Monitor<P> {
    probe: P,
    interval: Duration,
}

impl<P: Probe> Monitor<P> {
    /// The shortest interval. The system's figures about processors are too coarse for shorter ones.
    pub const LEAST_INTERVAL: Duration = Duration::from_millis(200);

    /// Makes a monitor that takes a reading at this interval.
    pub fn new(probe: P, interval: Duration) -> Result<Self, MonitorError> {
        if interval < Self::LEAST_INTERVAL {
            return Err(MonitorError::IntervalTooShort {
                given: interval,
                least: Self::LEAST_INTERVAL,
            });
        }
        Ok(Self { probe, interval })
    }

    /// Takes readings until the future is dropped, the first one at once. Each reading is taken on a thread of its own,
    /// because it may block. The future ends by itself only if the probe panics.
    pub async fn watch(self, mut on_reading: impl FnMut(&Reading)) {
        let mut probe = self.probe;
        let mut ticks = interval(self.interval);
        // On a machine that is too busy to be read in time, missed readings are not made up for, since they would make it
        // busier.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // A new thread for each reading is cheap enough, since readings are rare. If the system has no thread to give,
            // the next tick tries again; the probe is handed over in a slot, so that it is not lost with the closure.
            let (tell, told) = tokio::sync::oneshot::channel();
            let given = Arc::new(Mutex::new(Some(probe)));
            let taken = Arc::clone(&given);
            let looking = std::thread::Builder::new()
                .name("monitor".into())
                .spawn(move || {
                    if let Some(mut probe) = take(&taken) {
                        let reading = probe.read();
                        // The watch may have been dropped in the meantime.
                        let _ = tell.send((probe, reading));
                    }
                });
            if let Err(error) = looking {
                tracing::warn!(%error, "could not start a thread to read memory and load of the machine; trying again at the next interval");
                match take(&given) {
                    Some(back) => probe = back,
                    None => return,
                }
                continue;
            }
            if let Ok((back, reading)) = told.await {
                probe = back;
                on_reading(&reading);
            } else {
                tracing::error!(
                    "the probe that reads memory and load of the machine panicked; the machine is not monitored any more"
                );
                return;
            }
        }
    }
}

/// Takes the probe out of its slot. A poisoned lock is used all the same: no code runs under it that could leave the
/// slot half changed.
fn take<P>(probe: &Mutex<Option<P>>) -> Option<P> {
    probe.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[derive(Debug)]
    struct Counting(u64);

    impl Probe for Counting {
        fn read(&mut self) -> Reading {
            self.0 += 1;
            assert!(self.0 < 5, "enough");
            Reading {
                memory_total: self.0,
                ..Reading::default()
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_monitor_takes_readings_at_its_interval_until_the_probe_panics() {
        let began = Instant::now();
        let mut seen = Vec::new();
        let monitor = Monitor::new(Counting(0), Duration::from_secs(3)).unwrap();
        monitor
            .watch(|reading| seen.push((began.elapsed().as_secs(), reading.memory_total)))
            .await;
        assert_eq!(seen, [(0, 1), (3, 2), (6, 3), (9, 4)]);
    }

    #[test]
    fn an_interval_of_zero_is_refused_by_a_monitor() {
        let refused = Monitor::new(Counting(0), Duration::ZERO).unwrap_err();
        assert!(
            refused.to_string().contains("200ms is the least"),
            "{refused}"
        );
    }

    #[test]
    fn a_machine_without_memory_uses_0_percent_of_it() {
        assert!(Reading::default().memory_percent().abs() < 1e-9);
    }
}
