//! Takes real readings of this machine.

use std::collections::HashMap;
use std::time::Instant;

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::cgroup::{Cgroup, ControlGroups, CpuLimit};
use super::{MonitorError, Probe, Reading, Usage};

/// Takes readings of this machine and of the processes that this process has started.
#[derive(Debug)]
pub struct Sampler {
    system: System,
    /// The id of this process, whose descendants are measured.
    own: Pid,
    groups: ControlGroups,
    /// The time of the last reading, and the processor time that the control group had used by then.
    last: Option<(Instant, Option<CpuLimit>)>,
}

impl Sampler {
    /// Makes a sampler for this process and its descendants.
    pub fn new() -> Result<Self, MonitorError> {
        let system = System::new().map_err(|error| MonitorError::Unsupported(error.into()))?;
        Ok(Self {
            system,
            own: Pid::from_u32(std::process::id()),
            groups: ControlGroups::find(),
            last: None,
        })
    }

    /// Computes the processor usage since the last reading, in percent of what may be used.
    fn cpu_percent(&mut self, now: Instant, group: Option<CpuLimit>) -> Option<f64> {
        self.system.refresh_cpu_usage();
        let (then, before) = self.last.replace((now, group))?;
        let host = f64::from(self.system.global_cpu_usage());
        let seconds = now.saturating_duration_since(then).as_secs_f64();
        let share = before
            .zip(group)
            .and_then(|(before, group)| group_percent(before, group, seconds));
        Some(share.map_or(host, |share| host.max(share)))
    }

    /// Adds up the usage of all descendants of this process.
    fn workers(&mut self) -> Usage {
        let kind = ProcessRefreshKind::nothing().with_memory().with_cpu();
        self.system
            .refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
        let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
        for (pid, process) in self.system.processes() {
            // Some systems list threads as processes. They share the memory of their process and would count twice.
            if let Some(parent) = process.parent()
                && process.thread_kind().is_none()
            {
                children.entry(parent).or_default().push(*pid);
            }
        }
        let mut usage = Usage::default();
        let mut open = children.remove(&self.own).unwrap_or_default();
        // Each process is removed when it is visited, so the walk ends even if the system reports a circle of parents.
        while let Some(pid) = open.pop() {
            open.extend(children.remove(&pid).unwrap_or_default());
            if let Some(process) = self.system.process(pid) {
                usage.processes += 1;
                usage.memory = usage.memory.saturating_add(process.memory());
                usage.cpu_percent += f64::from(process.cpu_usage());
            }
        }
        usage
    }
}

impl Probe for Sampler {
    fn read(&mut self) -> Reading {
        self.system.refresh_memory();
        let Cgroup { memory, cpu } = self.groups.read();
        let (total, available) = (self.system.total_memory(), self.system.available_memory());
        let now = tokio::time::Instant::now().into_std();
        Reading {
            memory_total: memory.map_or(total, |group| group.limit.min(total)),
            memory_available: memory.map_or(available, |group| group.free().min(available)),
            cpu_percent: self.cpu_percent(now, cpu),
            load: System::load_average().map_or(0.0, |load| load.one),
            workers: self.workers(),
        }
    }
}

/// Computes how much of its processors a control group used between two readings, in percent.
fn group_percent(before: CpuLimit, now: CpuLimit, seconds: f64) -> Option<f64> {
    let may = now.processors * seconds;
    (may > 0.0).then(|| (now.used_seconds - before.used_seconds).max(0.0) / may * 100.0)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_sampler_reads_the_memory_and_processors_of_this_machine() {
        let mut sampler = Sampler::new().unwrap();
        let first = sampler.read();
        assert!(first.memory_total > 0 && first.memory_available <= first.memory_total);
        assert_eq!(first.cpu_percent, None, "one look is not enough");
        let second = sampler.read().cpu_percent.unwrap();
        assert!(second >= 0.0 && second.is_finite());
    }

    /// Grandchildren of this process count, with their own memory.
    #[test]
    fn processes_that_children_have_started_count_as_workers() {
        let mut sampler = Sampler::new().unwrap();
        // Both end when their stdin is closed.
        let mut child = Command::new("sh")
            .args(["-c", "sh -c 'echo started; cat; true'; true"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut started = [0; 7];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut started).unwrap();
        let usage = sampler.read().workers;
        assert!(child.wait().unwrap().success());
        assert!(usage.processes >= 2, "{usage:?}");
        assert!(usage.memory > 0, "{usage:?}");
    }

    #[test]
    fn the_usage_of_a_control_group_is_a_share_of_its_limit() {
        let at = |used_seconds| CpuLimit {
            processors: 0.5,
            used_seconds,
        };
        assert_eq!(group_percent(at(1.0), at(2.0), 4.0), Some(50.0));
        assert_eq!(group_percent(at(2.0), at(1.0), 4.0), Some(0.0));
        assert_eq!(group_percent(at(1.0), at(2.0), 0.0), None);
    }
}
