//! Decides when to warn that the machine runs short of a resource.

use std::fmt;

use super::Reading;

/// A resource that can run short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MachineResource {
    /// The memory of the machine or of its control group.
    Memory,
    /// The time of the processors.
    Cpu,
}

impl MachineResource {
    /// Returns the name of the resource in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
        }
    }
}

impl fmt::Display for MachineResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A warning that the machine is short of a resource.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Warning {
    /// The resource that is short.
    pub resource: MachineResource,
    /// How much of the resource is used, in percent.
    pub percent: f64,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} % of {} are used", self.percent, self.resource)
    }
}

/// Decides when to warn: once when a resource runs short, and again only after its usage has fallen in between.
///
/// ```
/// use ratchet_runtime::monitor::{Reading, Warnings};
///
/// let mut warnings = Warnings::default();
/// let tight = Reading { memory_total: 100, memory_available: 15, ..Reading::default() };
/// assert_eq!(warnings.observe(&tight)[0].percent, 85.0);
/// assert!(warnings.observe(&tight).is_empty());
/// ```
#[derive(Debug, Clone)]
pub struct Warnings {
    memory: Threshold,
    cpu: Threshold,
}

/// The usage of a resource above which to warn, and whether a warning was already given.
#[derive(Debug, Clone)]
struct Threshold {
    percent: f64,
    /// Whether a warning was given, and the usage has not fallen since.
    warned: bool,
}

/// How far usage has to fall below a threshold before another warning is given, in percent.
const MARGIN: f64 = 5.0;

impl Default for Warnings {
    /// Makes warnings at 80 % of memory and 90 % of the processors.
    fn default() -> Self {
        Self::at(80.0, 90.0)
    }
}

impl Warnings {
    /// Makes warnings at these percentages of memory and of the processors.
    pub fn at(memory: f64, cpu: f64) -> Self {
        let level = |percent| Threshold {
            percent,
            warned: false,
        };
        Self {
            memory: level(memory),
            cpu: level(cpu),
        }
    }

    /// Returns the warnings that follow from a reading.
    pub fn observe(&mut self, reading: &Reading) -> Vec<Warning> {
        let memory = self.memory.observe(reading.memory_percent());
        let cpu = reading.cpu_percent.and_then(|cpu| self.cpu.observe(cpu));
        let warning = |resource| move |percent| Warning { resource, percent };
        memory
            .map(warning(MachineResource::Memory))
            .into_iter()
            .chain(cpu.map(warning(MachineResource::Cpu)))
            .collect()
    }
}

impl Threshold {
    /// Returns the usage if it gives rise to a warning.
    fn observe(&mut self, percent: f64) -> Option<f64> {
        if percent > self.percent {
            return (!std::mem::replace(&mut self.warned, true)).then_some(percent);
        }
        self.warned &= percent > self.percent - MARGIN;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_warned_of_once_until_usage_has_fallen() {
        let mut warnings = Warnings::default();
        let mut said = Vec::new();
        for cpu in [89.0, 90.0, 91.0, 99.0, 86.0, 95.0, 84.0, 92.5] {
            let reading = Reading {
                cpu_percent: Some(cpu),
                ..Reading::default()
            };
            said.extend(warnings.observe(&reading).iter().map(ToString::to_string));
        }
        assert_eq!(said, ["91.0 % of cpu are used", "92.5 % of cpu are used"]);
    }
}
