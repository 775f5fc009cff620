//! Takes real readings of this machine.

use std::collections::HashMap;
use std::time::Instant;

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::cgroup::{Cgroup, Cpu, Groups};
use super::{MonitorError, Probe, Reading, Usage};

/// Takes readings of this machine and of the processes that this process has started.
#[derive(Debug)]
pub struct Sampler {
    system: System,
    own: Pid,
    groups: Groups,
    /// The time of the last reading, and how much processor time the control group had used by then.
    last: Option<(Instant, Option<Cpu>)>,
}

impl Sampler {
    /// Makes a sampler for this process and those that it starts.
    pub fn new() -> Result<Self, MonitorError> {
        let system = System::new().map_err(|error| MonitorError::Unsupported(error.into()))?;
        Ok(Self {
            system,
            own: Pid::from_u32(std::process::id()),
            groups: Groups::find(),
            last: None,
        })
    }

    /// How much of the processors is used, in percent.
    fn cpu_percent(&mut self, now: Instant, group: Option<Cpu>) -> Option<f64> {
        self.system.refresh_cpu_usage();
        let (then, before) = self.last.replace((now, group))?;
        let host = f64::from(self.system.global_cpu_usage());
        let seconds = now.saturating_duration_since(then).as_secs_f64();
        let share = before
            .zip(group)
            .and_then(|(before, group)| group_percent(before, group, seconds));
        Some(share.map_or(host, |share| host.max(share)))
    }

    /// What the processes use that this process has started.
    fn workers(&mut self) -> Usage {
        let kind = ProcessRefreshKind::nothing().with_memory().with_cpu();
        self.system
            .refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
        let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
        for (pid, process) in self.system.processes() {
            // Threads are processes to some systems, and share their memory.
            if let Some(parent) = process.parent()
                && process.thread_kind().is_none()
            {
                children.entry(parent).or_default().push(*pid);
            }
        }
        let mut usage = Usage::default();
        let mut open = children.remove(&self.own).unwrap_or_default();
        // Whoever is looked at is taken out, so that this ends whatever the system tells.
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

/// How much of its processors a control group has used in this time, in percent.
fn group_percent(before: Cpu, now: Cpu, seconds: f64) -> Option<f64> {
    let may = now.processors * seconds;
    (may > 0.0).then(|| (now.used_seconds - before.used_seconds).max(0.0) / may * 100.0)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn this_machine_has_memory_and_processors() {
        let mut sampler = Sampler::new().unwrap();
        let first = sampler.read();
        assert!(first.memory_total > 0 && first.memory_available <= first.memory_total);
        assert_eq!(first.cpu_percent, None, "one look is not enough");
        let second = sampler.read().cpu_percent.unwrap();
        assert!(second >= 0.0 && second.is_finite());
    }

    /// The memory of a child of a child is its own.
    #[test]
    fn what_children_have_started_counts() {
        let mut sampler = Sampler::new().unwrap();
        // Both end when their input does.
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
    fn a_group_is_measured_against_what_it_may_use() {
        let at = |used_seconds| Cpu {
            processors: 0.5,
            used_seconds,
        };
        assert_eq!(group_percent(at(1.0), at(2.0), 4.0), Some(50.0));
        assert_eq!(group_percent(at(2.0), at(1.0), 4.0), Some(0.0));
        assert_eq!(group_percent(at(1.0), at(2.0), 0.0), None);
    }
}
