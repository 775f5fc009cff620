//! Decides whether the state of the machine allows new jobs to start.

use std::fmt;

use super::Reading;

/// The limits within which new jobs may start. A limit of `None` is not checked.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct AdmissionLimits {
    /// How many bytes of memory have to be free.
    pub memory_free: Option<u64>,
    /// The highest load of the machine. The load is an average over a minute and lags behind, so a burst of short jobs can
    /// exceed it.
    pub load: Option<f64>,
    /// How many bytes of memory all workers may use together.
    pub memory_limit: Option<u64>,
}

/// The limit that keeps new jobs from starting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shortage {
    /// Too little memory is free.
    MemoryFree {
        /// How many bytes are free.
        free: u64,
        /// How many bytes have to be free.
        wanted: u64,
    },
    /// The load is too high.
    Load {
        /// The load.
        load: f64,
        /// The highest load that is allowed.
        limit: f64,
    },
    /// The workers use too much memory.
    MemoryLimit {
        /// How many bytes the workers use.
        used: u64,
        /// How many bytes the workers may use.
        limit: u64,
    },
}

/// The decision whether new jobs may start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AdmissionDecision {
    /// New jobs may start.
    Start,
    /// New jobs have to wait, because of this shortage.
    Hold(Shortage),
}

/// Decides by its [`AdmissionLimits`] whether new jobs may start, and remembers whether it holds them back.
///
/// The gate holds jobs back when a limit is exceeded, and lets them start again when usage is a tenth below the limit. A
/// job that started right at the limit would exceed it again at once.
///
/// ```
/// use ratchet_runtime::monitor::{AdmissionLimits, AdmissionDecision, AdmissionGate, Reading};
///
/// let mut gate = AdmissionGate::new(AdmissionLimits { load: Some(8.0), ..AdmissionLimits::default() });
/// let mut at = |load| gate.decide(&Reading { load, ..Reading::default() }, 1) == AdmissionDecision::Start;
/// assert!(at(7.9));
/// assert!(!at(8.1));
/// assert!(!at(7.9), "not yet");
/// assert!(at(7.1));
/// ```
#[derive(Debug, Clone)]
pub struct AdmissionGate {
    admission: AdmissionLimits,
    /// Whether new jobs are held back now.
    holding: bool,
}

impl AdmissionLimits {
    /// Returns the limit that this machine can never meet, if there is one: it asks for more free memory than the
    /// machine has.
    pub fn never(&self, reading: &Reading) -> Option<Shortage> {
        let wanted = self.memory_free?;
        (wanted > reading.memory_total).then_some(Shortage::MemoryFree {
            free: reading.memory_total,
            wanted,
        })
    }

    /// Returns the first limit that is exceeded. With `spare`, each limit is tightened by its margin.
    fn shortage(&self, reading: &Reading, running: u64, spare: bool) -> Option<Shortage> {
        if let Some(wanted) = self.memory_free {
            let free = reading.memory_available;
            // With the whole margin, the sum could be more than the machine has, and the gate would never open again.
            let within = reading.memory_total.saturating_sub(wanted) / 2;
            let margin = if spare { (wanted / 10).min(within) } else { 0 };
            if free < wanted.saturating_add(margin) {
                return Some(Shortage::MemoryFree { free, wanted });
            }
        }
        if let Some(limit) = self.load {
            let load = reading.load;
            if load > if spare { limit * 0.9 } else { limit } {
                return Some(Shortage::Load { load, limit });
            }
        }
        if let Some(limit) = self.memory_limit
            // Idle workers free no memory, so a run that waits for them would wait forever.
            && running > 0
        {
            let used = reading.workers.memory;
            if used > limit - if spare { limit / 10 } else { 0 } {
                return Some(Shortage::MemoryLimit { used, limit });
            }
        }
        None
    }
}

impl AdmissionGate {
    /// Makes a gate that is open until a reading exceeds a limit.
    pub fn new(admission: AdmissionLimits) -> Self {
        Self {
            admission,
            holding: false,
        }
    }

    /// Decides whether new jobs may start. `running` is the number of attempts that run now.
    pub fn decide(&mut self, reading: &Reading, running: u64) -> AdmissionDecision {
        let shortage = self.admission.shortage(reading, running, self.holding);
        self.holding = shortage.is_some();
        shortage.map_or(AdmissionDecision::Start, AdmissionDecision::Hold)
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MemoryFree { free, wanted } => write!(
                f,
                "{} of memory are free, but {} are needed",
                Bytes(free),
                Bytes(wanted)
            ),
            Self::Load { load, limit } => write!(f, "the load is {load:.1}, over {limit:.1}"),
            Self::MemoryLimit { used, limit } => {
                write!(
                    f,
                    "workers use {} of memory, more than {}",
                    Bytes(used),
                    Bytes(limit)
                )
            }
        }
    }
}

/// Formats a number of bytes for people.
struct Bytes(u64);

impl fmt::Display for Bytes {
    #[expect(
        clippy::cast_precision_loss,
        reason = "only one decimal place is shown"
    )]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shift, unit) = match self.0 {
            0..1024 => return write!(f, "{} B", self.0),
            1024..0x10_0000 => (10, "KiB"),
            0x10_0000..0x4000_0000 => (20, "MiB"),
            _ => (30, "GiB"),
        };
        write!(f, "{:.1} {unit}", self.0 as f64 / f64::from(1_u32 << shift))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Usage;
    use super::*;

    const GIB: u64 = 1 << 30;

    fn free(gate: &mut AdmissionGate, tenths: u64) -> bool {
        let reading = Reading {
            memory_total: 16 * GIB,
            memory_available: tenths * GIB / 10,
            ..Reading::default()
        };
        gate.decide(&reading, 1) == AdmissionDecision::Start
    }

    #[test]
    fn a_closed_gate_opens_when_a_tenth_is_to_spare() {
        let mut gate = AdmissionGate::new(AdmissionLimits {
            memory_free: Some(2 * GIB),
            ..AdmissionLimits::default()
        });
        assert!(free(&mut gate, 20));
        assert!(!free(&mut gate, 19));
        assert!(!free(&mut gate, 21));
        assert!(free(&mut gate, 22));
        assert!(free(&mut gate, 20));
    }

    #[test]
    fn the_margin_of_a_gate_never_asks_for_more_memory_than_there_is() {
        let mut gate = AdmissionGate::new(AdmissionLimits {
            memory_free: Some(155 * GIB / 10),
            ..AdmissionLimits::default()
        });
        assert!(!free(&mut gate, 150));
        assert!(!free(&mut gate, 156));
        assert!(free(&mut gate, 158));
    }

    #[test]
    fn a_limit_that_the_machine_can_never_keep_is_reported() {
        let admission = AdmissionLimits {
            memory_free: Some(17 * GIB),
            ..AdmissionLimits::default()
        };
        let reading = Reading {
            memory_total: 16 * GIB,
            ..Reading::default()
        };
        let never = admission.never(&reading).unwrap();
        assert_eq!(
            never.to_string(),
            "16.0 GiB of memory are free, but 17.0 GiB are needed"
        );
        assert_eq!(AdmissionLimits::default().never(&reading), None);
    }

    #[test]
    fn a_gate_waits_for_workers_over_their_memory_limit_only_while_attempts_run() {
        let mut gate = AdmissionGate::new(AdmissionLimits {
            memory_limit: Some(1000),
            ..AdmissionLimits::default()
        });
        let at = |memory| Reading {
            workers: Usage {
                memory,
                ..Usage::default()
            },
            ..Reading::default()
        };
        assert_eq!(gate.decide(&at(1000), 1), AdmissionDecision::Start);
        let AdmissionDecision::Hold(shortage) = gate.decide(&at(1500), 1) else {
            panic!("it goes on");
        };
        assert_eq!(
            shortage.to_string(),
            "workers use 1.5 KiB of memory, more than 1000 B"
        );
        assert!(matches!(
            gate.decide(&at(950), 1),
            AdmissionDecision::Hold(_)
        ));
        assert_eq!(gate.decide(&at(1500), 0), AdmissionDecision::Start);
        assert_eq!(gate.decide(&at(900), 1), AdmissionDecision::Start);
    }

    #[test]
    fn a_gate_without_limits_is_always_open() {
        let mut gate = AdmissionGate::new(AdmissionLimits::default());
        let busy = Reading {
            load: 1000.0,
            ..Reading::default()
        };
        assert_eq!(gate.decide(&busy, 1), AdmissionDecision::Start);
    }
}
